//! Program `group`: tasks that end together.

use futures::FutureExt;
use tokio::task::JoinSet;
use tracing::info;

use crate::error::Error;
use crate::fetch::{fetch_and_panic, fetch_sold_out, ms, try_fetch};
use crate::tasks::Job;

/// Runs each job in a task of its own, all at the same time. Returns their values
/// in the order in which the jobs finish.
///
/// # Errors
/// The first failure, as soon as it happens; [`Error::Panicked`] if a job panics.
/// The other jobs are aborted, each at the await that it has reached.
///
/// # Cancel safety
/// Dropping the call aborts all jobs.
pub async fn first_failure_ends_all<T, F>(jobs: Vec<F>) -> Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // TODO(01.4): spawn the jobs in a JoinSet, and let the first failure end the rest
    let mut tasks: JoinSet<_> = jobs.into_iter().collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        // Each `?` leaves the function. That drops the set, and dropping the set
        // aborts the tasks that are still in it.
        results.push(joined??);
    }
    Ok(results)
    // END TODO(01.4)
}

/// The program.
pub async fn run() {
    info!("everything is in stock");
    fetch_all(try_fetch("bread", ms(20)).boxed()).await;
    info!("the bread is sold out");
    fetch_all(fetch_sold_out("bread", ms(20)).boxed()).await;
    info!("the job for the bread panics");
    fetch_all(fetch_and_panic("bread", ms(20)).boxed()).await;
}

/// Fetches milk and onions, and runs the job `bread` beside them.
async fn fetch_all(bread: Job) {
    let jobs = vec![
        try_fetch("milk", ms(30)).boxed(),
        bread,
        try_fetch("onions", ms(10)).boxed(),
    ];
    match first_failure_ends_all(jobs).await {
        Ok(items) => info!("has {}", items.join(", ")),
        Err(error) => info!("gives up: {error}"),
    }
    // The runtime drops an aborted task the next time it gets to run it.
    tokio::task::yield_now().await;
}
