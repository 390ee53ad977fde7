//! What can go wrong while measuring; `main` prints it and exits with 3.

use std::io;

use crate::http::Failure;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the machine or its user has to change.
    #[error("{0}")]
    Environment(String),
    #[error("cannot {action}: {cause}")]
    Io {
        action: String,
        #[source]
        cause: io::Error,
    },
    /// A contender that does not do its work, or other work than the others, is not
    /// compared.
    #[error("{contender}: {reason}")]
    Failed { contender: String, reason: Failure },
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// For `map_err`: what was tried, as in "read the report".
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |cause| Self::Io { action, cause }
    }

    pub fn failed(contender: &str, reason: impl Into<Failure>) -> Self {
        Self::Failed {
            contender: contender.to_owned(),
            reason: reason.into(),
        }
    }
}
