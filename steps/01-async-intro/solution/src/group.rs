//! Program `group`: tasks with a common end.

use futures::FutureExt;
use tokio::task::JoinSet;
use tracing::info;

use crate::error::Error;
use crate::fetch::{fetch_and_fall, fetch_sold_out, ms, try_fetch};
use crate::tasks::Job;

/// Runs all jobs as tasks and returns what they give, in the order in which they
/// end.
///
/// # Errors
/// The first failure, at once; [`Error::Panicked`] if a job panics. The other
/// jobs are aborted, each at the await where it stands.
///
/// # Cancel safety
/// Dropping it aborts all jobs.
pub async fn first_failure_ends_all<T, F>(jobs: Vec<F>) -> Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // TODO(01.4): a JoinSet; results as they come, the first failure ends the rest
    let mut tasks: JoinSet<_> = jobs.into_iter().collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        // Each `?` leaves the function, which drops the set, which aborts the
        // tasks that are still in it.
        results.push(joined??);
    }
    Ok(results)
    // END TODO(01.4)
}

/// The program.
pub async fn run() {
    info!("a good day");
    send_out(try_fetch("bread", ms(20)).boxed()).await;
    info!("the bread is sold out");
    send_out(fetch_sold_out("bread", ms(20)).boxed()).await;
    info!("an accident");
    send_out(fetch_and_fall("bread", ms(20)).boxed()).await;
}

/// Sends for milk, `bread` and onions.
async fn send_out(bread: Job) {
    let jobs = vec![
        try_fetch("milk", ms(30)).boxed(),
        bread,
        try_fetch("onions", ms(10)).boxed(),
    ];
    match first_failure_ends_all(jobs).await {
        Ok(items) => info!("has {}", items.join(", ")),
        Err(error) => info!("goes home: {error}"),
    }
    // An aborted task ends when the runtime next looks at it.
    tokio::task::yield_now().await;
}
