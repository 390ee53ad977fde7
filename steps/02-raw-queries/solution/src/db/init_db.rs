//! Creates the database when the service starts for the first time.

use std::path::Path;
use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../../../data/migrations");
const SAMPLE_DATA: &str = include_str!("../../../../../data/sample.sql");

/// Creates the database at `url` and fills it with the sample data. If the file
/// already exists, this function does not change it.
///
/// # Errors
/// [`Error::Database`] if `url` is not an SQLite URL or an SQL statement fails,
/// [`Error::Migration`] if the tables cannot be created, [`Error::File`] if the
/// file cannot be created.
///
/// # Cancel safety
/// The database is built in a temporary file, which is renamed at the end. So
/// an interrupted start does not leave a half-filled database behind.
pub async fn create_if_missing(url: &str) -> Result<(), Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    let path = options.get_filename().to_owned();
    if path.exists() {
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
    // The migrations after the third belong to later steps.
    MIGRATIONS.run_to(3, &mut connection).await?;
    connection.execute(AssertSqlSafe(SAMPLE_DATA)).await?;
    connection.close().await?;
    // `persist_noclobber` returns an error if the file exists by now: a
    // database that another process has just created must not be replaced.
    file.persist_noclobber(&path).map_err(|error| error.error)?;
    Ok(())
}
