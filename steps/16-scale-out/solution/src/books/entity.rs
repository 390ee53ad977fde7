//! The rows of books, as they are read and as clients receive them.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::types::Money;

/// A book that the market sells.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct Book {
    pub id: i64,
    pub book_name: String,
    pub author_id: i64,
    #[sqlx(rename = "price_cents")]
    pub price: Money,
    pub description: Option<String>,
    pub year_of_publication: Option<i64>,
    pub genre: Option<String>,
    pub language: Option<String>,
    pub pages: Option<i64>,
}
