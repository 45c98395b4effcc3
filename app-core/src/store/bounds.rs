//! What a change may hold at all, checked before it waits for the writer. Owns the bounds of texts and counts; refuses
//! to look at the database: these checks come out the same on any.

use super::change::{Change, RecordChange};
use super::{StoreError, TenantScope};
use std::collections::HashSet;

/// A bundle of 100,000 credentials is about 25 MB of JSON.
pub const DOC_BYTES_MAX: usize = 32 << 20;
/// Ids, names and keys stand in indexes: Postgres takes some 2,700 bytes there, for all columns together.
pub const NAME_BYTES_MAX: usize = 512;
/// Parts of one change. A whole import is cut into changes of this size.
pub const PARTS_MAX: usize = 4_096;

fn refused(what: impl Into<String>) -> StoreError {
    StoreError::Refused { what: what.into() }
}

fn name(text: &str, what: &str) -> Result<(), StoreError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains('\0') {
        return Err(refused(format!("{what} has to be of 1 to {NAME_BYTES_MAX} bytes without a NUL")));
    }
    Ok(())
}

fn body(text: &str, what: &str) -> Result<(), StoreError> {
    if text.len() > DOC_BYTES_MAX || text.contains('\0') {
        return Err(refused(format!("{what} has to be of at most {DOC_BYTES_MAX} bytes without a NUL")));
    }
    Ok(())
}

fn number(value: u64, what: &str) -> Result<(), StoreError> {
    if i64::try_from(value).is_err() {
        return Err(refused(format!("{what} is beyond what a database counts")));
    }
    Ok(())
}

/// Refuses what no database could or should take.
pub fn check(scope: TenantScope, change: &Change) -> Result<(), StoreError> {
    let parts = change.records.len()
        + change.commands.len()
        + change.intakes.len()
        + change.events.len()
        + change.audit.len()
        + change.outbox.len()
        + change.once.len()
        + change.checkpoints.len()
        + change.erase_details.len();
    if parts > PARTS_MAX {
        return Err(refused(format!("a change of {parts} parts; at most {PARTS_MAX} fit")));
    }
    number(change.at.0, "the instant of a change")?;
    records(change)?;
    let mut commands = HashSet::new();
    for write in &change.commands {
        if write.row.command.tenant != scope.tenant() {
            return Err(refused(format!("{} belongs to another tenant", write.row.id())));
        }
        if !commands.insert(write.row.id()) {
            return Err(refused(format!("{} stands twice in one change", write.row.id())));
        }
        name(&write.row.asked_by, "who asked for a command")?;
        number(write.row.due_at.map_or(0, |at| at.0), "when a command is due")?;
    }
    let mut intakes = HashSet::new();
    for write in &change.intakes {
        if !intakes.insert((write.device, write.epoch)) {
            return Err(refused(format!("the watermark of {} stands twice in one change", write.device)));
        }
    }
    for draft in &change.events {
        name(&draft.kind, "an event's kind")?;
        body(&draft.json, "an event")?;
        number(super::shape::source_key(draft.source).1, "an event's number")?;
        number(draft.occurred_at.map_or(0, |at| at.0), "an event's instant")?;
    }
    for draft in &change.audit {
        name(&draft.actor, "an audit entry's actor")?;
        name(&draft.action, "an audit entry's action")?;
        name(&draft.subject, "an audit entry's subject")?;
        if let Some(details) = &draft.details {
            name(&details.key, "the key of an audit entry's details")?;
            body(&details.json, "an audit entry's details")?;
        }
    }
    for draft in &change.checkpoints {
        if draft.checkpoint.tenant != scope.tenant() {
            return Err(refused("a checkpoint of another tenant"));
        }
        body(&draft.note, "a checkpoint")?;
    }
    for draft in &change.outbox {
        name(&draft.channel, "a channel's name")?;
        name(&draft.idempotency, "a publication's idempotency id")?;
        body(&draft.body, "a publication")?;
        number(draft.expires_at.map_or(0, |at| at.0), "a publication's end")?;
    }
    once(change)
}

fn records(change: &Change) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    let mut names = HashSet::new();
    for record in &change.records {
        let (kind, id) = record.names();
        name(id, "a record's id")?;
        if !seen.insert((kind, id)) {
            return Err(refused(format!("{} {id} stands twice in one change", kind.word())));
        }
        let RecordChange::Put(draft) = record else { continue };
        body(&draft.doc, "a document")?;
        if let Some(parent) = &draft.parent {
            name(parent, "a record's parent")?;
        }
        if !draft.lookups.is_empty() && !kind.has_names() {
            return Err(refused(format!("a {} is not found by names", kind.word())));
        }
        for found_by in &draft.lookups {
            name(&found_by.1, "a name")?;
            if !names.insert(found_by) {
                return Err(refused("one name stands twice in one change"));
            }
        }
    }
    Ok(())
}

fn once(change: &Change) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    for draft in &change.once {
        name(&draft.key, "a once-only key")?;
        body(&draft.asked_digest, "a digest")?;
        body(&draft.answer, "an answer")?;
        number(draft.expires_at.0, "the end of a once-only key")?;
        if !seen.insert((draft.space, &draft.key)) {
            return Err(refused("one once-only key stands twice in one change"));
        }
    }
    Ok(())
}
