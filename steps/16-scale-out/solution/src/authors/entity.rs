//! The rows of authors, as they are read and as clients receive them.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

/// An author of books.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct Author {
    pub id: i64,
    pub name: String,
}
