//! What can go wrong when items are fetched.

use thiserror::Error;
use tokio::task::JoinError;

/// Why something was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The item is not to be had today.
    #[error("{0} is sold out")]
    SoldOut(&'static str),

    /// The task that was to fetch it ended in a panic. A panic stays within its
    /// task; whoever waits for the task is told.
    #[error("a task panicked")]
    Panicked,
}

impl From<JoinError> for Error {
    fn from(_: JoinError) -> Self {
        // The other reason is an abort. Nobody aborts a task here that is still
        // waited for.
        Self::Panicked
    }
}
