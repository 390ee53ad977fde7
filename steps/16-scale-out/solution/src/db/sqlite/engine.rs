//! The engine of SQLite: it knows where the database is, and it runs queries there.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use log::LevelFilter;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite, Transaction};

use crate::db::Settings;
use crate::error::Error;

/// How much of the database a connection outside the pool keeps in memory: 16 MiB, which
/// SQLite takes as a negative number of KiB. Such a connection reads all over the tables, and
/// each page that is not in memory costs a system call. SQLite's own value, for the
/// connections of the pool, is 2 MiB.
const CACHE: &str = "-16384";

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
    pub fn new(url: &str, settings: Settings) -> Result<Self, Error> {
        let level = if settings.echo {
            LevelFilter::Info
        } else {
            LevelFilter::Debug
        };
        let options = SqliteConnectOptions::from_str(url)?
            // SQLite's own default is off. sqlx turns foreign keys on, but the
            // engine depends on them, so it says so itself.
            .foreign_keys(true)
            .busy_timeout(settings.busy_timeout)
            .log_statements(level);
        let file = Arc::new(DatabaseFile::new(options.get_filename().to_owned()));
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
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
        let options = (*options).clone().synchronous(SqliteSynchronous::Full);
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

    /// Closes the pool: waits until its connections have been given back, and closes them.
    /// Closing the last one moves what is in the log of the database into its file.
    ///
    /// # Cancel safety
    /// If the future is dropped, the pool still hands out no more connections, and those
    /// that are in use are closed when they are given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns the pool, for queries that know the type of their rows: run
    /// `query_as` and `query_as!` with `fetch_all(engine.pool())`.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that may write. It takes the database's write lock immediately, not
    /// at its first write, so the rows that it reads cannot change before it writes. A commit
    /// waits until the disk has the data: that is SQLite's default (`synchronous = FULL`).
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
