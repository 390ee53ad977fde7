//! The totals of orders. Those that are asked for at the same time are one statement.
//!
//! A statement costs a trip to the thread of the connection and back, which takes longer
//! than SQLite needs for one total. [`Batcher`] says in which order totals are loaded, what
//! happens when a caller goes away, and how the task ends.

use std::collections::HashMap;

use crate::batch::{Batch, Batcher, Room};
use crate::db::base::Engine;
use crate::error::Error;
use crate::types::Money;

/// A batch takes what waits. More than this would make the first one wait for the last.
const ROOM: Room = Room {
    queue: 1024,
    batch: 512,
};

/// Loads totals. Clones share the queue.
pub type Totals = Batcher<LoadTotals>;

/// Starts the task that loads totals through `engine`.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn start(engine: Engine) -> Totals {
    let make = move || LoadTotals {
        engine: engine.clone(),
    };
    Batcher::start(ROOM, make).0
}

/// Loads the totals of the orders with these ids.
#[derive(Debug)]
pub struct LoadTotals {
    engine: Engine,
}

/// An id becomes the order's total, which is `None` if the order has no items. An order
/// that does not exist is [`Error::NotFound`], and its neighbours have their totals.
impl Batch for LoadTotals {
    type Input = i64;
    type Output = Option<Money>;

    async fn run(&mut self, ids: &[i64]) -> Result<Vec<Result<Option<Money>, Error>>, Error> {
        // `query_as!` fills this struct; it compares the fields with the columns.
        struct OrderTotal {
            id: i64,
            total: Option<Money>,
        }
        let rows = sqlx::query_as!(
            OrderTotal,
            r#"SELECT orders.id AS "id!",
                      SUM(item.price_cents * order_items.quantity) AS "total: Money"
               FROM orders
               LEFT JOIN order_items ON order_items.order_id = orders.id
               LEFT JOIN item ON item.id = order_items.item_id
               WHERE orders.id IN (SELECT value FROM json_each($1))
               GROUP BY orders.id"#,
            serde_json::to_string(ids)?
        )
        .fetch_all(self.engine.pool())
        .await?;
        let totals: HashMap<i64, Option<Money>> =
            rows.into_iter().map(|row| (row.id, row.total)).collect();
        let total = |id| totals.get(id).copied().ok_or(UNKNOWN);
        Ok(ids.iter().map(total).collect())
    }
}

const UNKNOWN: Error = Error::NotFound("there is no such order");
