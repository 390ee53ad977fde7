//! One line for each thing proven, failures in full, sums at the end.

use std::time::Instant;

/// What one item came to: `Err` holds the failure in full, of any number of lines.
pub type Outcome = Result<(), String>;

/// How many items passed and failed.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    /// Those of the passed that were proved before.
    pub remembered: usize,
}

impl Totals {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.remembered += other.remembered;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.remembered > 0 {
            write!(f, ", {} remembered", self.remembered)?;
        }
        Ok(())
    }
}

/// Prints the items of one part as they are decided.
pub struct Report {
    part: &'static str,
    totals: Totals,
}

impl Report {
    pub fn new(part: &'static str) -> Self {
        Self {
            part,
            totals: Totals::default(),
        }
    }

    /// Prints `outcome` of `what`, with the seconds since `started`.
    pub fn item(&mut self, what: &str, started: Instant, outcome: Outcome) {
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.totals.passed += 1;
                println!("ok      {what}  ({seconds:.1} s)");
            }
            Err(failure) => {
                self.totals.failed += 1;
                println!("FAILED  {what}  ({seconds:.1} s)");
                for line in failure.trim_end().lines() {
                    println!("        {line}");
                }
            }
        }
    }

    /// Runs `proof` and prints its outcome.
    pub fn prove(&mut self, what: &str, proof: impl FnOnce() -> Outcome) {
        let started = Instant::now();
        self.item(what, started, proof());
    }

    /// Counts `items` that were proved before.
    pub fn remembered(&mut self, items: usize) {
        self.totals.passed += items;
        self.totals.remembered += items;
    }

    /// What was decided so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Ends the part with its sum.
    pub fn finish(self) -> Totals {
        println!("verify {}: {}\n", self.part, self.totals);
        self.totals
    }
}

/// `Ok` when there is no failure, else all of them, one after the other.
pub fn all_of(failures: &[String]) -> Outcome {
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}
