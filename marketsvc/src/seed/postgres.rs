//! Rows in PostgreSQL. The ids come from its sequences, so orders that the service places
//! meanwhile get others. What makes the rows of an id is as in SQLite.

use log::LevelFilter;
use marketsvc::db::Settings;
use marketsvc::db::postgres::servers::Servers;
use marketsvc::error::Error;
use sqlx::{ConnectOptions, Connection};
use sqlx_postgres::PgConnection;
use std::time::Duration;

use super::{CAN_ORDER, COUNT, Count, Market};

pub struct Postgres(PgConnection);

impl Postgres {
    /// Connects to the primary of the servers at `urls`.
    pub async fn connect(urls: &str) -> Result<Self, Error> {
        let servers = Servers::connect(urls, Settings::default()).await?;
        let options = servers.primary().await?.connect_options();
        servers.close().await;
        let options = (*options).clone();
        let connection = options
            // A transaction is slow, and says itself when it is done.
            .log_slow_statements(LevelFilter::Off, Duration::ZERO)
            .connect()
            .await?;
        Ok(Self(connection))
    }
}

impl Market for Postgres {
    async fn count(&mut self) -> Result<Count, sqlx::Error> {
        sqlx::query_as(COUNT).fetch_one(&mut self.0).await
    }

    async fn can_order(&mut self) -> Result<(bool, bool), sqlx::Error> {
        sqlx::query_as(CAN_ORDER).fetch_one(&mut self.0).await
    }

    async fn add_customers(&mut self, count: u32) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH new AS MATERIALIZED (
                 SELECT nextval(pg_get_serial_sequence('address', 'id')) AS address,
                        nextval(pg_get_serial_sequence('customer', 'id')) AS customer
                 FROM generate_series(1, $1)
             ),
             stored AS (
                 INSERT INTO address (id, flat_number, post_code)
                 SELECT address, 101 + address % 800, 10000 + address % 90000 FROM new
             )
             INSERT INTO customer (id, name, address_id)
             SELECT customer, 'Customer ' || customer, address FROM new",
        )
        .bind(i64::from(count))
        .execute(&mut self.0)
        .await?;
        Ok(())
    }

    async fn add_orders(&mut self, count: u32) -> Result<(), sqlx::Error> {
        // sqlite.rs says why the numbers are these.
        sqlx::query(
            "WITH new AS MATERIALIZED (
                 SELECT nextval(pg_get_serial_sequence('orders', 'id')) AS id
                 FROM generate_series(1, $1)
             ),
             stored AS (
                 INSERT INTO orders (id, customer_id, order_time)
                 SELECT id,
                        (SELECT customer.id FROM customer
                         WHERE customer.id > new.id * 2654435769 % 4294967296
                                             % (SELECT max(id) FROM customer)
                         ORDER BY customer.id LIMIT 1),
                        to_char(to_timestamp(1704067200 + id * 37 % 94608000)
                                AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                 FROM new
             ),
             items (place, id) AS MATERIALIZED (
                 SELECT row_number() OVER (ORDER BY id) - 1, id FROM item
             )
             INSERT INTO order_items (order_id, item_id, quantity)
             SELECT new.id, items.id, 1 + (new.id + line) % 9
             FROM new
             CROSS JOIN generate_series(0, 3) AS line
             JOIN items ON items.place = (new.id + line) % (SELECT count(*) FROM item)
             WHERE line <= new.id % least(4, (SELECT count(*) FROM item))
             ORDER BY new.id, line",
        )
        .bind(i64::from(count))
        .execute(&mut self.0)
        .await?;
        Ok(())
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}
