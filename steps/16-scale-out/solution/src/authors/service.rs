//! What the market does with authors.

use super::entity::Author;
use super::model::NewAuthor;
use crate::calls::logged;
use crate::db::Db;
use crate::error::Error;
use crate::page::Page;

/// Reads, stores and removes authors. Its clones share the database.
/// [`Database`](crate::db::Database) says what may be stored after an error or a drop.
#[derive(Clone, Debug)]
pub struct AuthorService {
    db: Db,
}

impl AuthorService {
    /// Creates a service over `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Returns a page of authors, ordered by id. It is empty after the last author.
    ///
    /// # Errors
    /// As [`Authors::authors`](crate::db::Authors::authors).
    pub async fn list(&self, page: Page) -> Result<Vec<Author>, Error> {
        logged("authors.list", self.db.authors(page)).await
    }

    /// Returns the author with this id.
    ///
    /// # Errors
    /// As [`Authors::author`](crate::db::Authors::author).
    pub async fn get(&self, id: i64) -> Result<Author, Error> {
        logged("authors.get", self.db.author(id)).await
    }

    /// Stores a new author and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, and as
    /// [`Authors::create_author`](crate::db::Authors::create_author).
    pub async fn create(&self, author: &NewAuthor) -> Result<Author, Error> {
        logged("authors.create", async {
            author.validate()?;
            self.db.create_author(author).await
        })
        .await
    }

    /// Removes the author with this id.
    ///
    /// # Errors
    /// As [`Authors::delete_author`](crate::db::Authors::delete_author).
    pub async fn delete(&self, id: i64) -> Result<(), Error> {
        logged("authors.delete", self.db.delete_author(id)).await
    }
}
