//! Transactions on the primary.

use std::time::Duration;

use sqlx_postgres::{PgDatabaseError, PgPool, PgSeverity, PgTransaction};
use tokio::time::{sleep, timeout};

use super::servers::{Roles, Servers};
use crate::error::Error;
use crate::orders::Position;

/// How many times a transaction that the server has rolled back is run again.
pub const MAX_RETRIES: u32 = 5;

impl Servers {
    /// Runs `work` in a transaction on the primary and commits it. Returns what `work`
    /// returns, and where the database was after the commit if it has standbys.
    ///
    /// A transaction that the server rolls back because of another one
    /// (`serialization_failure`, `deadlock_detected`) is run again from its beginning, up to
    /// [`MAX_RETRIES`] times, after a random pause below 10 ms, which may be twice as long each
    /// time. No other error is repeated: after a lost connection it is not
    /// known whether the transaction was committed, and to run it again could do its work
    /// twice.
    ///
    /// `work` gets the transaction by value, and returns it with its result: a closure cannot
    /// return a future that borrows what it was called with.
    ///
    /// `work` must return the error of a statement. In a transaction that has failed, the server
    /// answers `COMMIT` without an error, but rolls back: the client would be told that its work
    /// is stored.
    ///
    /// Each attempt may wait for the [answer timeout](Self::answer_timeout) to find the primary,
    /// to begin, to run `work`, to commit, and to ask for the position.
    ///
    /// # Errors
    /// Those of `work`, and nothing is stored. [`Error::NoPrimary`], [`Error::Database`] or
    /// [`Error::NoAnswer`] if it could not be run in time, and nothing is stored.
    /// [`Error::OutcomeUnknown`] if the answer to the commit did not arrive.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit was sent.
    pub async fn transaction<T, F>(
        &self,
        work: impl Fn(PgTransaction<'static>) -> F,
    ) -> Result<(T, Option<Position>), Error>
    where
        F: Future<Output = (PgTransaction<'static>, Result<T, Error>)>,
    {
        let mut retries = 0;
        loop {
            match self.attempt(&work).await {
                Err(error) if is_retryable(&error) && retries < MAX_RETRIES => {
                    retries += 1;
                    // So that two transactions do not meet again.
                    sleep(Duration::from_millis(fastrand::u64(..5 << retries))).await;
                }
                done => return done,
            }
        }
    }

    /// Runs the transaction once. It does not look at the roles again after the commit: where
    /// a standby is synchronous, a commit is acknowledged only when that standby has it, and
    /// the standby then takes the place of a server that is being replaced.
    async fn attempt<T, F>(
        &self,
        work: impl Fn(PgTransaction<'static>) -> F,
    ) -> Result<(T, Option<Position>), Error>
    where
        F: Future<Output = (PgTransaction<'static>, Result<T, Error>)>,
    {
        let (primary, transaction) = self.begin().await?;
        let worked = async { Ok::<_, Error>(work(transaction).await) };
        // An error drops the transaction, and that rolls it back.
        let (transaction, result) = self.with_timeout(worked).await?;
        let value = result?;
        match self.with_timeout(transaction.commit()).await {
            Ok(()) => Ok((value, self.position(primary).await)),
            Err(error) if commit_was_refused(&error) => Err(error),
            Err(error) => {
                tracing::warn!(
                    ?error,
                    "it is not known whether a transaction was committed"
                );
                Err(Error::OutcomeUnknown)
            }
        }
    }

    /// Begins a transaction on the primary, and returns the pool of that server with it. If
    /// another server becomes the primary meanwhile, begins it there.
    ///
    /// It is begun in a task of its own, which goes on when this future is dropped: sqlx 0.9
    /// does not roll back a transaction whose `BEGIN` was abandoned, and the next one to take
    /// that connection would be in it.
    async fn begin(&self) -> Result<(&PgPool, PgTransaction<'static>), Error> {
        loop {
            let index = self.find_primary().await?;
            let primary = self.pool(index);
            let is_primary = |roles: &Roles| roles.primary == Some(index);
            let (pool, limit) = (primary.clone(), self.answer_timeout());
            let task = tokio::spawn(async move { timeout(limit, pool.begin()).await });
            let begun = async { task.await?.map_or(Err(Error::NoAnswer), |it| Ok(it?)) };
            if let Some(begun) = self.while_role(is_primary, begun).await {
                return Ok((primary, begun?));
            }
        }
    }

    /// Returns where the database is, for a client that wants to read what was just
    /// committed. `None` if there is no standby to read from, or if the server does not say
    /// it any more: the commit holds in any case.
    async fn position(&self, primary: &PgPool) -> Option<Position> {
        if !self.has_standbys() {
            return None;
        }
        // Not `pg_current_wal_insert_lsn`: a standby gets what is on the primary's disk.
        let position = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text");
        let position: Result<String, Error> = self.with_timeout(position.fetch_one(primary)).await;
        position.ok()?.parse().ok()
    }
}

/// Whether the server has rolled the transaction back and asks for it once more.
pub fn is_retryable(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(error)) = error else {
        return false;
    };
    error
        .code()
        .is_some_and(|code| code == "40001" || code == "40P01")
}

/// Whether the answer to a commit says that nothing was stored. Only an `ERROR` does. A
/// `FATAL` ends the connection, and the commit may be on the disk already; so it may when
/// the connection was lost, or when the answer took too long.
pub fn commit_was_refused(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(error)) = error else {
        return false;
    };
    error
        .try_downcast_ref::<PgDatabaseError>()
        .is_some_and(|error| error.severity() == PgSeverity::Error)
}
