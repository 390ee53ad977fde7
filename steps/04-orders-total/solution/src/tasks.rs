//! Running many tasks at once, with a bound.

use tokio::task::JoinSet;

use crate::error::Error;

/// Runs `task` on every input, at most `limit` at a time, and returns the
/// results in the order of the inputs.
///
/// `limit` must be at least 1, which is not checked: with 0 no task may ever
/// begin, so no result can be right.
///
/// # Errors
/// The error of the first task to fail; [`Error::Task`] if a task panics. The
/// other tasks are aborted, each at the await where it stands, and tasks that
/// have not begun never begin.
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
    // TODO(04.1): run at most `limit` tasks in a JoinSet; return the results in the order of the inputs
    let mut results: Vec<Option<T>> = inputs.iter().map(|_| None).collect();
    let mut inputs = inputs.into_iter().enumerate();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < limit {
            let Some((index, input)) = inputs.next() else {
                break;
            };
            let future = task(input);
            // A JoinSet gives results as they are completed, so each carries
            // the place that it belongs to.
            tasks.spawn(async move { (index, future.await) });
        }
        let Some(joined) = tasks.join_next().await else {
            break;
        };
        // Each `?` leaves the function, which drops the set, which aborts the
        // tasks that are still in it.
        let (index, result) = joined?;
        results[index] = Some(result?);
    }
    Ok(results.into_iter().flatten().collect())
    // END TODO(04.1)
}
