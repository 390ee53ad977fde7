//! Customers in PostgreSQL.

use async_trait::async_trait;

use super::Postgres;
use crate::db::Customers;
use crate::error::Error;
use crate::page::TextPage;

#[async_trait]
impl Customers for Postgres {
    async fn customers(&self, after: i64, separator: &str) -> Result<TextPage<i64>, Error> {
        // TODO(16.2): read a page of customers as one text
        let _ = (after, separator); // remove this line and the next
        todo!("16.2: read a page of customers as one text")
        // END TODO(16.2)
    }
}
