//! Program `tasks`: what a spawned task does, and when.

use tokio::time::sleep;
use tracing::info;

use crate::error::Error;
use crate::fetch::{fetch, fetch_and_panic, ms, try_fetch};

/// Runs each job in a task of its own, all at the same time. Returns their results
/// in the order of the jobs. The result of a job that panics is
/// [`Error::Panicked`]; the other jobs do not notice.
///
/// # Cancel safety
/// Dropping the call does not stop the jobs, because a task continues without its
/// handle.
pub async fn run_all<T, F>(jobs: Vec<F>) -> Vec<Result<T, Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // TODO(01.3): spawn every job, then await the handles in the same order
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
    info!("has the milk");
    let _ = bread.await;
    info!("has the bread");

    info!("runs three jobs");
    let results = run_all(vec![
        Box::pin(try_fetch("milk", ms(20))) as Job,
        Box::pin(fetch_and_panic("bread", ms(10))),
        Box::pin(try_fetch("onions", ms(15))),
    ])
    .await;
    for result in results {
        match result {
            Ok(item) => info!("result: {item}"),
            Err(error) => info!("result: {error}"),
        }
    }

    info!("spawns the onions and drops the handle");
    drop(tokio::spawn(fetch("onions", ms(10))));
    sleep(ms(20)).await;
}

/// A boxed job. Each async function returns a future of its own type; in a box they
/// have the same type and fit into one `Vec`.
pub type Job = futures::future::BoxFuture<'static, Result<&'static str, Error>>;
