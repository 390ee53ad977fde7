//! Running many tasks at once, with a limit.

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
    // TODO(04.1): run at most `limit` tasks in a JoinSet; return the results in the inputs' order
    let _ = limit; // remove this and the loop, which runs one task after the other
    let mut results = Vec::with_capacity(inputs.len());
    for input in inputs {
        results.push(task(input).await?);
    }
    Ok(results)
    // END TODO(04.1)
}
