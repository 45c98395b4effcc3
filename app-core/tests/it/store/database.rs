//! A fresh database for one test, of either kind, and a way past the store to arrange faults in it.

use super::postgres::Postgres;
use app_core::store::{Store, StoreOptions};
use sqlx::Connection as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Tests that run at the same time share one server; it ends with the last of them.
static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
static COUNT: AtomicU32 = AtomicU32::new(1);

pub struct Database {
    pub url: String,
    place: Place,
}

enum Place {
    /// The folder goes with it.
    Sqlite {
        _folder: tempfile::TempDir,
    },
    Postgres {
        server: Arc<Postgres>,
        name: String,
    },
}

impl Database {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            url: format!("sqlite:{}", dir.path().join("core.db").display()),
            place: Place::Sqlite { _folder: dir },
        }
    }

    pub async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(|| {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(Postgres::start());
                *shared = Arc::downgrade(&server);
                server
            })
        });
        Self::on(server.await.unwrap())
    }

    /// A database on a server of one's own.
    pub fn on(server: Arc<Postgres>) -> Self {
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        Self { url: server.url(&name), place: Place::Postgres { server, name } }
    }

    /// An empty database of the same kind.
    pub async fn another(&self) -> Self {
        match &self.place {
            Place::Sqlite { .. } => Self::sqlite(),
            Place::Postgres { server, .. } => Self::on(Arc::clone(server)),
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Postgres { .. })
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions { deadline_ms: 20_000, ..StoreOptions::at(&self.url) }
    }

    pub async fn open(&self) -> Store {
        Store::open(self.options()).await.unwrap()
    }

    /// Several statements past the store.
    pub async fn sql(&self, sql: &'static str) {
        match &self.place {
            Place::Sqlite { .. } => {
                let path = self.url.strip_prefix("sqlite:").unwrap();
                let mut conn = sqlx::SqliteConnection::connect(path).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            Place::Postgres { server, name } => {
                server.sql(name, sql);
            }
        }
    }
}
