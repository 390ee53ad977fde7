//! What the market does with customers.

use async_stream::try_stream;

use crate::calls::logged_rows;
use crate::db::base::{Engine, PAGE_ROWS, Rows};
use crate::error::Error;

/// Reads customers. Its clones share the engine's pool.
#[derive(Clone, Debug)]
pub struct CustomerService {
    engine: Engine,
}

impl CustomerService {
    /// Creates a service that reads through `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Returns a stream of all customers with their addresses, ordered by id: each item is
    /// the JSON of the customers of a page, with `separator` between them. If there are no
    /// customers, the stream is empty.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`] if a query fails.
    pub fn list(&self, separator: &'static str) -> Rows<String> {
        let engine = self.engine.clone();
        let pages = Box::pin(try_stream! {
            // No id is smaller, so the first page starts with the first row.
            let mut last_id = i64::MIN;
            loop {
                let (last, page) = page(&engine, last_id, separator).await?;
                if page.is_empty() {
                    break;
                }
                last_id = last;
                yield page;
            }
        });
        logged_rows("customers.list", pages)
    }
}

/// Reads a page of customers whose ids are greater than `after`. Returns the last id, and
/// the JSON of all of them with `separator` between them; an empty text if there are none.
async fn page(engine: &Engine, after: i64, separator: &str) -> Result<(i64, String), Error> {
    // TODO(15.5): let SQLite write the JSON of the page, so that it is one row
    // The inner query has a LIMIT, so SQLite runs it as it is, and `group_concat` gets its
    // rows in their order.
    let page: (i64, String) = sqlx::query_as(
        "SELECT coalesce(max(id), 0), coalesce(group_concat(json, $3), '')
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
    .fetch_one(engine.pool())
    .await?;
    Ok(page)
    // END TODO(15.5)
}
