//! One line for each thing proven, failures in full, sums at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::memory::Memory;
use crate::{Env, scaffold};

/// What one item came to: `Err` holds the failure in full, of any number of lines.
pub type Outcome = Result<(), String>;

/// How many items passed and failed.
#[derive(Clone, Default)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    /// Those of the passed that were proved before.
    pub remembered: usize,
    /// What the table at the end counts.
    counts: BTreeMap<&'static str, usize>,
}

impl Totals {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.remembered += other.remembered;
        for (what, count) in other.counts {
            self.count(what, count);
        }
    }

    /// Adds to a line of the table at the end.
    pub fn count(&mut self, what: &'static str, count: usize) {
        *self.counts.entry(what).or_default() += count;
    }

    /// How much there is of what the project promises to prove.
    pub fn table(&self) -> String {
        let line = |(what, count): (&&str, &usize)| format!("{what:<30} {count:>5}\n");
        self.counts.iter().map(line).collect()
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
    pub totals: Totals,
    /// How many items were not run for want of a program.
    not_run: usize,
}

impl Report {
    pub fn new(part: &'static str) -> Self {
        Self {
            part,
            totals: Totals::default(),
            not_run: 0,
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
                let to_write = failure.starts_with(scaffold::OPEN);
                let verdict = if to_write { "TO DO " } else { "FAILED" };
                println!("{verdict}  {what}  ({seconds:.1} s)");
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

    /// Says that `what` needs `program`, which this machine lacks. In CI that is a failure.
    pub fn not_run(&mut self, program: &str, what: &str) {
        match course::program::not_run(program, what) {
            Err(line) => self.prove(what, || Err(line)),
            Ok(line) => {
                self.not_run += 1;
                println!("{line}");
            }
        }
    }

    /// Counts `items` that were proved before.
    pub fn remembered(&mut self, items: usize) {
        self.totals.passed += items;
        self.totals.remembered += items;
    }

    /// Whether `memory` knows that all of `item` passed; then that counts as much.
    pub fn recall(&mut self, memory: &Memory, item: &str, key: &str) -> bool {
        let found = memory.recall(item, key);
        let items: Option<usize> = found.and_then(|count| count.parse().ok());
        self.remembered(items.unwrap_or(0));
        items.is_some()
    }

    /// Runs `prove` unless `memory` knows that all of `item` passed, and keeps that it did.
    pub fn keep(
        &mut self,
        memory: &Memory,
        item: &str,
        key: &str,
        prove: impl FnOnce(&mut Self) -> Env<()>,
    ) -> Env<()> {
        if self.recall(memory, item, key) {
            return Ok(());
        }
        let so_far = |report: &Self| report.totals.failed + report.not_run;
        let (passed, failed) = (self.totals.passed, so_far(self));
        prove(self)?;
        if so_far(self) == failed {
            memory.keep(item, key, &(self.totals.passed - passed).to_string());
        }
        Ok(())
    }

    /// Ends the part with its sum.
    pub fn finish(self) -> Totals {
        println!("verify {}: {}\n", self.part, self.totals);
        self.totals
    }
}

/// `Ok` when there is no failure, else all of them, one after the other.
pub fn all_of(failures: impl IntoIterator<Item = String>) -> Outcome {
    let failures = Vec::from_iter(failures);
    failures
        .is_empty()
        .then_some(())
        .ok_or_else(|| failures.join("\n"))
}
