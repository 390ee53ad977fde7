//! What the market does with customers.

use std::sync::Arc;

use crate::calls::logged_rows;
use crate::db::{Db, Rows};
use crate::page::pages;

/// Reads customers. Its clones share the database.
#[derive(Clone, Debug)]
pub struct CustomerService {
    db: Db,
}

impl CustomerService {
    /// Creates a service that reads from `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Returns a stream of all customers with their addresses, ordered by id: each item is
    /// the JSON of the customers of a page, with `separator` between them. If there are no
    /// customers, the stream is empty.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`](crate::error::Error::Database) if a query fails.
    pub fn list(&self, separator: &'static str) -> Rows<String> {
        let db = Arc::clone(&self.db);
        let load = move |after| {
            let db = Arc::clone(&db);
            async move { db.customers(after, separator).await }
        };
        // No id is smaller, so the first page starts with the first row.
        logged_rows("customers.list", pages(i64::MIN, load))
    }
}
