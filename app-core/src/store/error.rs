//! What can go wrong with the store, by what a caller can do about it. Owns the translation from the databases' codes;
//! refuses to let their text out: it may hold values of rows.

use super::row::{CommandRow, OnceRow};
use keyway_domain::command::room::DoorBusy;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster: read again, decide again.
    #[error("{what} has changed: expected {expected}, found {found}")]
    Conflict { what: String, expected: String, found: String },
    /// The request is known; this is its command.
    #[error("the request is known as {}", .0.id())]
    Repeated(Box<CommandRow>),
    /// The once-only key has been used; this is its answer.
    #[error("the key has been used already")]
    Already(Box<OnceRow>),
    #[error("{what} is not there")]
    NotFound { what: String },
    /// The door could not remember another command. Nothing was written: the same request may come again later.
    #[error(transparent)]
    DoorBusy(#[from] DoorBusy),
    /// The change itself can never be written. Nothing was.
    #[error("{what}")]
    Refused { what: String },
    /// No room. Nothing was written; reads still work.
    #[error("the database is full; make room, nothing of this change was written")]
    Full,
    /// Another process holds the database. Nothing was written.
    #[error("the database is locked by another process; nothing of this change was written")]
    Locked,
    /// More is waiting than the queue holds. Nothing was written: come again later.
    #[error("the store is busy: {waiting} changes are waiting; nothing of this one was written")]
    Busy { waiting: usize },
    /// The database does not answer at all. A commit that got this may have happened when `maybe` is set: repeat it
    /// with the same ids.
    #[error("the database cannot be reached ({why})")]
    Unavailable { why: String, maybe: bool },
    /// The deadline has passed. A commit that got this may have happened: repeat it with the same ids.
    #[error("the database did not answer within {deadline_ms} ms")]
    Slow { deadline_ms: u64 },
    /// A row that this program cannot have written.
    #[error("the database holds something that does not belong there: {what}")]
    Corrupt { what: String },
    #[error("the schema of the database is {found}, this program needs {wanted}: run `app-core migrate`")]
    NotMigrated { found: u32, wanted: u32 },
    #[error(
        "the schema of the database is {found}, newer than this program knows ({known}): use a newer app-core"
    )]
    TooNew { found: u32, known: u32 },
    #[error("the address of the database: {why}")]
    Address { why: String },
}

impl StoreError {
    /// Worth trying again with the same ids, by itself.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Locked | Self::Busy { .. } | Self::Unavailable { .. } | Self::Slow { .. })
    }

    /// A commit that got this may have been written all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Unavailable { maybe: true, .. })
    }
}

/// What a driver reported, by what it means for the connection and the transaction.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection is of no use any more.
    Gone(String),
    Full,
    Locked,
    Slow,
    /// Another transaction was in the way, and has gone on: try again.
    GaveWay,
    /// The statement was refused for what it says.
    Rejected(String),
    Corrupt(String),
}

impl Fault {
    pub fn told(self, deadline_ms: u64, maybe: bool) -> StoreError {
        match self {
            Self::Gone(why) => StoreError::Unavailable { why, maybe },
            Self::GaveWay => StoreError::Unavailable { why: "gave way to another process".into(), maybe },
            Self::Full => StoreError::Full,
            Self::Locked => StoreError::Locked,
            Self::Slow => StoreError::Slow { deadline_ms },
            Self::Rejected(code) => {
                StoreError::Refused { what: format!("the database refused it (code {code})") }
            }
            Self::Corrupt(what) => StoreError::Corrupt { what },
        }
    }

    /// The transaction is over and the connection may be used again after a rollback.
    pub fn leaves_connection(&self) -> bool {
        !matches!(self, Self::Gone(_) | Self::Slow | Self::Corrupt(_))
    }

    fn of_sqlite(code: i64) -> Self {
        // The low byte is the primary code; sqlite.org/rescode.html.
        match code & 0xff {
            5 | 6 => Self::Locked,
            9 => Self::Slow,
            13 => Self::Full,
            8 | 10 | 14 => Self::Gone(format!("the file cannot be used, SQLite code {code}")),
            // Somebody else has put a row of this key meanwhile: the next attempt sees it.
            _ if matches!(code, 1555 | 2067) => Self::GaveWay,
            11 | 26 => Self::Corrupt(format!("SQLite code {code}")),
            _ => Self::Rejected(code.to_string()),
        }
    }

    fn of_postgres(code: &str) -> Self {
        // postgresql.org/docs/current/errcodes-appendix.html
        match code {
            "53100" => Self::Full,
            "55P03" => Self::Locked,
            "57014" => Self::Slow,
            // 23505: somebody else has put a row of this key meanwhile; the next attempt sees it.
            "40001" | "40P01" | "23505" => Self::GaveWay,
            "XX001" | "XX002" => Self::Corrupt(format!("SQLSTATE {code}")),
            "3D000" => Self::Gone("there is no database of this name".into()),
            _ if code.starts_with("28") => Self::Gone("the login was refused".into()),
            _ if ["08", "53", "57", "58", "25"].iter().any(|class| code.starts_with(class)) => {
                Self::Gone(format!("SQLSTATE {code}"))
            }
            _ => Self::Rejected(code.to_owned()),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                // SQLSTATEs have five characters, SQLite's codes are numbers of up to four.
                match code.parse::<i64>() {
                    Ok(number) if code.len() < 5 => Self::of_sqlite(number),
                    _ => Self::of_postgres(&code),
                }
            }
            sqlx::Error::Io(error) => Self::Gone(error.kind().to_string()),
            sqlx::Error::Tls(_) => Self::Gone("no agreement on TLS".into()),
            sqlx::Error::WorkerCrashed => Self::Gone("the connection's thread has ended".into()),
            sqlx::Error::Protocol(_) => Self::Gone("the connection is out of step".into()),
            sqlx::Error::Configuration(_) => Self::Gone("the address is not usable".into()),
            // An argument that the driver cannot send, or a column of another type: our own mistake.
            _ => Self::Rejected("driver".into()),
        }
    }
}
