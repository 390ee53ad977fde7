//! Made-up data in bulk, to see how the service behaves when it has a lot.
//!
//! The rows are made by SQL inside SQLite, in transactions of 50,000, so that a
//! running service can write in between. The same numbers added to
//! the same database make the same rows on every computer.

use std::fmt;
use std::time::{Duration, Instant};

use log::LevelFilter;
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::Db;

/// Customers, or orders, in one transaction: a fraction of a second.
const BATCH: u32 = 50_000;

/// The most of either that one call adds: some 5 GB.
const MOST: u32 = 50_000_000;

/// Why nothing, or not everything, was added.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    #[error("there are no customers who could order; add some with --customers")]
    NoCustomers,
    #[error("the market has no items, so there is nothing to order")]
    NoItems,
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub customers: i64,
    pub orders: i64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} customers and {} orders", self.customers, self.orders)
    }
}

/// What [`add`] did.
#[derive(Debug)]
pub struct Added {
    pub before: Count,
    pub after: Count,
    pub took: Duration,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = Count {
            customers: self.after.customers - self.before.customers,
            orders: self.after.orders - self.before.orders,
        };
        write!(
            f,
            "there were {}; added {added} in {:.1} s; now {}",
            self.before,
            self.took.as_secs_f64(),
            self.after
        )
    }
}

/// Refuses numbers that nobody means.
///
/// # Errors
///
/// What is allowed, as a sentence.
pub fn check(customers: u32, orders: u32) -> Result<(), String> {
    if customers > MOST || orders > MOST {
        return Err(format!(
            "at most {MOST} customers and {MOST} orders can be added at once"
        ));
    }
    Ok(())
}

/// Adds so many customers, each with an address, then so many orders of one
/// to four items each, to whatever is there. `progress` is called with a line
/// of text after each transaction.
///
/// # Errors
///
/// [`BulkError`]; the transactions before the failing one stay.
///
/// # Cancel safety
///
/// As after an error.
pub async fn add(
    db: &Db,
    customers: u32,
    orders: u32,
    mut progress: impl FnMut(String),
) -> Result<Added, BulkError> {
    let start = Instant::now();
    let options = (*db.writer.connect_options()).clone();
    let mut connection = options
        // A power cut may take the last batches with it, but never half of one.
        .synchronous(SqliteSynchronous::Normal)
        // A batch is slow, and says itself when it is done.
        .log_slow_statements(LevelFilter::Off, Duration::ZERO)
        .connect()
        .await?;
    let before = count(&mut connection).await?;
    progress(format!("there are {before}"));

    for (done, batch) in batches(customers) {
        add_customers(&mut connection, batch).await?;
        progress(format!("{done} of {customers} customers added"));
    }
    if orders > 0 {
        require_customers_and_items(&mut connection).await?;
    }
    for (done, batch) in batches(orders) {
        add_orders(&mut connection, batch).await?;
        progress(format!("{done} of {orders} orders added"));
    }
    let after = count(&mut connection).await?;
    connection.close().await?;
    Ok(Added {
        before,
        after,
        took: start.elapsed(),
    })
}

/// Cuts `total` into batches: how many are done after each, and its size.
fn batches(total: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..total).step_by(BATCH as usize).map(move |done| {
        let batch = BATCH.min(total - done);
        (done + batch, batch)
    })
}

async fn count(connection: &mut SqliteConnection) -> Result<Count, sqlx::Error> {
    let (customers, orders) =
        sqlx::query_as("SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM orders)")
            .fetch_one(connection)
            .await?;
    Ok(Count { customers, orders })
}

async fn require_customers_and_items(connection: &mut SqliteConnection) -> Result<(), BulkError> {
    let (customers, items): (bool, bool) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM customer), EXISTS (SELECT 1 FROM item)")
            .fetch_one(connection)
            .await?;
    match (customers, items) {
        (false, _) => Err(BulkError::NoCustomers),
        (_, false) => Err(BulkError::NoItems),
        (true, true) => Ok(()),
    }
}

async fn add_customers(connection: &mut SqliteConnection, count: u32) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
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

async fn add_orders(connection: &mut SqliteConnection, count: u32) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_add_up() {
        assert_eq!(batches(0).count(), 0);
        assert_eq!(batches(1).collect::<Vec<_>>(), [(1, 1)]);
        assert_eq!(
            batches(BATCH * 2 + 7).collect::<Vec<_>>(),
            [(BATCH, BATCH), (BATCH * 2, BATCH), (BATCH * 2 + 7, 7)]
        );
    }

    #[test]
    fn silly_numbers_are_refused() {
        assert!(check(MOST, MOST).is_ok());
        assert!(check(MOST + 1, 0).is_err());
        assert!(check(0, u32::MAX).is_err());
    }
}
