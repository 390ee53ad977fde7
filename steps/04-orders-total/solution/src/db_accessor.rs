//! One function for each query that the market sends to its database.

use futures::StreamExt;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::db::base::{Engine, Rows};
use crate::error::Error;
use crate::tasks::map_concurrently;
use crate::types::{Customer, Money, NewOrderItem, OrderedItem, OrderedItemOfCustomer, UtcTime};

/// How many queries one request may run at the same time. Each of them needs a
/// connection, and a connection costs file handles and a thread.
pub const MAX_QUERIES_IN_FLIGHT: usize = 10;

/// Returns a stream of all customers, ordered by id.
///
/// # Errors
/// The stream yields [`Error::Database`] if the query fails.
pub fn get_customers(engine: &Engine) -> Rows<Customer> {
    engine
        .stream_query(sqlx::query(
            "SELECT id, name, address_id FROM customer ORDER BY id",
        ))
        // Inside the closure, `?` returns an `Err` as this item of the stream.
        .map(|row| customer(&row?))
        .boxed()
}

fn customer(row: &SqliteRow) -> Result<Customer, Error> {
    Ok(Customer {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        address_id: row.try_get("address_id")?,
    })
}

/// Returns every item that a customer has ordered, the oldest order first. The
/// list is empty if the customer has not ordered anything or does not exist.
///
/// # Errors
/// [`Error::Database`] if the query fails.
pub async fn get_orders_of_customer(
    engine: &Engine,
    customer_id: i64,
) -> Result<Vec<OrderedItem>, Error> {
    let rows = engine
        .execute_query(
            sqlx::query(
                "SELECT item.name, item.description, item.price_cents,
                        item.price_cents * order_items.quantity AS total_cents
                 FROM orders
                 JOIN order_items ON order_items.order_id = orders.id
                 JOIN item ON item.id = order_items.item_id
                 WHERE orders.customer_id = $1
                 ORDER BY orders.id, order_items.rowid",
            )
            .bind(customer_id),
        )
        .await?;
    rows.iter().map(ordered_item).collect()
}

fn ordered_item(row: &SqliteRow) -> Result<OrderedItem, Error> {
    Ok(OrderedItem {
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        price: row.try_get("price_cents")?,
        total: row.try_get("total_cents")?,
    })
}

/// Returns what an order costs. The result is `None` if the order has no items
/// or does not exist: SQL's `SUM` over no rows is `NULL`, not 0.
///
/// # Errors
/// [`Error::Database`] if the query fails.
pub async fn get_total_cost_of_an_order(
    engine: &Engine,
    order_id: i64,
) -> Result<Option<Money>, Error> {
    let rows = engine
        .execute_query(
            sqlx::query(
                "SELECT SUM(item.price_cents * order_items.quantity) AS total_cents
                 FROM order_items
                 JOIN item ON item.id = order_items.item_id
                 WHERE order_items.order_id = $1",
            )
            .bind(order_id),
        )
        .await?;
    // An aggregate query without `GROUP BY` always returns exactly one row.
    let total = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(total.try_get("total_cents")?)
}

/// Returns what each of the orders costs, in the order of the ids. A total is
/// `None` under the same conditions as in [`get_total_cost_of_an_order`].
///
/// One query with `GROUP BY` would do the same. This function runs a query for
/// each order, because step 04 practises groups of tasks.
///
/// # Errors
/// The error of the first query that fails; see [`map_concurrently`]. The other
/// queries are aborted.
pub async fn get_total_cost_of_orders(
    engine: &Engine,
    order_ids: Vec<i64>,
) -> Result<Vec<Option<Money>>, Error> {
    // TODO(04.2): call get_total_cost_of_an_order for each id, through map_concurrently
    map_concurrently(order_ids, MAX_QUERIES_IN_FLIGHT, |order_id| {
        // A spawned task may live longer than this call, so it owns a clone of
        // the engine.
        let engine = engine.clone();
        async move { get_total_cost_of_an_order(&engine, order_id).await }
    })
    .await
    // END TODO(04.2)
}

/// Returns a stream of every item that was ordered between `after` and
/// `before`, both included, with the name of the customer. The stream is empty
/// if `before` is earlier than `after`.
///
/// # Errors
/// The stream yields [`Error::Database`] if the query fails.
pub fn get_orders_between_dates(
    engine: &Engine,
    after: &UtcTime,
    before: &UtcTime,
) -> Rows<OrderedItemOfCustomer> {
    engine
        .stream_query(
            // Both tables have a column `name`. Without `AS`, one would hide
            // the other.
            sqlx::query(
                "SELECT customer.name AS customer, item.name AS name, item.price_cents,
                        item.price_cents * order_items.quantity AS total_cents
                 FROM orders
                 JOIN customer ON customer.id = orders.customer_id
                 JOIN order_items ON order_items.order_id = orders.id
                 JOIN item ON item.id = order_items.item_id
                 WHERE orders.order_time >= $1 AND orders.order_time <= $2
                 ORDER BY orders.order_time, orders.id, order_items.rowid",
            )
            .bind(after.as_str())
            .bind(before.as_str()),
        )
        .map(|row| ordered_item_of_customer(&row?))
        .boxed()
}

fn ordered_item_of_customer(row: &SqliteRow) -> Result<OrderedItemOfCustomer, Error> {
    Ok(OrderedItemOfCustomer {
        customer: row.try_get("customer")?,
        name: row.try_get("name")?,
        price: row.try_get("price_cents")?,
        total: row.try_get("total_cents")?,
    })
}

/// Stores a new order of a customer and returns the order's id.
///
/// # Errors
/// [`Error::Database`] if the database rejects the order or one of its items.
pub async fn add_new_order_for_customer(
    engine: &Engine,
    customer_id: i64,
    items: &[NewOrderItem],
) -> Result<i64, Error> {
    let order_id = engine
        .execute_insert_query(
            // SQLite's `datetime` returns UTC in the format that the database
            // stores.
            sqlx::query(
                "INSERT INTO orders (customer_id, order_time) VALUES ($1, datetime('now'))",
            )
            .bind(customer_id),
        )
        .await?;
    let inserts = items
        .iter()
        .map(|item| {
            sqlx::query("INSERT INTO order_items (order_id, item_id, quantity) VALUES ($1, $2, $3)")
                .bind(order_id)
                .bind(item.id)
                .bind(item.quantity)
        })
        .collect();
    // This is the second transaction. Step 06 shows what can go wrong between
    // the two.
    engine.execute_insert_queries(inserts).await?;
    Ok(order_id)
}
