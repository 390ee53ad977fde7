//! Why an operation failed.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database answered, but not with the rows that must be there.
    #[error("{0}")]
    WrongRows(String),
}
