//! One function for each question that the market asks its database.

use std::collections::HashSet;

use futures::StreamExt;
use sqlx::Row;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteRow;

use crate::db::base::{Engine, Rows};
use crate::error::Error;
use crate::tasks::map_concurrently;
use crate::types::{Customer, Money, NewOrderItem, OrderedItem, OrderedItemOfCustomer, UtcTime};

/// The largest quantity of one item. Without a limit, price times quantity could
/// leave the range of an SQLite integer.
pub const MAX_QUANTITY: i64 = 1_000_000;

/// How many queries one request may run at the same time. Each has a
/// connection of its own, and connections cost files and threads.
pub const MAX_QUERIES_IN_FLIGHT: usize = 10;

/// All customers, by id, one at a time.
///
/// # Errors
/// The stream's last item is [`Error::Database`] if the query fails.
pub fn get_customers(engine: &Engine) -> Rows<Customer> {
    engine
        .stream_query(sqlx::query(
            "SELECT id, name, address_id FROM customer ORDER BY id",
        ))
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

/// Every item that a customer has ordered, in the order of ordering. Empty for
/// a customer who has ordered nothing or does not exist.
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

/// What an order costs. `None` for an order that has no items or does not
/// exist: a sum over no rows is `NULL`, which is not the same as 0.
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
    // An aggregate without GROUP BY always gives one row.
    let total = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(total.try_get("total_cents")?)
}

/// What each of the orders costs, in the order asked; `None` as in
/// [`get_total_cost_of_an_order`].
///
/// One query with `GROUP BY` would do; that there is one for each order is what
/// step 04 practises.
///
/// # Errors
/// The first failure, as [`map_concurrently`] defines it. The other queries are
/// aborted.
pub async fn get_total_cost_of_orders(
    engine: &Engine,
    order_ids: Vec<i64>,
) -> Result<Vec<Option<Money>>, Error> {
    map_concurrently(order_ids, MAX_QUERIES_IN_FLIGHT, |order_id| {
        // A spawned task may outlive this call, so it owns its engine.
        let engine = engine.clone();
        async move { get_total_cost_of_an_order(&engine, order_id).await }
    })
    .await
}

/// Every item ordered from `after` to `before`, both included, with the name of
/// the customer, one at a time. Empty if `before` comes first.
///
/// # Errors
/// The stream's last item is [`Error::Database`] if the query fails.
pub fn get_orders_between_dates(
    engine: &Engine,
    after: &UtcTime,
    before: &UtcTime,
) -> Rows<OrderedItemOfCustomer> {
    engine
        .stream_query(
            // Both tables have a column `name`: without `AS` one hides the other.
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

/// Stores a new order of a customer and returns its id.
///
/// # Errors
/// [`Error::Unprocessable`] names the field that cannot be accepted;
/// [`Error::Database`] if the database fails. In both cases nothing is stored.
///
/// # Cancel safety
/// The order is stored whole or not at all.
pub async fn add_new_order_for_customer(
    engine: &Engine,
    customer_id: i64,
    items: &[NewOrderItem],
) -> Result<i64, Error> {
    // TODO(06.2): reject an empty order, a quantity outside 1 to MAX_QUANTITY, and a repeated item
    if items.is_empty() {
        return Err(Error::unprocessable(
            "items",
            "an order must have at least one item",
        ));
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        if !(1..=MAX_QUANTITY).contains(&item.quantity) {
            return Err(Error::unprocessable(
                format!("items[{index}].quantity"),
                "the quantity must be from 1 to 1000000",
            ));
        }
        if !seen.insert(item.id) {
            return Err(Error::unprocessable(
                format!("items[{index}].id"),
                "an item may appear only once in an order",
            ));
        }
    }
    // END TODO(06.2)
    // TODO(06.3): in one transaction, check the customer, insert the order and its items, and commit
    // Every `return` and every `?` below drops the transaction: it rolls back.
    let mut transaction = engine.begin().await?;
    let customer = sqlx::query("SELECT id FROM customer WHERE id = $1")
        .bind(customer_id)
        .fetch_optional(&mut *transaction)
        .await?;
    if customer.is_none() {
        return Err(Error::unprocessable(
            "customer_id",
            "there is no such customer",
        ));
    }
    let order_id =
        // SQLite's `datetime` gives UTC in the form that we store.
        sqlx::query("INSERT INTO orders (customer_id, order_time) VALUES ($1, datetime('now'))")
            .bind(customer_id)
            .execute(&mut *transaction)
            .await?
            .last_insert_rowid();
    for (index, item) in items.iter().enumerate() {
        sqlx::query("INSERT INTO order_items (order_id, item_id, quantity) VALUES ($1, $2, $3)")
            .bind(order_id)
            .bind(item.id)
            .bind(item.quantity)
            .execute(&mut *transaction)
            .await
            .map_err(|error| {
                let unknown = error
                    .as_database_error()
                    .is_some_and(DatabaseError::is_foreign_key_violation);
                if unknown {
                    Error::unprocessable(format!("items[{index}].id"), "there is no such item")
                } else {
                    error.into()
                }
            })?;
    }
    transaction.commit().await?;
    Ok(order_id)
    // END TODO(06.3)
}
