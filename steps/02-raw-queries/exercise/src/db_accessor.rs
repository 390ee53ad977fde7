//! One function for each query that the market sends to its database.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::db::base::Engine;
use crate::error::Error;
use crate::types::{Customer, Money, NewOrderItem, OrderedItem, OrderedItemOfCustomer, UtcTime};

/// Returns all customers, ordered by id.
///
/// # Errors
/// [`Error::Database`] if the query fails.
pub async fn get_customers(engine: &Engine) -> Result<Vec<Customer>, Error> {
    let rows = engine
        .execute_query(sqlx::query(
            "SELECT id, name, address_id FROM customer ORDER BY id",
        ))
        .await?;
    rows.iter().map(customer).collect()
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
    // TODO(02.4): sum price_cents * quantity over the items of the order
    let _ = (engine, order_id); // remove this line and the next
    todo!("sum price_cents * quantity over the items of the order")
    // END TODO(02.4)
}

/// Returns every item that was ordered between `after` and `before`, both
/// included, with the name of the customer. The list is empty if `before` is
/// earlier than `after`.
///
/// # Errors
/// [`Error::Database`] if the query fails.
pub async fn get_orders_between_dates(
    engine: &Engine,
    after: &UtcTime,
    before: &UtcTime,
) -> Result<Vec<OrderedItemOfCustomer>, Error> {
    let rows = engine
        .execute_query(
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
        .await?;
    rows.iter().map(ordered_item_of_customer).collect()
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
    // TODO(02.5): insert the order, then its items under the order's id
    let _ = (engine, customer_id, items); // remove this line and the next
    todo!("insert the order, then its items under the order's id")
    // END TODO(02.5)
}
