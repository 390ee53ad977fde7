//! The market in PostgreSQL: a server, or a primary with standbys that repeat what it
//! stores.
//!
//! ```text
//! POST /api/add_new_order ── transaction ── primary ──┬── standby   WAL, and the commit
//!                                                     └── standby   waits for one of them
//! GET /api/order_total/1 ─── read ───────── a standby that has what the client has seen,
//!                                           or else the primary
//! ```
//!
//! [`servers`] knows which server is the primary, and [`transaction`] repeats what the server
//! asks to have repeated.

mod authors;
mod books;
mod customers;
pub mod init;
pub mod orders;
mod probes;
pub mod servers;
pub mod totals;
pub mod transaction;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx_postgres::PgTransaction;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::servers::Servers;
use self::totals::Totals;
use crate::db::{Database, Settings, statements};
use crate::error::Error;

/// The market in PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    servers: Arc<Servers>,
    totals: Totals,
    loading: Mutex<Option<JoinHandle<()>>>,
}

impl Postgres {
    /// Connects to the servers at `urls`, which have commas between them, and creates the
    /// tables or brings them up to date.
    ///
    /// # Errors
    /// [`Error::Database`] if no server can be reached, or if one refuses the user, the
    /// password or the database. [`Error::Unusable`] if none becomes the primary while the
    /// program waits for a connection, and as [`init::create_or_migrate`] says.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn open(urls: &str, settings: Settings) -> Result<Self, Error> {
        let servers = Servers::connect(urls, settings).await?;
        let options = servers.primary().await?.connect_options();
        init::create_or_migrate(&options).await?;
        let servers = Arc::new(servers);
        let (totals, loading) = totals::start(Arc::clone(&servers));
        Ok(Self {
            servers,
            totals,
            loading: Mutex::new(Some(loading)),
        })
    }

    /// Runs `work` in a transaction: see [`Servers::transaction`].
    async fn write<T, F>(&self, work: impl Fn(PgTransaction<'static>) -> F) -> Result<T, Error>
    where
        F: Future<Output = (PgTransaction<'static>, Result<T, Error>)>,
    {
        let (value, _) = self.servers.transaction(work).await?;
        Ok(value)
    }
}

#[async_trait]
impl Database for Postgres {
    async fn ping(&self) -> Result<(), Error> {
        let ping = |pool| async move { sqlx::query(statements::PING).fetch_optional(&pool).await };
        self.servers
            .read(None, |_| true, ping)
            .await
            .inspect_err(|error| tracing::warn!(?error, "the database cannot be used"))?;
        Ok(())
    }

    async fn slow_query(&self, duration: Duration) -> Result<(), Error> {
        let slow = sqlx::query("SELECT pg_sleep($1)")
            .bind(duration.as_secs_f64())
            .execute(self.servers.primary().await?);
        let answered = timeout(duration + self.servers.answer_timeout(), slow).await;
        answered.map_err(|_| Error::NoAnswer)??;
        Ok(())
    }

    fn connections(&self) -> u32 {
        self.servers.connections()
    }

    async fn close(self: Arc<Self>) {
        let servers = Arc::clone(&self.servers);
        let loading = self
            .loading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The task ends when the last clone is dropped, and its batcher with it.
        drop(self);
        if let Some(loading) = loading {
            // An error would mean that it panicked.
            let _ = loading.await;
        }
        servers.close().await;
    }
}
