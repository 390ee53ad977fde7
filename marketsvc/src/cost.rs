//! What a request has cost so far, in statements.
//!
//! A statement is what the database was asked to do: one text of SQL, and one
//! line of `sqlx::query` in the log. `BEGIN` and `COMMIT` are not counted. A
//! statement that served several requests at once counts once in each of them.
//!
//! Work that a request hands to another task stays part of it, in the count as
//! in the log, when the task runs [`part_of_request`]. Work that is shared by
//! many requests belongs to none of them; it takes along their [`Cost`]s and
//! tells them what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::Instrument;

tokio::task_local! {
    static COST: Cost;
}

/// The statements of one request. Clones count for the same request.
#[derive(Debug, Clone, Default)]
pub struct Cost(Arc<AtomicU32>);

impl Cost {
    /// That of the request at hand; outside of one, that of nobody.
    pub fn at_hand() -> Self {
        COST.try_with(Clone::clone).unwrap_or_default()
    }

    /// How many statements there were.
    pub fn statements(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `work` so that its statements count here.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        COST.scope(self.clone(), work).await
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a statement for the request at hand, if there is one.
pub fn statement() {
    // Fails outside of a request, where nobody counts.
    let _ = COST.try_with(Cost::add);
}

/// Counts a statement that serves many requests, in each of them once, also
/// when it serves one of them in several ways.
pub fn shared_statement<'a>(requests: impl IntoIterator<Item = &'a Cost>) {
    let mut requests: Vec<_> = requests.into_iter().collect();
    requests.sort_unstable_by_key(|cost| Arc::as_ptr(&cost.0));
    requests.dedup_by_key(|cost| Arc::as_ptr(&cost.0));
    requests.into_iter().for_each(Cost::add);
}

/// Makes `work`, which is about to be given to another task, part of the
/// request at hand.
///
/// # Cancel safety
///
/// That of `work`.
pub fn part_of_request<W: Future>(work: W) -> impl Future<Output = W::Output> {
    COST.scope(Cost::at_hand(), work).in_current_span()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn statements_count_for_their_request_in_whichever_task_they_are() {
        // Nobody's.
        statement();
        let cost = Cost::default();
        cost.of(async {
            statement();
            tokio::spawn(part_of_request(async { statement() }))
                .await
                .unwrap();
            // This task is not part of it.
            tokio::spawn(async { statement() }).await.unwrap();
        })
        .await;
        assert_eq!(cost.statements(), 2);
    }

    #[tokio::test]
    async fn a_shared_statement_counts_once_in_each_request() {
        let (one, two) = (Cost::default(), Cost::default());
        let waiting = [
            one.of(async { Cost::at_hand() }).await,
            two.clone(),
            one.clone(),
        ];
        shared_statement(&waiting);
        assert_eq!((one.statements(), two.statements()), (1, 1));
    }
}
