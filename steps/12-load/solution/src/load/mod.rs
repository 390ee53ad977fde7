//! The load: clients that send requests to a service at the same time, and a report of
//! how it answered. It knows the service only by its URL.
//!
//! [`run`] starts the clients; [`Client`] is one of them. Each sends the calls of
//! [`CYCLE`] one after another, again and again, and looks at every answer. A call that
//! did not get the answer that it should is a failure; [`Report`] counts it apart from
//! the successes. [`Limits`] says what to expect before you measure.

mod client;
mod limits;
mod report;

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

pub use client::{CYCLE, CallError, Client, http};
pub use limits::{Limits, ceiling};
pub use report::{Report, Tally};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GET /book`
    List,
    /// `GET /book/{id}`
    One,
    /// `GET /book/extensive_query`
    Slow,
    /// `POST /book`
    Add,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::List, Self::One, Self::Slow, Self::Add];

    /// Returns its name for tables and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::One => "one",
            Self::Slow => "slow",
            Self::Add => "add",
        }
    }
}

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many clients there are. They begin at the same time.
    pub clients: usize,
    /// When they end.
    pub stop: Stop,
    /// How long a slow query takes, in seconds.
    pub seconds: f64,
    /// Two loads with the same seed ask for the same books, if they get the same lists.
    pub seed: u64,
    /// How long a client waits for an answer, to the end of its body.
    pub timeout: Duration,
}

/// When a client ends.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// After so many cycles.
    Cycles(u64),
    /// It begins no call when so much time has passed since the load began. A call that
    /// has begun goes on to its end and counts.
    After(Duration),
}

/// A call that has ended.
#[derive(Debug)]
pub struct Call {
    pub kind: Kind,
    /// The number of the client, from 0.
    pub client: usize,
    /// When the client began to send the request.
    pub began: Instant,
    /// When it had the whole answer, or knew that there will be none.
    pub ended: Instant,
    /// What was wrong with the answer.
    pub result: Result<(), CallError>,
}

/// Why a load has no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the HTTP client could not be made")]
    Http(#[from] reqwest::Error),
    #[error("a client panicked")]
    Panic(#[from] JoinError),
}

/// Runs the load `plan` against the service at `base`, such as `http://127.0.0.1:9090`.
/// It passes each call to `watch` as soon as the call has ended.
///
/// # Errors
/// [`LoadError`] if the HTTP client could not be made, or if one of the load's clients
/// panicked, at the latest when the others have ended. A failure of the service is not an
/// error of the load: the report counts it.
///
/// # Cancel safety
/// Dropping the future ends all clients and their requests.
pub async fn run(
    base: &str,
    plan: &Plan,
    mut watch: impl FnMut(&Call),
) -> Result<Report, LoadError> {
    // TODO(12.6): run all clients at the same time, and count each call that has ended
    let http = http(plan.timeout)?;
    // The channel is short: a client that is ahead of the count waits for it.
    let (sender, mut calls) = mpsc::channel(plan.clients.max(1));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let client = Client::new(http.clone(), base, number, plan);
        clients.spawn(work(client, plan.stop, began, sender.clone()));
    }
    // Otherwise the loop below would wait for this sender, too.
    drop(sender);
    let mut report = Report::default();
    while let Some(call) = calls.recv().await {
        report.record(&call);
        watch(&call);
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    Ok(report)
    // END TODO(12.6)
}

/// Lets `client` call the service in cycles, until `stop` says that it ends. `began` is
/// when the load began. Each call that has ended goes to `calls`.
pub async fn work(mut client: Client, stop: Stop, began: Instant, calls: mpsc::Sender<Call>) {
    // TODO(12.4): make the calls of each cycle one after another, and stop both ways
    let mut cycle = 0;
    loop {
        if matches!(stop, Stop::Cycles(cycles) if cycle == cycles) {
            return;
        }
        for kind in CYCLE {
            if matches!(stop, Stop::After(duration) if began.elapsed() >= duration) {
                return;
            }
            let call = client.call(kind).await;
            if calls.send(call).await.is_err() {
                return;
            }
        }
        cycle += 1;
    }
    // END TODO(12.4)
}
