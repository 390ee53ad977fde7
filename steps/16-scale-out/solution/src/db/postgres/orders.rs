//! Orders in PostgreSQL. The functions that write an order are public for tests, which call
//! them in a transaction of their own.

use async_trait::async_trait;
use sqlx::error::DatabaseError;
use sqlx_postgres::PgConnection;

use super::Postgres;
use crate::db::refused::{self, NO_SUCH_CUSTOMER};
use crate::db::statements::line_total;
use crate::db::{LineKey, Orders};
use crate::error::Error;
use crate::orders::{KeyedOrder, NewOrder, NewOrderItem, Placed, Position};
use crate::page::{ORDERS_OF_PAGE, PAGE_ROWS, TextPage};
use crate::types::{Money, UtcTime};

#[async_trait]
impl Orders for Postgres {
    async fn orders_of_customer(
        &self,
        customer_id: i64,
        after: i64,
        separator: &str,
        seen: Option<Position>,
    ) -> Result<TextPage<i64>, Error> {
        let page = |pool| async move {
            sqlx::query_as(concat!(
                "SELECT EXISTS (SELECT 1 FROM customer WHERE id = $1),
                        count(*), coalesce(max(id), 0),
                        coalesce(string_agg(json, $4 ORDER BY id), '')
                 FROM (
                     SELECT orders.id, json_build_object(
                         'order_id', orders.id,
                         'customer', json_build_object('name', customer.name),
                         'order_time', orders.order_time,
                         'items', coalesce((
                             SELECT json_agg(json_build_object(
                                 'name', item.name,
                                 'price', (item.price_cents / 100.0)::float8,
                                 'quantity', order_items.quantity,
                                 'total', (",
                line_total!(),
                " / 100.0)::float8
                             ) ORDER BY order_items.line)
                             FROM order_items
                             JOIN item ON item.id = order_items.item_id
                             WHERE order_items.order_id = orders.id
                         ), '[]')
                     )::text AS json
                     FROM orders
                     JOIN customer ON customer.id = orders.customer_id
                     WHERE orders.customer_id = $1 AND orders.id > $2
                     ORDER BY orders.id LIMIT $3
                 ) AS page"
            ))
            .bind(customer_id)
            .bind(after)
            .bind(ORDERS_OF_PAGE)
            .bind(separator)
            .fetch_one(&pool)
            .await
        };
        let exists = |page: &(bool, i64, i64, String)| page.0;
        let (exists, orders, last, json) = self.servers.read(seen, exists, page).await?;
        if !exists {
            return Err(NO_SUCH_CUSTOMER);
        }
        Ok(TextPage::new(json, orders, ORDERS_OF_PAGE, last))
    }

    async fn lines_between(
        &self,
        after: LineKey,
        before: &UtcTime,
        separator: &str,
        seen: Option<Position>,
    ) -> Result<TextPage<LineKey>, Error> {
        let after = &after;
        let lines = |pool| async move {
            sqlx::query_as(concat!(
                "SELECT orders.order_time, orders.id, order_items.line,
                        json_build_object(
                            'customer', customer.name,
                            'name', item.name,
                            'price', (item.price_cents / 100.0)::float8,
                            'total', (",
                line_total!(),
                " / 100.0)::float8
                        )::text
                 FROM orders
                 JOIN customer ON customer.id = orders.customer_id
                 JOIN order_items ON order_items.order_id = orders.id
                 JOIN item ON item.id = order_items.item_id
                 WHERE orders.order_time >= $1 AND orders.order_time <= $4
                   AND (orders.order_time, orders.id, order_items.line) > ($1, $2, $3)
                 ORDER BY orders.order_time, orders.id, order_items.line
                 LIMIT $5"
            ))
            .bind(&after.0)
            .bind(after.1)
            .bind(after.2)
            .bind(before.as_str())
            .bind(PAGE_ROWS)
            .fetch_all(&pool)
            .await
        };
        let lines: Vec<(String, i64, i64, String)> =
            self.servers.read(seen, |_| true, lines).await?;
        let rows = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let mut last = LineKey::default();
        let json: Vec<String> = lines
            .into_iter()
            .map(|(order_time, order_id, line, json)| {
                last = (order_time, order_id, line);
                json
            })
            .collect();
        Ok(TextPage::new(json.join(separator), rows, PAGE_ROWS, last))
    }

    async fn order_total(
        &self,
        order_id: i64,
        seen: Option<Position>,
    ) -> Result<Option<Money>, Error> {
        self.totals.submit((order_id, seen)).await
    }

    async fn place_order(&self, order: KeyedOrder) -> Result<Placed, Error> {
        let order = &order;
        let (id, position) = self
            .servers
            .transaction(|mut transaction| async move {
                let id = insert(&mut transaction, order).await;
                (transaction, id)
            })
            .await?;
        Ok(Placed { id, position })
    }
}

/// Writes one order and its items, and returns its id; if there is an order with its key,
/// returns that one's.
///
/// # Errors
/// [`Error::Unprocessable`] if the customer or an item does not exist, or if another order
/// has its key; [`Error::Database`] if the database fails. The transaction must be rolled
/// back then.
async fn insert(
    transaction: &mut PgConnection,
    KeyedOrder { order, key }: &KeyedOrder,
) -> Result<i64, Error> {
    let id = insert_order(transaction, order.customer_id, key.as_deref()).await?;
    let Some(id) = id else {
        let id = find(transaction, order, key.as_deref()).await?;
        // Perhaps only the primary has the order: it may have crashed while the first attempt
        // waited for the standby. So this commit must wait for the standby, too. It does only
        // if its transaction has changed something, and a lock is a change.
        sqlx::query("SELECT 1 FROM orders WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        return Ok(id);
    };
    insert_items(transaction, id, &order.items).await?;
    Ok(id)
}

/// Writes the row of an order and returns its id, or `None` if there is an order with this
/// key. A transaction that is just writing one makes this one wait for its end.
///
/// # Errors
/// [`Error::Unprocessable`] if there is no such customer, [`Error::Database`] if the
/// database fails.
pub async fn insert_order(
    transaction: &mut PgConnection,
    customer_id: i64,
    key: Option<&str>,
) -> Result<Option<i64>, Error> {
    // TODO(16.3): store the order and return its id
    sqlx::query_scalar(
        "INSERT INTO orders (customer_id, idempotency_key) VALUES ($1, $2)
         ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
         RETURNING id",
    )
    .bind(customer_id)
    .bind(key)
    .fetch_optional(transaction)
    .await
    .map_err(|error| {
        let is_unknown = error
            .as_database_error()
            .is_some_and(DatabaseError::is_foreign_key_violation);
        if is_unknown {
            refused::unknown_customer()
        } else {
            error.into()
        }
    })
    // END TODO(16.3)
}

/// Writes the items of an order, in their order.
///
/// # Errors
/// [`Error::Unprocessable`] if an item does not exist; it names the first one.
/// [`Error::Database`] if the database fails.
pub async fn insert_items(
    transaction: &mut PgConnection,
    order_id: i64,
    items: &[NewOrderItem],
) -> Result<(), Error> {
    // TODO(16.3): store the items, or name the first one that does not exist
    let (ids, quantities): (Vec<i64>, Vec<i64>) =
        items.iter().map(|item| (item.id, item.quantity)).unzip();
    let stored = sqlx::query(
        "INSERT INTO order_items (order_id, item_id, quantity)
         SELECT $1, item.id, new.quantity
         FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS new (id, quantity, key)
         JOIN item ON item.id = new.id
         ORDER BY new.key",
    )
    .bind(order_id)
    .bind(&ids)
    .bind(&quantities)
    .execute(&mut *transaction)
    .await?;
    if stored.rows_affected() == items.len() as u64 {
        return Ok(());
    }
    let missing: i64 = sqlx::query_scalar(
        "SELECT key - 1 FROM unnest($1::bigint[]) WITH ORDINALITY AS new (id, key)
         WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.id = new.id)
         ORDER BY key LIMIT 1",
    )
    .bind(&ids)
    .fetch_one(transaction)
    .await?;
    Err(refused::unknown_item(missing))
    // END TODO(16.3)
}

/// Returns the id of the order with this key, if it has the same content as `order`.
///
/// # Errors
/// [`Error::Unprocessable`] if its content is another one, [`Error::Database`] if the
/// database fails or has no order with this key.
pub async fn find(
    transaction: &mut PgConnection,
    order: &NewOrder,
    key: Option<&str>,
) -> Result<i64, Error> {
    // TODO(16.7): return the order with this key, if it is the same order
    let (id, customer_id): (i64, i64) =
        sqlx::query_as("SELECT id, customer_id FROM orders WHERE idempotency_key = $1")
            .bind(key)
            .fetch_one(&mut *transaction)
            .await?;
    let items: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT item_id, quantity FROM order_items WHERE order_id = $1 ORDER BY line",
    )
    .bind(id)
    .fetch_all(&mut *transaction)
    .await?;
    let items = items.into_iter();
    let stored = NewOrder {
        customer_id,
        items: items
            .map(|(id, quantity)| NewOrderItem { id, quantity })
            .collect(),
    };
    if stored == *order {
        Ok(id)
    } else {
        Err(refused::key_taken())
    }
    // END TODO(16.7)
}
