//! A contender that runs: it is asked, and what came of it goes into the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::contender::Contender;
use crate::error::Result;
use crate::load::{self, Load, Outcome, Target, Workload};
use crate::model::{Bench, Unit};
use crate::program::Program;

/// How many answers of each contender are compared before anything is timed.
const COMPARED: usize = 50;

/// How long the last requests of a stretch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub warm_up: Duration,
    pub stretch: Duration,
}

impl Times {
    pub fn new(quick: bool) -> Self {
        let [warm_up, stretch] = if quick { [100, 300] } else { [200, 1_000] };
        Self {
            warm_up: Duration::from_millis(warm_up),
            stretch: Duration::from_millis(stretch),
        }
    }
}

/// A contender that runs.
pub struct Server {
    pub contender: Contender,
    pub database: PathBuf,
    program: Program,
    workload: Arc<Workload>,
    target: Arc<Target>,
    /// New orders that it has acknowledged since it was told what it is asked.
    pub acknowledged: u64,
    /// Requests since then whose outcome is unknown.
    pub unknown: u64,
}

impl Server {
    /// Starts it on that database. What it will be asked is looked at first.
    ///
    /// # Errors
    ///
    /// When it does not start, or answers otherwise than expected.
    pub fn start(contender: Contender, database: &Path, workload: &Arc<Workload>) -> Result<Self> {
        let program = contender.start(database)?;
        let mut server = Self {
            contender,
            database: database.to_owned(),
            target: Arc::new(Target::new(program.addr(), workload)),
            workload: Arc::clone(workload),
            program,
            acknowledged: 0,
            unknown: 0,
        };
        server.ask(workload)?;
        Ok(server)
    }

    /// What it will be asked from now on; some answers are compared at once.
    ///
    /// # Errors
    ///
    /// When it answers otherwise than expected.
    pub fn ask(&mut self, workload: &Arc<Workload>) -> Result<()> {
        self.target = Arc::new(Target::new(self.program.addr(), workload));
        self.target.compare(self.contender.name(), COMPARED)?;
        self.workload = Arc::clone(workload);
        (self.acknowledged, self.unknown) = (0, 0);
        Ok(())
    }

    /// One turn: as many requests as it can answer over so many connections. What went
    /// wrong is noted the first time that something did.
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
        let outcome = load::closed(&self.target, load(connections, times.stretch))?;
        let name = self.contender.name();
        bench.record(case, name, "rate", Unit::PerSecond, outcome.rate());
        // Of a slow server, a higher share would be one request.
        for (measure, share) in [("p50", 0.5), ("p99", 0.99)] {
            let latency = outcome.latency(share);
            bench.record(case, name, measure, Unit::Seconds, latency);
        }
        if let Some(trouble) = outcome.trouble() {
            let start = format!("{case}, {name}: ");
            if !bench.notes.iter().any(|note| note.starts_with(&start)) {
                bench.notes.push(start + &trouble);
            }
        }
        self.settle(&outcome)
    }

    fn warm_up(&mut self, connections: usize, times: Times) -> Result<()> {
        let outcome = load::closed(&self.target, load(connections, times.warm_up))?;
        self.settle(&outcome)
    }

    /// Counts orders. A server that still works on requests of the last stretch
    /// would be slow in the next one, so it is started anew.
    fn settle(&mut self, outcome: &Outcome) -> Result<()> {
        self.acknowledged += outcome.created;
        self.unknown += outcome.wrong + outcome.unfinished;
        if outcome.unfinished > 0 {
            self.program = self.contender.start(&self.database)?;
            self.target = Arc::new(Target::new(self.program.addr(), &self.workload));
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
