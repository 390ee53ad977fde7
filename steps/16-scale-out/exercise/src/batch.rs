//! Work that waits together is done together.
//!
//! Callers put an input each into a queue, and wait. One task takes everything that
//! waits, does the work for all of it at once, and gives each caller its own result:
//!
//! ```text
//! caller ──┐
//! caller ──┼── queue ── task: take what waits → Batch::run → a reply for each caller
//! caller ──┘
//! ```
//!
//! **Order.** A batch holds the inputs in the order in which they came, and the batches
//! run one after another. An input that comes while a batch runs belongs to the next one.
//! So the work for an input begins after its caller has called [`Batcher::submit`], and the
//! batch can read what this caller has written before the call.
//!
//! **No timer.** The task never waits for more inputs. A lone caller is a batch of one;
//! under load a batch is what has come while the batch before it ran.
//!
//! **Limits.** The queue is bounded. When it is full, callers wait until there is room. The
//! queue has no timeout: a caller waits for the batches before its own.
//!
//! **Cancellation.** A caller that goes away before its batch begins is left out of it.
//! After that, the work is done, and its result is dropped.
//!
//! **Failure.** `Batch::run` may refuse one input and accept its neighbours, or fail as a
//! whole; then every caller of that batch gets the same error. If it panics, the callers
//! of that batch get [`Error::BatchLost`], and the next batch gets a new worker. In both
//! cases the work may be done, if it failed at its very end.
//!
//! **Shutdown.** Each caller that waits holds a [`Batcher`]. So when the last [`Batcher`] is
//! dropped, no caller waits any more, and the task ends after the batch that runs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::Error;

/// Does the work of a whole batch.
pub trait Batch: Send + 'static {
    /// What a caller brings.
    type Input: Send + 'static;
    /// What a caller gets.
    type Output: Send + 'static;

    /// Does the work for all `inputs`, and returns a result for each, in their order.
    ///
    /// # Errors
    /// If the work has failed as a whole. The implementation says whether it may be done
    /// nevertheless.
    fn run(
        &mut self,
        inputs: &[Self::Input],
    ) -> impl Future<Output = Result<Vec<Result<Self::Output, Error>>, Error>> + Send;

    /// Is called on the last worker after the last batch; not on one that has panicked.
    fn end(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        std::future::ready(())
    }
}

/// How much a [`Batcher`] takes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The most inputs in the queue; at least 1.
    pub queue: usize,
    /// The most inputs in a batch; at least 1.
    pub batch: usize,
}

/// An input in the queue, and its caller.
struct Waiting<B: Batch> {
    input: B::Input,
    reply: oneshot::Sender<Result<B::Output, Error>>,
}

/// Passes inputs on to the task that runs batches. Clones share it.
pub struct Batcher<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
}

// Written by hand, since `derive` would ask for `B: Clone`.
impl<B: Batch> Clone for Batcher<B> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<B: Batch> std::fmt::Debug for Batcher<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

impl<B: Batch> Batcher<B> {
    /// Starts the task that runs batches with the worker that `make` returns. The handle
    /// completes when the task has ended.
    ///
    /// # Panics
    /// Outside a Tokio runtime, and if a number in `room` is 0.
    pub fn start(
        room: Room,
        make: impl Fn() -> B + Send + Sync + 'static,
    ) -> (Self, JoinHandle<()>) {
        assert!(room.queue > 0 && room.batch > 0, "there must be room");
        let (queue, waiting) = mpsc::channel(room.queue);
        let task = tokio::spawn(run_batches(waiting, room.batch, make));
        (Self { queue }, task)
    }

    /// Does the work for `input`, together with what waits beside it.
    ///
    /// # Errors
    /// The error of this input or of its whole batch ([`Error::Shared`]);
    /// [`Error::BatchLost`] if the batch panicked or the task has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped before the batch begins, the work is not done for `input`.
    /// If it is dropped later, the batch goes on, and the work is done wholly or fails.
    pub async fn submit(&self, input: B::Input) -> Result<B::Output, Error> {
        let (reply, result) = oneshot::channel();
        let waiting = Waiting { input, reply };
        self.queue
            .send(waiting)
            .await
            .map_err(|_| Error::BatchLost)?;
        result.await.map_err(|_| Error::BatchLost)?
    }
}

/// Runs batches until every [`Batcher`] is gone.
async fn run_batches<B: Batch>(
    mut queue: mpsc::Receiver<Waiting<B>>,
    most: usize,
    make: impl Fn() -> B,
) {
    let mut worker = make();
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, most).await > 0 {
        waiting.retain(|waiting| !waiting.reply.is_closed());
        let (inputs, replies): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|waiting| (waiting.input, waiting.reply))
            .unzip();
        if inputs.is_empty() {
            continue;
        }
        let done = AssertUnwindSafe(worker.run(&inputs)).catch_unwind().await;
        let Ok(done) = done else {
            // Its callers see that their replies are gone.
            tracing::error!(inputs = inputs.len(), "a batch panicked");
            worker = make();
            continue;
        };
        answer(replies, done);
    }
    worker.end().await;
}

/// Gives each caller its result. A caller that has gone misses nothing.
fn answer<T>(
    replies: Vec<oneshot::Sender<Result<T, Error>>>,
    done: Result<Vec<Result<T, Error>>, Error>,
) {
    match done {
        Ok(results) => {
            for (reply, result) in replies.into_iter().zip(results) {
                let _ = reply.send(result);
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for reply in replies {
                let _ = reply.send(Err(Error::Shared(Arc::clone(&error))));
            }
        }
    }
}
