//! Creates the database at the first start.

use std::path::Path;
use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../../../data/migrations");
const SAMPLE_DATA: &str = include_str!("../../../../../data/sample.sql");

/// Creates the database at `url` with the sample data, if there is none.
/// A database that exists is left as it is.
///
/// # Errors
/// [`Error::Database`] if `url` is not an SQLite URL or SQL fails,
/// [`Error::File`] if the file cannot be created.
///
/// # Cancel safety
/// The database is built in a temporary file which becomes `url`'s file at the
/// end: a start that is interrupted leaves no half-filled database behind.
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
        // WAL lets readers go on while a writer commits. The mode is kept in
        // the file, so it is set here once.
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await?;
    MIGRATIONS.run(&mut connection).await?;
    connection.execute(AssertSqlSafe(SAMPLE_DATA)).await?;
    connection.close().await?;
    // Fails rather than replace a database that appeared in the meantime.
    file.persist_noclobber(&path).map_err(|error| error.error)?;
    Ok(())
}
