//! The engine: it knows where the database is, and it runs queries there.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use log::LevelFilter;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite, Transaction};

use crate::error::Error;

/// A stream of values that arrive one at a time.
///
/// Each item is a value or an error. A consumer stops at the first error; what
/// the stream yields after that is unspecified.
///
/// The box hides the stream's concrete type, which is too long to write down.
/// `'static` means that the stream borrows nothing: it owns everything it
/// needs.
pub type Rows<T> = BoxStream<'static, Result<T, Error>>;

/// The most rows in a page, which SQLite writes as one text. A row is a few numbers and at
/// most two names. So a page has about 45 KB if names have about 15 letters, however long the
/// list is.
///
/// Each page is a query of its own, which begins after the last row of the page before
/// (*keyset pagination*). So a list holds no connection while the client reads. It never has a
/// row twice, but a row that is added or removed meanwhile may be in it or not.
///
/// Bind it to `LIMIT +$2`: SQLite plans a statement again whenever a new value is bound to a
/// placeholder that is the whole `LIMIT`, in case another plan is better for that number. With
/// the `+`, it is an expression, and no statement is planned twice.
pub const PAGE_ROWS: i64 = 500;

/// How much of the database a connection outside the pool keeps in memory: 16 MiB, which
/// SQLite takes as a negative number of KiB. Such a connection reads all over the tables, and
/// each page that is not in memory costs a system call. SQLite's own value, for the
/// connections of the pool, is 2 MiB.
const CACHE: &str = "-16384";

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
    file: Arc<DatabaseFile>,
}

/// The file that the engine was created for, so that nothing is acknowledged after somebody
/// has removed it: a connection goes on with a file that has no name any more, and what it
/// stores there is gone when the service ends.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    /// Its device and inode. `None` if there was no such file.
    id: Option<(u64, u64)>,
}

impl DatabaseFile {
    fn new(path: PathBuf) -> Self {
        Self {
            id: file_id(&path),
            path,
        }
    }

    /// Whether the path still leads to the same file.
    fn is_in_place(&self) -> bool {
        self.id.is_none() || file_id(&self.path) == self.id
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Other systems do not remove a file that is open.
#[cfg(not(unix))]
fn file_id(_: &Path) -> Option<(u64, u64)> {
    None
}

impl Engine {
    /// Creates an engine for the database at `url`, such as
    /// `sqlite://marketdb.sqlite`. This only looks at which file it is: the pool
    /// opens a connection when a query first needs one.
    ///
    /// # Errors
    /// [`Error::Database`] if `url` is not an SQLite URL.
    ///
    /// # Panics
    /// If it is called outside a Tokio runtime: the pool spawns a task that
    /// maintains its connections.
    pub fn new(url: &str, config: EngineConfig) -> Result<Self, Error> {
        let level = if config.echo {
            LevelFilter::Info
        } else {
            LevelFilter::Debug
        };
        let options = SqliteConnectOptions::from_str(url)?
            // SQLite's own default is off. sqlx turns foreign keys on, but the
            // engine depends on them, so it says so itself.
            .foreign_keys(true)
            .busy_timeout(config.busy_timeout)
            .log_statements(level);
        let file = Arc::new(DatabaseFile::new(options.get_filename().to_owned()));
        let pool = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            // The test would be a second trip to the thread of the connection for each
            // statement. It is meant for servers, which may close a connection.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool, file })
    }

    /// Opens a connection that does not belong to the pool, for a task that keeps it. Its
    /// commits wait until the disk has the data, whatever SQLite's default is.
    ///
    /// # Errors
    /// [`Error::Database`] if the connection cannot be opened, [`Error::FileGone`] if the
    /// database file was removed or replaced.
    ///
    /// # Cancel safety
    /// Dropping the future opens none.
    pub async fn connect(&self) -> Result<SqliteConnection, Error> {
        // If there is another file at this path now, the log (`-wal`) beside it belongs to the
        // old one, and must not be applied to it.
        self.ensure_in_place()?;
        let options = self.pool.connect_options();
        // TODO(15.4): let each commit wait for the disk, so that a power failure loses none
        let options = (*options).clone().synchronous(SqliteSynchronous::Normal);
        // END TODO(15.4)
        let options = options
            .pragma("cache_size", CACHE)
            // A savepoint keeps what its pages were before. By default, that is in a file,
            // which SQLite creates and removes for each batch.
            .pragma("temp_store", "MEMORY");
        Ok(options.connect().await?)
    }

    /// Makes sure that the database file is still in place.
    ///
    /// # Errors
    /// [`Error::FileGone`] if it was removed or replaced. What was just committed may be lost,
    /// so do not acknowledge it.
    pub fn ensure_in_place(&self) -> Result<(), Error> {
        if self.file.is_in_place() {
            Ok(())
        } else {
            Err(Error::FileGone)
        }
    }

    /// Reads a row, or finds that there is none: the database can be used. If it cannot, the
    /// reason is logged, since `/readyz` does not tell it.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire timeout, or if
    /// the query fails; [`Error::FileGone`] as above.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection back to the pool.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT id FROM item LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .inspect_err(|error| tracing::warn!(?error, "the database cannot be used"))?;
        self.ensure_in_place()
            .inspect_err(|error| tracing::warn!(%error, "the database cannot be used"))
    }

    /// Closes the pool: waits until its connections have been given back, and closes them.
    /// Closing the last one moves what is in the log of the database into its file.
    ///
    /// # Cancel safety
    /// If the future is dropped, the pool still hands out no more connections, and those
    /// that are in use are closed when they are given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns how many connections the pool has open.
    pub fn connections(&self) -> u32 {
        self.pool.size()
    }

    /// Returns the pool. Run queries on it, as in `query.fetch_all(engine.pool())`.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that may write. It takes the database's write lock
    /// immediately, not at its first write. So the rows that the transaction
    /// reads cannot change before it writes. A commit waits until the disk has
    /// the data: that is SQLite's default (`synchronous = FULL`).
    ///
    /// `'static` means that the transaction owns its connection. So this
    /// function can return it, and a spawned task or a stream can own it.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire
    /// timeout, or if another transaction holds the lock for longer than the
    /// busy timeout. [`Error::FileGone`] if the database file was removed or replaced.
    ///
    /// # Cancel safety
    /// Nothing is stored before `commit`. Dropping the transaction rolls it
    /// back and gives its connection back to the pool.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        self.ensure_in_place()?;
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}
