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
use sqlx::{ConnectOptions, Sqlite};

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
        // TODO(05.1): turn foreign keys on, set the busy timeout and the log level of statements
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
        // END TODO(05.1)
        // TODO(05.2): limit the connections, and the time that a query waits for one
        let pool = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options);
        // END TODO(05.2)
        Ok(Self { pool })
    }

    /// How many connections the pool has open.
    pub fn connections(&self) -> u32 {
        self.pool.size()
    }

    // TODO(05.3): run these three functions on the pool instead of opening a connection
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

    /// Runs one `INSERT` and returns the new row's id.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free in time or the
    /// statement fails. Then nothing is stored.
    ///
    /// # Cancel safety
    /// The row is stored whole or not at all; which of the two, a caller that
    /// dropped the future does not know.
    pub async fn execute_insert_query(&self, query: SqlQuery) -> Result<i64, Error> {
        Ok(query.execute(&self.pool).await?.last_insert_rowid())
    }

    /// Runs several `INSERT`s in one transaction.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free in time or one of them
    /// fails. Then none is stored.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit had
    /// been sent already.
    pub async fn execute_insert_queries(&self, queries: Vec<SqlQuery>) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        for query in queries {
            // `?` drops the transaction, which rolls it back and gives its
            // connection back to the pool.
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
    // END TODO(05.3)

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
        // TODO(05.4): stream over a connection from the pool
        // The stream outlives this call, so it takes a handle of its own.
        let pool = self.pool.clone();
        Box::pin(try_stream! {
            let mut rows = query.fetch(&pool);
            while let Some(row) = rows.try_next().await? {
                yield row;
            }
        })
        // END TODO(05.4)
    }
}
