//! What the market does with authors.

use super::entity::Author;
use super::model::NewAuthor;
use crate::db::base::Engine;
use crate::error::Error;
use crate::page::Page;

/// Reads, stores and removes authors. Its clones share the engine's pool.
#[derive(Clone, Debug)]
pub struct AuthorService {
    engine: Engine,
}

impl AuthorService {
    /// Creates a service that reads and writes through `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Returns a page of authors, ordered by id. It is empty after the last author.
    ///
    /// # Errors
    /// [`Error::Database`] if the query fails.
    pub async fn list(&self, page: Page) -> Result<Vec<Author>, Error> {
        // TODO(09.4): read the authors after `page.after`, at most `page.limit` of them
        let _ = (&self.engine, page); // remove this line and the next
        todo!("read the authors after `page.after`, at most `page.limit` of them")
        // END TODO(09.4)
    }

    /// Returns the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Database`] if the query fails.
    pub async fn get(&self, id: i64) -> Result<Author, Error> {
        sqlx::query_as("SELECT id, name FROM author WHERE id = $1")
            .bind(id)
            .fetch_optional(self.engine.pool())
            .await?
            .ok_or(NO_SUCH_AUTHOR)
    }

    /// Stores a new author and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, [`Error::Conflict`] if
    /// another author has the name, [`Error::Database`] if the database fails. In all
    /// cases nothing is stored.
    ///
    /// # Cancel safety
    /// The author is either stored or not.
    pub async fn create(&self, author: &NewAuthor) -> Result<Author, Error> {
        // TODO(09.3): check the author, then insert it in a transaction
        let _ = (&self.engine, author, refused); // remove this line and the next
        todo!("check the author, then insert it in a transaction")
        // END TODO(09.3)
    }

    /// Removes the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Conflict`] if a book is by this
    /// author, [`Error::Database`] if the database fails. In all cases nothing is
    /// removed.
    ///
    /// # Cancel safety
    /// The author is either removed or not.
    pub async fn delete(&self, id: i64) -> Result<(), Error> {
        // TODO(09.3): remove the author, and notice when there was none
        let _ = (&self.engine, id); // remove this line and the next
        todo!("remove the author, and notice when there was none")
        // END TODO(09.3)
    }
}

const NO_SUCH_AUTHOR: Error = Error::NotFound("there is no such author");

/// Says what a violated constraint means for an author.
fn refused(error: sqlx::Error) -> Error {
    // TODO(09.3): answer a taken name, and an author who still has books, with a conflict
    error.into()
    // END TODO(09.3)
}
