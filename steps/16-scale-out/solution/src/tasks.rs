//! Running many tasks at once, with a limit.

use tokio::task::JoinSet;

use crate::error::Error;

/// Runs `task` on every input, at most `limit` at a time, and returns the
/// results in the order of the inputs.
///
/// `limit` must be at least 1. The function does not check this: with 0 it
/// could not run any task, so no result would be correct.
///
/// # Errors
/// The error of the first task that fails, or [`Error::Task`] if a task panics.
/// The other tasks are aborted at the `.await` that they have reached, and
/// tasks that have not started never start.
///
/// # Cancel safety
/// Dropping the future aborts all of its tasks.
pub async fn map_concurrently<I, T, F>(
    inputs: Vec<I>,
    limit: usize,
    task: impl Fn(I) -> F,
) -> Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut results: Vec<Option<T>> = inputs.iter().map(|_| None).collect();
    let mut inputs = inputs.into_iter().enumerate();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < limit {
            let Some((index, input)) = inputs.next() else {
                break;
            };
            let future = task(input);
            // A JoinSet returns results in the order in which the tasks finish,
            // so each task also returns the index of its input.
            tasks.spawn(async move { (index, future.await) });
        }
        let Some(joined) = tasks.join_next().await else {
            break;
        };
        // Each `?` can return from the function. That drops the JoinSet, and
        // dropping the JoinSet aborts the tasks that are still in it.
        let (index, result) = joined?;
        results[index] = Some(result?);
    }
    Ok(results.into_iter().flatten().collect())
}
