//! A contender that runs: it is asked, and what came of it goes into the report.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::http::{Connection, Failure, Request, runtime};
use crate::load::{Answer, Target, Workload};
use crate::model::{Bench, Unit};
use crate::program::Program;

/// How many answers of each contender are compared before anything is timed.
const COMPARED: usize = 50;

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

/// The answers of a program to these requests, as what others have to answer.
///
/// # Errors
///
/// When it does not answer, or with a success that is not JSON.
pub fn answers(name: &str, addr: SocketAddr, requests: Vec<Request>) -> Result<Arc<Workload>> {
    let ask = async {
        let mut connection = Connection::open(addr).await?;
        let mut workload = Vec::with_capacity(requests.len());
        for request in requests {
            let (status, body) = connection.ask(&request).await?;
            // How a failure is worded is left to each.
            let value = status.is_success().then(|| serde_json::from_slice(&body));
            let value = value.transpose()?;
            workload.push((request, Answer { status, value }));
        }
        Ok(Arc::new(workload))
    };
    let answers: std::result::Result<_, Failure> = runtime()?.block_on(ask);
    answers.map_err(|error| Error::failed(name, error))
}

/// A contender that runs.
pub struct Server {
    pub contender: Contender,
    program: Program,
    target: Arc<Target>,
    /// Right and wrong answers since it was told what it is asked.
    pub right: u64,
    pub wrong: u64,
}

impl Server {
    /// Starts it on that database.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(contender: Contender, database: &Path) -> Result<Self> {
        Ok(Self::new(contender, contender.start(database)?))
    }

    /// One that has been started.
    pub fn new(contender: Contender, program: Program) -> Self {
        Self {
            contender,
            target: Arc::new(Target::new(program.addr(), &Arc::default())),
            program,
            right: 0,
            wrong: 0,
        }
    }

    fn failed(&self) -> impl Fn(Failure) -> Error + use<> {
        let name = self.contender.name();
        move |error| Error::failed(name, error)
    }

    /// As [`answers`], of this one.
    ///
    /// # Errors
    ///
    /// As those of [`answers`].
    pub fn answers(&self, requests: Vec<Request>) -> Result<Arc<Workload>> {
        answers(self.contender.name(), self.program.addr(), requests)
    }

    /// What it will be asked from now on; some answers are compared at once.
    ///
    /// # Errors
    ///
    /// When it answers otherwise than expected.
    pub fn ask(&mut self, workload: &Arc<Workload>) -> Result<()> {
        self.target = Arc::new(Target::new(self.program.addr(), workload));
        let compared = runtime()?.block_on(self.target.compare(COMPARED));
        compared.map_err(self.failed())?;
        (self.right, self.wrong) = (0, 0);
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
        let [warm_up, outcome] = runtime()?
            .block_on(async {
                let warm_up = self.target.closed(connections, times.warm_up).await?;
                let outcome = self.target.closed(connections, times.stretch).await?;
                Ok([warm_up, outcome])
            })
            .map_err(self.failed())?;
        self.right += warm_up.right() + outcome.right();
        self.wrong += warm_up.wrong + outcome.wrong;
        let name = self.contender.name();
        bench.record(case, name, "rate", Unit::PerSecond, outcome.rate());
        // Of a slow server, a higher share would be one request.
        for (measure, percent) in [("p50", 50), ("p99", 99)] {
            let latency = outcome.latency(percent);
            bench.record(case, name, measure, Unit::Seconds, latency);
        }
        if let Some(trouble) = outcome.trouble() {
            let start = format!("{case}, {name}: ");
            if !bench.notes.iter().any(|note| note.starts_with(&start)) {
                bench.notes.push(start + &trouble);
            }
        }
        Ok(())
    }
}
