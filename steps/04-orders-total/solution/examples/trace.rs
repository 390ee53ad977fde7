//! Twelve queries through `map_concurrently`: which of them run at the same
//! time, and over which connections?
//!
//! `./run.sh trace 04` draws your exercise, `./run.sh trace 04 --solution` the
//! solution.

use check::timeline::{self, lane};
use check::{Database, Failure, OrFail};
use step04_solution::db::base::Engine;
use step04_solution::db_accessor::{MAX_QUERIES_IN_FLIGHT, get_total_cost_of_an_order};
use step04_solution::tasks::map_concurrently;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let database = Database::sample().await?;
    let engine = Engine::new(&database.url()).or_fail("the engine")?;
    let orders = (1..=12).collect();

    let timeline = timeline::record("04 the totals of twelve orders");
    let totals = map_concurrently(orders, MAX_QUERIES_IN_FLIGHT, |order| {
        let engine = engine.clone();
        lane(format!("order {order}"), async move {
            get_total_cost_of_an_order(&engine, order).await
        })
    })
    .await;
    drop(timeline);

    println!("\n{} totals", totals.or_fail("map_concurrently")?.len());
    Ok(())
}
