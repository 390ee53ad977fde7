//! The load generator: HTTP/1.1 connections that ask and check.
//!
//! It shares the machine with the server that it measures, so it does little:
//! requests are made beforehand, connections live on one thread, and an answer
//! that was found right once is from then on compared byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::answers::difference;
use crate::http::{Connection, Failure, Request, shown};

/// What has to be answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// The body as JSON, written in any way. `None`: any body.
    pub value: Option<Value>,
}

/// Requests of one kind, from which connections draw at random; the same
/// connection draws the same sequence from every contender.
pub type Workload = Vec<(Request, Answer)>;

/// A server, and what it is asked.
pub struct Target {
    addr: SocketAddr,
    workload: Arc<Workload>,
    /// The bytes of each answer that was found right.
    right: Vec<OnceLock<Bytes>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// From the beginning to the last right answer.
    duration: Duration,
    /// Of right answers, sorted in the end.
    latencies: Vec<Duration>,
    /// Answers other than expected, and requests without an answer.
    pub wrong: u64,
    /// What was wrong first.
    complaint: Option<String>,
}

impl Outcome {
    pub fn right(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Right answers a second. What was under way when the time for new
    /// requests was over is in both, the answers and the time: a slow server
    /// may have answered nothing until then.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    pub fn rate(&self) -> f64 {
        if self.latencies.is_empty() {
            return 0.0;
        }
        self.latencies.len() as f64 / self.duration.as_secs_f64()
    }

    /// The latency that so many percent of the requests did not exceed, in seconds.
    pub fn latency(&self, percent: usize) -> f64 {
        let index = (self.latencies.len() * percent / 100).saturating_sub(1);
        self.latencies.get(index).map_or(0.0, Duration::as_secs_f64)
    }

    /// What went wrong, if something did.
    pub fn trouble(&self) -> Option<String> {
        let first = self.complaint.as_ref()?;
        let (wrong, sent) = (self.wrong, self.right() + self.wrong);
        Some(format!(
            "{wrong} of {sent} answers were wrong; the first: {first}"
        ))
    }
}

impl Target {
    pub fn new(addr: SocketAddr, workload: &Arc<Workload>) -> Self {
        Self {
            addr,
            workload: Arc::clone(workload),
            right: vec![OnceLock::new(); workload.len()],
        }
    }

    /// Asks the first `count` requests of the workload one by one.
    ///
    /// # Errors
    ///
    /// The first answer that is wrong.
    pub async fn compare(&self, count: usize) -> Result<(), Failure> {
        let mut connection = Connection::open(self.addr).await?;
        for (index, (request, _)) in self.workload.iter().take(count).enumerate() {
            let (status, body) = connection.ask(request).await?;
            self.check(index, status, &body)?;
        }
        Ok(())
    }

    /// Says what is wrong with the answer to the request at that index.
    fn check(&self, index: usize, status: StatusCode, body: &Bytes) -> Result<(), String> {
        let (request, expected) = &self.workload[index];
        if status != expected.status {
            let body = shown(&String::from_utf8_lossy(body));
            let expected = expected.status;
            return Err(format!(
                "{request}: {status} {body}; expected is {expected}"
            ));
        }
        let Some(value) = &expected.value else {
            return Ok(());
        };
        if self.right[index].get() == Some(body) {
            return Ok(());
        }
        let found: Value = serde_json::from_slice(body).map_err(|e| format!("{request}: {e}"))?;
        if let Some((place, expected, found)) = difference(value, &found) {
            let [found, expected] = [found, expected].map(|value| shown(&value.to_string()));
            return Err(format!(
                "{request} at {place}: {found}; expected is {expected}"
            ));
        }
        let _ = self.right[index].set(body.clone());
        Ok(())
    }

    /// A closed loop: each connection sends its next request when it has its answer.
    ///
    /// # Errors
    ///
    /// When a connection cannot be made.
    pub async fn closed(
        self: &Arc<Self>,
        connections: usize,
        time: Duration,
    ) -> Result<Outcome, Failure> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Connection::open(self.addr).await?);
        }
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for (seed, connection) in (1..).zip(open) {
            clients.spawn(Arc::clone(self).client(connection, seed, start, start + time));
        }
        let mut all = Outcome::default();
        while let Some(ended) = clients.join_next().await {
            let one = ended??;
            all.duration = all.duration.max(one.duration);
            all.latencies.extend(one.latencies);
            all.wrong += one.wrong;
            all.complaint = all.complaint.or(one.complaint);
        }
        all.latencies.sort_unstable();
        Ok(all)
    }

    async fn client(
        self: Arc<Self>,
        mut connection: Connection,
        seed: u64,
        start: Instant,
        end: Instant,
    ) -> Result<Outcome, Failure> {
        let mut random = Rng::with_seed(seed);
        let mut outcome = Outcome::default();
        loop {
            let sent = Instant::now();
            if sent >= end {
                return Ok(outcome);
            }
            let index = random.usize(..self.workload.len());
            let request = &self.workload[index].0;
            let checked = match connection.ask(request).await {
                Ok((status, body)) => self.check(index, status, &body),
                Err(error) => {
                    connection = Connection::open(self.addr).await?;
                    Err(format!("{request}: {error}"))
                }
            };
            match checked {
                Ok(()) => {
                    let now = Instant::now();
                    outcome.duration = now - start;
                    outcome.latencies.push(now - sent);
                }
                Err(complaint) => {
                    outcome.wrong += 1;
                    outcome.complaint.get_or_insert(complaint);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
