//! The ways to do a list of operations.
//!
//! Each strategy takes the list, and `perform`, which does one operation. A strategy
//! - does each operation once, and notes each result in the [`Outcome`];
//! - goes on after a failure;
//! - returns when all operations have ended. If its future is dropped before that, no
//!   operation goes on;
//! - does not catch a panic of an operation.

use std::fmt;

use crate::error::Error;
use crate::outcome::Outcome;
use crate::plan::Operation;

/// A strategy and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    OneAfterAnother,
    AllAtOnce,
    InChunks(usize),
    InFlight(usize),
    OneWriter(usize),
}

impl Strategy {
    /// Does all operations.
    pub async fn run<F>(self, operations: &[Operation], perform: impl Fn(Operation) -> F) -> Outcome
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        match self {
            Self::OneAfterAnother => one_after_another(operations, perform).await,
            Self::AllAtOnce => all_at_once(operations, perform).await,
            Self::InChunks(size) => in_chunks(size, operations, perform).await,
            Self::InFlight(limit) => in_flight(limit, operations, perform).await,
            Self::OneWriter(readers) => one_writer(readers, operations, perform).await,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneAfterAnother => f.write_str("one after another"),
            Self::AllAtOnce => f.write_str("all at once"),
            Self::InChunks(size) => write!(f, "chunks of {size}"),
            Self::InFlight(limit) => write!(f, "{limit} in flight"),
            Self::OneWriter(readers) => write!(f, "one writer, {readers} readers"),
        }
    }
}

/// One operation after another, in the order of the list.
pub async fn one_after_another<F>(
    operations: &[Operation],
    perform: impl Fn(Operation) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    // TODO(13.3): do one operation after another, and note each result
    let _ = (operations, perform); // remove this line and the next
    todo!("do one operation after another")
    // END TODO(13.3)
}

/// All operations at the same time: only the pool limits how many have a connection.
pub async fn all_at_once<F>(operations: &[Operation], perform: impl Fn(Operation) -> F) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    // TODO(13.4): start every operation without waiting for another one, and note each result
    let _ = (operations, perform); // remove this line and the next
    todo!("start every operation without waiting for another one")
    // END TODO(13.4)
}

/// `size` operations at the same time; the next ones when all of these have ended. The
/// error that is kept is one of the first chunk in which an operation failed.
///
/// # Panics
/// When `size` is 0.
pub async fn in_chunks<F>(
    size: usize,
    operations: &[Operation],
    perform: impl Fn(Operation) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    assert!(size > 0, "a chunk has at least one operation");
    // TODO(13.5): do one chunk after another, each with all of its operations at once
    let _ = (operations, perform); // remove this line and the next
    todo!("do one chunk after another")
    // END TODO(13.5)
}

/// `limit` operations at the same time; the next one as soon as any of them has ended.
///
/// # Panics
/// When `limit` is 0.
pub async fn in_flight<F>(
    limit: usize,
    operations: &[Operation],
    perform: impl Fn(Operation) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    assert!(limit > 0, "at least one operation is in flight");
    // TODO(13.6): keep `limit` operations running until none is left to start
    let _ = (operations, perform); // remove this line and the next
    todo!("keep `limit` operations running")
    // END TODO(13.6)
}

/// The writes one after another, and beside them the reads, of which `readers` are in
/// flight.
///
/// # Panics
/// When `readers` is 0.
pub async fn one_writer<F>(
    readers: usize,
    operations: &[Operation],
    perform: impl Fn(Operation) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    assert!(readers > 0, "at least one read is in flight");
    // TODO(13.7): split the list, and do the writes and the reads at the same time
    let _ = (operations, perform); // remove this line and the next
    todo!("do the writes and the reads at the same time")
    // END TODO(13.7)
}
