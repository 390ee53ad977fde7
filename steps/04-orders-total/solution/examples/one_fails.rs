//! What happens to the other queries when one of them fails?
//!
//! `./run.sh run 04 one_fails`
//!
//! The example starts five queries, and the query for order 3 fails after 30
//! ms. The first run uses `map_concurrently`, the second a `JoinSet` that
//! awaits all of its tasks. Tokio's clock is paused, so the times are exact.

use std::time::Duration;

use step04_solution::error::Error;
use step04_solution::tasks::map_concurrently;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ORDERS: [u64; 5] = [1, 2, 3, 4, 5];

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    println!("the first failure aborts the rest");
    let start = Instant::now();
    let answer = map_concurrently(ORDERS.to_vec(), 5, move |order| query(order, start)).await;
    say(start, &format!("the client receives: {}", outcome(&answer)));
    // The runtime drops an aborted task when it polls it the next time.
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(100)).await;

    println!("every task is awaited");
    let start = Instant::now();
    let mut tasks: JoinSet<_> = ORDERS
        .map(|order| query(order, start))
        .into_iter()
        .collect();
    let mut answer = Ok(());
    while let Some(Ok(result)) = tasks.join_next().await {
        if let Err(error) = result {
            answer = Err(error);
        }
    }
    say(start, &format!("the client receives: {}", outcome(&answer)));
}

/// Simulates a query: 10 ms for order 1, 20 ms for order 2, and so on.
async fn query(order: u64, start: Instant) -> Result<u64, Error> {
    let unfinished = Unfinished { order, start };
    sleep(Duration::from_millis(order * 10)).await;
    std::mem::forget(unfinished);
    if order == 3 {
        say(start, "order 3 fails");
        return Err(sqlx::Error::RowNotFound.into());
    }
    say(start, &format!("order {order} is found"));
    Ok(order)
}

/// Prints a line when it is dropped. That happens only if its query is dropped
/// at the `.await`: a query that ends forgets the value.
struct Unfinished {
    order: u64,
    start: Instant,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        say(self.start, &format!("order {} is aborted", self.order));
    }
}

fn say(start: Instant, what: &str) {
    println!("{:>5} ms  {what}", start.elapsed().as_millis());
}

fn outcome<T>(answer: &Result<T, Error>) -> String {
    match answer {
        Ok(_) => "all totals".to_owned(),
        Err(error) => error.to_string(),
    }
}
