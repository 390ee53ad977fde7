//! What the market does with customers.

use sqlx::{FromRow, Row};

use super::entity::Customer;
use crate::calls::logged_rows;
use crate::db::base::{Engine, PAGE_ROWS, Rows};

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

    /// Returns a stream of all customers with their addresses, ordered by id.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`] if the query fails.
    pub fn list(&self) -> Rows<Customer> {
        let rows = self.engine.stream_pages(
            // No id is smaller, so the first page starts with the first row.
            i64::MIN,
            |last_id| {
                sqlx::query(
                    "SELECT customer.id, customer.name, address.flat_number, address.post_code
                     FROM customer
                     JOIN address ON address.id = customer.address_id
                     WHERE customer.id > $1 ORDER BY customer.id LIMIT $2",
                )
                .bind(*last_id)
                .bind(PAGE_ROWS)
            },
            |row| Ok((row.try_get("id")?, Customer::from_row(row)?)),
        );
        logged_rows("customers.list", rows)
    }
}
