//! A contender that runs: it is asked, and what came of it goes into the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::contender::Contender;
use crate::driver::{self, Load, Outcome, Target, Workload};
use crate::error::Result;
use crate::model::{Bench, Unit};
use crate::program::Program;
use crate::settings::Settings;

/// How many answers of each contender are compared before anything is timed.
const COMPARED: usize = 50;

/// How long the last requests of a stretch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the requests, as their figures are called.
pub const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub warm_up: Duration,
    /// Of a closed loop.
    pub stretch: Duration,
    /// Of an open loop, whose slowest thousandth has to be a few requests.
    pub open: Duration,
}

impl Times {
    pub fn new(settings: &Settings) -> Self {
        let millis = Duration::from_millis;
        if settings.quick {
            Self {
                warm_up: millis(100),
                stretch: millis(300),
                open: millis(1_000),
            }
        } else {
            Self {
                warm_up: millis(200),
                stretch: millis(1_000),
                open: millis(4_000),
            }
        }
    }
}

/// A contender that runs.
pub struct Server {
    contender: Contender,
    database: PathBuf,
    program: Program,
    target: Arc<Target>,
    /// New orders that it has acknowledged since it was told what it is asked.
    pub acknowledged: u64,
    /// Requests since then of which nobody knows what became.
    pub unknown: u64,
}

impl Server {
    /// Starts it on that database. What it will be asked is looked at first.
    ///
    /// # Errors
    ///
    /// When it does not start, or answers otherwise than expected.
    pub fn start(contender: &Contender, database: &Path, workload: &Arc<Workload>) -> Result<Self> {
        let program = contender.start(database)?;
        let mut server = Self {
            contender: contender.clone(),
            database: database.to_owned(),
            target: Arc::new(Target::new(program.addr(), Arc::clone(workload))),
            program,
            acknowledged: 0,
            unknown: 0,
        };
        server.ask(workload)?;
        Ok(server)
    }

    pub fn contender(&self) -> &Contender {
        &self.contender
    }

    pub fn name(&self) -> &str {
        &self.contender.name
    }

    pub fn database(&self) -> &Path {
        &self.database
    }

    /// What it will be asked from now on; some answers are compared at once.
    ///
    /// # Errors
    ///
    /// When it answers otherwise than expected.
    pub fn ask(&mut self, workload: &Arc<Workload>) -> Result<()> {
        self.target = Arc::new(Target::new(self.program.addr(), Arc::clone(workload)));
        self.target.compare(&self.contender.name, COMPARED)?;
        (self.acknowledged, self.unknown) = (0, 0);
        Ok(())
    }

    /// One turn: as many requests as it can answer over so many connections.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub fn closed(
        &mut self,
        bench: &mut Bench,
        case: &str,
        connections: usize,
        times: Times,
    ) -> Result<()> {
        self.warm_up(connections, times)?;
        let outcome = driver::closed(&self.target, load(connections, times.stretch))?;
        bench.record(case, self.name(), "rate", Unit::PerSecond, outcome.rate());
        // Of a slow server, p99.9 would be one request.
        self.write_down(bench, case, &outcome, &SHARES[..2]);
        self.settle(&outcome)
    }

    /// One turn: so many requests a second, whether it can or not.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub fn open(
        &mut self,
        bench: &mut Bench,
        case: &str,
        connections: usize,
        rate: f64,
        times: Times,
    ) -> Result<()> {
        self.warm_up(connections, times)?;
        let outcome = driver::open(&self.target, load(connections, times.open), rate)?;
        self.write_down(bench, case, &outcome, &SHARES);
        self.settle(&outcome)
    }

    fn warm_up(&mut self, connections: usize, times: Times) -> Result<()> {
        let outcome = driver::closed(&self.target, load(connections, times.warm_up))?;
        self.settle(&outcome)
    }

    /// Notes latencies, and what went wrong the first time that something did.
    fn write_down(&self, bench: &mut Bench, case: &str, outcome: &Outcome, shares: &[(&str, f64)]) {
        for (measure, share) in shares {
            let latency = outcome.latency(*share);
            bench.record(case, self.name(), measure, Unit::Seconds, latency);
        }
        if let Some(trouble) = outcome.trouble() {
            let start = format!("{case}, {}: ", self.name());
            if !bench.notes.iter().any(|note| note.starts_with(&start)) {
                bench.notes.push(start + &trouble);
            }
        }
    }

    /// Counts orders. A server that still works on requests of the last stretch
    /// would be slow in the next one, so it is started anew.
    fn settle(&mut self, outcome: &Outcome) -> Result<()> {
        self.acknowledged += outcome.created;
        self.unknown += outcome.wrong + outcome.failed + outcome.unfinished;
        if outcome.unfinished > 0 {
            self.program = self.contender.start(&self.database)?;
            self.target = Arc::new(self.target.moved(self.program.addr()));
        }
        Ok(())
    }
}

fn load(connections: usize, duration: Duration) -> Load {
    Load {
        connections,
        duration,
        patience: PATIENCE,
    }
}
