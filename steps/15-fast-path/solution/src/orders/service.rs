//! What the market does with orders.

use std::collections::HashSet;

use async_stream::try_stream;
use serde_json::json;
use sqlx::FromRow;

use super::model::NewOrder;
use super::totals::Totals;
use super::writer::Writer;
use crate::calls::{logged, logged_rows};
use crate::db::base::{Engine, PAGE_ROWS, Rows};
use crate::error::Error;
use crate::tasks::map_concurrently;
use crate::types::{Money, UtcTime};

/// The largest quantity of one item. Without this limit, price times quantity
/// could overflow SQLite's 64-bit integers.
pub const MAX_QUANTITY: i64 = 1_000_000;

/// The cost of one order line in cents, as SQL. This is a macro because `concat!` accepts
/// only literals, not constants.
macro_rules! item_total {
    () => {
        "item.price_cents * order_items.quantity"
    };
}

/// The most orders in a page of a customer's orders. Each of them has at most as many items
/// as fit into the body of a request, so a page has less than 10 MB.
const ORDERS_OF_PAGE: i64 = 50;

/// How many tasks of one request load totals at the same time.
pub const MAX_TASKS: usize = 100;

/// Reads and places orders. Its clones share the engine's pool and the queues.
#[derive(Clone, Debug)]
pub struct OrderService {
    engine: Engine,
    totals: Totals,
    writer: Writer,
}

impl OrderService {
    /// Creates a service that reads through `engine` and `totals`, and places orders with
    /// `writer`.
    pub fn new(engine: Engine, totals: Totals, writer: Writer) -> Self {
        Self {
            engine,
            totals,
            writer,
        }
    }

    /// Returns a stream of a customer's orders with their items, ordered by id: each item is
    /// the JSON of the orders of a page, with `separator` between them. The stream is empty
    /// if the customer has not ordered anything.
    ///
    /// # Errors
    /// The stream yields [`Error::NotFound`] if there is no such customer, and
    /// [`Error::Database`] if a query fails.
    pub fn list_of_customer(&self, customer_id: i64, separator: &'static str) -> Rows<String> {
        let engine = self.engine.clone();
        let pages = Box::pin(try_stream! {
            // No id is smaller, so the first page starts with the first order.
            let mut last_id = i64::MIN;
            loop {
                let page = page_of_customer(&engine, customer_id, last_id, separator).await?;
                if !page.customer_exists {
                    Err(Error::NotFound("there is no such customer"))?;
                }
                if page.orders > 0 {
                    yield page.json;
                }
                if page.orders < ORDERS_OF_PAGE {
                    break;
                }
                last_id = page.last_id;
            }
        });
        logged_rows("orders.list_of_customer", pages)
    }

    /// Returns what an order costs. The result is `None` if the order has no items:
    /// SQL's `SUM` over nothing but `NULL` is `NULL`, not 0.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such order, [`Error::Shared`] if the statement of
    /// its batch fails.
    pub async fn total(&self, order_id: i64) -> Result<Option<Money>, Error> {
        logged("orders.total", self.totals.submit(order_id)).await
    }

    /// Returns what each of the orders costs, in the order of the ids. A total is
    /// `None` if the order has no items or does not exist.
    ///
    /// # Errors
    /// [`Error::Shared`] if the statement of a batch fails.
    pub async fn totals(&self, order_ids: Vec<i64>) -> Result<Vec<Option<Money>>, Error> {
        // TODO(15.3): load all totals at the same time, so that they are one batch; an unknown order is `None`
        let load = |id| {
            let totals = self.totals.clone();
            async move {
                match totals.submit(id).await {
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
        // END TODO(15.3)
    }

    /// Returns a stream of every item that was ordered between `after` and `before`, both
    /// included, with the name of the customer: each item of the stream is the JSON of a page,
    /// with `separator` between two lines. The stream is empty if `before` is earlier than
    /// `after`.
    ///
    /// # Errors
    /// The stream yields [`Error::Database`] if a query fails.
    pub fn list_between(
        &self,
        after: &UtcTime,
        before: &UtcTime,
        separator: &'static str,
    ) -> Rows<String> {
        let engine = self.engine.clone();
        let before = before.as_str().to_owned();
        // No id and no rowid is smaller.
        let mut last = json!([after.as_str(), i64::MIN, i64::MIN]).to_string();
        let pages = Box::pin(try_stream! {
            while let Some((key, page)) = page_between(&engine, &last, &before, separator).await? {
                last = key;
                yield page;
            }
        });
        logged_rows("orders.list_between", pages)
    }

    /// Stores a new order of a customer and returns the order's id.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable; it names the field.
    /// [`Error::Shared`] if the transaction of its batch fails. In both cases nothing is
    /// stored.
    ///
    /// # Cancel safety
    /// The order is either stored completely or not at all.
    pub async fn place(&self, order: NewOrder) -> Result<i64, Error> {
        logged("orders.place", async {
            if order.items.is_empty() {
                return Err(Error::unprocessable(
                    "items",
                    "an order must have at least one item",
                ));
            }
            let mut seen = HashSet::new();
            for (index, item) in order.items.iter().enumerate() {
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
            self.writer.submit(order).await
        })
        .await
    }
}

/// A page of a customer's orders.
#[derive(FromRow)]
struct PageOfCustomer {
    customer_exists: bool,
    /// How many orders it has.
    orders: i64,
    last_id: i64,
    /// The JSON of all of them, with a separator between two.
    json: String,
}

/// Reads the orders of a customer whose ids are greater than `after`, with their items in
/// the order in which they were ordered: one statement and one row, regardless of how many
/// there are.
async fn page_of_customer(
    engine: &Engine,
    customer_id: i64,
    after: i64,
    separator: &str,
) -> Result<PageOfCustomer, Error> {
    let page = sqlx::query_as(concat!(
        "SELECT EXISTS (SELECT 1 FROM customer WHERE id = $1) AS customer_exists,
                count(*) AS orders, coalesce(max(id), 0) AS last_id,
                coalesce(group_concat(json, $4), '') AS json
         FROM (
             SELECT orders.id, json_object(
                 'order_id', orders.id,
                 'customer', json_object('name', customer.name),
                 'order_time', orders.order_time,
                 'items', (
                     SELECT json_group_array(json_object(
                         'name', item.name,
                         'price', item.price_cents / 100.0,
                         'quantity', order_items.quantity,
                         'total', ",
        item_total!(),
        " / 100.0
                     ) ORDER BY order_items.rowid)
                     FROM order_items
                     JOIN item ON item.id = order_items.item_id
                     WHERE order_items.order_id = orders.id
                 )
             ) AS json
             FROM orders
             JOIN customer ON customer.id = orders.customer_id
             WHERE orders.customer_id = $1 AND orders.id > $2
             ORDER BY orders.id LIMIT +$3
         )"
    ))
    .bind(customer_id)
    .bind(after)
    .bind(ORDERS_OF_PAGE)
    .bind(separator)
    .fetch_one(engine.pool())
    .await?;
    Ok(page)
}

/// Reads a page of what was ordered until `before`, by time, order and rowid, after the line
/// with the key `after`. Returns the key of the last line, and the JSON of all of them with
/// `separator` between them. Only SQLite reads a key: the JSON array of these three values.
async fn page_between(
    engine: &Engine,
    after: &str,
    before: &str,
    separator: &str,
) -> Result<Option<(String, String)>, Error> {
    // Both are `NULL` if there are no lines. The index can only use the condition on the
    // time alone.
    let (last, json): (Option<String>, Option<String>) = sqlx::query_as(concat!(
        "SELECT json_group_array(json_array(order_time, id, line)) -> '$[#-1]',
                group_concat(json, $3)
         FROM (
             SELECT orders.order_time, orders.id, order_items.rowid AS line, json_object(
                 'customer', customer.name,
                 'name', item.name,
                 'price', item.price_cents / 100.0,
                 'total', ",
        item_total!(),
        " / 100.0
             ) AS json
             FROM orders
             JOIN customer ON customer.id = orders.customer_id
             JOIN order_items ON order_items.order_id = orders.id
             JOIN item ON item.id = order_items.item_id
             WHERE orders.order_time >= ($1 ->> 0) AND orders.order_time <= $2
               AND (orders.order_time, orders.id, order_items.rowid)
                   > ($1 ->> 0, $1 ->> 1, $1 ->> 2)
             ORDER BY orders.order_time, orders.id, order_items.rowid LIMIT +$4
         )"
    ))
    .bind(after)
    .bind(before)
    .bind(separator)
    .bind(PAGE_ROWS)
    .fetch_one(engine.pool())
    .await?;
    Ok(last.zip(json))
}
