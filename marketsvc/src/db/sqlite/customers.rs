//! Customers in SQLite.

use async_trait::async_trait;

use super::Sqlite;
use crate::db::Customers;
use crate::error::Error;
use crate::page::{PAGE_ROWS, TextPage};

#[async_trait]
impl Customers for Sqlite {
    async fn customers(&self, after: i64, separator: &str) -> Result<TextPage<i64>, Error> {
        // The inner query has a LIMIT, so SQLite runs it as it is, and `group_concat` gets its
        // rows in their order. SQLite plans a statement again whenever a new value is bound to
        // its LIMIT, in case another plan is better for that number. With the `+`, it is an
        // expression, and no statement is planned twice.
        let (rows, last, json) = sqlx::query_as(
            "SELECT count(*), coalesce(max(id), 0), coalesce(group_concat(json, $3), '')
             FROM (
                 SELECT customer.id, json_object(
                     'id', customer.id,
                     'name', customer.name,
                     'address', json_object(
                         'flat_number', address.flat_number,
                         'post_code', address.post_code
                     )
                 ) AS json
                 FROM customer
                 JOIN address ON address.id = customer.address_id
                 WHERE customer.id > $1 ORDER BY customer.id LIMIT +$2
             )",
        )
        .bind(after)
        .bind(PAGE_ROWS)
        .bind(separator)
        .fetch_one(self.engine.pool())
        .await?;
        Ok(TextPage::new(json, rows, PAGE_ROWS, last))
    }
}
