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
        let authors =
            sqlx::query_as("SELECT id, name FROM author WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(page.after)
                .bind(page.limit)
                .fetch_all(self.engine.pool())
                .await?;
        Ok(authors)
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
        author.validate()?;
        let mut transaction = self.engine.begin().await?;
        let author = sqlx::query_as("INSERT INTO author (name) VALUES ($1) RETURNING id, name")
            .bind(&author.name)
            .fetch_one(&mut *transaction)
            .await
            .map_err(refused)?;
        transaction.commit().await?;
        Ok(author)
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
        let removed = sqlx::query("DELETE FROM author WHERE id = $1")
            .bind(id)
            .execute(self.engine.pool())
            .await
            .map_err(refused)?;
        match removed.rows_affected() {
            0 => Err(NO_SUCH_AUTHOR),
            _ => Ok(()),
        }
        // END TODO(09.3)
    }
}

const NO_SUCH_AUTHOR: Error = Error::NotFound("there is no such author");

/// Says what a violated constraint means for an author.
fn refused(error: sqlx::Error) -> Error {
    // TODO(09.3): answer a taken name, and an author who still has books, with a conflict
    let Some(violated) = error.as_database_error() else {
        return error.into();
    };
    if violated.is_unique_violation() {
        return Error::conflict("name", "another author has this name");
    }
    if violated.is_foreign_key_violation() {
        return Error::conflict("id", "there are books by this author");
    }
    error.into()
    // END TODO(09.3)
}
