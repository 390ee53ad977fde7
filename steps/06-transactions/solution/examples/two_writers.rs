//! Two transactions that read and then write, at the same time.
//!
//! `./run.sh run 06 two_writers`
//!
//! Both wait up to 5 s for a lock. In the first run they begin with `BEGIN`,
//! which takes no lock; in the second with `BEGIN IMMEDIATE`, which takes the
//! write lock.

use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use step06_solution::db::init_db;
use step06_solution::error::Error;

const INSERT: &str =
    "INSERT INTO orders (customer_id, order_time) VALUES (1, '2024-04-01 00:00:00')";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("market.sqlite").display());
    init_db::create_if_missing(&url).await?;
    let options = SqliteConnectOptions::from_str(&url)?.busy_timeout(Duration::from_secs(5));
    let mut a = options.connect().await?;
    let mut b = options.connect().await?;

    println!("BEGIN");
    let mut first = a.begin().await?;
    let mut second = b.begin().await?;
    println!("  A reads: {} orders", orders(&mut first).await?);
    println!("  B reads: {} orders", orders(&mut second).await?);
    println!("  A writes and commits");
    sqlx::query(INSERT).execute(&mut *first).await?;
    first.commit().await?;
    let start = Instant::now();
    match sqlx::query(INSERT).execute(&mut *second).await {
        Ok(_) => println!("  B writes"),
        Err(error) if start.elapsed() < Duration::from_secs(3) => {
            println!("  B writes, and fails without waiting: {error}");
        }
        Err(error) => println!("  B writes, waits for 5 s and fails: {error}"),
    }
    second.rollback().await?;

    println!("BEGIN IMMEDIATE");
    let mut first = a.begin_with("BEGIN IMMEDIATE").await?;
    let writer = async {
        println!("  A reads: {} orders", orders(&mut first).await?);
        println!("  A writes and commits");
        sqlx::query(INSERT).execute(&mut *first).await?;
        first.commit().await
    };
    let waiter = async {
        // B waits here, because A already holds the write lock.
        let mut second = b.begin_with("BEGIN IMMEDIATE").await?;
        println!("  B reads: {} orders", orders(&mut second).await?);
        println!("  B writes and commits");
        sqlx::query(INSERT).execute(&mut *second).await?;
        second.commit().await
    };
    tokio::try_join!(writer, waiter)?;
    Ok(())
}

async fn orders(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(connection)
        .await
}
