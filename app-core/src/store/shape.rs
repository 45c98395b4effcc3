//! How our types stand in rows: one function for each table and direction, in the order of the registry's columns. Owns
//! the texts of composite keys; refuses to reach for a database.

use super::change::{EventSource, OnceDraft};
use super::error::Fault;
use super::kind::{LookupSpace, OnceSpace, RecordKind};
use super::row::{AuditRow, CommandRow, EventRow, History, IntakeRow, OnceRow, OutboxKey, OutboxRow, Record};
use super::sql::{Row, Value};
use keyway_domain::event::{ChainHash, Epoch};
use keyway_domain::id::{CommandId, DeviceId, EventId, TenantId};
use keyway_domain::time::UnixMs;

/// What a tenant's row counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    pub facts_version: u64,
    pub audit_size: u64,
    pub audit_head: ChainHash,
    pub event_last: u64,
    pub outbox_last: u64,
    pub outbox_at: UnixMs,
}

pub fn corrupt(what: impl Into<String>) -> Fault {
    Fault::Corrupt(what.into())
}

/// Our counters and instants end far below 2^63: what is beyond was refused before it came here.
pub fn int(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn opt_int(value: Option<UnixMs>) -> Value {
    value.map_or(Value::NoInt, |at| int(at.0))
}

pub fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn opt_text(value: Option<impl ToString>) -> Value {
    value.map_or(Value::NoText, |value| Value::Text(value.to_string()))
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    Value::Text(serde_json::to_string(value).expect("our rows have string keys only"))
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| corrupt(format!("not {what}: {text}")))
}

fn id<T: std::str::FromStr>(row: &Row, place: usize) -> Result<T, Fault> {
    parsed(&row.text(place)?, "an id")
}

fn opt_id<T: std::str::FromStr>(row: &Row, place: usize) -> Result<Option<T>, Fault> {
    row.opt_text(place)?.map(|text| parsed(&text, "an id")).transpose()
}

fn doc<T: serde::de::DeserializeOwned>(row: &Row, place: usize, what: &str) -> Result<T, Fault> {
    serde_json::from_str(&row.text(place)?).map_err(|error| corrupt(format!("{what}: {error}")))
}

fn opt_at(row: &Row, place: usize) -> Result<Option<UnixMs>, Fault> {
    Ok(row.opt_int(place)?.map(|at| UnixMs(at.unsigned_abs())))
}

pub fn tenant(row: &Row, place: usize) -> Result<TenantId, Fault> {
    id(row, place)
}

pub fn device(row: &Row, place: usize) -> Result<DeviceId, Fault> {
    id(row, place)
}

pub fn command_id(row: &Row, place: usize) -> Result<CommandId, Fault> {
    id(row, place)
}

pub fn chain(row: &Row, place: usize) -> Result<ChainHash, Fault> {
    ChainHash::parse(&row.text(place)?).ok_or_else(|| corrupt("a chain value that is not 64 hex digits"))
}

pub fn head_values(tenant: TenantId, head: &Head) -> Vec<Value> {
    vec![
        text(tenant),
        int(head.facts_version),
        int(head.audit_size),
        text(head.audit_head),
        int(head.event_last),
        int(head.outbox_last),
        int(head.outbox_at.0),
    ]
}

pub fn head(row: &Row) -> Result<(TenantId, Head), Fault> {
    let head = Head {
        facts_version: row.count(1)?,
        audit_size: row.count(2)?,
        audit_head: chain(row, 3)?,
        event_last: row.count(4)?,
        outbox_last: row.count(5)?,
        outbox_at: UnixMs(row.count(6)?),
    };
    Ok((id(row, 0)?, head))
}

pub fn kind(row: &Row, place: usize) -> Result<RecordKind, Fault> {
    let word = row.text(place)?;
    RecordKind::parse(&word).ok_or_else(|| corrupt(format!("a record of the kind {word}")))
}

pub fn record(row: &Row) -> Result<Record, Fault> {
    Ok(Record {
        tenant: id(row, 0)?,
        kind: kind(row, 1)?,
        id: row.text(2)?,
        version: row.count(3)?,
        parent: row.opt_text(4)?,
        doc: row.text(5)?,
        created_at: UnixMs(row.count(6)?),
        changed_at: UnixMs(row.count(7)?),
    })
}

pub fn record_values(record: &Record) -> Vec<Value> {
    vec![
        text(record.tenant),
        record.kind.word().into(),
        record.id.as_str().into(),
        int(record.version),
        record.parent.clone().into(),
        record.doc.as_str().into(),
        int(record.created_at.0),
        int(record.changed_at.0),
    ]
}

pub fn lookup_space(row: &Row, place: usize) -> Result<LookupSpace, Fault> {
    let word = row.text(place)?;
    LookupSpace::parse(&word).ok_or_else(|| corrupt(format!("a name in the space {word}")))
}

pub fn once_values(tenant: TenantId, draft: &OnceDraft) -> Vec<Value> {
    vec![
        text(tenant),
        draft.space.word().into(),
        draft.key.as_str().into(),
        draft.asked_digest.as_str().into(),
        draft.answer.as_str().into(),
        int(draft.expires_at.0),
    ]
}

pub fn once(row: &Row) -> Result<(TenantId, OnceRow), Fault> {
    let word = row.text(1)?;
    let once = OnceRow {
        space: OnceSpace::parse(&word).ok_or_else(|| corrupt(format!("a key in the space {word}")))?,
        key: row.text(2)?,
        asked_digest: row.text(3)?,
        answer: row.text(4)?,
        expires_at: UnixMs(row.count(5)?),
    };
    Ok((id(row, 0)?, once))
}

/// A command's row with the version that it gets.
pub fn command_values(row: &CommandRow, version: u64) -> Vec<Value> {
    vec![
        text(row.command.tenant),
        text(row.command.command),
        opt_text(row.request),
        text(row.command.device),
        text(row.command.door),
        row.asked_by.as_str().into(),
        opt_text(row.person),
        opt_text(row.phone),
        json(&row.command),
        json(&row.record),
        Value::Int(i64::from(!row.record.state.is_final())),
        opt_int(row.due_at),
        int(version),
        opt_int(row.record.state.may_be_in_ledger().then_some(row.record.deadline)),
    ]
}

pub fn command(row: &Row) -> Result<CommandRow, Fault> {
    Ok(CommandRow {
        request: opt_id(row, 2)?,
        asked_by: row.text(5)?,
        person: opt_id(row, 6)?,
        phone: opt_id(row, 7)?,
        command: doc(row, 8, "a command")?,
        record: doc(row, 9, "a command's record")?,
        due_at: opt_at(row, 11)?,
        version: row.count(12)?,
    })
}

pub fn epoch(text: &str) -> Result<Epoch, Fault> {
    u64::from_str_radix(text, 16).map(Epoch).map_err(|_| corrupt(format!("an epoch {text}")))
}

pub fn intake(row: &Row) -> Result<(TenantId, DeviceId, IntakeRow), Fault> {
    let intake = IntakeRow {
        epoch: epoch(&row.text(2)?)?,
        intake: doc(row, 3, "what is remembered of a device's events")?,
        version: row.count(4)?,
    };
    Ok((id(row, 0)?, id(row, 1)?, intake))
}

pub fn intake_values(tenant: TenantId, write: &super::change::IntakeWrite, version: u64) -> Vec<Value> {
    vec![text(tenant), text(write.device), text(write.epoch), json(&write.intake), int(version)]
}

/// Source and number of an event, as the two columns that make it unique.
pub fn source_key(source: EventSource) -> (String, u64) {
    match source {
        EventSource::Device { device, epoch, seq } => (format!("{device}/{epoch}"), seq),
        EventSource::Core(event) => (event.to_string(), 0),
    }
}

fn source(text: &str, seq: u64) -> Result<EventSource, Fault> {
    Ok(match text.split_once('/') {
        Some((device, epoch_text)) => {
            EventSource::Device { device: parsed(device, "an id")?, epoch: epoch(epoch_text)?, seq }
        }
        None => EventSource::Core(parsed::<EventId>(text, "an id")?),
    })
}

pub fn event_values(
    tenant: TenantId,
    ordinal: u64,
    draft: &super::change::EventDraft,
    received_at: UnixMs,
) -> Vec<Value> {
    let (source, seq) = source_key(draft.source);
    vec![
        text(tenant),
        int(ordinal),
        Value::Text(source),
        int(seq),
        draft.kind.as_str().into(),
        opt_text(draft.door),
        opt_int(draft.occurred_at),
        int(received_at.0),
        draft.json.as_str().into(),
    ]
}

pub fn event(row: &Row) -> Result<EventRow, Fault> {
    Ok(EventRow {
        ordinal: row.count(1)?,
        source: source(&row.text(2)?, row.count(3)?)?,
        kind: row.text(4)?,
        door: opt_id(row, 5)?,
        occurred_at: opt_at(row, 6)?,
        received_at: UnixMs(row.count(7)?),
        json: row.text(8)?,
    })
}

/// From the columns of audit entries, and after them the details' text.
pub fn audit(row: &Row) -> Result<AuditRow, Fault> {
    Ok(AuditRow {
        seq: row.count(1)?,
        id: id(row, 2)?,
        line: format!("{} {}", row.text(4)?, row.text(3)?),
        details: row.opt_text(5)?,
    })
}

fn history_word(history: History) -> &'static str {
    match history {
        History::None => "none",
        History::Latest => "latest",
        History::Kept => "kept",
    }
}

pub fn outbox_values(row: &OutboxRow) -> Vec<Value> {
    vec![
        text(row.key.tenant),
        int(row.key.seq),
        row.channel.as_str().into(),
        row.body.as_str().into(),
        history_word(row.history).into(),
        row.idempotency.as_str().into(),
        int(row.committed_at.0),
        opt_int(row.expires_at),
    ]
}

pub fn outbox(row: &Row) -> Result<OutboxRow, Fault> {
    let word = row.text(4)?;
    let history =
        [History::None, History::Latest, History::Kept].into_iter().find(|one| history_word(*one) == word);
    Ok(OutboxRow {
        key: OutboxKey { tenant: id(row, 0)?, seq: row.count(1)? },
        channel: row.text(2)?,
        body: row.text(3)?,
        history: history.ok_or_else(|| corrupt(format!("a publication with the history {word}")))?,
        idempotency: row.text(5)?,
        committed_at: UnixMs(row.count(6)?),
        expires_at: opt_at(row, 7)?,
    })
}
