//! Authors in PostgreSQL.

use async_trait::async_trait;
use sqlx_postgres::PgConnection;

use super::Postgres;
use crate::authors::{Author, NewAuthor};
use crate::db::{Authors, refused, statements};
use crate::error::Error;
use crate::page::Page;

/// Authors and books are few, and are read where they are written: on the primary.
#[async_trait]
impl Authors for Postgres {
    async fn authors(&self, page: Page) -> Result<Vec<Author>, Error> {
        let authors = |pool| async move {
            sqlx::query_as(statements::AUTHORS)
                .bind(page.after)
                .bind(page.limit)
                .fetch_all(&pool)
                .await
        };
        self.servers.read_primary(authors).await
    }

    async fn author(&self, id: i64) -> Result<Author, Error> {
        let author = |pool| async move {
            sqlx::query_as(statements::AUTHOR)
                .bind(id)
                .fetch_optional(&pool)
                .await
        };
        self.servers
            .read_primary(author)
            .await?
            .ok_or(refused::NO_SUCH_AUTHOR)
    }

    async fn create_author(&self, author: &NewAuthor) -> Result<Author, Error> {
        self.write(|mut transaction| async move {
            let author = insert(&mut transaction, author).await;
            (transaction, author)
        })
        .await
    }

    async fn delete_author(&self, id: i64) -> Result<(), Error> {
        let removed = self.write(|mut transaction| async move {
            let removed = sqlx::query(statements::DELETE_AUTHOR)
                .bind(id)
                .execute(&mut *transaction)
                .await;
            (transaction, removed.map_err(refused::author))
        });
        match removed.await?.rows_affected() {
            0 => Err(refused::NO_SUCH_AUTHOR),
            _ => Ok(()),
        }
    }
}

/// Adds the row of a new author.
pub(super) async fn insert(
    transaction: &mut PgConnection,
    author: &NewAuthor,
) -> Result<Author, Error> {
    sqlx::query_as(statements::INSERT_AUTHOR)
        .bind(&author.name)
        .fetch_one(transaction)
        .await
        .map_err(refused::author)
}
