//! Customers in PostgreSQL.

use async_trait::async_trait;

use super::Postgres;
use crate::db::Customers;
use crate::error::Error;
use crate::page::{PAGE_ROWS, TextPage};

#[async_trait]
impl Customers for Postgres {
    async fn customers(&self, after: i64, separator: &str) -> Result<TextPage<i64>, Error> {
        let page = |pool| async move {
            sqlx::query_as(
                "SELECT count(*), coalesce(max(id), 0),
                        coalesce(string_agg(json, $3 ORDER BY id), '')
                 FROM (
                     SELECT customer.id, json_build_object(
                         'id', customer.id,
                         'name', customer.name,
                         'address', json_build_object(
                             'flat_number', address.flat_number,
                             'post_code', address.post_code
                         )
                     )::text AS json
                     FROM customer
                     JOIN address ON address.id = customer.address_id
                     WHERE customer.id > $1 ORDER BY customer.id LIMIT $2
                 ) AS page",
            )
            .bind(after)
            .bind(PAGE_ROWS)
            .bind(separator)
            .fetch_one(&pool)
            .await
        };
        let (rows, last, json): (i64, i64, String) =
            self.servers.read(None, |_| true, page).await?;
        Ok(TextPage::new(json, rows, PAGE_ROWS, last))
    }
}
