//! Making a database, or recognising one.
//!
//! A file that is already there is looked at without being written to, and
//! used only if it is a market's database that this program understands. Any
//! other file stays as it is, byte for byte: an unexpected file under the
//! database's name is somebody's data. That includes an empty file, which may
//! be what an accident left of a database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::Db;
use crate::Limits;
use crate::error::sqlite_code;

static MIGRATOR: Migrator = sqlx::migrate!("../data/migrations");
const SAMPLE: [&str; 2] = [
    include_str!("../../../data/sample.sql"),
    include_str!("../../../data/sample_books.sql"),
];

/// The bytes with which every SQLite database begins.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Why a database cannot be used. Each text is one line that names the file
/// and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the folder {0} for the database does not exist; create it, or name another")]
    NoFolder(PathBuf),
    #[error("{0} is a directory; DATABASE_URL must name a file")]
    Directory(PathBuf),
    #[error("{0} is a link to a file that does not exist")]
    DanglingLink(PathBuf),
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{0} is read-only; the service must be able to write to its database")]
    ReadOnly(PathBuf),
    #[error("{0} is empty, so it is no database; remove it to have a new one created")]
    Empty(PathBuf),
    #[error("{0} is not an SQLite database; it is left as it is")]
    NotSqlite(PathBuf),
    #[error("{0} is an SQLite database, but not a market's; it is left as it is")]
    NotAMarket(PathBuf),
    #[error(
        "{path} is newer than this program: it has migration {found}, this program knows up to {known}; run a newer program"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("{path} was made by a different version of migration {version}; it is left as it is")]
    Changed { path: PathBuf, version: i64 },
    #[error("{path} stopped halfway through migration {version}; restore it from a backup")]
    HalfMigrated { path: PathBuf, version: i64 },
    #[error("another program has {0} open and locked; end that program, or wait until it is done")]
    InUse(PathBuf),
    #[error("the path {0} is too long for SQLite, which takes about 500 bytes; name a shorter one")]
    TooLong(PathBuf),
    #[error("cannot {action} {path}: {cause}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("cannot {action} {path}: {cause}")]
    Sqlite {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: sqlx::Error,
    },
    #[error("cannot bring {path} up to date: {cause}")]
    Migrate {
        path: PathBuf,
        #[source]
        cause: MigrateError,
    },
}

impl OpenError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            action,
            path,
            cause,
        }
    }

    fn sqlite(action: &'static str, path: &Path) -> impl FnOnce(sqlx::Error) -> Self {
        let path = path.to_owned();
        move |cause| {
            // 14 is SQLITE_CANTOPEN.
            if sqlite_code(&cause) == Some(14) && is_too_long(&path) {
                Self::TooLong(path)
            } else if is_locked(&cause) {
                Self::InUse(path)
            } else {
                Self::Sqlite {
                    action,
                    path,
                    cause,
                }
            }
        }
    }

    fn migrate(path: &Path) -> impl FnOnce(MigrateError) -> Self {
        let path = path.to_owned();
        move |cause| match &cause {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
                if is_locked(error) =>
            {
                Self::InUse(path)
            }
            _ => Self::Migrate { path, cause },
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED.
    matches!(sqlite_code(error), Some(5 | 6))
}

/// Whether SQLite may find the path too long: it takes 512 bytes after links are
/// followed, of which it needs some for the names of its other files, and
/// [`create`] for its temporary one.
fn is_too_long(path: &Path) -> bool {
    let folder = path
        .parent()
        .and_then(|folder| fs::canonicalize(folder).ok());
    let real = fs::canonicalize(path).ok().or(folder);
    real.is_some_and(|real| real.as_os_str().len() > 512 - 32)
}

impl Db {
    /// Opens the database at `path`: a missing one is created with the sample
    /// market in it, an older one is brought up to date.
    ///
    /// # Errors
    ///
    /// Any [`OpenError`]. Until the file has been recognised as a market's
    /// database that this program understands, it has not been written to.
    pub async fn open(path: &Path, limits: &Limits) -> Result<Self, OpenError> {
        // Absolute, since SQLite gives some relative names a meaning of their
        // own (`:memory:`, `file:…`).
        let path = std::path::absolute(path).map_err(OpenError::io("find", path))?;
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path).await?,
            Err(error) => return Err(OpenError::io("look at", &path)(error)),
            Ok(_) => {}
        }
        recognise(&path, limits).await?;
        into_wal_mode(&path, limits)
            .await
            .map_err(OpenError::sqlite("open", &path))?;

        let db = Self::connect(&path, limits)
            .await
            .map_err(OpenError::sqlite("open", &path))?;
        if let Err(cause) = migrate(&db).await {
            db.close().await;
            return Err(OpenError::migrate(&path)(cause));
        }
        Ok(db)
    }
}

/// WAL mode stays in the file. Without a pool, which may give up first and then
/// cannot say that the database was locked.
async fn into_wal_mode(path: &Path, limits: &Limits) -> Result<(), sqlx::Error> {
    super::connect_options(path, limits)
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await?
        .close()
        .await
}

/// Brings an older database up to date.
async fn migrate(db: &Db) -> Result<(), MigrateError> {
    // Programs that start together find the same migrations missing, and all but one
    // fail at each of them. By then it has been applied.
    for _ in MIGRATOR.iter() {
        if MIGRATOR.run(&db.writer).await.is_ok() {
            return Ok(());
        }
    }
    MIGRATOR.run(&db.writer).await
}

/// Builds the sample market beside `path` and moves it there when it is
/// complete, so that a crash leaves either no database or a whole one. Does
/// nothing if another process was faster.
async fn create(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(path);
    if !folder.is_dir() {
        return Err(OpenError::NoFolder(folder.to_owned()));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-market-").suffix(".sqlite");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What SQLite itself would create, less the umask; the default of
        // temporary files is for the owner alone.
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    let file = builder
        .tempfile_in(folder)
        .map_err(OpenError::io("create a database in", folder))?;

    // A rollback journal is gone after the last commit, so that the one file
    // holds everything.
    let options = SqliteConnectOptions::new()
        .filename(file.path())
        .journal_mode(SqliteJournalMode::Delete);
    // A pool of one: migrations over a plain connection would keep this future
    // from being `Send`.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(OpenError::sqlite("create", path))?;
    MIGRATOR
        .run(&pool)
        .await
        .map_err(OpenError::migrate(path))?;
    for sql in SAMPLE {
        sqlx::raw_sql(sql)
            .execute(&pool)
            .await
            .map_err(OpenError::sqlite("fill", path))?;
    }
    pool.close().await;

    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(OpenError::io("create", path)(error.error)),
    }
    // The name is in the folder, and the folder has to reach the disk as well.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(OpenError::io("create", path))?;
    tracing::info!(database = %path.display(), "created the database with the sample market");
    Ok(())
}

/// Makes sure that the file is a market's database of a known version,
/// without writing to it.
async fn recognise(path: &Path, limits: &Limits) -> Result<(), OpenError> {
    let kind = match fs::metadata(path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::DanglingLink(path.to_owned()));
        }
        Err(error) => return Err(OpenError::io("look at", path)(error)),
    };
    if kind.is_dir() {
        return Err(OpenError::Directory(path.to_owned()));
    }
    if !kind.is_file() {
        return Err(OpenError::NotAFile(path.to_owned()));
    }
    // The permission bits first: root may write to any file, and somebody who
    // took the bits away meant it.
    if kind.permissions().readonly() {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            return Err(OpenError::ReadOnly(path.to_owned()));
        }
        Err(error) => return Err(OpenError::io("open", path)(error)),
    };
    let mut header = Vec::with_capacity(HEADER.len());
    file.by_ref()
        .take(HEADER.len() as u64)
        .read_to_end(&mut header)
        .map_err(OpenError::io("read", path))?;
    if header.is_empty() {
        return Err(OpenError::Empty(path.to_owned()));
    }
    if header != HEADER {
        return Err(OpenError::NotSqlite(path.to_owned()));
    }
    drop(file);
    check_migrations(path, limits).await
}

/// Compares the migrations that the database has seen with those that this
/// program knows.
async fn check_migrations(path: &Path, limits: &Limits) -> Result<(), OpenError> {
    // SQLite follows links, and keeps its other files beside the real one.
    let real = fs::canonicalize(path).map_err(OpenError::io("find", path))?;
    let beside = |suffix: &str| {
        let mut name = real.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name).exists()
    };
    // Even a read-only connection leaves WAL files behind where there were
    // none. `immutable` prevents that; it is right while nobody has the
    // database open, that is, while there is no log beside it.
    let alone = || !beside("-wal") && !beside("-journal");
    // Somebody who opens the database, writes and closes it leaves no log.
    let written = || {
        let file = fs::metadata(&real).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    if alone() {
        let before = written();
        let compared = compare_migrations(path, limits, true).await;
        // What was read while somebody had it open may not fit together.
        if compared.is_ok() || (alone() && written() == before) {
            return compared;
        }
    }
    compare_migrations(path, limits, false).await
}

async fn compare_migrations(
    path: &Path,
    limits: &Limits,
    immutable: bool,
) -> Result<(), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(limits.lock_wait)
        .immutable(immutable);
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(OpenError::sqlite("read", path))?;
    let applied = applied_migrations(&mut connection, path).await;
    connection
        .close()
        .await
        .map_err(OpenError::sqlite("read", path))?;
    let path = path.to_owned();
    for (version, success, checksum) in applied? {
        let Some(known) = MIGRATOR.iter().find(|known| known.version == version) else {
            let known = MIGRATOR.iter().map(|known| known.version).max();
            return Err(OpenError::Newer {
                path,
                found: version,
                known: known.unwrap_or_default(),
            });
        };
        if !success {
            return Err(OpenError::HalfMigrated { path, version });
        }
        if checksum != *known.checksum {
            return Err(OpenError::Changed { path, version });
        }
    }
    Ok(())
}

/// Each migration's version, success and checksum.
async fn applied_migrations(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Vec<(i64, bool, Vec<u8>)>, OpenError> {
    let market: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(OpenError::sqlite("read", path))?;
    if market == 0 {
        return Err(OpenError::NotAMarket(path.to_owned()));
    }
    let applied: Vec<_> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await
            .map_err(OpenError::sqlite("read", path))?;
    if applied.is_empty() {
        return Err(OpenError::NotAMarket(path.to_owned()));
    }
    Ok(applied)
}
