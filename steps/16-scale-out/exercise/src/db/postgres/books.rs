//! Books in PostgreSQL.

use async_trait::async_trait;
use sqlx_postgres::PgConnection;

use super::{Postgres, authors};
use crate::authors::{Author, NewAuthor};
use crate::books::{Book, BookChange, NewBook};
use crate::catalog::CatalogBook;
use crate::db::statements::{self, bind_book};
use crate::db::{Books, refused};
use crate::error::Error;
use crate::page::Page;
use crate::types::Money;

#[async_trait]
impl Books for Postgres {
    async fn books(&self, page: Page) -> Result<Vec<Book>, Error> {
        let books = |pool| async move {
            sqlx::query_as(statements::BOOKS)
                .bind(page.after)
                .bind(page.limit)
                .fetch_all(&pool)
                .await
        };
        self.servers.read_primary(books).await
    }

    async fn book(&self, id: i64) -> Result<Book, Error> {
        let book = |pool| async move {
            sqlx::query_as(statements::BOOK)
                .bind(id)
                .fetch_optional(&pool)
                .await
        };
        self.servers
            .read_primary(book)
            .await?
            .ok_or(refused::NO_SUCH_BOOK)
    }

    async fn create_book(&self, book: &NewBook, price: Money) -> Result<Book, Error> {
        self.write(|mut transaction| async move {
            let book = insert(&mut transaction, book, price).await;
            (transaction, book)
        })
        .await
    }

    async fn create_author_and_book(
        &self,
        author: &NewAuthor,
        book: &CatalogBook,
    ) -> Result<(Author, Book), Error> {
        self.write(|mut transaction| async move {
            let stored = insert_both(&mut transaction, author, book).await;
            (transaction, stored)
        })
        .await
    }

    async fn replace_book(&self, id: i64, book: &NewBook, price: Money) -> Result<Book, Error> {
        self.write(|mut transaction| async move {
            let book = store(&mut transaction, id, book, price).await;
            (transaction, book)
        })
        .await
    }

    async fn update_book(&self, id: i64, change: &BookChange) -> Result<Book, Error> {
        self.write(|mut transaction| async move {
            let book = update(&mut transaction, id, change).await;
            (transaction, book)
        })
        .await
    }

    async fn delete_book(&self, id: i64) -> Result<(), Error> {
        let removed = self.write(|mut transaction| async move {
            let removed = sqlx::query(statements::DELETE_BOOK)
                .bind(id)
                .execute(&mut *transaction)
                .await;
            (transaction, removed.map_err(Error::from))
        });
        match removed.await?.rows_affected() {
            0 => Err(refused::NO_SUCH_BOOK),
            _ => Ok(()),
        }
    }
}

/// Adds the rows of an author and a first book.
async fn insert_both(
    transaction: &mut PgConnection,
    author: &NewAuthor,
    book: &CatalogBook,
) -> Result<(Author, Book), Error> {
    let author = authors::insert(transaction, author).await?;
    let book = book.by(author.id);
    let price = book.validate()?;
    let book = insert(transaction, &book, price).await?;
    Ok((author, book))
}

/// Reads the book with this id, and writes it with the values that `change` holds. Another
/// change of the book waits for the end of this transaction.
async fn update(
    transaction: &mut PgConnection,
    id: i64,
    change: &BookChange,
) -> Result<Book, Error> {
    let book = sqlx::query_as(statements::BOOK_FOR_UPDATE)
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(refused::NO_SUCH_BOOK)?;
    let book = change.apply(book);
    let price = book.validate()?;
    store(transaction, id, &book, price).await
}

/// Adds the row of a new book. `price` is the one of `book`, in cents.
async fn insert(
    transaction: &mut PgConnection,
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
    transaction: &mut PgConnection,
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
