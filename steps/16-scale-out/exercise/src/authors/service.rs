//! What the market does with authors.

use super::entity::Author;
use super::model::NewAuthor;
use crate::calls::logged;
use crate::db::Db;
use crate::error::Error;
use crate::page::Page;

/// Reads, stores and removes authors. Its clones share the database.
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
    /// [`Error::Database`] if the query fails.
    pub async fn list(&self, page: Page) -> Result<Vec<Author>, Error> {
        logged("authors.list", self.db.authors(page)).await
    }

    /// Returns the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Database`] if the query fails.
    pub async fn get(&self, id: i64) -> Result<Author, Error> {
        logged("authors.get", self.db.author(id)).await
    }

    /// Stores a new author and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, [`Error::Conflict`] if
    /// another author has the name, [`Error::Database`] if the database fails. In these cases
    /// nothing is stored. [`Error::OutcomeUnknown`] as [`crate::db::Database`] says.
    ///
    /// # Cancel safety
    /// The author is either stored or not.
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
    /// [`Error::NotFound`] if there is none, [`Error::Conflict`] if a book is by this
    /// author, [`Error::Database`] if the database fails. In these cases nothing is
    /// removed. [`Error::OutcomeUnknown`] as [`crate::db::Database`] says.
    ///
    /// # Cancel safety
    /// The author is either removed or not.
    pub async fn delete(&self, id: i64) -> Result<(), Error> {
        logged("authors.delete", self.db.delete_author(id)).await
    }
}
