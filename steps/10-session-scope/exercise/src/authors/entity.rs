//! The rows of authors, as they are read and as clients receive them.

use serde::Serialize;
use sqlx::FromRow;

/// An author of books.
#[derive(Debug, FromRow, Serialize)]
pub struct Author {
    pub id: i64,
    pub name: String,
}
