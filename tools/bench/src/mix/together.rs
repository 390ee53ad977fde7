//! One writer that does the writes that are waiting as one, with one commit.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::store::{self, Failure};
use super::strategy::Ended;

/// How many writes share a commit at most.
const MOST: usize = 100;

/// How a database does many writes at once.
pub trait Batch: Send + 'static {
    /// So many writes in one transaction. Returns the ids of their rows of `a`, in
    /// the order of the writes, when they are committed.
    ///
    /// # Errors
    ///
    /// When the database refuses them; then none of them is stored.
    fn commit(&mut self, writes: usize) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;
}

/// Hands writes to the one who does them; clones hand them to the same one.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Answer>);

/// Where the result of a write is waited for.
type Answer = oneshot::Sender<Result<Ended, Failure>>;

impl Writer {
    /// Starts it; it ends when the last clone is dropped. Needs a runtime.
    pub fn start(batch: impl Batch) -> Self {
        let (queue, waiting) = mpsc::channel(MOST);
        tokio::spawn(run(batch, waiting));
        Self(queue)
    }

    /// One write, answered when the transaction that it shares is committed.
    ///
    /// # Errors
    ///
    /// When the transaction that it shares fails.
    pub async fn write(&self) -> Result<Ended, Failure> {
        let gone = || Failure::Wrong("the writer is gone".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(mut batch: impl Batch, mut waiting: mpsc::Receiver<Answer>) {
    let mut answers = Vec::with_capacity(MOST);
    // Without a timer: what has come meanwhile is the next batch.
    while waiting.recv_many(&mut answers, MOST).await > 0 {
        let results = together(&mut batch, answers.len()).await;
        for (answer, result) in answers.drain(..).zip(results) {
            // Whoever does not listen any more does not need it.
            let _ = answer.send(result);
        }
    }
}

/// One result for each of so many writes. When the database refuses one of them, all
/// have failed: here a failure ends the bench. A service would do each on its own.
async fn together(batch: &mut impl Batch, writes: usize) -> Vec<Result<Ended, Failure>> {
    match batch.commit(writes).await {
        Ok(ids) => results(&ids, writes),
        Err(error) => {
            let error = Arc::new(error);
            let failed = || Err(Failure::Together(error.clone()));
            std::iter::repeat_with(failed).take(writes).collect()
        }
    }
}

/// To each write its ids.
fn results(ids: &[i64], writes: usize) -> Vec<Result<Ended, Failure>> {
    let each = store::PARENTS.len();
    if ids.len() == writes * each && ids.is_sorted_by(|a, b| a < b) {
        return ids.chunks(each).map(store::examine_written).collect();
    }
    let wrong = || {
        Err(Failure::Wrong(format!(
            "{} ids of {writes} writes, or not in their order",
            ids.len()
        )))
    };
    std::iter::repeat_with(wrong).take(writes).collect()
}

/// The rows of so many writes: `a`, and for each row of `b` the place of its
/// parent among them, from 1.
pub fn rows(writes: usize) -> (Vec<&'static str>, Vec<(i32, &'static str)>) {
    let parents = store::PARENTS.repeat(writes);
    let children = (0..writes).flat_map(|write| {
        // At most some hundred.
        let before = i32::try_from(write * store::PARENTS.len()).unwrap_or(i32::MAX);
        store::CHILDREN.map(|(place, data)| (before.saturating_add(place), data))
    });
    (parents, children.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with these ids.
    struct Told(Vec<i64>);

    impl Batch for Told {
        async fn commit(&mut self, _writes: usize) -> sqlx::Result<Vec<i64>> {
            Ok(self.0.clone())
        }
    }

    fn done(results: &[Result<Ended, Failure>]) -> Vec<bool> {
        results.iter().map(Result::is_ok).collect()
    }

    #[tokio::test]
    async fn ids_are_counted() {
        for (ids, right) in [
            (vec![1, 2, 3, 4, 5, 6], true),
            (vec![1, 2, 3, 4, 5], false),
            (vec![1, 2, 3, 3, 4, 5], false),
        ] {
            let mut batch = Told(ids);
            assert_eq!(done(&together(&mut batch, 2).await), [right; 2]);
        }
    }

    #[test]
    fn each_write_has_parents_of_its_own() {
        let (parents, children) = rows(2);
        assert_eq!(parents, ["a1", "a2", "a3", "a1", "a2", "a3"]);
        let places: Vec<i32> = children.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [1, 1, 2, 3, 3, 4, 4, 5, 6, 6]);
        assert_eq!((children[0].1, children[9].1), ("b1", "b5"));
    }
}
