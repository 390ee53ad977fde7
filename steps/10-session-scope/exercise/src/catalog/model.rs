//! What clients send about an author with a first book.

use serde::Deserialize;

use crate::authors::NewAuthor;
use crate::books::NewBook;

/// The JSON body of `POST /catalog` and `POST /catalog/separately`.
#[derive(Debug, Deserialize)]
pub struct CatalogEntry {
    pub author: NewAuthor,
    pub book: CatalogBook,
}

/// A book whose author does not have an id yet: the fields of
/// [`NewBook`](crate::books::NewBook) without `author_id`.
#[derive(Debug, Deserialize)]
pub struct CatalogBook {
    pub book_name: String,
    pub price: f64,
    pub description: Option<String>,
    pub year_of_publication: Option<i64>,
    pub genre: Option<String>,
    pub language: Option<String>,
    pub pages: Option<i64>,
}

impl CatalogBook {
    /// Returns this book as one by the author with this id.
    pub fn by(self, author_id: i64) -> NewBook {
        NewBook {
            book_name: self.book_name,
            author_id,
            price: self.price,
            description: self.description,
            year_of_publication: self.year_of_publication,
            genre: self.genre,
            language: self.language,
            pages: self.pages,
        }
    }
}
