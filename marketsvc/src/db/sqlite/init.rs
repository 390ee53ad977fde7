//! Creates the database when the service starts for the first time, and brings an
//! older one up to date.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../data/migrations");
const SAMPLE_DATA: [&str; 2] = [
    include_str!("../../../../data/sample.sql"),
    include_str!("../../../../data/sample_books.sql"),
];

/// The longest path of a database, in bytes: SQLite takes 512, and needs 8 of them for
/// `-journal`. Of a longer path it only says that it cannot open it.
const LONGEST_PATH: usize = 504;

/// Creates the database at `url` and fills it with the sample data. If the file
/// already exists, this function runs the migrations that its tables lack; the rows
/// stay as they are. The database is in WAL mode then.
///
/// # Errors
/// [`Error::Unusable`] if `url` is not an SQLite URL, if the file is the database of another
/// program, or of a newer version of this one, if another program has it open and does not
/// share it, or if its path is too long. [`Error::Database`] if an SQL statement fails,
/// [`Error::Migration`] if a migration fails, [`Error::File`] if the file cannot be created.
///
/// # Cancel safety
/// A new database is built in a temporary file, which is renamed at the end. So
/// an interrupted start does not leave a half-filled database behind. The migrations of an
/// existing one are one transaction.
pub async fn create_or_migrate(url: &str) -> Result<(), Error> {
    if !url.starts_with("sqlite:") {
        return Err(Error::Unusable("the URL must begin with `sqlite:`"));
    }
    let options = SqliteConnectOptions::from_str(url)?;
    let path = std::path::absolute(options.get_filename())?;
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(Error::Unusable("its path is longer than SQLite allows"));
    }
    if !path.exists() {
        create(&options, &path).await?;
    }
    let mut connection = options.connect().await?;
    let migrated = migrate(&mut connection).await;
    let closed = connection.close().await;
    migrated.map_err(explained)?;
    Ok(closed?)
}

/// Creates the database. One that another program has just created stays as it is.
async fn create(options: &SqliteConnectOptions, path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let file = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
    let mut connection = options
        .clone()
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
    // `persist_noclobber` replaces nothing: a database that another process has just
    // created is used as it is.
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error.into()),
        _ => Ok(()),
    }
}

/// Brings an existing database up to date. One that this program cannot use stays as it is.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(CASE WHEN name = '_sqlx_migrations' THEN 1 END)
         FROM sqlite_schema WHERE type = 'table'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables > 0 && ours == 0 {
        return Err(Error::Unusable("it is the database of another program"));
    }
    // The lock makes programs that start together migrate one after another.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run(&mut *transaction).await?;
    transaction.commit().await?;
    // A copy that `VACUUM INTO` has made is not in WAL mode.
    connection.execute("PRAGMA journal_mode = WAL").await?;
    Ok(())
}

/// Says in words what two errors mean here.
fn explained(error: Error) -> Error {
    match error {
        Error::Migration(MigrateError::VersionMissing(_)) => {
            Error::Unusable("a newer version of this program, or another program, has changed it")
        }
        error if error.kind() == "busy" => {
            Error::Unusable("another program has it open and does not share it")
        }
        error => error,
    }
}
