//! One connection to either database, with values and rows in the few types that our tables have. Owns every place where
//! the two drivers are spoken to; refuses to know tables.

use super::StoreError;
use super::error::Fault;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::str::FromStr as _;
use std::time::Duration;

/// What is bound to a statement. Absent values carry their type: Postgres wants to know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    Int(i64),
    Text(String),
    NoInt,
    NoText,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::NoText, Self::Text)
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::NoInt, Self::Int)
    }
}

/// Which database, and how to reach it.
#[derive(Clone)]
pub enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Target {
    /// From `sqlite:path` or `postgres://…`. Timeouts inside the database are a little shorter than the call's
    /// deadline, so that it is the database that gives up and says why.
    pub fn parse(url: &str, password: Option<&str>, deadline_ms: u64) -> Result<Self, StoreError> {
        let inner_ms = deadline_ms * 4 / 5;
        let bad = |why: &str| StoreError::Address { why: why.into() };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') || path.contains('?') {
                return Err(bad("expected `sqlite:` and the path of a file"));
            }
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // FULL: an acknowledged commit survives a loss of power, not only of the process.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(false)
                .busy_timeout(Duration::from_millis(inner_ms))
                .statement_cache_capacity(STATEMENTS_MAX)
                .disable_statement_logging();
            return Ok(Self::Sqlite(options));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let mut options = PgConnectOptions::from_str(url)
                .map_err(|_| {
                    bad("expected `postgres://user@host:port/database`, with `?sslmode=…` if wanted")
                })?
                .application_name("keyway-core")
                .statement_cache_capacity(STATEMENTS_MAX)
                .options([
                    ("statement_timeout", inner_ms.to_string()),
                    ("lock_timeout", inner_ms.to_string()),
                    // A core that is paused in the middle does not hold a tenant's row for ever.
                    ("idle_in_transaction_session_timeout", (deadline_ms * 2).to_string()),
                    ("synchronous_commit", "on".to_owned()),
                ])
                .disable_statement_logging();
            if let Some(password) = password {
                options = options.password(password);
            }
            return Ok(Self::Postgres(options));
        }
        Err(bad("expected `sqlite:path` or `postgres://user@host:port/database`"))
    }

    /// The same for connections that only read: a mistake cannot write past the writer.
    pub fn reading(self) -> Self {
        match self {
            Self::Sqlite(options) => Self::Sqlite(options.pragma("query_only", "1")),
            Self::Postgres(options) => {
                Self::Postgres(options.options([("default_transaction_read_only", "on")]))
            }
        }
    }

    /// The same for the one that writes. Its statements find rows by their keys, whatever the values: planning them anew
    /// for each would cost more than they do.
    pub fn writing(self) -> Self {
        match self {
            Self::Sqlite(options) => Self::Sqlite(options),
            Self::Postgres(options) => {
                Self::Postgres(options.options([("plan_cache_mode", "force_generic_plan")]))
            }
        }
    }

    /// The same with a bound to the size of the file, where it is a file of ours.
    pub fn bounded(self, pages_max: u32) -> Self {
        match self {
            Self::Sqlite(options) => Self::Sqlite(options.pragma("max_page_count", pages_max.to_string())),
            postgres @ Self::Postgres(_) => postgres,
        }
    }

    /// The same for somebody who takes their time: migrations, backups.
    pub fn patient(self) -> Self {
        match self {
            Self::Sqlite(options) => Self::Sqlite(options),
            Self::Postgres(options) => Self::Postgres(options.options([
                ("statement_timeout", "0"),
                ("lock_timeout", "0"),
                ("idle_in_transaction_session_timeout", "0"),
            ])),
        }
    }

    pub async fn connect(&self) -> Result<Conn, Fault> {
        match self {
            Self::Sqlite(options) => {
                make_private(options.get_filename());
                Ok(Conn::Sqlite(options.connect().await?))
            }
            Self::Postgres(options) => Ok(Conn::Postgres(Box::new(options.connect().await?))),
        }
    }
}

/// Names and sealed keys are for the owner of the file. One that is there, or cannot be made, is SQLite's to judge.
fn make_private(file: &std::path::Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
}

impl Target {
    /// Calls `heard` for every notification on a channel, and whenever some may have been missed, until the connection
    /// fails. A file notifies nobody.
    pub async fn listen(&self, channel: &str, heard: impl Fn()) -> Result<(), Fault> {
        let Self::Postgres(options) = self else { return std::future::pending().await };
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen(channel).await?;
        heard();
        loop {
            listener.try_recv().await?;
            heard();
        }
    }
}

/// Our statements in all their lengths are a few hundred.
const STATEMENTS_MAX: usize = 512;

pub enum Conn {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::NoInt => query.bind(None::<i64>),
                Value::NoText => query.bind(None::<String>),
            };
        }
        query
    }};
}

impl Conn {
    /// A statement with its values; answers how many rows it touched.
    pub async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, Fault> {
        Ok(match self {
            Self::Sqlite(conn) => bound!(sql, values).execute(conn).await?.rows_affected(),
            Self::Postgres(conn) => bound!(sql, values).execute(&mut **conn).await?.rows_affected(),
        })
    }

    pub async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        Ok(match self {
            Self::Sqlite(conn) => {
                bound!(sql, values).fetch_all(conn).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(conn) => {
                bound!(sql, values).fetch_all(&mut **conn).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Several statements of ours without values: migrations.
    pub async fn script(&mut self, sql: &'static str) -> Result<(), Fault> {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(sql).execute(conn).await.map(drop)?,
            Self::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(drop)?,
        }
        Ok(())
    }

    /// Begins to write. SQLite takes its one write lock at once, so that a transaction never finds half-way that
    /// another process was faster.
    pub async fn begin(&mut self) -> Result<(), Fault> {
        let sql = match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        };
        self.execute(sql, Vec::new()).await.map(drop)
    }

    /// Begins to read everything as of one moment.
    pub async fn begin_snapshot(&mut self) -> Result<(), Fault> {
        let sql = match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.execute(sql, Vec::new()).await.map(drop)
    }

    pub async fn commit(&mut self) -> Result<(), Fault> {
        self.execute("COMMIT", Vec::new()).await.map(drop)
    }

    pub async fn rollback(&mut self) -> Result<(), Fault> {
        self.execute("ROLLBACK", Vec::new()).await.map(drop)
    }

    pub async fn close(self) {
        // What cannot be closed politely is closed by dropping it.
        let _ = match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        };
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

impl Row {
    fn get<T>(&self, place: usize) -> Result<T, Fault>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite>
            + sqlx::Type<sqlx::Sqlite>
            + for<'r> sqlx::Decode<'r, sqlx::Postgres>
            + sqlx::Type<sqlx::Postgres>,
    {
        let got = match self {
            Self::Sqlite(row) => row.try_get(place),
            Self::Postgres(row) => row.try_get(place),
        };
        got.map_err(|_| Fault::Corrupt(format!("column {place} has another type")))
    }

    pub fn text(&self, place: usize) -> Result<String, Fault> {
        self.get(place)
    }

    pub fn opt_text(&self, place: usize) -> Result<Option<String>, Fault> {
        self.get(place)
    }

    pub fn int(&self, place: usize) -> Result<i64, Fault> {
        self.get(place)
    }

    pub fn opt_int(&self, place: usize) -> Result<Option<i64>, Fault> {
        self.get(place)
    }

    /// A number that is never negative.
    pub fn count(&self, place: usize) -> Result<u64, Fault> {
        let value = self.int(place)?;
        u64::try_from(value).map_err(|_| Fault::Corrupt(format!("column {place} is negative")))
    }
}
