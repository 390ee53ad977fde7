//! Placing orders. Those that wait together are committed together (*group commit*).
//!
//! A commit is not over before the disk has the data: SQLite waits for it (`fsync`), for
//! some tenths of a millisecond or for several milliseconds. A transaction for each order
//! pays this for each order, and only one can run at a time. Here one connection does all
//! the placing, and a transaction holds what has come while the one before it was committed.
//!
//! **Acknowledged means stored.** A client gets its id after the commit of its batch. With
//! `synchronous = FULL`, the disk has the order then, and not even a power failure loses it.
//!
//! **Neighbours.** Two statements write all orders of a batch. If one of the two fails, what
//! they have written is undone, and the orders are written again, one by one, each with a
//! savepoint: an order that is refused is rolled back to its savepoint and leaves nothing,
//! and the others are stored.
//!
//! **Failure.** If the batch fails as a whole, each of its clients gets the error. Usually
//! none of its orders is stored then. There are two exceptions: the disk failed during the
//! commit, or the database file is not in its place any more ([`Error::FileGone`]). The
//! second is noticed only after the commit, which went to the file that was removed.
//!
//! **Repeated orders.** The key of an order is unique in the database, so the two statements
//! fail if the key of an order is stored already. When the orders are written one by one, the
//! stored order is found by its key, and the client gets its id.
//!
//! [`Batcher`] says in which order orders are placed, what happens when a client goes away
//! (its order is stored completely or not at all), what a panic does, and how the task ends.

use std::ops::RangeInclusive;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};
use tokio::task::JoinHandle;

use super::engine::Engine;
use crate::batch::{Batch, Batcher, Room};
use crate::db::refused;
use crate::error::Error;
use crate::orders::{KeyedOrder, NewOrder};

/// By default, all requests that run at the same time fit into one batch.
const ROOM: Room = Room {
    queue: 512,
    batch: 512,
};

/// Places orders. Clones share the queue.
pub type Writer = Batcher<WriteOrders>;

/// Starts the task that places orders. The handle completes when the last [`Writer`] is
/// gone and the connection is closed.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn start(engine: Engine) -> (Writer, JoinHandle<()>) {
    Batcher::start(ROOM, move || WriteOrders {
        engine: engine.clone(),
        connection: None,
    })
}

/// Stores new orders through a connection of its own.
#[derive(Debug)]
pub struct WriteOrders {
    engine: Engine,
    /// Opened by the first batch. A batch that fails takes it along, so that the next one
    /// begins with a new connection, whatever state the old one was in.
    connection: Option<SqliteConnection>,
}

/// An order becomes its id, when it is stored. After an error of the whole batch, its orders
/// may be stored: see **Failure** above.
impl Batch for WriteOrders {
    type Input = KeyedOrder;
    type Output = i64;

    async fn run(&mut self, orders: &[KeyedOrder]) -> Result<Vec<Result<i64, Error>>, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.engine.connect().await?,
        };
        let ids = store(&mut connection, orders).await?;
        self.engine.ensure_in_place()?;
        self.connection = Some(connection);
        Ok(ids)
    }

    async fn end(self) {
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(?error, "the connection of the writer was not closed");
        }
    }
}

/// Stores orders in one transaction. Returns the id of each, or why it was refused. Whatever
/// the error of the two statements was, the orders are tried one by one: if it was not about
/// an order, such as a full disk, it occurs again.
///
/// # Errors
/// [`Error::Database`] if the transaction fails; then no order is stored, unless the disk
/// failed during the commit.
///
/// # Cancel safety
/// Dropping the future stores nothing, unless the commit has begun.
pub async fn store(
    connection: &mut SqliteConnection,
    orders: &[KeyedOrder],
) -> Result<Vec<Result<i64, Error>>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // A transaction within a transaction is a savepoint.
    let mut savepoint = transaction.begin().await?;
    let ids = if let Ok(ids) = insert_all(&mut savepoint, orders).await {
        savepoint.commit().await?;
        ids.map(Ok).collect()
    } else {
        // SQLite does not say which order was refused.
        savepoint.rollback().await?;
        insert_each(&mut transaction, orders).await?
    };
    transaction.commit().await?;
    Ok(ids)
}

/// Writes all orders with two statements, and returns their ids. What it has written before
/// an error is not undone.
///
/// # Errors
/// [`Error::Database`] if the database refuses one of the orders, or fails.
pub async fn insert_all(
    transaction: &mut Transaction<'_, Sqlite>,
    orders: &[KeyedOrder],
) -> Result<RangeInclusive<i64>, Error> {
    let new = serde_json::to_string(orders)?;
    // The ids follow one another, so the last one tells them all.
    let last = sqlx::query(
        "INSERT INTO orders (id, customer_id, order_time, idempotency_key)
         SELECT (SELECT coalesce(max(id), 0) FROM orders) + 1 + key,
                value ->> 'customer_id', datetime('now'), value ->> 'key'
         FROM json_each($1) ORDER BY key",
    )
    .bind(&new)
    .execute(&mut **transaction)
    .await?
    .last_insert_rowid();
    let count = i64::try_from(orders.len()).unwrap_or(i64::MAX);
    let first = last - count + 1;
    sqlx::query(
        "INSERT INTO order_items (order_id, item_id, quantity)
         SELECT $1 + new.key, item.value ->> 'id', item.value ->> 'quantity'
         FROM json_each($2) AS new, json_each(new.value, '$.items') AS item
         ORDER BY new.key, item.key",
    )
    .bind(first)
    .bind(&new)
    .execute(&mut **transaction)
    .await?;
    Ok(first..=last)
}

/// Writes the orders one after another, and undoes what a refused order has written.
///
/// # Errors
/// [`Error::Database`] if the transaction fails.
pub async fn insert_each(
    transaction: &mut Transaction<'_, Sqlite>,
    orders: &[KeyedOrder],
) -> Result<Vec<Result<i64, Error>>, Error> {
    let mut ids = Vec::with_capacity(orders.len());
    for order in orders {
        let mut savepoint = transaction.begin().await?;
        let id = insert(&mut savepoint, order).await;
        match id {
            Ok(_) => savepoint.commit().await?,
            Err(_) => savepoint.rollback().await?,
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Writes one order and its items. What it has written before an error is not undone.
///
/// # Errors
/// [`Error::Unprocessable`] if the customer or an item does not exist, or if another order
/// has its key; [`Error::Database`] if the database fails.
async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    KeyedOrder { order, key }: &KeyedOrder,
) -> Result<i64, Error> {
    if let Some(key) = key
        && let Some((id, stored)) = find(transaction, key).await?
    {
        return if stored == *order {
            Ok(id)
        } else {
            Err(refused::key_taken())
        };
    }
    let unknown = |error: sqlx::Error, refused: Error| {
        let is_unknown = error
            .as_database_error()
            .is_some_and(DatabaseError::is_foreign_key_violation);
        if is_unknown { refused } else { error.into() }
    };
    // SQLite's `datetime` returns UTC in the format that the database stores.
    let inserted = sqlx::query(
        "INSERT INTO orders (customer_id, order_time, idempotency_key)
         VALUES ($1, datetime('now'), $2)",
    )
    .bind(order.customer_id)
    .bind(key)
    .execute(&mut **transaction)
    .await;
    let id = inserted
        .map_err(|error| unknown(error, refused::unknown_customer()))?
        .last_insert_rowid();
    let list = serde_json::to_string(&order.items)?;
    let inserted = sqlx::query(
        "INSERT INTO order_items (order_id, item_id, quantity)
         SELECT $1, value ->> 'id', value ->> 'quantity' FROM json_each($2) ORDER BY key",
    )
    .bind(id)
    .bind(&list)
    .execute(&mut **transaction)
    .await;
    if let Err(error) = inserted {
        // SQLite does not say which item was missing, so look for it.
        let index: Option<i64> = sqlx::query_scalar(
            "SELECT key FROM json_each($1)
             WHERE value ->> 'id' NOT IN (SELECT id FROM item) ORDER BY key LIMIT 1",
        )
        .bind(&list)
        .fetch_optional(&mut **transaction)
        .await?;
        let refused = refused::unknown_item(index.unwrap_or_default());
        return Err(unknown(error, refused));
    }
    Ok(id)
}

/// Returns the order with this key and its id, if there is one.
///
/// # Errors
/// [`Error::Database`] if the database fails, [`Error::Json`] if its JSON is not an order.
pub async fn find(
    transaction: &mut Transaction<'_, Sqlite>,
    key: &str,
) -> Result<Option<(i64, NewOrder)>, Error> {
    let found: Option<(i64, String)> = sqlx::query_as(
        "SELECT id, json_object(
             'customer_id', customer_id,
             'items', (
                 SELECT json_group_array(
                     json_object('id', item_id, 'quantity', quantity) ORDER BY rowid
                 )
                 FROM order_items WHERE order_id = orders.id
             )
         )
         FROM orders WHERE idempotency_key = $1",
    )
    .bind(key)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some((id, order)) = found else {
        return Ok(None);
    };
    Ok(Some((id, serde_json::from_str(&order)?)))
}
