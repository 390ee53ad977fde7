//! How many connections are in use, over time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts the connections in use. A clone is the same meter.
#[derive(Debug, Clone)]
pub struct Meter {
    start: Instant,
    records: Arc<Mutex<Records>>,
}

#[derive(Debug, Default)]
struct Records {
    in_use: u64,
    changes: Vec<(Duration, u64)>,
}

impl Meter {
    /// A meter whose time begins now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            records: Arc::default(),
        }
    }

    /// Counts one more connection until the returned value is dropped.
    pub fn hold(&self) -> Held {
        self.change(|in_use| in_use + 1);
        Held(self.clone())
    }

    /// The most connections that were in use at the same time.
    pub fn peak(&self) -> u64 {
        let changes = self.changes();
        let values = changes.into_iter().map(|(_, in_use)| in_use);
        values.max().unwrap_or(0)
    }

    /// How many connections were in use from which time on.
    pub fn changes(&self) -> Vec<(Duration, u64)> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.changes.clone()
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.in_use = change(records.in_use);
        let (at, in_use) = (self.start.elapsed(), records.in_use);
        records.changes.push((at, in_use));
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// One connection in use.
#[must_use = "the connection counts only until this is dropped"]
pub struct Held(Meter);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.change(|in_use| in_use - 1);
    }
}
