//! Program `tasks`: what a spawned task does, and when.

use tokio::time::sleep;
use tracing::info;

use crate::error::Error;
use crate::fetch::{fetch, fetch_and_fall, ms, try_fetch};

/// Runs all jobs as tasks and returns what they give, in the order of the jobs.
/// One that panics costs its own result and no other: [`Error::Panicked`].
///
/// # Cancel safety
/// Dropping it does not end the jobs: a task goes on without its handle.
pub async fn run_all<T, F>(jobs: Vec<F>) -> Vec<Result<T, Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // TODO(01.3): spawn every job, then await the handles in their order
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        results.push(job.await);
    }
    results
    // END TODO(01.3)
}

/// The program.
pub async fn run() {
    info!("spawns the milk");
    let milk = tokio::spawn(fetch("milk", ms(20)));
    info!("spawns the bread");
    let bread = tokio::spawn(fetch("bread", ms(10)));
    info!("has spawned both");
    let _ = milk.await;
    info!("knows of the milk");
    let _ = bread.await;
    info!("knows of the bread");

    info!("runs three jobs");
    let results = run_all(vec![
        Box::pin(try_fetch("milk", ms(20))) as Job,
        Box::pin(fetch_and_fall("bread", ms(10))),
        Box::pin(try_fetch("onions", ms(15))),
    ])
    .await;
    for result in results {
        match result {
            Ok(item) => info!("has {item}"),
            Err(error) => info!("{error}"),
        }
    }

    info!("spawns the onions and drops the handle");
    drop(tokio::spawn(fetch("onions", ms(10))));
    sleep(ms(20)).await;
}

/// A job of one type, whichever function it comes from.
pub type Job = futures::future::BoxFuture<'static, Result<&'static str, Error>>;
