//! What a load has found out.

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Call, CallError, Kind};

/// The calls of a load, counted by kind.
#[derive(Debug, Default)]
pub struct Report {
    list: Tally,
    one: Tally,
    slow: Tally,
    add: Tally,
    /// When the first call began, and when the last one ended.
    span: Option<(Instant, Instant)>,
}

/// The calls of one kind.
#[derive(Debug)]
pub struct Tally {
    /// How many calls got the answer that they should.
    pub successes: u64,
    /// How many did not.
    pub failures: u64,
    /// What was wrong the first time.
    pub first_failure: Option<String>,
    /// How long the successes took, in microseconds.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            successes: 0,
            failures: 0,
            first_failure: None,
            // From a microsecond to an hour, with three significant digits.
            latency: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("valid bounds"),
        }
    }
}

impl Report {
    /// Returns the calls of this kind.
    pub fn of(&self, kind: Kind) -> &Tally {
        match kind {
            Kind::List => &self.list,
            Kind::One => &self.one,
            Kind::Slow => &self.slow,
            Kind::Add => &self.add,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Tally {
        match kind {
            Kind::List => &mut self.list,
            Kind::One => &mut self.one,
            Kind::Slow => &mut self.slow,
            Kind::Add => &mut self.add,
        }
    }

    /// Counts a call that has ended. Calls come in any order.
    pub fn record(&mut self, call: &Call) {
        // TODO(12.5): count a success with its time, or a failure; stretch the span to this call
        let _ = (call, &mut self.span, Self::of_mut, text); // remove this line and the next
        todo!("count the call")
        // END TODO(12.5)
    }

    /// Returns the time from the beginning of the first call to the end of the last.
    pub fn duration(&self) -> Duration {
        self.span
            .map_or(Duration::ZERO, |(first, last)| last.duration_since(first))
    }

    /// Returns how many calls succeeded.
    pub fn successes(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.of(*kind).successes).sum()
    }

    /// Returns how many calls failed.
    pub fn failures(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.of(*kind).failures).sum()
    }

    /// Returns how many calls succeeded in a minute of the load. It is 0 if nothing was
    /// called, or if the load took no time at all.
    #[allow(clippy::cast_precision_loss)] // no load has so many calls
    pub fn per_minute(&self) -> f64 {
        // TODO(12.5): the successes, divided by the minutes that the load took
        todo!("compute the rate")
        // END TODO(12.5)
    }
}

/// An error and its causes in one line.
fn text(error: &CallError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
