//! Rows in SQLite.

use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::{CAN_ORDER, COUNT, Count, Market};

pub struct Sqlite(SqliteConnection);

impl Sqlite {
    pub async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        let connection = SqliteConnectOptions::from_str(url)?
            // A power failure may lose the last transactions, but never a part of one.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5))
            // A transaction is slow, and says itself when it is done.
            .log_slow_statements(LevelFilter::Off, Duration::ZERO)
            .connect()
            .await?;
        Ok(Self(connection))
    }
}

impl Market for Sqlite {
    async fn count(&mut self) -> Result<Count, sqlx::Error> {
        sqlx::query_as(COUNT).fetch_one(&mut self.0).await
    }

    async fn can_order(&mut self) -> Result<(bool, bool), sqlx::Error> {
        sqlx::query_as(CAN_ORDER).fetch_one(&mut self.0).await
    }

    async fn add_customers(&mut self, count: u32) -> Result<(), sqlx::Error> {
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let (customer, address): (i64, i64) = sqlx::query_as(
        "SELECT ifnull((SELECT max(id) FROM customer), 0), ifnull((SELECT max(id) FROM address), 0)",
    )
    .fetch_one(&mut *transaction)
    .await?;
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO address (id, flat_number, post_code)
         SELECT $2 + i, 101 + ($2 + i) % 800, 10000 + ($2 + i) % 90000 FROM n",
        )
        .bind(count)
        .bind(address)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO customer (id, name, address_id)
         SELECT $2 + i, 'Customer ' || ($2 + i), $3 + i FROM n",
        )
        .bind(count)
        .bind(customer)
        .bind(address)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn add_orders(&mut self, count: u32) -> Result<(), sqlx::Error> {
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let order: i64 = sqlx::query_scalar("SELECT ifnull(max(id), 0) FROM orders")
            .fetch_one(&mut *transaction)
            .await?;
        // The multiplier (2^32 divided by the golden ratio) scatters neighbouring
        // orders over all customers; where an id is not in use, the next one that
        // is gets the order. Times advance 37 s an order, over the years 2024 to
        // 2026 and then again.
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO orders (id, customer_id, order_time)
         SELECT $2 + i,
                (SELECT id FROM customer
                 WHERE id > ($2 + i) * 2654435769 % 4294967296 % (SELECT max(id) FROM customer)
                 ORDER BY id LIMIT 1),
                datetime(1704067200 + ($2 + i) * 37 % 94608000, 'unixepoch')
         FROM n",
        )
        .bind(count)
        .bind(order)
        .execute(&mut *transaction)
        .await?;
        // One to four lines an order, of items that follow each other, so that
        // none comes twice.
        sqlx::query(
            "WITH items (place, id) AS MATERIALIZED (
             SELECT row_number() OVER (ORDER BY id) - 1, id FROM item
         ),
         lines (line) AS (VALUES (0), (1), (2), (3))
         INSERT INTO order_items (order_id, item_id, quantity)
         SELECT orders.id, items.id, 1 + (orders.id + line) % 9
         FROM orders
         CROSS JOIN lines
         CROSS JOIN items ON items.place = (orders.id + line) % (SELECT count(*) FROM item)
         WHERE orders.id > $1
           AND line <= orders.id % min(4, (SELECT count(*) FROM item))
         ORDER BY orders.id, line",
        )
        .bind(order)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}
