//! The database. All SQL of the service is in this folder, and nothing else
//! about the outside world is.
//!
//! Two pools, because SQLite has one writer at a time. With a single pool, a
//! burst of new orders would take every connection and have each wait inside
//! SQLite, where nobody is served in turn and nobody can read. So readers have
//! their own, and new orders wait in a queue for the one task that writes
//! (`writer.rs`), which stores those that come together with one commit.
//! The totals of orders, of which many are asked for at once, are read together
//! over one more connection: see [`totals`].

pub mod bulk;
pub mod customers;
pub mod open;
pub mod orders;
mod place;
mod probe;
pub mod totals;
mod values;
mod writer;

use std::path::Path;

use prometheus_client::metrics::histogram::Histogram;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use self::place::Place;
use self::totals::Totals;
use self::writer::Writer;
use crate::Limits;

/// What the connection for totals keeps of the database in memory, as
/// `cache_size` (in KiB when negative). It looks up orders all over the tables,
/// where a read from the operating system's cache costs more than the rest of the
/// work; this is an index of a million orders but for its leaves, or all of a
/// hundred thousand.
const TOTALS_CACHE: &str = "-16384";

/// The same for the writer: the orders of a batch belong to as many pages of
/// `orders_by_customer`, and those of the next batch to others.
const WRITER_CACHE: &str = "-4096";

/// At so many pages the writer moves the log into the database
/// (`wal_autocheckpoint`). SQLite's default of 1,000 is reached after some fifteen
/// full batches, and much the same pages are written each time. This is 12 MB, which
/// leaves the last batch some room before `journal_size_limit`.
const CHECKPOINT: &str = "3000";

/// The open database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Db {
    readers: SqlitePool,
    /// One connection: for migrations at the start, then for `new_orders`.
    writer: SqlitePool,
    new_orders: Writer,
    totals: Totals,
    place: Place,
}

impl Db {
    /// Opens the pools over a database that is known to be a current market.
    async fn connect(path: &Path, limits: &Limits) -> Result<Self, sqlx::Error> {
        let options = connect_options(path, limits);
        // In WAL mode readers and the writer do not wait for each other.
        let writer = pool_options(1, limits)
            .connect_with(
                options
                    .clone()
                    .journal_mode(SqliteJournalMode::Wal)
                    .pragma("cache_size", WRITER_CACHE)
                    .pragma("wal_autocheckpoint", CHECKPOINT),
            )
            .await?;
        // A write that strayed onto a reader would be an error, not a lock.
        let options = options.pragma("query_only", "ON");
        let readers = pool_options(limits.readers, limits)
            .connect_with(options.clone())
            .await?;
        let totals = pool_options(1, limits)
            .connect_with(options.pragma("cache_size", TOTALS_CACHE))
            .await?;
        let place = Place::of(path)?;
        Ok(Self {
            readers,
            totals: Totals::start(totals, limits),
            new_orders: Writer::start(writer.clone(), place.clone(), limits),
            writer,
            place,
        })
    }

    /// How many reading statements can run at the same moment.
    pub fn reader_count(&self) -> usize {
        usize::try_from(self.readers.options().get_max_connections()).unwrap_or(usize::MAX)
    }

    /// How many new orders wait for their turn to be stored: at most
    /// [`Limits::queue`].
    pub fn queue_len(&self) -> usize {
        self.new_orders.queue_len()
    }

    /// How many new orders each writing transaction held: those that were
    /// stored, refused, or failed together. A clone is the same histogram, to
    /// be registered under a name.
    pub fn batch_sizes(&self) -> &Histogram {
        self.new_orders.batch_sizes()
    }

    /// How many totals wait to be read.
    pub fn totals_queue_len(&self) -> usize {
        self.totals.queue_len()
    }

    /// How many totals each statement read. A clone is the same histogram, to be
    /// registered under a name.
    pub fn totals_per_statement(&self) -> &Histogram {
        self.totals.batch_sizes()
    }

    /// Takes every reading connection, so that a test sees what happens
    /// without.
    #[cfg(test)]
    pub(crate) async fn hold_readers(&self) -> Vec<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        let mut held = Vec::new();
        for _ in 0..self.reader_count() {
            held.push(self.readers.acquire().await.expect("a connection"));
        }
        held.push(self.totals.hold().await);
        held
    }

    /// Refuses new orders, stores and answers those that wait, waits for running
    /// statements, then closes every connection, upon which SQLite folds the
    /// `-wal` file into the database and removes it.
    pub async fn close(&self) {
        self.new_orders.close().await;
        self.readers.close().await;
        self.totals.close().await;
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
