//! One operation on a connection from a pool.

use sqlx::SqlitePool;
use sqlx_postgres::PgPool;

use crate::error::Error;
use crate::meter::Meter;
use crate::plan::Operation;
use crate::rows::{examine_read, examine_written};
use crate::{postgres, sqlite};

/// sqlx has a pool of its own type for each database. This step needs little of them, so
/// an `enum` is enough.
#[derive(Debug, Clone)]
pub enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A pool whose connections are counted while they are in use. A clone is the same pool.
#[derive(Debug, Clone)]
pub struct Database {
    pool: Pool,
    pub meter: Meter,
}

impl Database {
    /// The time of the meter begins now.
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            meter: Meter::new(),
        }
    }

    /// Does one operation, and looks at the rows that it returned.
    ///
    /// # Errors
    /// When there is no connection in time, when the database fails, and when the rows
    /// are not right.
    ///
    /// # Cancel safety
    /// A write that is dropped is rolled back, unless its commit is under way. Its
    /// connection returns to the pool.
    pub fn perform(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let Self { pool, meter } = self.clone();
        async move {
            match pool {
                Pool::Sqlite(pool) => {
                    let mut connection = pool.acquire().await?;
                    // Dropped before the connection, since it is declared after it. So
                    // the meter never counts more connections than the pool has.
                    let _held = meter.hold();
                    match operation {
                        Operation::Read => examine_read(&sqlite::read(&mut connection).await?),
                        Operation::Write => examine_written(&sqlite::write(&mut connection).await?),
                    }
                }
                Pool::Postgres(pool) => {
                    let mut connection = pool.acquire().await?;
                    let _held = meter.hold();
                    match operation {
                        Operation::Read => examine_read(&postgres::read(&mut connection).await?),
                        Operation::Write => {
                            examine_written(&postgres::write(&mut connection).await?)
                        }
                    }
                }
            }
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}
