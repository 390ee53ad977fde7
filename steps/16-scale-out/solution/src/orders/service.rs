//! What the market does with orders.

use std::collections::HashSet;
use std::sync::Arc;

use super::headers::Position;
use super::model::{KeyedOrder, NewOrder, Placed};
use crate::calls::{logged, logged_rows};
use crate::db::{Db, Rows};
use crate::error::Error;
use crate::page::pages;
use crate::tasks::map_concurrently;
use crate::types::{Money, UtcTime};

/// The largest quantity of one item. Without this limit, price times quantity
/// could overflow the database's 64-bit integers.
pub const MAX_QUANTITY: i64 = 1_000_000;

/// How many tasks of one request load totals at the same time.
pub const MAX_TASKS: usize = 100;

/// Reads and places orders. Its clones share the database. A client that has seen the
/// database at a position (`seen`) gets nothing older.
#[derive(Clone, Debug)]
pub struct OrderService {
    db: Db,
}

impl OrderService {
    /// Creates a service over `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Returns a stream of a customer's orders with their items, ordered by id: each item is
    /// the JSON of the orders of a page, with `separator` between them. The stream is empty
    /// if the customer has not ordered anything.
    ///
    /// # Errors
    /// The stream yields [`Error::NotFound`] if there is no such customer, and
    /// [`Error::Database`] if a query fails.
    pub fn list_of_customer(
        &self,
        customer_id: i64,
        separator: &'static str,
        seen: Option<Position>,
    ) -> Rows<String> {
        let db = Arc::clone(&self.db);
        let load = move |after| {
            let db = Arc::clone(&db);
            async move {
                db.orders_of_customer(customer_id, after, separator, seen)
                    .await
            }
        };
        // No id is smaller, so the first page starts with the first order.
        logged_rows("orders.list_of_customer", pages(i64::MIN, load))
    }

    /// Returns what an order costs. The result is `None` if the order has no items:
    /// SQL's `SUM` over nothing but `NULL` is `NULL`, not 0.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such order, [`Error::Shared`] if the statement of
    /// its batch fails, [`Error::BatchLost`] if its batch panics.
    pub async fn total(
        &self,
        order_id: i64,
        seen: Option<Position>,
    ) -> Result<Option<Money>, Error> {
        logged("orders.total", self.db.order_total(order_id, seen)).await
    }

    /// Returns what each of the orders costs, in the order of the ids. A total is
    /// `None` if the order has no items or does not exist.
    ///
    /// # Errors
    /// [`Error::Shared`] if the statement of a batch fails, [`Error::BatchLost`] if a batch
    /// panics.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks that load the totals.
    pub async fn totals(
        &self,
        order_ids: Vec<i64>,
        seen: Option<Position>,
    ) -> Result<Vec<Option<Money>>, Error> {
        let load = |id| {
            let db = Arc::clone(&self.db);
            async move {
                match db.order_total(id, seen).await {
                    Err(Error::NotFound(_)) => Ok(None),
                    total => total,
                }
            }
        };
        logged(
            "orders.totals",
            map_concurrently(order_ids, MAX_TASKS, load),
        )
        .await
    }

    /// Returns a stream of every item that was ordered between `after` and `before`, both
    /// included, with the name of the customer: each item of the stream is the JSON of a
    /// page, with `separator` between the rows. The stream is empty if `before` is earlier
    /// than `after`.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`] if a query fails.
    pub fn list_between(
        &self,
        after: &UtcTime,
        before: UtcTime,
        separator: &'static str,
        seen: Option<Position>,
    ) -> Rows<String> {
        let db = Arc::clone(&self.db);
        let before = Arc::new(before);
        let load = move |after| {
            let (db, before) = (Arc::clone(&db), Arc::clone(&before));
            async move { db.lines_between(after, &before, separator, seen).await }
        };
        let first = (after.as_str().to_owned(), i64::MIN, i64::MIN);
        logged_rows("orders.list_between", pages(first, load))
    }

    /// Stores a new order of a customer and returns the order's id. If `key` is that of an
    /// order that is stored already, that one is returned.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable; it names the field, and nothing
    /// is stored. Others as [`Database`](crate::db::Database) says: after some of them, the
    /// order may be stored.
    ///
    /// # Cancel safety
    /// The order is stored completely or not at all, perhaps after the drop.
    pub async fn place(&self, order: NewOrder, key: Option<String>) -> Result<Placed, Error> {
        logged("orders.place", async {
            if order.items.is_empty() {
                return Err(Error::unprocessable(
                    "items",
                    "an order must have at least one item",
                ));
            }
            let mut ids = HashSet::new();
            for (index, item) in order.items.iter().enumerate() {
                if !(1..=MAX_QUANTITY).contains(&item.quantity) {
                    return Err(Error::unprocessable(
                        format!("items[{index}].quantity"),
                        "the quantity must be from 1 to 1000000",
                    ));
                }
                if !ids.insert(item.id) {
                    return Err(Error::unprocessable(
                        format!("items[{index}].id"),
                        "an item may appear only once in an order",
                    ));
                }
            }
            self.db.place_order(KeyedOrder { order, key }).await
        })
        .await
    }
}
