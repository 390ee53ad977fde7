//! Adds made-up customers and orders to the database, to see how the service behaves when
//! it has many: `./run.sh seed --customers 1000000 --orders 100000`.
//!
//! SQL makes the rows inside SQLite, in transactions of 50,000, so the service can run and
//! write meanwhile. The same numbers added to the same database make the same rows on every
//! computer. Exit codes: 2 for a wrong flag, 3 if the database cannot be used.

use std::error::Error;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Parser;
use log::LevelFilter;
use marketsvc::db::init_db;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

/// How many rows one transaction adds. It takes a fraction of a second.
const BATCH: u32 = 50_000;

/// The most customers, or orders, that one call adds: about 5 GB.
const MOST: i64 = 50_000_000;

/// Adds made-up customers and orders to the market's database.
#[derive(Parser)]
#[command(arg_required_else_help = true)]
struct Settings {
    /// The database; a missing file is created with the sample data
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://marketdb.sqlite")]
    database: String,
    /// How many customers to add, each with an address
    #[arg(long, default_value_t = 0, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=MOST))]
    customers: u32,
    /// How many orders to add, of one to four items each
    #[arg(long, default_value_t = 0, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=MOST))]
    orders: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    match seed(&settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("DATABASE_URL={}: {message}", settings.database);
            ExitCode::from(3)
        }
    }
}

/// Adds the rows, and says after each transaction how far it is. If one fails, those before
/// it stay. An error is a message for the person at the terminal.
async fn seed(settings: &Settings) -> Result<(), String> {
    let start = Instant::now();
    init_db::create_or_migrate(&settings.database)
        .await
        .map_err(|error| with_cause(&error))?;
    let mut connection = connect(&settings.database)
        .await
        .map_err(|error| error.to_string())?;
    let added = add(&mut connection, settings).await;
    let closed = connection.close().await.map_err(|error| error.to_string());
    let (before, after) = added?;
    closed?;
    println!(
        "there were {} customers and {} orders; now there are {} and {}, after {:.1} s",
        before.0,
        before.1,
        after.0,
        after.1,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Returns the text of an error and of what caused it.
fn with_cause(error: &impl Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

async fn connect(url: &str) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::from_str(url)?
        // A power failure may lose the last transactions, but never a part of one.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(5))
        // A transaction is slow, and says itself when it is done.
        .log_slow_statements(LevelFilter::Off, Duration::ZERO)
        .connect()
        .await
}

/// The numbers of customers and orders.
type Count = (i64, i64);

/// Returns how many there were, and how many there are now.
async fn add(
    connection: &mut SqliteConnection,
    settings: &Settings,
) -> Result<(Count, Count), String> {
    let failed = |error: sqlx::Error| error.to_string();
    let before = count(connection).await.map_err(failed)?;
    let Settings {
        customers, orders, ..
    } = *settings;
    for (done, batch) in batches(customers) {
        add_customers(connection, batch).await.map_err(failed)?;
        eprintln!("{done} of {customers} customers added");
    }
    if orders > 0 {
        let (customers, items): (bool, bool) =
            sqlx::query_as("SELECT EXISTS (SELECT 1 FROM customer), EXISTS (SELECT 1 FROM item)")
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
        if !customers {
            return Err("no customers could order; add some with --customers".to_owned());
        }
        if !items {
            return Err("there are no items that could be ordered".to_owned());
        }
    }
    for (done, batch) in batches(orders) {
        add_orders(connection, batch).await.map_err(failed)?;
        eprintln!("{done} of {orders} orders added");
    }
    Ok((before, count(connection).await.map_err(failed)?))
}

/// Cuts `total` into batches: how many rows are there after each, and its size.
fn batches(total: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..total).step_by(BATCH as usize).map(move |done| {
        let batch = BATCH.min(total - done);
        (done + batch, batch)
    })
}

async fn count(connection: &mut SqliteConnection) -> Result<Count, sqlx::Error> {
    sqlx::query_as("SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM orders)")
        .fetch_one(connection)
        .await
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
