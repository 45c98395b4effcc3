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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Type)],
    pub keys: usize,
}

/// Rows in one statement at most; shorter runs use halves of it, so that few statements are prepared. 64 rows of nine
/// columns are far below either database's bound of parameters.
const ROWS_MAX: usize = 64;

/// Keys of each sort that are looked for together: beyond it the rows are what costs.
const EITHER_MAX: usize = 8;

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

    /// `before` places are taken by other parts of the statement.
    fn insert_sql(&self, rows: usize, upsert: bool, before: usize) -> String {
        let mut sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.name,
            self.names(""),
            places_after(before, rows, self.columns.len())
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
            let sql = self.insert_sql(run.len(), upsert, 0);
            conn.execute(&sql, run.into_iter().flatten().collect()).await?;
        }
        Ok(())
    }

    fn delete_sql(&self, rows: usize, width: usize, before: usize) -> String {
        let names: Vec<&str> = self.columns[..width].iter().map(|(name, _)| *name).collect();
        format!(
            "DELETE FROM {} WHERE ({}) IN (VALUES {})",
            self.name,
            names.join(", "),
            places_after(before, rows, width)
        )
    }

    /// Deletes the rows with these keys, each a primary key or the first columns of one.
    pub async fn delete(&self, conn: &mut Conn, keys: Vec<Vec<Value>>) -> Result<(), Fault> {
        for run in runs(keys) {
            let sql = self.delete_sql(run.len(), run[0].len(), 0);
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

    /// The rows with these first keys and those with these second ones; where there are few, in one way there and back.
    pub async fn find_either(
        &self,
        conn: &mut Conn,
        one: (&[&str], Vec<Vec<Value>>),
        two: (&[&str], Vec<Vec<Value>>),
    ) -> Result<Vec<Row>, Fault> {
        let few = |keys: &[Vec<Value>]| (1..=EITHER_MAX).contains(&keys.len());
        if !few(&one.1) || !few(&two.1) {
            let mut found = self.find(conn, one.0, one.1).await?;
            found.extend(self.find(conn, two.0, two.1).await?);
            return Ok(found);
        }
        let half = |want: char, by: &[&str]| {
            let meets: Vec<String> =
                by.iter().enumerate().map(|(place, name)| format!("t.{name} = {want}.k{place}")).collect();
            let names = self.names("t.");
            format!("SELECT {names} FROM {want} CROSS JOIN {} t WHERE {}", self.name, meets.join(" AND "))
        };
        let wants =
            |by: &[&str]| (0..by.len()).map(|place| format!("k{place}")).collect::<Vec<_>>().join(", ");
        let before = one.1.len() * one.0.len();
        let sql = format!(
            "WITH a ({}) AS (VALUES {}), b ({}) AS (VALUES {}) {} UNION ALL {}",
            wants(one.0),
            places(one.1.len(), one.0.len()),
            wants(two.0),
            places_after(before, two.1.len(), two.0.len()),
            half('a', one.0),
            half('b', two.0),
        );
        conn.fetch(&sql, one.1.into_iter().chain(two.1).flatten().collect()).await
    }

    /// All columns, to be followed by FROM or WHERE.
    pub fn select(&self, rest: &str) -> String {
        format!("SELECT {} FROM {} {rest}", self.names(""), self.name)
    }
}

/// Writes to several tables, no row of them twice. Small ones go to Postgres as one statement: each statement is a way
/// there and back, and a decision writes to five tables. Large ones are bound by their rows, and would be another statement
/// each time.
#[derive(Default)]
pub struct Batch {
    parts: Vec<(Part, Vec<Vec<Value>>)>,
}

enum Part {
    Insert(Table),
    Put(Table),
    Delete(Table),
}

/// Rows of a batch that goes as one statement.
const BATCH_ROWS_MAX: usize = 24;

impl Batch {
    pub fn insert(&mut self, table: Table, rows: Vec<Vec<Value>>) {
        self.add(Part::Insert(table), rows);
    }

    pub fn put(&mut self, table: Table, rows: Vec<Vec<Value>>) {
        self.add(Part::Put(table), rows);
    }

    pub fn delete(&mut self, table: Table, keys: Vec<Vec<Value>>) {
        self.add(Part::Delete(table), keys);
    }

    fn add(&mut self, part: Part, rows: Vec<Vec<Value>>) {
        if !rows.is_empty() {
            self.parts.push((part, rows));
        }
    }

    pub async fn run(self, conn: &mut Conn) -> Result<(), Fault> {
        let rows: usize = self.parts.iter().map(|(_, rows)| rows.len()).sum();
        if conn.is_postgres() && rows <= BATCH_ROWS_MAX && self.parts.len() > 1 {
            let (sql, values) = self.one();
            return conn.execute(&sql, values).await.map(drop);
        }
        for (part, rows) in self.parts {
            match part {
                Part::Insert(table) => table.insert(conn, rows).await?,
                Part::Put(table) => table.put(conn, rows).await?,
                Part::Delete(table) => table.delete(conn, rows).await?,
            }
        }
        Ok(())
    }

    /// Postgres runs every part of a WITH that writes, whether it is asked for or not.
    fn one(self) -> (String, Vec<Value>) {
        let (mut sql, mut values) = (String::from("WITH "), Vec::new());
        for (number, (part, rows)) in self.parts.into_iter().enumerate() {
            let (count, width, before) = (rows.len(), rows[0].len(), values.len());
            let text = match part {
                Part::Insert(table) => table.insert_sql(count, false, before),
                Part::Put(table) => table.insert_sql(count, true, before),
                Part::Delete(table) => table.delete_sql(count, width, before),
            };
            let comma = if number == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}w{number} AS ({text})");
            values.extend(rows.into_iter().flatten());
        }
        sql.push_str(" SELECT 1");
        (sql, values)
    }
}

/// `($1, $2), ($3, $4)`. Written into one text: for 64 rows this is done for every group.
pub fn places(rows: usize, width: usize) -> String {
    places_after(0, rows, width)
}

fn places_after(before: usize, rows: usize, width: usize) -> String {
    let mut text = String::with_capacity(rows * (width * 6 + 4));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=width {
            let comma = if column == 1 { "$" } else { ", $" };
            let _ = write!(text, "{comma}{}", before + row * width + column);
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
            CHECKPOINTS.insert_sql(2, true, 0),
            "INSERT INTO checkpoints (tenant, size, note) VALUES ($1, $2, $3), ($4, $5, $6) ON CONFLICT (tenant, size) DO \
             UPDATE SET note = excluded.note"
        );
        let mut batch = Batch::default();
        batch.put(CHECKPOINTS, vec![vec!["t".into(), 1.into(), "n".into()]]);
        batch.insert(DETAILS, Vec::new());
        batch.delete(OUTBOX, vec![vec!["t".into(), 7.into()]]);
        let (sql, values) = batch.one();
        assert_eq!(
            sql,
            "WITH w0 AS (INSERT INTO checkpoints (tenant, size, note) VALUES ($1, $2, $3) ON CONFLICT (tenant, size) DO \
             UPDATE SET note = excluded.note), w1 AS (DELETE FROM outbox WHERE (tenant, seq) IN (VALUES ($4, $5))) SELECT 1"
        );
        assert_eq!(values.len(), 5);
        let lens: Vec<usize> = runs(vec![Vec::new(); 150]).iter().map(Vec::len).collect();
        assert_eq!(lens, [64, 64, 16, 4, 2]);
    }
}
