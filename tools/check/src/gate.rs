//! Observes jobs that should run at the same time: how many are in flight, how many
//! have ended, and how many were dropped before their end.
//!
//! It does not read a clock, so it works under paused time and under real time.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// Counts the jobs that enter it, and can hold them inside until it is opened.
#[derive(Clone)]
pub struct Gate {
    counts: Arc<watch::Sender<Counts>>,
    /// A permit for each job that may pass; closed when the gate is open for all.
    passes: Arc<Semaphore>,
}

#[derive(Default)]
struct Counts {
    entered: usize,
    in_flight: usize,
    most_in_flight: usize,
    ended: usize,
    dropped: usize,
}

impl Gate {
    /// A gate that lets every job through and only counts.
    pub fn opened() -> Self {
        let gate = Self::closed();
        gate.open();
        gate
    }

    /// A gate at which every job waits until [`Gate::open`] or
    /// [`Gate::let_through`].
    pub fn closed() -> Self {
        Self {
            counts: Arc::default(),
            passes: Arc::new(Semaphore::new(0)),
        }
    }

    /// Enters the gate, waits until it lets this job through, and leaves it.
    ///
    /// # Cancel safety
    /// A job that is dropped inside counts as dropped and not as ended, and does
    /// not use up a pass.
    pub async fn pass(&self) {
        let visit = self.enter();
        // An error means that the gate is open for all.
        if let Ok(pass) = self.passes.acquire().await {
            pass.forget();
        }
        visit.end();
    }

    /// For a job with work to do inside: it is in flight until the returned visit
    /// is ended or dropped. Does not wait for the gate.
    pub fn enter(&self) -> Visit {
        self.counts.send_modify(|counts| {
            counts.entered += 1;
            counts.in_flight += 1;
            counts.most_in_flight = counts.most_in_flight.max(counts.in_flight);
        });
        Visit {
            gate: self.clone(),
            ended: false,
        }
    }

    pub fn open(&self) {
        self.passes.close();
    }

    pub fn let_through(&self, jobs: usize) {
        self.passes.add_permits(jobs);
    }

    pub fn entered(&self) -> usize {
        self.counts.borrow().entered
    }

    pub fn in_flight(&self) -> usize {
        self.counts.borrow().in_flight
    }

    /// The largest number of jobs that were inside at the same time.
    pub fn most_in_flight(&self) -> usize {
        self.counts.borrow().most_in_flight
    }

    pub fn ended(&self) -> usize {
        self.counts.borrow().ended
    }

    /// Jobs that were dropped (aborted, cancelled, panicked) inside.
    pub fn dropped(&self) -> usize {
        self.counts.borrow().dropped
    }

    /// Waits until at least `jobs` jobs are inside at the same time, without a
    /// limit.
    pub async fn wait_until_in_flight(&self, jobs: usize) {
        self.wait_for(|counts| counts.in_flight >= jobs).await;
    }

    /// Waits until the gate is empty, that is until each job that entered has ended
    /// or was dropped, without a limit.
    pub async fn wait_until_empty(&self) {
        self.wait_for(|counts| counts.in_flight == 0).await;
    }

    async fn wait_for(&self, reached: impl FnMut(&Counts) -> bool) {
        // An error would mean that the sender is gone, and `self` holds it.
        let _ = self.counts.subscribe().wait_for(reached).await;
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
        let ended = usize::from(self.ended);
        self.gate.counts.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.ended += ended;
            counts.dropped += 1 - ended;
        });
    }
}
