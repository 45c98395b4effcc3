//! Migrations: numbered SQL files, the same numbers for both databases, each applied once and in order. Owns the table
//! that remembers them; refuses a schema that is newer than this program, and one whose history is another.

use super::StoreError;
use super::error::Fault;
use super::shape::{corrupt, int};
use super::sql::{Conn, Target};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

pub struct Migration {
    pub number: u32,
    pub name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal $file:literal;)*) => {
        /// In order, numbered from 1 without gaps. A file that has been released is never changed.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../../migrations/postgres/", $file)),
        }),*];
    };
}

migrations! {
    1 "begin" "0001_begin.sql";
    2 "room" "0002_room.sql";
}

/// The schema this program works with.
pub fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |last| last.number)
}

const REMEMBER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
     sha256 TEXT NOT NULL)";
/// Serializes migrating processes on Postgres; the number means nothing, it only has to be ours: "keyw" in ASCII.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1801812343)";

impl Migration {
    fn sql(&self, conn: &Conn) -> &'static str {
        if conn.is_postgres() { self.postgres } else { self.sqlite }
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What stands between a schema and this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Current,
    Behind { found: u32 },
    TooNew { found: u32 },
}

/// Reads which migrations a database has, and checks that they are ours.
pub async fn standing(conn: &mut Conn) -> Result<Standing, Fault> {
    let exists = if conn.is_postgres() {
        "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'"
    };
    let rows = conn.fetch(exists, Vec::new()).await?;
    if rows.first().map(|row| row.int(0)).transpose()? != Some(1) {
        return Ok(Standing::Behind { found: 0 });
    }
    let rows = conn.fetch("SELECT number, sha256 FROM schema_migrations ORDER BY number", Vec::new()).await?;
    let mut found = 0;
    for row in &rows {
        let number = u32::try_from(row.count(0)?).unwrap_or(u32::MAX);
        if number != found + 1 {
            return Err(corrupt(format!("migration {} is missing before {number}", found + 1)));
        }
        found = number;
        if let Some(ours) = MIGRATIONS.iter().find(|ours| ours.number == number)
            && sha256(ours.sql(conn)) != row.text(1)?
        {
            return Err(corrupt(format!(
                "migration {number} was made from another text than this program has"
            )));
        }
    }
    Ok(match found {
        found if found > newest() => Standing::TooNew { found },
        found if found < newest() => Standing::Behind { found },
        _ => Standing::Current,
    })
}

/// Applies what is missing, all of it or nothing; answers the numbers that were applied.
pub async fn migrate(target: &Target) -> Result<Vec<u32>, StoreError> {
    let told = |fault: Fault| fault.told(0, false);
    let mut conn = target.clone().patient().connect().await.map_err(told)?;
    // Most starts find nothing to do, and need no lock to see it.
    let applied = match standing(&mut conn).await {
        Ok(Standing::Current) => Ok(Ok(Vec::new())),
        Ok(_) => apply(&mut conn).await,
        Err(fault) => Ok(Err(fault)),
    };
    conn.close().await;
    applied?.map_err(told)
}

/// The outer error is about the schema, the inner one about the database.
async fn apply(conn: &mut Conn) -> Result<Result<Vec<u32>, Fault>, StoreError> {
    match standing_locked(conn).await {
        Ok(Standing::TooNew { found }) => Err(StoreError::TooNew { found, known: newest() }),
        Ok(Standing::Current) => Ok(conn.commit().await.map(|()| Vec::new())),
        Ok(Standing::Behind { found }) => Ok(apply_after(conn, found).await),
        Err(fault) => Ok(Err(fault)),
    }
}

async fn standing_locked(conn: &mut Conn) -> Result<Standing, Fault> {
    conn.begin().await?;
    if conn.is_postgres() {
        conn.fetch(LOCK, Vec::new()).await?;
    }
    standing(conn).await
}

async fn apply_after(conn: &mut Conn, found: u32) -> Result<Vec<u32>, Fault> {
    conn.execute(REMEMBER, Vec::new()).await?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > found) {
        let sql = migration.sql(conn);
        conn.script(sql).await?;
        let values = vec![int(u64::from(migration.number)), migration.name.into(), sha256(sql).into()];
        conn.execute("INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)", values)
            .await?;
        applied.push(migration.number);
    }
    conn.commit().await?;
    Ok(applied)
}

/// Refuses a schema that is not exactly this program's.
pub async fn demand_current(target: &Target, deadline_ms: u64) -> Result<(), StoreError> {
    let look = async {
        let mut conn = target.connect().await?;
        let standing = standing(&mut conn).await;
        conn.close().await;
        standing
    };
    let standing = tokio::time::timeout(std::time::Duration::from_millis(deadline_ms), look)
        .await
        .map_err(|_| StoreError::Slow { deadline_ms })?
        .map_err(|fault| fault.told(deadline_ms, false))?;
    match standing {
        Standing::Current => Ok(()),
        Standing::Behind { found } => Err(StoreError::NotMigrated { found, wanted: newest() }),
        Standing::TooNew { found } => Err(StoreError::TooNew { found, known: newest() }),
    }
}
