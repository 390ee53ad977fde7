//! Books in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::{Sqlite, authors};
use crate::authors::{Author, NewAuthor};
use crate::books::{Book, BookChange, NewBook};
use crate::catalog::CatalogBook;
use crate::db::statements::{self, bind_book};
use crate::db::{Books, refused};
use crate::error::Error;
use crate::page::Page;
use crate::types::Money;

#[async_trait]
impl Books for Sqlite {
    async fn books(&self, page: Page) -> Result<Vec<Book>, Error> {
        let books = sqlx::query_as(statements::BOOKS)
            .bind(page.after)
            .bind(page.limit)
            .fetch_all(self.engine.pool())
            .await?;
        Ok(books)
    }

    async fn book(&self, id: i64) -> Result<Book, Error> {
        sqlx::query_as(statements::BOOK)
            .bind(id)
            .fetch_optional(self.engine.pool())
            .await?
            .ok_or(refused::NO_SUCH_BOOK)
    }

    async fn create_book(&self, book: &NewBook, price: Money) -> Result<Book, Error> {
        let mut transaction = self.engine.begin().await?;
        let book = insert(&mut transaction, book, price).await?;
        transaction.commit().await?;
        Ok(book)
    }

    async fn create_author_and_book(
        &self,
        author: &NewAuthor,
        book: &CatalogBook,
    ) -> Result<(Author, Book), Error> {
        let mut transaction = self.engine.begin().await?;
        let author = authors::insert(&mut transaction, author).await?;
        let book = book.by(author.id);
        let price = book.validate()?;
        let book = insert(&mut transaction, &book, price).await?;
        transaction.commit().await?;
        Ok((author, book))
    }

    async fn replace_book(&self, id: i64, book: &NewBook, price: Money) -> Result<Book, Error> {
        let mut transaction = self.engine.begin().await?;
        let book = store(&mut transaction, id, book, price).await?;
        transaction.commit().await?;
        Ok(book)
    }

    async fn update_book(&self, id: i64, change: &BookChange) -> Result<Book, Error> {
        let mut transaction = self.engine.begin().await?;
        let book = sqlx::query_as(statements::BOOK)
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(refused::NO_SUCH_BOOK)?;
        let book = change.apply(book);
        let price = book.validate()?;
        let book = store(&mut transaction, id, &book, price).await?;
        transaction.commit().await?;
        Ok(book)
    }

    async fn delete_book(&self, id: i64) -> Result<(), Error> {
        let mut transaction = self.engine.begin().await?;
        let removed = sqlx::query(statements::DELETE_BOOK)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        match removed.rows_affected() {
            0 => Err(refused::NO_SUCH_BOOK),
            _ => Ok(()),
        }
    }
}

/// Adds the row of a new book. `price` is the one of `book`, in cents.
async fn insert(
    transaction: &mut SqliteConnection,
    book: &NewBook,
    price: Money,
) -> Result<Book, Error> {
    bind_book!(sqlx::query_as(statements::INSERT_BOOK), book, price)
        .fetch_one(transaction)
        .await
        .map_err(refused::book)
}

/// Writes all values of the book with this id, and returns it. `price` is the one of
/// `book`, in cents.
async fn store(
    transaction: &mut SqliteConnection,
    id: i64,
    book: &NewBook,
    price: Money,
) -> Result<Book, Error> {
    let statement = sqlx::query_as(statements::UPDATE_BOOK).bind(id);
    bind_book!(statement, book, price)
        .fetch_optional(transaction)
        .await
        .map_err(refused::book)?
        .ok_or(refused::NO_SUCH_BOOK)
}
