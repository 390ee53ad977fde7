//! Adds made-up customers and orders to the database, to see how the service behaves when
//! it has many: `./run.sh seed --customers 1000000 --orders 100000`.
//!
//! SQL makes the rows inside the database, in transactions of 50,000, so the service can
//! run and write meanwhile. The same numbers added to the same database make the same rows
//! on every computer, in PostgreSQL as long as nobody else writes. Exit codes: 2 for a
//! wrong flag, 3 if the database cannot be used.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::error::Error as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use marketsvc::db;
use marketsvc::error::Error;

/// How many rows one transaction adds. It takes a fraction of a second.
const BATCH: u32 = 50_000;

/// The most customers, or orders, that one call adds: about 5 GB.
const MOST: i64 = 50_000_000;

/// Adds made-up customers and orders to the market's database.
#[derive(Parser)]
#[command(arg_required_else_help = true)]
struct Settings {
    /// The database, as the service takes it; a new one gets the sample data first
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
        Err(error) => {
            let url = db::redact(&settings.database);
            eprintln!("DATABASE_URL={url}: {}", with_cause(&error));
            ExitCode::from(3)
        }
    }
}

/// Returns the text of an error and of what caused it.
fn with_cause(error: &Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Adds the rows, and says after each transaction how far it is. If one fails, those before
/// it stay.
async fn seed(settings: &Settings) -> Result<(), Error> {
    // The service creates the database or brings it up to date, or says why it cannot.
    let opened = db::open(&settings.database, db::Settings::default()).await?;
    opened.close().await;
    #[cfg(feature = "postgres")]
    if settings.database.starts_with("postgres") {
        let market = postgres::Postgres::connect(&settings.database).await?;
        return add(market, settings).await;
    }
    add(sqlite::Sqlite::connect(&settings.database).await?, settings).await
}

/// The numbers of customers and orders.
type Count = (i64, i64);

const COUNT: &str = "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM orders)";

const CAN_ORDER: &str = "SELECT EXISTS (SELECT 1 FROM customer), EXISTS (SELECT 1 FROM item)";

/// A database that gets rows.
trait Market {
    /// Executes [`COUNT`].
    async fn count(&mut self) -> Result<Count, sqlx::Error>;

    /// Executes [`CAN_ORDER`].
    async fn can_order(&mut self) -> Result<(bool, bool), sqlx::Error>;

    async fn add_customers(&mut self, count: u32) -> Result<(), sqlx::Error>;

    async fn add_orders(&mut self, count: u32) -> Result<(), sqlx::Error>;

    async fn close(self) -> Result<(), sqlx::Error>;
}

async fn add(mut market: impl Market, settings: &Settings) -> Result<(), Error> {
    let start = Instant::now();
    let before = market.count().await?;
    let Settings {
        customers, orders, ..
    } = *settings;
    for (done, batch) in batches(customers) {
        market.add_customers(batch).await?;
        eprintln!("{done} of {customers} customers added");
    }
    if orders > 0 {
        let (customers, items) = market.can_order().await?;
        if !customers {
            return Err(Error::Unusable(
                "no customers could order; add some with --customers",
            ));
        }
        if !items {
            return Err(Error::Unusable("there are no items that could be ordered"));
        }
    }
    for (done, batch) in batches(orders) {
        market.add_orders(batch).await?;
        eprintln!("{done} of {orders} orders added");
    }
    let after = market.count().await?;
    market.close().await?;
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

/// Cuts `total` into batches: how many rows are there after each, and its size.
fn batches(total: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..total).step_by(BATCH as usize).map(move |done| {
        let batch = BATCH.min(total - done);
        (done + batch, batch)
    })
}
