//! The database. All SQL of the service is in this folder, and nothing else
//! about the outside world is.
//!
//! Two pools, because SQLite has one writer at a time. With a single pool, a
//! burst of new orders would take every connection and have each wait inside
//! SQLite, where nobody is served in turn and nobody can read. So writers wait
//! for the one connection of `writer`, in the order in which they came, and
//! readers have their own.

pub mod bulk;
pub mod customers;
pub mod open;
pub mod orders;
mod values;

use std::path::Path;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::{Error, Limits};

/// The open database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Db {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl Db {
    /// Opens the pools over a database that is known to be a current market.
    async fn connect(path: &Path, limits: &Limits) -> Result<Self, sqlx::Error> {
        let options = connect_options(path, limits);
        // The writer comes first: it puts the file into WAL mode, in which
        // readers and the writer do not wait for each other.
        let writer = pool_options(1, limits)
            .connect_with(options.clone().journal_mode(SqliteJournalMode::Wal))
            .await?;
        let readers = pool_options(limits.readers, limits)
            // A write that strayed onto a reader would be an error, not a lock.
            .connect_with(options.pragma("query_only", "ON"))
            .await?;
        Ok(Self { readers, writer })
    }

    /// How many reading statements can run at the same moment.
    pub fn reader_count(&self) -> usize {
        usize::try_from(self.readers.options().get_max_connections()).unwrap_or(usize::MAX)
    }

    /// Starts a write transaction as soon as all earlier ones are done.
    ///
    /// `IMMEDIATE` takes the write lock at once. A transaction that starts as
    /// a reader and turns into a writer can fail with `SQLITE_BUSY` halfway,
    /// and no amount of waiting helps it.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any moment, this future or the transaction leaves nothing
    /// behind: what was not committed is rolled back.
    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Takes every reading connection, so that a test sees what happens
    /// without.
    #[cfg(test)]
    pub(crate) async fn hold_readers(&self) -> Vec<sqlx::pool::PoolConnection<Sqlite>> {
        let mut held = Vec::new();
        for _ in 0..self.reader_count() {
            held.push(self.readers.acquire().await.expect("a connection"));
        }
        held
    }

    /// Waits for running statements, then closes every connection, upon which
    /// SQLite folds the `-wal` file into the database and removes it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool_options(connections: u32, limits: &Limits) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        // All of them from the start and for good: an SQLite connection costs
        // little to keep, and opening one later can fail for want of a file
        // descriptor just when the service is busy.
        .min_connections(connections)
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(limits.acquire)
        // There is no server that could have hung up on us.
        .test_before_acquire(false)
}

fn connect_options(path: &Path, limits: &Limits) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(limits.lock_wait)
        // A commit returns when the disk has it: an acknowledged order
        // survives a power cut. NORMAL would lose the last few.
        .synchronous(SqliteSynchronous::Full)
        // In KiB when negative. The operating system caches the file once for
        // all; SQLite's default of 2 MB for each connection would be a second
        // copy of the same pages.
        .pragma("cache_size", "-512")
        // Sorting never needs a temporary file here: queries sort at most a page.
        .pragma("temp_store", "MEMORY")
        // After a bulk load, give the log's disk space back.
        .pragma("journal_size_limit", "16777216")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    /// What a connection says about itself.
    async fn settings(pool: &SqlitePool) -> [String; 5] {
        let mut values = Vec::new();
        for pragma in [
            "PRAGMA journal_mode",
            "PRAGMA synchronous",
            "PRAGMA foreign_keys",
            "PRAGMA busy_timeout",
            "PRAGMA query_only",
        ] {
            let row = sqlx::query(pragma).fetch_one(pool).await.unwrap();
            let number = row.try_get::<i64, _>(0).map(|number| number.to_string());
            values.push(number.unwrap_or_else(|_| row.get(0)));
        }
        values.try_into().unwrap()
    }

    #[tokio::test]
    async fn connections_are_durable_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("market.sqlite");
        let db = Db::open(&path, &Limits::default()).await.unwrap();
        // 2 is FULL.
        assert_eq!(settings(&db.writer).await, ["wal", "2", "1", "5000", "0"]);
        assert_eq!(settings(&db.readers).await, ["wal", "2", "1", "5000", "1"]);
        let write = sqlx::query("DELETE FROM order_items").execute(&db.readers);
        assert!(write.await.is_err());
        db.close().await;
        assert!(!folder.path().join("market.sqlite-wal").exists());
    }
}
