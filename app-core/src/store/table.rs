//! The registry of tables: columns, their types and keys, in the order of the migrations. Owns the SQL of bulk inserts,
//! upserts and keyed reads, the same text for both databases; refuses to know what a row means.

use super::error::Fault;
use super::sql::{Conn, Row, Value};
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Int,
    OptText,
    OptInt,
}

/// A table. The first `keys` columns are its primary key.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Type)],
    pub keys: usize,
}

/// Rows in one statement at most; shorter runs use halves of it, so that few statements are prepared. 64 rows of nine
/// columns are far below either database's bound of parameters.
const ROWS_MAX: usize = 64;

macro_rules! tables {
    ($($table:ident = $name:literal, $keys:literal, [$($column:literal $kind:ident),*];)*) => {
        $(pub const $table: Table = Table {
            name: $name,
            columns: &[$(($column, Type::$kind)),*],
            keys: $keys,
        };)*
        /// Every table, in the order in which a backup holds them.
        pub const TABLES: &[&Table] = &[$(&$table),*];
    };
}

tables! {
    HEADS = "tenant_heads", 1, ["tenant" Text, "facts_version" Int, "audit_size" Int, "audit_head" Text,
        "event_last" Int, "outbox_last" Int, "outbox_at_ms" Int];
    RECORDS = "records", 3, ["tenant" Text, "kind" Text, "id" Text, "version" Int, "parent" OptText, "doc" Text,
        "created_at_ms" Int, "changed_at_ms" Int];
    LOOKUPS = "lookups", 2, ["space" Text, "name" Text, "tenant" Text, "kind" Text, "id" Text];
    ONCE = "once_keys", 3, ["tenant" Text, "space" Text, "name" Text, "asked_digest" Text, "answer" Text,
        "expires_at_ms" Int];
    COMMANDS = "commands", 2, ["tenant" Text, "id" Text, "request" OptText, "device" Text, "door" Text,
        "asked_by" Text, "person" OptText, "phone" OptText, "command" Text, "record" Text, "is_open" Int,
        "due_at_ms" OptInt, "version" Int, "held_until_ms" OptInt];
    INTAKES = "intakes", 3, ["tenant" Text, "device" Text, "epoch" Text, "doc" Text, "version" Int];
    EVENTS = "events", 2, ["tenant" Text, "ordinal" Int, "source" Text, "seq" Int, "kind" Text, "door" OptText,
        "occurred_at_ms" OptInt, "received_at_ms" Int, "json" Text];
    AUDIT = "audit_entries", 2, ["tenant" Text, "seq" Int, "id" Text, "json" Text, "chain_after" Text];
    DETAILS = "audit_details", 2, ["tenant" Text, "id" Text, "hmac_key" Text, "json" Text];
    CHECKPOINTS = "checkpoints", 2, ["tenant" Text, "size" Int, "note" Text];
    OUTBOX = "outbox", 2, ["tenant" Text, "seq" Int, "channel" Text, "body" Text, "history" Text,
        "idempotency" Text, "committed_at_ms" Int, "expires_at_ms" OptInt];
}

impl Table {
    fn names(&self, prefix: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
        names.join(", ")
    }

    fn insert_sql(&self, rows: usize, upsert: bool) -> String {
        let mut sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.name,
            self.names(""),
            places(rows, self.columns.len())
        );
        if upsert {
            let keys: Vec<&str> = self.columns[..self.keys].iter().map(|(name, _)| *name).collect();
            let sets: Vec<String> = self.columns[self.keys..]
                .iter()
                .map(|(name, _)| format!("{name} = excluded.{name}"))
                .collect();
            sql.push_str(&format!(" ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), sets.join(", ")));
        }
        sql
    }

    /// Inserts rows whose keys are new.
    pub async fn insert(&self, conn: &mut Conn, rows: Vec<Vec<Value>>) -> Result<(), Fault> {
        self.write(conn, rows, false).await
    }

    /// Inserts rows or replaces those with the same keys. No key may come twice in one call.
    pub async fn put(&self, conn: &mut Conn, rows: Vec<Vec<Value>>) -> Result<(), Fault> {
        self.write(conn, rows, true).await
    }

    async fn write(&self, conn: &mut Conn, rows: Vec<Vec<Value>>, upsert: bool) -> Result<(), Fault> {
        for run in runs(rows) {
            let sql = self.insert_sql(run.len(), upsert);
            conn.execute(&sql, run.into_iter().flatten().collect()).await?;
        }
        Ok(())
    }

    /// Deletes the rows with these keys, each a primary key or the first columns of one.
    pub async fn delete(&self, conn: &mut Conn, keys: Vec<Vec<Value>>) -> Result<(), Fault> {
        for run in runs(keys) {
            let width = run[0].len();
            let names: Vec<&str> = self.columns[..width].iter().map(|(name, _)| *name).collect();
            let sql = format!(
                "DELETE FROM {} WHERE ({}) IN (VALUES {})",
                self.name,
                names.join(", "),
                places(run.len(), width)
            );
            conn.execute(&sql, run.into_iter().flatten().collect()).await?;
        }
        Ok(())
    }

    /// The rows whose `by` columns have one of these values. CROSS JOIN keeps SQLite from scanning the table.
    pub async fn find(&self, conn: &mut Conn, by: &[&str], keys: Vec<Vec<Value>>) -> Result<Vec<Row>, Fault> {
        let mut found = Vec::new();
        for run in runs(keys) {
            let wants: Vec<String> = (0..by.len()).map(|place| format!("k{place}")).collect();
            let meets: Vec<String> =
                by.iter().enumerate().map(|(place, name)| format!("t.{name} = want.k{place}")).collect();
            let sql = format!(
                "WITH want ({}) AS (VALUES {}) SELECT {} FROM want CROSS JOIN {} t WHERE {}",
                wants.join(", "),
                places(run.len(), by.len()),
                self.names("t."),
                self.name,
                meets.join(" AND ")
            );
            found.extend(conn.fetch(&sql, run.into_iter().flatten().collect()).await?);
        }
        Ok(found)
    }

    /// All columns, to be followed by FROM or WHERE.
    pub fn select(&self, rest: &str) -> String {
        format!("SELECT {} FROM {} {rest}", self.names(""), self.name)
    }
}

/// `($1, $2), ($3, $4)`. Written into one text: for 64 rows this is done for every group.
pub fn places(rows: usize, width: usize) -> String {
    let mut text = String::with_capacity(rows * (width * 6 + 4));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=width {
            let before = if column == 1 { "$" } else { ", $" };
            let _ = write!(text, "{before}{}", row * width + column);
        }
        text.push(')');
    }
    text
}

/// Cuts into runs of 64, 32, 16 … 1.
fn runs(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Vec<Value>>> {
    let mut runs = Vec::new();
    let mut len = ROWS_MAX;
    while !rows.is_empty() {
        while len > rows.len() {
            len /= 2;
        }
        let rest = rows.split_off(len);
        runs.push(std::mem::replace(&mut rows, rest));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_say_what_they_mean() {
        assert_eq!(
            CHECKPOINTS.insert_sql(2, true),
            "INSERT INTO checkpoints (tenant, size, note) VALUES ($1, $2, $3), ($4, $5, $6) ON CONFLICT (tenant, size) DO \
             UPDATE SET note = excluded.note"
        );
        let lens: Vec<usize> = runs(vec![Vec::new(); 150]).iter().map(Vec::len).collect();
        assert_eq!(lens, [64, 64, 16, 4, 2]);
    }
}
