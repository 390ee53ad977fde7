//! Observes jobs that should run at the same time: how many are in flight, how many
//! have ended, and how many were dropped before their end.
//!
//! It does not read a clock, so it works under paused time and under real time.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the jobs that enter it, and can hold them inside until it is opened.
#[derive(Clone)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Default)]
struct State {
    /// How many jobs may still pass; `None` when the gate is open for all.
    passes: Option<usize>,
    entered: usize,
    in_flight: usize,
    most_in_flight: usize,
    ended: usize,
    dropped: usize,
}

impl Gate {
    /// A gate that lets every job through and only counts.
    pub fn opened() -> Self {
        Self::with_passes(None)
    }

    /// A gate at which every job waits until [`Gate::open`] or
    /// [`Gate::let_through`].
    pub fn closed() -> Self {
        Self::with_passes(Some(0))
    }

    fn with_passes(passes: Option<usize>) -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State {
                passes,
                ..State::default()
            })),
        }
    }

    /// Enters the gate, waits until it lets this job through, and leaves it.
    ///
    /// # Cancel safety
    /// A job that is dropped inside counts as dropped and not as ended, and does
    /// not use up a pass.
    pub async fn pass(&self) {
        let visit = self.enter();
        let mut changes = self.state.subscribe();
        loop {
            // `wait_for` and `take_pass` are two steps, so another job may have
            // taken the last pass between them. This job then waits again.
            let _ = changes.wait_for(|state| state.passes != Some(0)).await;
            if self.take_pass() {
                break;
            }
        }
        visit.end();
    }

    /// For a job with work to do inside: it is in flight until the returned visit
    /// is ended or dropped. Does not wait for the gate.
    pub fn enter(&self) -> Visit {
        self.state.send_modify(|state| {
            state.entered += 1;
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
        });
        Visit {
            gate: self.clone(),
            ended: false,
        }
    }

    fn take_pass(&self) -> bool {
        let mut taken = true;
        self.state
            .send_if_modified(|state| match &mut state.passes {
                None => false,
                Some(0) => {
                    taken = false;
                    false
                }
                Some(left) => {
                    *left -= 1;
                    true
                }
            });
        taken
    }

    pub fn open(&self) {
        self.state.send_modify(|state| state.passes = None);
    }

    pub fn let_through(&self, jobs: usize) {
        self.state.send_modify(|state| {
            if let Some(passes) = &mut state.passes {
                *passes += jobs;
            }
        });
    }

    pub fn entered(&self) -> usize {
        self.state.borrow().entered
    }

    pub fn in_flight(&self) -> usize {
        self.state.borrow().in_flight
    }

    /// The largest number of jobs that were inside at the same time.
    pub fn most_in_flight(&self) -> usize {
        self.state.borrow().most_in_flight
    }

    pub fn ended(&self) -> usize {
        self.state.borrow().ended
    }

    /// Jobs that were dropped (aborted, cancelled, panicked) inside.
    pub fn dropped(&self) -> usize {
        self.state.borrow().dropped
    }

    /// Waits until at least `jobs` jobs are inside at the same time, without a
    /// limit.
    pub async fn wait_until_in_flight(&self, jobs: usize) {
        self.wait_for(|state| state.in_flight >= jobs).await;
    }

    /// Waits until the gate is empty, that is until each job that entered has ended
    /// or was dropped, without a limit.
    pub async fn wait_until_empty(&self) {
        self.wait_for(|state| state.in_flight == 0).await;
    }

    async fn wait_for(&self, reached: impl FnMut(&State) -> bool) {
        // An error would mean that the sender is gone, and `self` holds it.
        let _ = self.state.subscribe().wait_for(reached).await;
    }
}

/// A job's stay inside a [`Gate`].
#[must_use = "the job counts as dropped as soon as its visit is"]
pub struct Visit {
    gate: Gate,
    ended: bool,
}

impl Visit {
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let ended = self.ended;
        self.gate.state.send_modify(|state| {
            state.in_flight -= 1;
            if ended {
                state.ended += 1;
            } else {
                state.dropped += 1;
            }
        });
    }
}
