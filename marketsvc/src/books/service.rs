//! What the market does with books.

use super::entity::Book;
use super::model::{BookChange, NewBook};
use crate::authors::{Author, NewAuthor};
use crate::calls::logged;
use crate::catalog::CatalogBook;
use crate::db::Db;
use crate::error::Error;
use crate::page::Page;

/// Reads, stores, changes and removes books. Its clones share the database.
/// [`Database`](crate::db::Database) says what may be stored after an error or a drop.
#[derive(Clone, Debug)]
pub struct BookService {
    db: Db,
}

impl BookService {
    /// Creates a service over `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Returns a page of books, ordered by id. It is empty after the last book.
    ///
    /// # Errors
    /// As [`Books::books`](crate::db::Books::books).
    pub async fn list(&self, page: Page) -> Result<Vec<Book>, Error> {
        logged("books.list", self.db.books(page)).await
    }

    /// Returns the book with this id.
    ///
    /// # Errors
    /// As [`Books::book`](crate::db::Books::book).
    pub async fn get(&self, id: i64) -> Result<Book, Error> {
        logged("books.get", self.db.book(id)).await
    }

    /// Stores a new book and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable, and as
    /// [`Books::create_book`](crate::db::Books::create_book).
    pub async fn create(&self, book: &NewBook) -> Result<Book, Error> {
        logged("books.create", async {
            let price = book.validate()?;
            self.db.create_book(book, price).await
        })
        .await
    }

    /// Stores an author together with a first book, and returns both.
    ///
    /// # Errors
    /// As [`Self::create`]; [`Error::Conflict`] also if another author has the name.
    pub async fn create_with_author(
        &self,
        author: &NewAuthor,
        book: &CatalogBook,
    ) -> Result<(Author, Book), Error> {
        logged("books.create_with_author", async {
            author.validate()?;
            self.db.create_author_and_book(author, book).await
        })
        .await
    }

    /// Gives the book with this id new values, all of them, and returns it.
    ///
    /// # Errors
    /// As [`Self::create`], and [`Error::NotFound`] if there is no such book.
    pub async fn replace(&self, id: i64, book: &NewBook) -> Result<Book, Error> {
        logged("books.replace", async {
            let price = book.validate()?;
            self.db.replace_book(id, book, price).await
        })
        .await
    }

    /// Gives the book with this id the values that `change` holds, and returns it: see
    /// [`Books::update_book`](crate::db::Books::update_book).
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn update(&self, id: i64, change: BookChange) -> Result<Book, Error> {
        logged("books.update", self.db.update_book(id, &change)).await
    }

    /// Removes the book with this id.
    ///
    /// # Errors
    /// As [`Books::delete_book`](crate::db::Books::delete_book).
    pub async fn delete(&self, id: i64) -> Result<(), Error> {
        logged("books.delete", self.db.delete_book(id)).await
    }
}
