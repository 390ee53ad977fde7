//! Authors in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::authors::{Author, NewAuthor};
use crate::db::{Authors, refused, statements};
use crate::error::Error;
use crate::page::Page;

#[async_trait]
impl Authors for Sqlite {
    async fn authors(&self, page: Page) -> Result<Vec<Author>, Error> {
        let authors = sqlx::query_as(statements::AUTHORS)
            .bind(page.after)
            .bind(page.limit)
            .fetch_all(self.engine.pool())
            .await?;
        Ok(authors)
    }

    async fn author(&self, id: i64) -> Result<Author, Error> {
        sqlx::query_as(statements::AUTHOR)
            .bind(id)
            .fetch_optional(self.engine.pool())
            .await?
            .ok_or(refused::NO_SUCH_AUTHOR)
    }

    async fn create_author(&self, author: &NewAuthor) -> Result<Author, Error> {
        let mut transaction = self.engine.begin().await?;
        let author = insert(&mut transaction, author).await?;
        transaction.commit().await?;
        Ok(author)
    }

    async fn delete_author(&self, id: i64) -> Result<(), Error> {
        let mut transaction = self.engine.begin().await?;
        let removed = sqlx::query(statements::DELETE_AUTHOR)
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(refused::author)?;
        transaction.commit().await?;
        match removed.rows_affected() {
            0 => Err(refused::NO_SUCH_AUTHOR),
            _ => Ok(()),
        }
    }
}

/// Adds the row of a new author.
pub(super) async fn insert(
    transaction: &mut SqliteConnection,
    author: &NewAuthor,
) -> Result<Author, Error> {
    sqlx::query_as(statements::INSERT_AUTHOR)
        .bind(&author.name)
        .fetch_one(transaction)
        .await
        .map_err(refused::author)
}
