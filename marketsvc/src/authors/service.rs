//! What the market does with authors.

use sqlx::sqlite::SqliteConnection;

use super::entity::Author;
use super::model::NewAuthor;
use crate::calls::logged;
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
        logged("authors.list", async {
            let authors =
                sqlx::query_as("SELECT id, name FROM author WHERE id > $1 ORDER BY id LIMIT $2")
                    .bind(page.after)
                    .bind(page.limit)
                    .fetch_all(self.engine.pool())
                    .await?;
            Ok(authors)
        })
        .await
    }

    /// Returns the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Database`] if the query fails.
    pub async fn get(&self, id: i64) -> Result<Author, Error> {
        logged("authors.get", async {
            sqlx::query_as("SELECT id, name FROM author WHERE id = $1")
                .bind(id)
                .fetch_optional(self.engine.pool())
                .await?
                .ok_or(NO_SUCH_AUTHOR)
        })
        .await
    }

    /// Stores a new author, in a transaction of its own, and returns it with its id.
    ///
    /// # Errors
    /// As [`Self::create_in`]. In all cases nothing is stored.
    ///
    /// # Cancel safety
    /// The author is either stored or not.
    pub async fn create(&self, author: &NewAuthor) -> Result<Author, Error> {
        logged("authors.create", async {
            author.validate()?;
            let mut transaction = self.engine.begin().await?;
            let author = insert(&mut transaction, author).await?;
            transaction.commit().await?;
            Ok(author)
        })
        .await
    }

    /// Stores a new author in the transaction of the caller, and returns it with its
    /// id. The author lasts only if the caller commits.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, [`Error::Conflict`] if
    /// another author has the name, [`Error::Database`] if the database fails.
    pub async fn create_in(
        &self,
        transaction: &mut SqliteConnection,
        author: &NewAuthor,
    ) -> Result<Author, Error> {
        logged("authors.create", async {
            author.validate()?;
            insert(transaction, author).await
        })
        .await
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
        logged("authors.delete", async {
            let removed = sqlx::query("DELETE FROM author WHERE id = $1")
                .bind(id)
                .execute(self.engine.pool())
                .await
                .map_err(refused)?;
            match removed.rows_affected() {
                0 => Err(NO_SUCH_AUTHOR),
                _ => Ok(()),
            }
        })
        .await
    }
}

const NO_SUCH_AUTHOR: Error = Error::NotFound("there is no such author");

/// Adds the row of a new author.
async fn insert(transaction: &mut SqliteConnection, author: &NewAuthor) -> Result<Author, Error> {
    sqlx::query_as("INSERT INTO author (name) VALUES ($1) RETURNING id, name")
        .bind(&author.name)
        .fetch_one(transaction)
        .await
        .map_err(refused)
}

/// Says what a violated constraint means for an author.
fn refused(error: sqlx::Error) -> Error {
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
}
