//! Orders in SQLite. A database that is one file has one position: every read sees what was
//! stored before it, so nothing here asks what a client has seen.

use async_trait::async_trait;
use sqlx::FromRow;

use super::Sqlite;
use crate::db::refused::NO_SUCH_CUSTOMER;
use crate::db::statements::line_total;
use crate::db::{LineKey, Orders};
use crate::error::Error;
use crate::orders::{KeyedOrder, Placed, Position};
use crate::page::{ORDERS_OF_PAGE, PAGE_ROWS, TextPage};
use crate::types::{Money, UtcTime};

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

#[async_trait]
impl Orders for Sqlite {
    /// One statement and one row, regardless of how many orders there are. The items of an
    /// order are in the order in which they were ordered.
    async fn orders_of_customer(
        &self,
        customer_id: i64,
        after: i64,
        separator: &str,
        _: Option<Position>,
    ) -> Result<TextPage<i64>, Error> {
        let page: PageOfCustomer = sqlx::query_as(concat!(
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
            line_total!(),
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
        .fetch_one(self.engine.pool())
        .await?;
        if !page.customer_exists {
            return Err(NO_SUCH_CUSTOMER);
        }
        Ok(TextPage::new(
            page.json,
            page.orders,
            ORDERS_OF_PAGE,
            page.last_id,
        ))
    }

    async fn lines_between(
        &self,
        after: LineKey,
        before: &UtcTime,
        separator: &str,
        _: Option<Position>,
    ) -> Result<TextPage<LineKey>, Error> {
        // `order_time >= $1` follows from the comparison of the keys. It is there because
        // SQLite uses the index only for a condition on the time alone.
        let (lines, last, json): (i64, Option<String>, String) = sqlx::query_as(concat!(
            "SELECT count(*), json_group_array(json_array(order_time, id, line)) -> '$[#-1]',
                    coalesce(group_concat(json, $6), '')
             FROM (
                 SELECT orders.order_time, orders.id, order_items.rowid AS line, json_object(
                     'customer', customer.name,
                     'name', item.name,
                     'price', item.price_cents / 100.0,
                     'total', ",
            line_total!(),
            " / 100.0
                 ) AS json
                 FROM orders
                 JOIN customer ON customer.id = orders.customer_id
                 JOIN order_items ON order_items.order_id = orders.id
                 JOIN item ON item.id = order_items.item_id
                 WHERE orders.order_time >= $1 AND orders.order_time <= $4
                   AND (orders.order_time, orders.id, order_items.rowid) > ($1, $2, $3)
                 ORDER BY orders.order_time, orders.id, order_items.rowid LIMIT +$5
             )"
        ))
        .bind(after.0)
        .bind(after.1)
        .bind(after.2)
        .bind(before.as_str())
        .bind(PAGE_ROWS)
        .bind(separator)
        .fetch_one(self.engine.pool())
        .await?;
        let last = last.map_or(Ok(LineKey::default()), |key| serde_json::from_str(&key))?;
        Ok(TextPage::new(json, lines, PAGE_ROWS, last))
    }

    async fn order_total(
        &self,
        order_id: i64,
        _: Option<Position>,
    ) -> Result<Option<Money>, Error> {
        self.totals.submit(order_id).await
    }

    async fn place_order(&self, order: KeyedOrder) -> Result<Placed, Error> {
        let id = self.writer.submit(order).await?;
        Ok(Placed { id, position: None })
    }
}
