//! The totals of orders. Those that are asked for at the same time are one statement.
//!
//! A statement costs a trip to the thread of the connection and back, which takes longer
//! than SQLite needs for one total. [`Batcher`] says in which order totals are loaded, what
//! happens when a caller goes away, and how the task ends.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::task::JoinHandle;

use super::engine::Engine;
use crate::batch::{Batch, Batcher, Room};
use crate::db::refused::NO_SUCH_ORDER;
use crate::error::Error;
use crate::types::Money;

/// A batch answers all of its callers at its end, so a longer one would let the first of them
/// wait longer. The queue has more room, since one request may put 100 ids into it.
const ROOM: Room = Room {
    queue: 1024,
    batch: 512,
};

/// Loads totals. Clones share the queue.
pub type Totals = Batcher<LoadTotals>;

/// Starts the task that loads totals. The handle completes when the last [`Totals`] is gone
/// and the connection is closed.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn start(engine: Engine) -> (Totals, JoinHandle<()>) {
    Batcher::start(ROOM, move || LoadTotals {
        engine: engine.clone(),
        connection: None,
    })
}

/// Loads totals through a connection of its own.
#[derive(Debug)]
pub struct LoadTotals {
    engine: Engine,
    /// Opened by the first batch. A batch that fails takes it along, so that the next one
    /// begins with a new connection, whatever state the old one was in.
    connection: Option<SqliteConnection>,
}

/// An id becomes the order's total, which is `None` if the order has no items. An order
/// that does not exist is [`Error::NotFound`], and its neighbours have their totals.
impl Batch for LoadTotals {
    type Input = i64;
    type Output = Option<Money>;

    async fn run(&mut self, ids: &[i64]) -> Result<Vec<Result<Option<Money>, Error>>, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.engine.connect().await?,
        };
        let totals = load(&mut connection, ids).await?;
        self.connection = Some(connection);
        Ok(totals)
    }

    async fn end(self) {
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(?error, "the connection of the totals was not closed");
        }
    }
}

/// Loads the totals of the orders with these ids, in the order of the ids.
///
/// # Errors
/// [`Error::Database`] if a statement fails, [`Error::Json`] if the ids or the totals are not
/// JSON.
async fn load(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> Result<Vec<Result<Option<Money>, Error>>, Error> {
    let totals = sqlx::query_scalar!(
        r#"SELECT json_group_array(json_array(
                      EXISTS (SELECT 1 FROM orders WHERE orders.id = asked.value),
                      (SELECT SUM(item.price_cents * order_items.quantity)
                       FROM order_items
                       JOIN item ON item.id = order_items.item_id
                       WHERE order_items.order_id = asked.value)
                  ) ORDER BY asked.key) AS "totals!: String"
           FROM json_each($1) AS asked"#,
        serde_json::to_string(ids)?
    )
    .fetch_one(connection)
    .await?;
    // `[1,3000]`: what an order costs, in cents; `[1,null]`: it has no items; `[0,null]`:
    // there is no such order.
    let totals: Vec<(i64, Option<i64>)> = serde_json::from_str(&totals)?;
    let total = |(orders, cents): (i64, Option<i64>)| match orders {
        0 => Err(NO_SUCH_ORDER),
        _ => Ok(cents.map(Money)),
    };
    Ok(totals.into_iter().map(total).collect())
}
