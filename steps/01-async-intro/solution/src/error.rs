//! The errors of fetching an item.

use thiserror::Error;
use tokio::task::JoinError;

/// Why an item was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The shops do not have the item.
    #[error("{0} is sold out")]
    SoldOut(&'static str),

    /// The task that was fetching the item panicked. A panic ends only its own
    /// task; awaiting that task's handle returns an error.
    #[error("a task panicked")]
    Panicked,
}

impl From<JoinError> for Error {
    fn from(_: JoinError) -> Self {
        // A `JoinError` can also mean that the task was aborted. No program here
        // aborts a task whose error it converts.
        Self::Panicked
    }
}
