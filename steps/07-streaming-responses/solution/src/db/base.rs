//! The engine: where the database is and how a query is run there.

use std::str::FromStr;
use std::time::Duration;

use async_stream::try_stream;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use log::LevelFilter;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow,
};
use sqlx::{ConnectOptions, Sqlite, Transaction};

use crate::error::Error;

/// SQL text together with the values for its `$1`, `$2`, …
///
/// The values travel apart from the text, so a value can never be read as SQL.
pub type SqlQuery = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Values that arrive one at a time, until the first error.
///
/// The box hides the stream's own type, which is too long to write down.
/// `'static` says that the stream owns all that it needs.
pub type Rows<T> = BoxStream<'static, Result<T, Error>>;

/// How many rows [`Engine::stream_pages`] reads at a time.
pub const PAGE_ROWS: i64 = 500;

/// The limits and habits of an [`Engine`].
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// How many connections may be open at the same time. Default 10.
    pub max_connections: u32,
    /// How long a query waits for a connection to become free. Default 5 s.
    pub acquire_timeout: Duration,
    /// How long a statement waits for another connection's lock. Default 5 s.
    pub busy_timeout: Duration,
    /// Log every statement at INFO instead of DEBUG. Default no.
    pub echo: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            echo: false,
        }
    }
}

/// Runs SQL over a pool of connections. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Engine {
    pool: SqlitePool,
}

impl Engine {
    /// An engine for the database at `url`, such as `sqlite://marketdb.sqlite`.
    /// Does no I/O: a connection is opened when a query first needs one.
    ///
    /// # Errors
    /// [`Error::Database`] if `url` is not an SQLite URL.
    ///
    /// # Panics
    /// Outside a tokio runtime, which the pool needs for its upkeep.
    pub fn new(url: &str, config: EngineConfig) -> Result<Self, Error> {
        let level = if config.echo {
            LevelFilter::Info
        } else {
            LevelFilter::Debug
        };
        let options = SqliteConnectOptions::from_str(url)?
            // SQLite's own default is off: sqlx turns them on, and we say so.
            .foreign_keys(true)
            .busy_timeout(config.busy_timeout)
            .log_statements(level);
        let pool = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// How many connections the pool has open.
    pub fn connections(&self) -> u32 {
        self.pool.size()
    }

    /// Runs a query and returns all of its rows.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free in time or the query
    /// fails.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection back. A query changes nothing.
    pub async fn execute_query(&self, query: SqlQuery) -> Result<Vec<SqliteRow>, Error> {
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Runs a query again and again, each time for the page of rows after the
    /// last row seen, and gives the rows one at a time. A connection is held
    /// only while a page is read, never while the caller is busy with its rows.
    ///
    /// `page` makes the query for the rows after a key: `WHERE id > $1 ORDER BY
    /// id LIMIT $2`. `read` takes a row apart into its key and its value.
    ///
    /// Each page sees the database as it is at that moment. A row that is added
    /// or removed between two pages may be seen or missed, but none is given
    /// twice, since the key only grows.
    ///
    /// # Errors
    /// The stream's last item is the error of the page's query or of `read`.
    ///
    /// # Cancel safety
    /// Dropping the stream ends it; at most one page has been read ahead.
    pub fn stream_pages<K, T>(
        &self,
        first: K,
        page: impl Fn(&K) -> SqlQuery + Send + 'static,
        read: impl Fn(&SqliteRow) -> Result<(K, T), Error> + Send + 'static,
    ) -> Rows<T>
    where
        K: Send + 'static,
        T: Send + 'static,
    {
        // TODO(07.4): read a page, yield its rows, continue after the last one; stop at an empty page
        let engine = self.clone();
        Box::pin(try_stream! {
            let mut key = first;
            loop {
                let rows = engine.execute_query(page(&key)).await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    let (row_key, value) = read(&row)?;
                    key = row_key;
                    yield value;
                }
            }
        })
        // END TODO(07.4)
    }

    /// Begins a transaction that may write. It takes the database's write lock
    /// now, not at its first write: what it reads cannot change before it
    /// writes.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free in time, or another
    /// transaction keeps the lock longer than the busy timeout.
    ///
    /// # Cancel safety
    /// Nothing is stored before `commit`. Dropping the transaction rolls it
    /// back and gives its connection back to the pool.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Runs a query and gives its rows one at a time, as the database finds
    /// them. Nothing happens until the first row is asked for; from then until
    /// its end the stream holds a connection.
    ///
    /// # Errors
    /// The stream's last item is [`Error::Database`] if no connection becomes
    /// free in time or the query fails.
    ///
    /// # Cancel safety
    /// Dropping the stream gives the connection back; rows not yet asked for
    /// are never read.
    pub fn stream_query(&self, query: SqlQuery) -> Rows<SqliteRow> {
        // The stream outlives this call, so it takes a handle of its own.
        let pool = self.pool.clone();
        Box::pin(try_stream! {
            let mut rows = query.fetch(&pool);
            while let Some(row) = rows.try_next().await? {
                yield row;
            }
        })
    }
}
