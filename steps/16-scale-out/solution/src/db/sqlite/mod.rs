//! The market in SQLite: a file, and the program itself is the server.
//!
//! The totals of orders and the new orders have a task each, with a connection of its own,
//! which does together what waits together: see [`totals`] and [`writer`]. Everything else,
//! all other reads and all other writes, uses a pool of connections: see [`engine`].

mod authors;
mod books;
mod customers;
pub mod engine;
pub mod init;
mod orders;
pub mod totals;
pub mod writer;

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use self::engine::Engine;
use self::totals::Totals;
use self::writer::Writer;
use crate::db::{Database, Settings, statements};
use crate::error::Error;

/// The market in SQLite.
#[derive(Debug)]
pub struct Sqlite {
    engine: Engine,
    totals: Totals,
    writer: Writer,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens the database at `url`, and creates it or brings it up to date.
    ///
    /// # Errors
    /// As [`init::create_or_migrate`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn open(url: &str, settings: Settings) -> Result<Self, Error> {
        init::create_or_migrate(url).await?;
        Ok(Self::new(Engine::new(url, settings)?))
    }

    /// The market in a database that is up to date.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(engine: Engine) -> Self {
        let (totals, loading) = totals::start(engine.clone());
        let (writer, writing) = writer::start(engine.clone());
        Self {
            engine,
            totals,
            writer,
            tasks: Mutex::new(vec![loading, writing]),
        }
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn ping(&self) -> Result<(), Error> {
        sqlx::query(statements::PING)
            .fetch_optional(self.engine.pool())
            .await
            .inspect_err(|error| tracing::warn!(?error, "the database cannot be used"))?;
        self.engine
            .ensure_in_place()
            .inspect_err(|error| tracing::warn!(%error, "the database cannot be used"))
    }

    /// SQLite has no statement that waits, so the connection is held while a timer runs.
    async fn slow_query(&self, duration: Duration) -> Result<(), Error> {
        let _connection = self.engine.pool().acquire().await?;
        tokio::time::sleep(duration).await;
        Ok(())
    }

    fn connections(&self) -> u32 {
        self.engine.pool().size()
    }

    async fn close(self: Arc<Self>) {
        let engine = self.engine.clone();
        let tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // The tasks end when the last clone is dropped, and its batchers with it.
        drop(self);
        for task in tasks {
            // An error would mean that it panicked, and its connection is closed then, too.
            let _ = task.await;
        }
        engine.close().await;
    }
}
