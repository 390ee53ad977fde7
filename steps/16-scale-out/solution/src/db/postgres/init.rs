//! Creates the tables when the service starts for the first time, and brings older ones up
//! to date.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use sqlx_postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use crate::error::Error;

static MIGRATIONS: Migrator = Migrator {
    // All of them run in one transaction, which has a lock of its own.
    locking: false,
    ..sqlx::migrate!("../../../data/migrations-postgres")
};

const SAMPLE_DATA: [&str; 3] = [
    include_str!("../../../../../../data/sample.sql"),
    include_str!("../../../../../../data/sample_books.sql"),
    include_str!("../../../../../../data/sample_postgres.sql"),
];

/// How long all of it may take, with the wait for another program that does the same.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Creates the tables and fills them with the sample data. In a database that has them, this
/// function runs the migrations that they lack; the rows stay as they are.
///
/// # Errors
/// [`Error::Unusable`] if it is the database of another program, or of a newer version of
/// this one. [`Error::Database`] if a statement fails, [`Error::Migration`] if a migration
/// fails, [`Error::NoAnswer`] if it takes too long. In all cases the database is as it was.
///
/// # Cancel safety
/// Everything is one transaction.
pub async fn create_or_migrate(options: &PgConnectOptions) -> Result<(), Error> {
    timeout(START_LIMIT, async {
        // Setting it up takes longer than one statement, also if another program does it.
        let limit = ["lock_timeout", "idle_in_transaction_session_timeout"]
            .map(|name| (name, START_LIMIT.as_millis()));
        // It does not belong to the pool, so that it is closed also after an error.
        let mut connection = options.clone().options(limit).connect().await?;
        set_up(&mut connection).await?;
        Ok(connection.close().await?)
    })
    .await
    .unwrap_or(Err(Error::NoAnswer))
}

async fn set_up(connection: &mut PgConnection) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    // Programs that start together do this one after another. Only this program uses this
    // number.
    sqlx::query("SELECT pg_advisory_xact_lock(7709090)")
        .execute(&mut *transaction)
        .await?;
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE tablename = '_sqlx_migrations')
         FROM pg_tables WHERE schemaname = current_schema()",
    )
    .fetch_one(&mut *transaction)
    .await?;
    if tables > 0 && ours == 0 {
        return Err(Error::Unusable("it is the database of another program"));
    }
    MIGRATIONS
        .run(&mut *transaction)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(_) => Error::Unusable(
                "a newer version of this program, or another program, has changed it",
            ),
            error => error.into(),
        })?;
    if tables == 0 {
        for sql in SAMPLE_DATA {
            transaction.execute(AssertSqlSafe(sql)).await?;
        }
    }
    Ok(transaction.commit().await?)
}
