//! The engine: it knows where the database is, and it runs queries there.

use std::str::FromStr;
use std::time::Duration;

use async_stream::try_stream;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions,
    SqliteRow,
};
use sqlx::{ConnectOptions, Connection, Sqlite};

use crate::error::Error;

/// SQL text together with the values for its placeholders `$1`, `$2`, …
///
/// The values are sent to SQLite separately from the text, so SQLite never
/// reads a value as SQL.
pub type SqlQuery = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// A stream of values that arrive one at a time.
///
/// Each item is a value or an error. A consumer stops at the first error; what
/// the stream yields after that is unspecified.
///
/// The box hides the stream's concrete type, which is too long to write down.
/// `'static` means that the stream borrows nothing: it owns everything it
/// needs.
pub type Rows<T> = BoxStream<'static, Result<T, Error>>;

/// The settings of an [`Engine`].
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// How many connections may be open at the same time. The default is 10.
    pub max_connections: u32,
    /// How long a query waits for a free connection. The default is 5 s.
    pub acquire_timeout: Duration,
    /// How long a statement waits for another connection's lock. The default is
    /// 5 s.
    pub busy_timeout: Duration,
    /// Whether every statement is logged at INFO instead of DEBUG. The default
    /// is `false`.
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

/// Runs SQL over a connection pool: a set of open connections that queries take
/// and give back. Clones of the engine share one pool.
#[derive(Clone, Debug)]
pub struct Engine {
    pool: SqlitePool,
}

impl Engine {
    /// Creates an engine for the database at `url`, such as
    /// `sqlite://marketdb.sqlite`. This does no I/O: the pool opens a
    /// connection when a query first needs one.
    ///
    /// # Errors
    /// [`Error::Database`] if `url` is not an SQLite URL.
    ///
    /// # Panics
    /// If it is called outside a Tokio runtime: the pool spawns a task that
    /// maintains its connections.
    pub fn new(url: &str, config: EngineConfig) -> Result<Self, Error> {
        // TODO(05.1): turn foreign keys on, set the busy timeout and the log level of statements
        let _ = config.echo; // remove this line: your code uses the field
        let options = SqliteConnectOptions::from_str(url)?;
        // END TODO(05.1)
        // TODO(05.2): limit the connections, and the time that a query waits for one
        let pool = SqlitePoolOptions::new().connect_lazy_with(options);
        // END TODO(05.2)
        Ok(Self { pool })
    }

    /// Returns how many connections the pool has open.
    pub fn connections(&self) -> u32 {
        self.pool.size()
    }

    // TODO(05.3): run these three functions on the pool instead of opening a connection
    async fn connect(&self) -> Result<SqliteConnection, Error> {
        Ok(self.pool.connect_options().connect().await?)
    }

    /// Runs a query and returns all of its rows.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire
    /// timeout, or if the query fails.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection back to the pool. A `SELECT`
    /// changes nothing, so it leaves nothing half done.
    pub async fn execute_query(&self, query: SqlQuery) -> Result<Vec<SqliteRow>, Error> {
        let mut connection = self.connect().await?;
        let rows = query.fetch_all(&mut connection).await;
        connection.close().await?;
        Ok(rows?)
    }

    /// Runs one `INSERT` and returns the id of the new row.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire
    /// timeout, or if the statement fails. In both cases nothing is stored.
    ///
    /// # Cancel safety
    /// The row is either stored completely or not at all. A caller that drops
    /// the future cannot tell which of the two happened.
    pub async fn execute_insert_query(&self, query: SqlQuery) -> Result<i64, Error> {
        let mut connection = self.connect().await?;
        let done = query.execute(&mut connection).await;
        connection.close().await?;
        Ok(done?.last_insert_rowid())
    }

    /// Runs several `INSERT`s in one transaction.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire
    /// timeout, or if a statement or the commit fails. Nothing is stored then.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit has
    /// already been sent.
    pub async fn execute_insert_queries(&self, queries: Vec<SqlQuery>) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        for query in queries {
            // If `?` returns early, it drops the transaction, which rolls back.
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        connection.close().await?;
        Ok(())
    }
    // END TODO(05.3)

    /// Runs a query and returns a stream of its rows, which yields each row as
    /// soon as SQLite finds it. The stream is lazy: it takes a connection when
    /// it is first polled, and holds it until the stream ends or is dropped.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`] if no connection becomes free
    /// within the acquire timeout, or if the query fails.
    ///
    /// # Cancel safety
    /// Dropping the stream gives the connection back to the pool. SQLite stops
    /// there: sqlx reads only a few rows ahead of the consumer.
    pub fn stream_query(&self, query: SqlQuery) -> Rows<SqliteRow> {
        // TODO(05.4): stream over a connection from the pool
        let engine = self.clone();
        Box::pin(try_stream! {
            let mut connection = engine.connect().await?;
            {
                let mut rows = query.fetch(&mut connection);
                while let Some(row) = rows.try_next().await? {
                    yield row;
                }
            }
            connection.close().await?;
        })
        // END TODO(05.4)
    }
}
