//! New tables for each run, and how a program connects to them.

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use sqlx_postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use tempfile::TempDir;

use crate::database::{Database, Pool};
use crate::{postgres, sqlite};

/// How long an operation waits for a connection, and on SQLite for the write lock. With
/// all operations at once the last one waits for nearly all the others. A service must
/// not be so patient: step 05 has a limit.
const PATIENCE: Duration = Duration::from_hours(1);

/// The tables `a` and `b`, empty at first.
pub enum Tables {
    /// In a file of their own, in a temporary folder.
    Sqlite {
        options: SqliteConnectOptions,
        folder: TempDir,
    },
    /// In a schema of their own, which is the first that their connections look into.
    Postgres {
        options: PgConnectOptions,
        schema: String,
    },
}

impl Tables {
    /// In the system's folder for temporary files.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub async fn on_sqlite() -> sqlx::Result<Self> {
        Self::on_sqlite_in(&env::temp_dir()).await
    }

    /// # Errors
    /// When the file cannot be made.
    pub async fn on_sqlite_in(parent: &Path) -> sqlx::Result<Self> {
        let folder = tempfile::tempdir_in(parent)?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("connections.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk before it is answered, as with PostgreSQL.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        let mut connection = options.connect().await?;
        sqlx::raw_sql(sqlite::TABLES)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Self::Sqlite { options, folder })
    }

    /// `url` is that of a database in which a schema can be created.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn on_postgres(url: &str) -> sqlx::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("connections_{}_{number}", std::process::id());
        let options: PgConnectOptions = url.parse()?;
        let mut connection = options.connect().await?;
        // The name has only letters, digits and underscores.
        let create = format!("CREATE SCHEMA {schema}");
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        let options = options.options([("search_path", &schema)]);
        let mut connection = options.connect().await?;
        sqlx::raw_sql(postgres::TABLES)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Self::Postgres { options, schema })
    }

    /// The tables behind a pool of at most `connections`, which are made when they are
    /// needed.
    pub fn open(&self, connections: u32) -> Database {
        self.open_with(connections, PATIENCE)
    }

    /// As [`open`](Self::open), for operations that wait at most `patience` for a
    /// connection.
    pub fn open_with(&self, connections: u32, patience: Duration) -> Database {
        Database::new(match self {
            Self::Sqlite { options, .. } => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(patience)
                    .test_before_acquire(false)
                    .connect_lazy_with(options.clone()),
            ),
            Self::Postgres { options, .. } => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(patience)
                    // It would be one more message to the server for each operation.
                    .test_before_acquire(false)
                    .connect_lazy_with(options.clone()),
            ),
        })
    }

    /// How many rows `a` and `b` have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count(&self) -> sqlx::Result<(i64, i64)> {
        const COUNT: &str = "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)";
        match self {
            Self::Sqlite { options, .. } => {
                let mut connection = options.connect().await?;
                sqlx::query_as(COUNT).fetch_one(&mut connection).await
            }
            Self::Postgres { options, .. } => {
                let mut connection = options.connect().await?;
                sqlx::query_as(COUNT).fetch_one(&mut connection).await
            }
        }
    }

    /// Creates the index on `b.a_id`, unless it is there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_index(&self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite { options, .. } => {
                sqlite::create_index(&mut options.connect().await?).await
            }
            Self::Postgres { options, .. } => {
                postgres::create_index(&mut options.connect().await?).await
            }
        }
    }

    /// How the database finds the rows of the second query of a read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn query_plan(&self) -> sqlx::Result<Vec<String>> {
        match self {
            Self::Sqlite { options, .. } => {
                sqlite::query_plan(&mut options.connect().await?, sqlite::SELECT_B).await
            }
            Self::Postgres { options, .. } => {
                postgres::query_plan(&mut options.connect().await?).await
            }
        }
    }

    /// Removes the tables.
    ///
    /// # Errors
    /// When the database fails, or the file cannot be removed.
    pub async fn remove(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite { folder, .. } => folder.close()?,
            Self::Postgres { options, schema } => {
                let mut connection: PgConnection = options.connect().await?;
                let drop = format!("DROP SCHEMA {schema} CASCADE");
                sqlx::query(AssertSqlSafe(drop))
                    .execute(&mut connection)
                    .await?;
                connection.close().await?;
            }
        }
        Ok(())
    }
}
