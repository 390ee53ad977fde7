//! The load generator: HTTP/1.1 connections that ask and check.
//!
//! It shares the machine with the server that it measures, so it does little:
//! requests are made beforehand, connections live on one thread, and an answer
//! that was found right once is from then on compared byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use hdrhistogram::Histogram;
use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time;

use crate::answers::difference;
use crate::error::{Error, Result};
use crate::http::{self, Connection, Request, runtime};

/// After a connection was refused.
const RECONNECT: Duration = Duration::from_millis(5);

/// Connections that are made without a pause: a server's queue has 128 count for
/// those that it has not accepted, and a client that finds it full tries again after
/// a second.
const AT_ONCE: usize = 64;

/// The pause.
const ACCEPT: Duration = Duration::from_millis(5);

/// Latencies are kept in µs with three digits, up to ten minutes.
const HIGHEST: u64 = 600_000_000;

/// What has to be answered.
pub enum Expected {
    /// 200 and this value, written in any way.
    Json(Value),
    /// 201 and `{"order_id":n}`.
    Created,
}

/// Requests of one kind, from which connections draw at random; the same
/// connection draws the same sequence from every contender.
pub type Workload = Vec<(Request, Expected)>;

/// One contender's answers to a workload.
pub struct Target {
    addr: SocketAddr,
    workload: Arc<Workload>,
    /// The bytes of each answer that was found right.
    right: Vec<OnceLock<Bytes>>,
}

/// How hard to ask.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    /// How long new requests are sent.
    pub duration: Duration,
    /// How long the last ones then have to be answered.
    pub patience: Duration,
}

/// How that went.
#[derive(Debug)]
pub struct Outcome {
    /// From the beginning to the last right answer.
    duration: Duration,
    /// Answers as expected.
    pub right: u64,
    /// Orders that were acknowledged; part of `right`.
    pub created: u64,
    /// Answers with another status or content than expected, and requests that were
    /// not answered because the connection broke.
    pub wrong: u64,
    /// Requests that had no whole answer when patience ended.
    pub unfinished: u64,
    /// The first answer that was wrong.
    complaint: Option<String>,
    /// In µs, of right answers and of what is unfinished, so far, since each was sent.
    latency: Histogram<u64>,
}

impl Outcome {
    /// Right answers a second. What was under way when the time for new
    /// requests was over is in both, the answers and the time: a slow server
    /// may have answered nothing until then.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    pub fn rate(&self) -> f64 {
        if self.right == 0 {
            return 0.0;
        }
        self.right as f64 / self.duration.as_secs_f64()
    }

    /// The latency that a share of the requests did not exceed, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    pub fn latency(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e6
    }

    /// What went wrong, if something did.
    pub fn trouble(&self) -> Option<String> {
        let sent = self.right + self.wrong + self.unfinished;
        (sent > self.right).then(|| {
            let first = self.complaint.as_deref().unwrap_or("not answered");
            format!(
                "of {sent} requests {} were answered wrongly and {} not in time; the first: {first}",
                self.wrong, self.unfinished
            )
        })
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
    }
}

impl Target {
    /// A contender that has not been asked yet.
    pub fn new(addr: SocketAddr, workload: &Arc<Workload>) -> Self {
        Self {
            addr,
            workload: Arc::clone(workload),
            right: workload.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// Asks the first `count` requests of the workload one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Differs`] at the first answer that is not the expected one.
    pub fn compare(&self, name: &str, count: usize) -> Result<()> {
        runtime()?.block_on(async {
            let mut connection = Connection::new(self.addr);
            for (index, (request, expected)) in self.workload.iter().take(count).enumerate() {
                let found = match connection.ask(request).await {
                    Ok((status, body)) if self.check(index, status, &body) => continue,
                    Ok((status, body)) => http::answer(status, &body),
                    Err(error) => error.to_string(),
                };
                return Err(Error::Differs {
                    contender: name.to_owned(),
                    request: request.to_string(),
                    found,
                    expected: match expected {
                        Expected::Json(value) => http::shown(value.to_string()),
                        Expected::Created => "201 with an order_id".to_owned(),
                    },
                });
            }
            Ok(())
        })
    }

    /// Whether that is the right answer to the request at that index.
    fn check(&self, index: usize, status: StatusCode, body: &Bytes) -> bool {
        match &self.workload[index].1 {
            Expected::Created => {
                let found = serde_json::from_slice::<Value>(body);
                let id = found.ok().and_then(|found| found["order_id"].as_i64());
                status == StatusCode::CREATED && id.is_some_and(|id| id > 0)
            }
            Expected::Json(_) if status != StatusCode::OK => false,
            Expected::Json(expected) => {
                if let Some(right) = self.right[index].get() {
                    return right == body;
                }
                let same = serde_json::from_slice(body)
                    .is_ok_and(|found| difference(expected, &found).is_none());
                if same {
                    let _ = self.right[index].set(body.clone());
                }
                same
            }
        }
    }

    async fn connect(&self, count: usize) -> Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        for number in 1..=count {
            let mut connection = Connection::new(self.addr);
            connection.connect().await.map_err(|error| {
                Error::Environment(format!("cannot connect to {}: {error}", self.addr))
            })?;
            connections.push(connection);
            if number % AT_ONCE == 0 {
                time::sleep(ACCEPT).await;
            }
        }
        Ok(connections)
    }
}

/// As many requests as can be answered: each connection sends its next one
/// when it has its answer.
///
/// # Errors
///
/// When the first connections cannot be made.
pub fn closed(target: &Arc<Target>, load: Load) -> Result<Outcome> {
    runtime()?.block_on(async {
        let connections = target.connect(load.connections).await?;
        let tally = Tally::new(load);
        let mut tasks = JoinSet::new();
        for (seed, mut connection) in (1_u64..).zip(connections) {
            let (target, tally) = (Arc::clone(target), tally.clone());
            tasks.spawn(async move {
                let mut random = Rng::with_seed(seed);
                loop {
                    let now = Instant::now();
                    if now >= tally.start + load.duration {
                        break;
                    }
                    let index = random.usize(..target.workload.len());
                    tally.ask(&target, &mut connection, index, now).await;
                }
            });
        }
        tasks.join_all().await;
        Ok(tally.outcome())
    })
}

/// The outcome so far, which all connections add to. They share a thread, so
/// the lock is free.
#[derive(Clone)]
struct Tally {
    outcome: Arc<Mutex<Outcome>>,
    start: Instant,
    /// When patience ends.
    limit: Instant,
}

impl Tally {
    fn new(load: Load) -> Self {
        let start = Instant::now();
        let outcome = Outcome {
            duration: Duration::ZERO,
            right: 0,
            created: 0,
            wrong: 0,
            unfinished: 0,
            complaint: None,
            latency: Histogram::new_with_max(HIGHEST, 3).expect("the bounds are sensible"),
        };
        Self {
            outcome: Arc::new(Mutex::new(outcome)),
            start,
            limit: start + load.duration + load.patience,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once and writes down what came of it.
    async fn ask(&self, target: &Target, connection: &mut Connection, index: usize, sent: Instant) {
        let request = &target.workload[index].0;
        let answer = time::timeout_at(self.limit.into(), connection.ask(request)).await;
        let now = Instant::now();
        let complaint = match answer {
            Ok(Ok((status, body))) if target.check(index, status, &body) => {
                let mut outcome = self.lock();
                outcome.right += 1;
                outcome.created += u64::from(status == StatusCode::CREATED);
                outcome.duration = now - self.start;
                outcome.record(now - sent);
                return;
            }
            Err(_) => {
                let mut outcome = self.lock();
                outcome.unfinished += 1;
                outcome.record(now - sent);
                return;
            }
            Ok(Ok((status, body))) => http::answer(status, &body),
            Ok(Err(error)) => error.to_string(),
        };
        self.complain(format!("{request}: {complaint}"));
        // Not to burn the processor that the server needs.
        time::sleep(RECONNECT).await;
    }

    fn complain(&self, complaint: String) {
        let mut outcome = self.lock();
        outcome.wrong += 1;
        outcome.complaint.get_or_insert(complaint);
    }

    fn outcome(self) -> Outcome {
        let outcome = Arc::into_inner(self.outcome).expect("no connection is left");
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
