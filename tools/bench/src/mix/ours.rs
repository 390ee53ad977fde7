//! The mix by sqlx's drivers: a bounded number of operations in flight, and writes that
//! are committed one by one or together.

use std::time::{Duration, Instant};

use deadpool::unmanaged::Pool;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{mpsc, oneshot};

use super::list::Operation;
use super::store::{self, Store};

/// How many writes share a commit at most.
const MOST: usize = 100;

/// How ours does the list.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub in_flight: usize,
    pub connections: usize,
    /// One more connection writes, and commits together what has come meanwhile.
    pub together: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections, shared by all operations. sqlx's own pool would ask each connection
/// that is given back for a sign of life, which is a round trip more.
pub struct Ours<C: Store> {
    way: Way,
    pool: Pool<C>,
    writer: Option<mpsc::Sender<Answer>>,
}

/// Where the result of a write is waited for.
type Answer = oneshot::Sender<Result<(), String>>;

impl<C: Store> Ours<C> {
    /// # Errors
    ///
    /// When a connection cannot be made.
    pub async fn new(options: &C::Options, way: Way) -> sqlx::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..way.connections {
            connections.push(C::open(options).await?);
        }
        let mut writer = None;
        if way.together {
            let (queue, waiting) = mpsc::channel(MOST);
            tokio::spawn(write(C::open(options).await?, waiting));
            writer = Some(queue);
        }
        Ok(Self {
            way,
            pool: Pool::from(connections),
            writer,
        })
    }

    /// Does the list, with a task for each operation. How long it took.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn run(&self, list: &[Operation]) -> Result<Duration, Failure> {
        let start = Instant::now();
        stream::iter(list)
            .map(|operation| {
                let (pool, writer) = (self.pool.clone(), self.writer.clone());
                tokio::spawn(perform(*operation, pool, writer))
            })
            .buffer_unordered(self.way.in_flight)
            .map(|joined| joined?)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(start.elapsed())
    }
}

async fn perform<C: Store>(
    operation: Operation,
    pool: Pool<C>,
    writer: Option<mpsc::Sender<Answer>>,
) -> Result<(), Failure> {
    match (operation, writer) {
        (Operation::Read, _) => store::examine_read(&pool.get().await?.read().await?)?,
        (Operation::Write, None) => {
            store::examine_written(&pool.get().await?.write(1).await?, 1)?;
        }
        (Operation::Write, Some(writer)) => {
            let (answer, answered) = oneshot::channel();
            writer.send(answer).await?;
            answered.await??;
        }
    }
    Ok(())
}

/// Commits together the writes that are waiting, and answers each. Without a timer: what
/// has come meanwhile is the next batch. When the database refuses one, all of the batch
/// have failed, which ends the bench; a service would do each on its own.
async fn write<C: Store>(mut connection: C, mut waiting: mpsc::Receiver<Answer>) {
    let mut answers = Vec::with_capacity(MOST);
    while waiting.recv_many(&mut answers, MOST).await > 0 {
        let writes = answers.len();
        let ids = connection.write(writes).await;
        let result = ids
            .map_err(|error| error.to_string())
            .and_then(|ids| store::examine_written(&ids, writes));
        for answer in answers.drain(..) {
            // A task that was dropped does not need it.
            let _ = answer.send(result.clone());
        }
    }
}
