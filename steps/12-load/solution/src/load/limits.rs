//! What a load can reach at most, computed before it is measured.

use crate::books::Slow;

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The clients of the load.
    pub clients: usize,
    /// The connections of the service's pool.
    pub connections: usize,
    /// The threads on which the service's runtime runs handlers.
    pub workers: usize,
    /// The threads that its runtime has for blocking work.
    pub blocking_threads: usize,
}

impl Limits {
    /// Returns how many slow queries can run at the same time if they wait as `slow` says.
    pub fn peak(&self, slow: Slow) -> usize {
        // TODO(12.7): the smallest of the numbers that limit this way of waiting
        let each_needs_one = self.clients.min(self.connections);
        match slow {
            Slow::Async => each_needs_one,
            Slow::Blocking => each_needs_one.min(self.workers),
            Slow::SpawnBlocking => each_needs_one.min(self.blocking_threads),
        }
        // END TODO(12.7)
    }
}

/// Returns how many requests a minute are possible if `peak` slow queries run at the same
/// time and each takes `seconds`. All other calls count as if they took no time.
#[allow(clippy::cast_precision_loss)] // small numbers
pub fn ceiling(peak: usize, seconds: f64) -> f64 {
    // TODO(12.7): a cycle has eleven calls, and two of them are slow
    let cycles_a_minute = peak as f64 * 60.0 / (2.0 * seconds);
    11.0 * cycles_a_minute
    // END TODO(12.7)
}
