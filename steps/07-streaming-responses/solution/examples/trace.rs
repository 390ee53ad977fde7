//! All customers as NDJSON (one JSON object per line), first collected and then
//! streamed: the rows sent and the memory held, over time.
//!
//! `./run.sh trace 07` draws your exercise, `./run.sh trace 07 --solution` the
//! solution.

use std::sync::atomic::{AtomicU64, Ordering};

use check::timeline::{self, count, lane};
use check::{Database, Failure, OrFail, memory};
use futures::{StreamExt, TryStreamExt, stream};
use step07_solution::body::ndjson;
use step07_solution::db::base::{Engine, EngineConfig, Rows};
use step07_solution::db_accessor::get_customers;
use step07_solution::types::Customer;

const CUSTOMERS: u32 = 20_000;

/// How many rows are read between two measurements.
const EVERY: u64 = 250;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let database = Database::sample().await?;
    database.add_customers(CUSTOMERS).await?;
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("the engine")?;

    let timeline = timeline::record("07 a long list, collected and streamed");
    let collected = lane("collected", async {
        let rows: Vec<Customer> = watched(&engine).try_collect().await?;
        send(stream::iter(rows.into_iter().map(Ok)).boxed()).await
    });
    collected.await.or_fail("collected")?;
    let streamed = lane("streamed", async { send(watched(&engine)).await });
    streamed.await.or_fail("streamed")?;
    drop(timeline);
    Ok(())
}

/// Returns the stream of all customers, and records the memory in use while it
/// is read.
fn watched(engine: &Engine) -> Rows<Customer> {
    let read = AtomicU64::new(0);
    let base = memory::in_use();
    get_customers(engine)
        .inspect_ok(move |_| {
            if read.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
                let held = memory::in_use().saturating_sub(base);
                count("KiB held", held as u64 / 1024);
            }
        })
        .boxed()
}

/// Writes the rows as a response would, and records how many rows have been
/// sent.
async fn send(rows: Rows<Customer>) -> Result<(), step07_solution::error::Error> {
    let mut sent = 0;
    count("rows sent", sent);
    let mut pieces = ndjson(rows);
    while let Some(piece) = pieces.try_next().await? {
        // Each row ends with a line feed, so `split` returns one part more than
        // there are rows.
        sent += piece.split(|byte| *byte == b'\n').count() as u64 - 1;
        count("rows sent", sent);
    }
    Ok(())
}
