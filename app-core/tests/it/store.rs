//! The store on both databases: every test in here runs on SQLite and on a real Postgres.

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(crate::store::database::Database::sqlite()).await })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(crate::store::database::Database::postgres().await).await })*
        }
    };
}

mod audit;
mod backup;
mod commands;
mod crash;
pub mod database;
mod events;
mod outbox;
pub mod postgres;
mod records;
mod samples;
mod scopes;
mod single;
mod trouble;
