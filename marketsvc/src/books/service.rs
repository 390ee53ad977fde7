//! What the market does with books.

use sqlx::sqlite::SqliteConnection;

use super::entity::Book;
use super::model::{BookChange, NewBook};
use crate::calls::logged;
use crate::db::base::Engine;
use crate::error::Error;
use crate::page::Page;
use crate::types::Money;

/// The columns that [`Book`] has. This is a macro because `concat!` accepts only
/// literals, not constants.
macro_rules! columns {
    () => {
        "id, book_name, author_id, price_cents, description, year_of_publication, genre, \
         language, pages"
    };
}

/// Reads, stores, changes and removes books. Its clones share the engine's pool.
#[derive(Clone, Debug)]
pub struct BookService {
    engine: Engine,
}

impl BookService {
    /// Creates a service that reads and writes through `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Returns a page of books, ordered by id. It is empty after the last book.
    ///
    /// # Errors
    /// [`Error::Database`] if the query fails.
    pub async fn list(&self, page: Page) -> Result<Vec<Book>, Error> {
        logged("books.list", async {
            let books = sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM book WHERE id > $1 ORDER BY id LIMIT $2"
            ))
            .bind(page.after)
            .bind(page.limit)
            .fetch_all(self.engine.pool())
            .await?;
            Ok(books)
        })
        .await
    }

    /// Returns the book with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Database`] if the query fails.
    pub async fn get(&self, id: i64) -> Result<Book, Error> {
        logged("books.get", async {
            sqlx::query_as(concat!("SELECT ", columns!(), " FROM book WHERE id = $1"))
                .bind(id)
                .fetch_optional(self.engine.pool())
                .await?
                .ok_or(NO_SUCH_BOOK)
        })
        .await
    }

    /// Stores a new book, in a transaction of its own, and returns it with its id.
    ///
    /// # Errors
    /// As [`Self::create_in`]. In all cases nothing is stored.
    ///
    /// # Cancel safety
    /// The book is either stored or not.
    pub async fn create(&self, book: &NewBook) -> Result<Book, Error> {
        logged("books.create", async {
            let price = book.validate()?;
            let mut transaction = self.engine.begin().await?;
            let book = insert(&mut transaction, book, price).await?;
            transaction.commit().await?;
            Ok(book)
        })
        .await
    }

    /// Stores a new book in the transaction of the caller, and returns it with its id.
    /// The book lasts only if the caller commits.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, [`Error::Conflict`] if
    /// another book has the name, [`Error::Database`] if the database fails.
    pub async fn create_in(
        &self,
        transaction: &mut SqliteConnection,
        book: &NewBook,
    ) -> Result<Book, Error> {
        logged("books.create", async {
            let price = book.validate()?;
            insert(transaction, book, price).await
        })
        .await
    }

    /// Gives the book with this id new values, all of them, and returns it.
    ///
    /// # Errors
    /// As [`Self::create`], and [`Error::NotFound`] if there is no such book. In all
    /// cases nothing is changed.
    ///
    /// # Cancel safety
    /// The book is changed wholly or not at all.
    pub async fn replace(&self, id: i64, book: &NewBook) -> Result<Book, Error> {
        logged("books.replace", async {
            let price = book.validate()?;
            let mut transaction = self.engine.begin().await?;
            let book = store(&mut transaction, id, book, price).await?;
            transaction.commit().await?;
            Ok(book)
        })
        .await
    }

    /// Gives the book with this id the values that `change` holds, and returns it. The
    /// book is read and written in one transaction, so that two changes of different
    /// fields at the same time both last.
    ///
    /// # Errors
    /// As [`Self::replace`].
    ///
    /// # Cancel safety
    /// The book is changed wholly or not at all.
    pub async fn update(&self, id: i64, change: BookChange) -> Result<Book, Error> {
        logged("books.update", async {
            let mut transaction = self.engine.begin().await?;
            let book = sqlx::query_as(concat!("SELECT ", columns!(), " FROM book WHERE id = $1"))
                .bind(id)
                .fetch_optional(&mut *transaction)
                .await?
                .ok_or(NO_SUCH_BOOK)?;
            let book = change.apply(book);
            let price = book.validate()?;
            let book = store(&mut transaction, id, &book, price).await?;
            transaction.commit().await?;
            Ok(book)
        })
        .await
    }

    /// Removes the book with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Database`] if the database fails.
    ///
    /// # Cancel safety
    /// The book is either removed or not.
    pub async fn delete(&self, id: i64) -> Result<(), Error> {
        logged("books.delete", async {
            let removed = sqlx::query("DELETE FROM book WHERE id = $1")
                .bind(id)
                .execute(self.engine.pool())
                .await?;
            match removed.rows_affected() {
                0 => Err(NO_SUCH_BOOK),
                _ => Ok(()),
            }
        })
        .await
    }
}

const NO_SUCH_BOOK: Error = Error::NotFound("there is no such book");

/// Adds the row of a new book.
async fn insert(
    transaction: &mut SqliteConnection,
    book: &NewBook,
    price: Money,
) -> Result<Book, Error> {
    sqlx::query_as(concat!(
        "INSERT INTO book (book_name, author_id, price_cents, description,
                           year_of_publication, genre, language, pages)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         RETURNING ",
        columns!()
    ))
    .bind(&book.book_name)
    .bind(book.author_id)
    .bind(price)
    .bind(&book.description)
    .bind(book.year_of_publication)
    .bind(&book.genre)
    .bind(&book.language)
    .bind(book.pages)
    .fetch_one(transaction)
    .await
    .map_err(refused)
}

/// Writes all values of the book with this id, and returns it. `price` is the one of
/// `book`, in cents.
async fn store(
    transaction: &mut SqliteConnection,
    id: i64,
    book: &NewBook,
    price: Money,
) -> Result<Book, Error> {
    sqlx::query_as(concat!(
        "UPDATE book
         SET book_name = $2, author_id = $3, price_cents = $4, description = $5,
             year_of_publication = $6, genre = $7, language = $8, pages = $9
         WHERE id = $1
         RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(&book.book_name)
    .bind(book.author_id)
    .bind(price)
    .bind(&book.description)
    .bind(book.year_of_publication)
    .bind(&book.genre)
    .bind(&book.language)
    .bind(book.pages)
    .fetch_optional(transaction)
    .await
    .map_err(refused)?
    .ok_or(NO_SUCH_BOOK)
}

/// Says what a violated constraint means for a book.
fn refused(error: sqlx::Error) -> Error {
    let Some(violated) = error.as_database_error() else {
        return error.into();
    };
    if violated.is_unique_violation() {
        return Error::conflict("book_name", "another book has this name");
    }
    if violated.is_foreign_key_violation() {
        return Error::unprocessable("author_id", "there is no such author");
    }
    error.into()
}
