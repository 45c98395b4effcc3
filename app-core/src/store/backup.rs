//! Backups: every row of every table as of one moment, as lines of JSON with a checksum. The same for both databases, so
//! that a backup of one is restored into the other. Owns the format; refuses to restore into a database that holds
//! anything.

use super::error::Fault;
use super::migrate::{self, Standing};
use super::shape::corrupt;
use super::sql::{Conn, Row, Value};
use super::table::{TABLES, Table, Type};
use super::{StoreError, StoreOptions};
use keyway_domain::time::UnixMs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};

const FORMAT: &str = "keyway-backup";
/// Rows read at once. A document may have megabytes: not more of them in memory than this.
const ROWS_AT_ONCE: usize = 128;
/// Rows put at once when restoring; the inserts' own longest run.
const PUT_AT_ONCE: usize = 64;
/// A line holds one row; nothing larger than a document with its escapes is ours.
const LINE_BYTES_MAX: usize = 4 * super::bounds::DOC_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("line {line} of the backup: {why}")]
    Line { line: usize, why: String },
    #[error("the database is not empty ({table} has rows): restore into a new one")]
    NotEmpty { table: &'static str },
    #[error(
        "the backup has schema {found}, this program makes and reads schema {wanted}: restore it with the app-core that made it, then migrate"
    )]
    Schema { found: u32, wanted: u32 },
    #[error("the file: {0}")]
    File(#[from] std::io::Error),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    schema: u32,
}

/// The last line. The sum covers every byte before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub rows: BTreeMap<String, u64>,
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowLine {
    t: String,
    r: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row(RowLine),
    End(End),
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes what the database holds at this moment. Writers go on meanwhile.
pub async fn backup(options: &StoreOptions, out: &mut (dyn Write + Send)) -> Result<End, BackupError> {
    let target = options.target()?;
    migrate::demand_current(&target, options.deadline_ms).await?;
    let told = |fault: Fault| BackupError::Store(fault.told(options.deadline_ms, false));
    let mut conn = target.reading().patient().connect().await.map_err(told)?;
    conn.begin_snapshot().await.map_err(told)?;
    let mut writer = Summed { out, sum: Sha256::new() };
    writer.line(&Header { format: FORMAT.into(), version: 1, schema: migrate::newest() })?;
    let mut end = End { rows: BTreeMap::new(), sha256: String::new() };
    for table in TABLES {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = rows_after(&mut conn, table, after).await.map_err(told)?;
            for row in page.items {
                writer.line(&RowLine { t: table.name.into(), r: row.into_iter().map(json).collect() })?;
                count += 1;
            }
            match page.next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        end.rows.insert(table.name.to_owned(), count);
    }
    let Summed { out, sum } = writer;
    end.sha256 = hex(sum);
    serde_json::to_writer(&mut *out, &end).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()?;
    conn.rollback().await.map_err(told)?;
    conn.close().await;
    Ok(end)
}

struct Summed<'o> {
    out: &'o mut (dyn Write + Send),
    sum: Sha256,
}

impl Summed<'_> {
    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), std::io::Error> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.out.write_all(&text)
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Int(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::NoInt | Value::NoText => serde_json::Value::Null,
    }
}

/// A page in the order of the primary key, and the key after which there is more.
struct KeyedPage {
    items: Vec<Vec<Value>>,
    next: Option<Vec<Value>>,
}

async fn rows_after(conn: &mut Conn, table: &Table, after: Option<Vec<Value>>) -> Result<KeyedPage, Fault> {
    let keys: Vec<&str> = table.columns[..table.keys].iter().map(|(name, _)| *name).collect();
    let keys = keys.join(", ");
    let mut values = after.unwrap_or_default();
    let begin = if values.is_empty() {
        String::new()
    } else {
        format!("WHERE ({keys}) > {}", super::table::places(1, table.keys))
    };
    values.push(Value::Int(ROWS_AT_ONCE as i64 + 1));
    let sql = table.select(&format!("{begin} ORDER BY {keys} LIMIT ${}", values.len()));
    let rows = conn.fetch(&sql, values).await?;
    let mut items = rows.iter().map(|row| values_of(table, row)).collect::<Result<Vec<_>, _>>()?;
    let more = items.len() > ROWS_AT_ONCE;
    items.truncate(ROWS_AT_ONCE);
    let next = items.last().filter(|_| more).map(|last| last[..table.keys].to_vec());
    Ok(KeyedPage { items, next })
}

fn values_of(table: &Table, row: &Row) -> Result<Vec<Value>, Fault> {
    let value = |(place, (_, kind)): (usize, &(&str, Type))| {
        Ok(match kind {
            Type::Text => row.text(place)?.into(),
            Type::Int => row.int(place)?.into(),
            Type::OptText => row.opt_text(place)?.into(),
            Type::OptInt => row.opt_int(place)?.into(),
        })
    };
    table.columns.iter().enumerate().map(value).collect()
}

/// What a database is restored for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To go on after a loss, from this moment on: doors may have seen more than the backup knows, and every counter that
    /// they compare goes beyond it.
    GoOn(UnixMs),
    /// To move: nothing has happened since the backup, and it stays as it is to the byte.
    Move,
}

/// Reads a backup into an empty database, all of it or nothing: what is cut off or changed is refused at the end, and
/// nothing was written then.
pub async fn restore(
    options: &StoreOptions,
    from: &mut (dyn BufRead + Send),
    purpose: Purpose,
) -> Result<End, BackupError> {
    let target = options.target()?;
    migrate::migrate(&target).await?;
    let told = |fault: Fault| BackupError::Store(fault.told(options.deadline_ms, false));
    let mut conn = target.patient().connect().await.map_err(told)?;
    conn.begin().await.map_err(told)?;
    let mut restored = fill(&mut conn, from, options.deadline_ms).await;
    if let (Ok(_), Purpose::GoOn(now)) = (&restored, purpose)
        && let Err(fault) = super::raise::raise(&mut conn, now).await
    {
        restored = Err(told(fault));
    }
    if restored.is_ok() {
        conn.commit().await.map_err(told)?;
    }
    // Without a commit the transaction ends with its connection.
    conn.close().await;
    restored
}

async fn fill(
    conn: &mut Conn,
    from: &mut (dyn BufRead + Send),
    deadline_ms: u64,
) -> Result<End, BackupError> {
    let told = |fault: Fault| BackupError::Store(fault.told(deadline_ms, false));
    if migrate::standing(conn).await.map_err(told)? != Standing::Current {
        return Err(told(corrupt("the schema changed while restoring")));
    }
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1) AS held", table.name);
        let rows = conn.fetch(&sql, Vec::new()).await.map_err(told)?;
        if rows.first().map(|row| row.int(0)).transpose().map_err(told)? != Some(0) {
            return Err(BackupError::NotEmpty { table: table.name });
        }
    }
    let mut lines = Lines { from, sum: Sha256::new(), number: 0 };
    header(&lines.next()?)?;
    let mut counts: BTreeMap<String, u64> = TABLES.iter().map(|table| (table.name.to_owned(), 0)).collect();
    let mut waiting: (Option<&Table>, Vec<Vec<Value>>) = (None, Vec::new());
    loop {
        let before = lines.sum.clone();
        let text = lines.next()?;
        let line = serde_json::from_slice(&text).map_err(|error| lines.bad(&error.to_string()))?;
        match line {
            Line::Row(row) => {
                let table = TABLES.iter().copied().find(|table| table.name == row.t);
                let table = table.ok_or_else(|| lines.bad("a table that this program does not have"))?;
                if waiting.0 != Some(table) || waiting.1.len() == PUT_AT_ONCE {
                    put(conn, &mut waiting).await.map_err(told)?;
                }
                waiting.0 = Some(table);
                waiting.1.push(typed(table, row.r).ok_or_else(|| lines.bad("a row of another shape"))?);
                *counts.entry(row.t).or_default() += 1;
            }
            Line::End(end) => {
                put(conn, &mut waiting).await.map_err(told)?;
                if end.sha256 != hex(before) {
                    return Err(
                        lines.bad("the checksum is not that of the lines before it: the file was changed")
                    );
                }
                if end.rows != counts {
                    return Err(lines.bad("the counts are not those of the lines before it"));
                }
                return Ok(end);
            }
        }
    }
}

fn header(text: &[u8]) -> Result<(), BackupError> {
    let bad = |why: &str| BackupError::Line { line: 1, why: why.into() };
    let header: Header = serde_json::from_slice(text).map_err(|_| bad("not the header of a backup"))?;
    if header.format != FORMAT || header.version != 1 {
        return Err(bad("not a backup of this program"));
    }
    if header.schema != migrate::newest() {
        return Err(BackupError::Schema { found: header.schema, wanted: migrate::newest() });
    }
    Ok(())
}

async fn put(conn: &mut Conn, waiting: &mut (Option<&Table>, Vec<Vec<Value>>)) -> Result<(), Fault> {
    match waiting.0 {
        Some(table) => table.insert(conn, std::mem::take(&mut waiting.1)).await,
        None => Ok(()),
    }
}

fn typed(table: &Table, row: Vec<serde_json::Value>) -> Option<Vec<Value>> {
    if row.len() != table.columns.len() {
        return None;
    }
    let value = |(value, (_, kind)): (serde_json::Value, &(&str, Type))| match (value, kind) {
        (serde_json::Value::String(text), Type::Text | Type::OptText) => Some(Value::Text(text)),
        (serde_json::Value::Number(number), Type::Int | Type::OptInt) => number.as_i64().map(Value::Int),
        (serde_json::Value::Null, Type::OptText) => Some(Value::NoText),
        (serde_json::Value::Null, Type::OptInt) => Some(Value::NoInt),
        _ => None,
    };
    row.into_iter().zip(table.columns).map(value).collect()
}

struct Lines<'f> {
    from: &'f mut (dyn BufRead + Send),
    sum: Sha256,
    number: usize,
}

impl Lines<'_> {
    fn bad(&self, why: &str) -> BackupError {
        BackupError::Line { line: self.number, why: why.into() }
    }

    fn next(&mut self) -> Result<Vec<u8>, BackupError> {
        self.number += 1;
        let mut text = Vec::new();
        let mut bounded = std::io::Read::take(&mut *self.from, LINE_BYTES_MAX as u64);
        bounded.read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Err(self.bad("the backup ends here, before its last line: it was cut off"));
        }
        if text.last() != Some(&b'\n') {
            return Err(self.bad("the line is cut off, or longer than any of ours"));
        }
        self.sum.update(&text);
        text.pop();
        Ok(text)
    }
}
