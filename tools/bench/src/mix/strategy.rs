//! Ways to run many operations: one after another, all at once, or so many at a
//! time.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use super::operations::Operation;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Each begins when the one before it has ended.
    Sequential,
    /// A task for every operation, at once.
    AllAtOnce,
    /// So many tasks together; the next ones begin when all of them have ended.
    Chunks(usize),
    /// So many tasks; the next one begins when any of them has ended.
    InFlight(usize),
}

/// What became of an operation that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The time was up before it had a connection; it has done nothing.
    NotBegun,
}

/// What became of all operations.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub writes: usize,
    pub reads: usize,
    pub not_begun: usize,
    pub failed: usize,
    pub first_failure: Option<String>,
    /// From the beginning until the last operation was done.
    pub seconds: f64,
}

impl Outcome {
    pub fn done(&self) -> usize {
        self.writes + self.reads
    }

    /// Operations per second.
    #[expect(clippy::cast_precision_loss, reason = "thousands of operations")]
    pub fn rate(&self) -> f64 {
        self.done() as f64 / self.seconds
    }

    fn count<E: Display>(&mut self, operation: Operation, result: Result<Ended, E>, at: Duration) {
        if matches!(result, Ok(Ended::Done)) {
            self.seconds = self.seconds.max(at.as_secs_f64());
        }
        match (result, operation) {
            (Ok(Ended::Done), Operation::Write) => self.writes += 1,
            (Ok(Ended::Done), Operation::Read) => self.reads += 1,
            (Ok(Ended::NotBegun), _) => self.not_begun += 1,
            (Err(error), _) => self.failure(&error),
        }
    }

    fn count_joined<E: Display>(
        &mut self,
        joined: Result<(Operation, Result<Ended, E>, Duration), JoinError>,
    ) {
        match joined {
            Ok((operation, result, at)) => self.count(operation, result, at),
            Err(error) => self.failure(&error),
        }
    }

    fn failure(&mut self, error: &dyn Display) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }
}

/// Does `operations` in their order, by `strategy`. None is begun after `until`;
/// those that have begun are waited for.
///
/// A failure, and a panic, is counted; the others go on.
pub async fn run<J, F, E>(
    strategy: Strategy,
    operations: &[Operation],
    until: Instant,
    job: J,
) -> Outcome
where
    J: Fn(Operation) -> F,
    F: Future<Output = Result<Ended, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut outcome = Outcome::default();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let spawn = |tasks: &mut JoinSet<_>, operation| {
        let job = job(operation);
        tasks.spawn(async move {
            let result = job.await;
            (operation, result, start.elapsed())
        });
    };
    let mut begun = 0;
    match strategy {
        Strategy::Sequential => {
            for &operation in operations {
                if Instant::now() >= until {
                    break;
                }
                begun += 1;
                let result = job(operation).await;
                outcome.count(operation, result, start.elapsed());
            }
        }
        Strategy::Chunks(size) => {
            for chunk in operations.chunks(size) {
                if Instant::now() >= until {
                    break;
                }
                begun += chunk.len();
                for &operation in chunk {
                    spawn(&mut tasks, operation);
                }
                while let Some(joined) = tasks.join_next().await {
                    outcome.count_joined(joined);
                }
            }
        }
        Strategy::AllAtOnce | Strategy::InFlight(_) => {
            let most = match strategy {
                Strategy::InFlight(most) => most,
                _ => usize::MAX,
            };
            for &operation in operations {
                if tasks.len() >= most
                    && let Some(joined) = tasks.join_next().await
                {
                    outcome.count_joined(joined);
                }
                if Instant::now() >= until {
                    break;
                }
                begun += 1;
                spawn(&mut tasks, operation);
            }
            while let Some(joined) = tasks.join_next().await {
                outcome.count_joined(joined);
            }
        }
    }
    outcome.not_begun += operations.len() - begun;
    outcome
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use check::gate::Gate;

    use super::super::operations::list;
    use super::*;

    /// Far enough that no test meets it.
    fn later() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    async fn pass(gate: Gate) -> Result<Ended, Infallible> {
        gate.pass().await;
        Ok(Ended::Done)
    }

    /// Runs 100 operations at a closed gate; `look` lets them through.
    async fn at_a_gate(strategy: Strategy, look: impl AsyncFnOnce(&Gate)) -> (Gate, Outcome) {
        let gate = Gate::closed();
        let job = gate.clone();
        let running =
            tokio::spawn(
                async move { run(strategy, &list(100), later(), |_| pass(job.clone())).await },
            );
        look(&gate).await;
        gate.open();
        let outcome = running.await.unwrap();
        (gate, outcome)
    }

    #[tokio::test]
    async fn one_after_another() {
        let (gate, outcome) = at_a_gate(Strategy::Sequential, async |gate| {
            gate.wait_until_in_flight(1).await;
        })
        .await;
        assert_eq!(gate.most_in_flight(), 1);
        assert_eq!((outcome.done(), outcome.failed), (100, 0));
    }

    #[tokio::test]
    async fn all_are_in_flight_at_once() {
        let (gate, outcome) = at_a_gate(Strategy::AllAtOnce, async |gate| {
            gate.wait_until_in_flight(100).await;
        })
        .await;
        assert_eq!(gate.most_in_flight(), 100);
        assert_eq!(outcome.done(), 100);
    }

    #[tokio::test]
    async fn a_chunk_waits_for_its_slowest_member() {
        let (gate, outcome) = at_a_gate(Strategy::Chunks(40), async |gate| {
            gate.wait_until_in_flight(40).await;
            gate.let_through(39);
            while gate.ended() < 39 {
                tokio::task::yield_now().await;
            }
            // Whoever was to take a place that is free has had its turn.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(gate.entered(), 40);
        })
        .await;
        assert_eq!(gate.most_in_flight(), 40);
        assert_eq!(outcome.done(), 100);
    }

    #[tokio::test]
    async fn a_place_in_flight_is_taken_at_once() {
        let (gate, outcome) = at_a_gate(Strategy::InFlight(8), async |gate| {
            gate.wait_until_in_flight(8).await;
            for more in 1..=20 {
                gate.let_through(1);
                while gate.entered() < 8 + more {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        assert_eq!(gate.most_in_flight(), 8);
        assert_eq!(outcome.done(), 100);
    }

    #[tokio::test]
    async fn every_result_is_examined() {
        let all = [
            Strategy::Sequential,
            Strategy::AllAtOnce,
            Strategy::Chunks(7),
            Strategy::InFlight(3),
        ];
        for strategy in all {
            let outcome = run(strategy, &list(100), later(), |operation| async move {
                match operation {
                    Operation::Write => Err("no"),
                    Operation::Read => Ok(Ended::Done),
                }
            })
            .await;
            let reads = list(100).iter().filter(|o| **o == Operation::Read).count();
            assert_eq!(outcome.reads, reads, "{strategy:?}");
            assert_eq!(outcome.failed, 100 - reads, "{strategy:?}");
            assert_eq!(outcome.first_failure.as_deref(), Some("no"));
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let outcome = run(
            Strategy::InFlight(2),
            &list(10),
            later(),
            async |_| -> Result<Ended, Infallible> { panic!("on purpose") },
        )
        .await;
        assert_eq!((outcome.done(), outcome.failed), (0, 10));
    }

    #[tokio::test]
    async fn nothing_begins_after_the_time() {
        for strategy in [
            Strategy::Sequential,
            Strategy::Chunks(4),
            Strategy::InFlight(2),
        ] {
            let now = Instant::now();
            let gate = Gate::opened();
            let outcome = run(strategy, &list(10), now, |_| pass(gate.clone())).await;
            assert_eq!((outcome.not_begun, gate.entered()), (10, 0), "{strategy:?}");
        }
    }
}
