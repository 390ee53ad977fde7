//! The files of databases: how a new one is filled, and how all are removed.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::OnceCell;

use super::Database;
use crate::failure::{Failure, OrFail};
use crate::trail::lock;

const SAMPLE_AND_BOOKS: &[&str] = &[
    include_str!("../../../../data/sample.sql"),
    include_str!("../../../../data/sample_books.sql"),
];

/// The content of the file of [`sample`]: copying it is much cheaper than to run the
/// migrations for each check.
static SAMPLE: OnceCell<Vec<u8>> = OnceCell::const_new();

/// The directories of all databases.
static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// How many times the suite tries to remove a directory in which files are still
/// created and deleted.
const REMOVALS: u32 = 20;

pub(super) async fn sample() -> Result<&'static [u8], Failure> {
    let sample = SAMPLE.get_or_try_init(|| content(i64::MAX, SAMPLE_AND_BOOKS));
    Ok(sample.await?)
}

pub(super) async fn empty() -> Result<Vec<u8>, Failure> {
    content(i64::MAX, &[]).await
}

/// The content of a database file with the schema of an older program: what the
/// migrations up to this one make, and the sample data without the books.
pub(super) async fn older(migration: i64) -> Result<Vec<u8>, Failure> {
    content(migration, &SAMPLE_AND_BOOKS[..1]).await
}

async fn content(migration: i64, inserts: &[&'static str]) -> Result<Vec<u8>, Failure> {
    let asked = "the schema and the sample data";
    let database = Database::in_new_directory()?;
    let options = SqliteConnectOptions::new()
        .filename(&database.path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging();
    // A pool, since the future of a migration over a plain connection is not
    // seen as `Send` by the compiler.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await.or_fail(asked)?;
    sqlx::migrate!("../../data/migrations")
        .run_to(migration, &pool)
        .await
        .or_fail(asked)?;
    for &data in inserts {
        sqlx::raw_sql(data).execute(&pool).await.or_fail(asked)?;
    }
    // Closing the last connection moves all changes from the -wal into the file.
    pool.close().await;
    std::fs::read(&database.path).or_fail(asked)
}

/// Notes a directory that is removed when the suite ends, if it is still there then:
/// a check that is abandoned never drops its database, and a connection that is just
/// closing may create files where a database is dropped.
pub(super) fn remove_at_end(path: &Path) {
    lock(&DIRECTORIES).push(path.to_owned());
}

/// Removes the directories of databases that were never dropped, or could not
/// be removed then.
pub(crate) fn remove_leftovers() {
    for path in lock(&DIRECTORIES).drain(..) {
        // A directory that cannot be removed stays in the system's temporary one.
        let gone = |_| std::fs::remove_dir_all(&path).is_ok() || !path.exists();
        let _ = (0..REMOVALS).any(gone);
    }
}
