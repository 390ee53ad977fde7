//! Creates the database when the service starts for the first time, and brings an
//! older one up to date.

use std::path::Path;
use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../data/migrations");
const SAMPLE_DATA: [&str; 2] = [
    include_str!("../../../data/sample.sql"),
    include_str!("../../../data/sample_books.sql"),
];

/// Creates the database at `url` and fills it with the sample data. If the file
/// already exists, this function runs the migrations that its tables lack; the rows
/// stay as they are.
///
/// # Errors
/// [`Error::Database`] if `url` is not an SQLite URL or an SQL statement fails,
/// [`Error::Migration`] if a migration fails, or if the database has one that this
/// program does not know, [`Error::File`] if the file cannot be created.
///
/// # Cancel safety
/// A new database is built in a temporary file, which is renamed at the end. So
/// an interrupted start does not leave a half-filled database behind. Each migration
/// is a transaction: an interrupted one leaves nothing.
pub async fn create_or_migrate(url: &str) -> Result<(), Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    let path = options.get_filename().to_owned();
    if path.exists() {
        let mut connection = options.connect().await?;
        let migrated = MIGRATIONS.run(&mut connection).await;
        connection.close().await?;
        migrated?;
        return Ok(());
    }

    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let file = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
    let mut connection = options
        .filename(&file)
        // In WAL mode (write-ahead log), readers continue while a writer
        // commits. SQLite stores the mode in the file, so setting it once is
        // enough.
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await?;
    MIGRATIONS.run(&mut connection).await?;
    for sql in SAMPLE_DATA {
        connection.execute(AssertSqlSafe(sql)).await?;
    }
    connection.close().await?;
    // `persist_noclobber` returns an error if the file exists by now: a
    // database that another process has just created must not be replaced.
    file.persist_noclobber(&path).map_err(|error| error.error)?;
    Ok(())
}
