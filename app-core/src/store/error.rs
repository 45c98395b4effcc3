//! What can go wrong with the store, by what a caller can do about it. Owns the translation from the databases' codes;
//! refuses to let their text out: it may hold values of rows.

use super::row::{CommandRow, OnceRow};

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
