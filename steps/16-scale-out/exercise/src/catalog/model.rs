//! What clients send about an author with a first book, and what they get back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::authors::{Author, NewAuthor};
use crate::books::{Book, NewBook};
use crate::types::object;

/// The JSON body of `POST /catalog` and `POST /catalog/separately`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "author": { "name": "Charlotte Brontë" },
    "book": { "book_name": "Jane Eyre", "price": 8.75, "year_of_publication": 1847 }
}))]
pub struct CatalogEntry {
    #[serde(deserialize_with = "object")]
    pub author: NewAuthor,
    #[serde(deserialize_with = "object")]
    pub book: CatalogBook,
}

/// A book whose author does not have an id yet.
// The fields of `NewBook` without `author_id`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CatalogBook {
    /// From 1 to 200 characters, not only blanks. No two books have the same name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub book_name: String,
    /// A number of at most two decimals, from 0 to 1,000,000.
    #[schema(minimum = 0, maximum = 1_000_000, multiple_of = 0.01)]
    pub price: f64,
    /// From 1 to 10,000 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 10_000,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub description: Option<String>,
    /// From -3000 to 3000.
    #[schema(minimum = -3000, maximum = 3000)]
    pub year_of_publication: Option<i64>,
    /// From 1 to 100 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub genre: Option<String>,
    /// From 1 to 100 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub language: Option<String>,
    /// From 1 to 100,000.
    #[schema(minimum = 1, maximum = 100_000)]
    pub pages: Option<i64>,
}

/// The author and the book that were stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredEntry {
    pub author: Author,
    pub book: Book,
}

impl CatalogBook {
    /// Returns this book as one by the author with this id.
    pub fn by(&self, author_id: i64) -> NewBook {
        NewBook {
            book_name: self.book_name.clone(),
            author_id,
            price: self.price,
            description: self.description.clone(),
            year_of_publication: self.year_of_publication,
            genre: self.genre.clone(),
            language: self.language.clone(),
            pages: self.pages,
        }
    }
}
