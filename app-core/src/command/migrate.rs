//! `app-core migrate`.

use crate::store::{self, StoreOptions};
use anyhow::Context as _;

pub async fn run(options: StoreOptions) -> anyhow::Result<String> {
    let applied = store::migrate(&options).await.context("migrating the database")?;
    Ok(match applied.as_slice() {
        [] => "the schema is current".to_owned(),
        [one] => format!("applied migration {one}"),
        [first, .., last] => format!("applied migrations {first} to {last}"),
    })
}
