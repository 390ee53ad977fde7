//! The load generator: HTTP/1.1 connections that ask and check.
//!
//! It shares the machine with the server that it measures, so it does little:
//! requests are made beforehand, connections live on one thread, and an answer
//! that was found right once is from then on compared byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;

use crate::error::{Error, Result};

/// After a connection was refused.
const RECONNECT: Duration = Duration::from_millis(5);

/// Connections that are made without a pause: a server's queue has 128 places for
/// those that it has not accepted, and who finds it full tries again after a second.
const AT_ONCE: usize = 64;

/// The pause.
const ACCEPT: Duration = Duration::from_millis(5);

/// Latencies are kept in µs with three digits, up to ten minutes.
const HIGHEST: u64 = 600_000_000;

/// What is asked, and what has to be answered.
pub struct Request {
    method: Method,
    uri: Uri,
    body: Bytes,
    expected: Expected,
}

enum Expected {
    /// 200 and this value, written in any way.
    Json(Value),
    /// 201 and `{"order_id":n}`.
    Created,
}

impl Request {
    /// `GET path`, which is answered with 200 and that value.
    ///
    /// # Panics
    ///
    /// If `path` is no path.
    pub fn get(path: &str, expected: Value) -> Self {
        Self {
            method: Method::GET,
            uri: path.parse().expect("a path and perhaps a query"),
            body: Bytes::new(),
            expected: Expected::Json(expected),
        }
    }

    /// A new order, which is answered with 201 and its number.
    ///
    /// # Panics
    ///
    /// If `path` is no path.
    pub fn create(path: &str, body: &Value) -> Self {
        Self {
            method: Method::POST,
            uri: path.parse().expect("a path and perhaps a query"),
            body: body.to_string().into(),
            expected: Expected::Created,
        }
    }
}

/// Requests of one kind, from which connections draw at random; the same
/// connection draws the same sequence from every contender.
pub struct Workload {
    requests: Vec<Request>,
    seed: u64,
}

impl Workload {
    /// # Panics
    ///
    /// If there are no requests.
    pub fn new(requests: Vec<Request>, seed: u64) -> Self {
        assert!(!requests.is_empty(), "a workload has requests");
        Self { requests, seed }
    }
}

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
    /// From the beginning to the last answer.
    pub duration: Duration,
    /// Requests that were sent.
    pub sent: u64,
    /// Answers as expected.
    pub right: u64,
    /// Orders that were acknowledged; part of `right`.
    pub created: u64,
    /// Answers with another status or content than expected.
    pub wrong: u64,
    /// Requests that were not answered: the connection broke.
    pub failed: u64,
    /// Requests that had no whole answer when patience ended. Of an open
    /// loop also those that had not even been sent.
    pub unfinished: u64,
    /// Connections that had to be made again.
    pub reconnects: u64,
    /// The first answer that was wrong.
    pub complaint: Option<String>,
    /// In µs, of right answers and of what is unfinished, so far. A closed
    /// loop counts from when a request was sent, an open loop from when it
    /// should have been.
    pub latency: Histogram<u64>,
    /// When the last right answer came.
    last: Instant,
}

impl Outcome {
    fn new() -> Self {
        Self {
            duration: Duration::ZERO,
            sent: 0,
            right: 0,
            created: 0,
            wrong: 0,
            failed: 0,
            unfinished: 0,
            reconnects: 0,
            complaint: None,
            latency: Histogram::new_with_max(HIGHEST, 3).expect("the bounds are sensible"),
            last: Instant::now(),
        }
    }

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

    /// What went wrong, as a sentence without a subject; `None` if nothing did.
    pub fn trouble(&self) -> Option<String> {
        let mut parts = Vec::new();
        for (count, what) in [
            (self.wrong, "wrong"),
            (self.failed, "without an answer"),
            (self.unfinished, "not answered in time"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if parts.is_empty() {
            return None;
        }
        let first = self.complaint.as_ref();
        let first = first.map_or(String::new(), |text| format!("; the first: {text}"));
        Some(format!(
            "{} of {} requests{first}",
            parts.join(", "),
            self.sent
        ))
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
    }
}

impl Target {
    /// A contender that has not been asked yet.
    pub fn new(addr: SocketAddr, workload: Arc<Workload>) -> Self {
        let right = workload.requests.iter().map(|_| OnceLock::new()).collect();
        Self {
            addr,
            workload,
            right,
        }
    }

    /// The same contender after a restart.
    pub fn moved(&self, addr: SocketAddr) -> Self {
        Self {
            addr,
            workload: Arc::clone(&self.workload),
            right: self.right.clone(),
        }
    }

    /// Asks the first `count` requests of the workload one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Differs`] at the first answer that is not the expected one.
    pub fn compare(&self, name: &str, count: usize) -> Result<()> {
        let runtime = runtime()?;
        runtime.block_on(async {
            let mut connection = Connection::new(self.addr);
            for place in 0..count.min(self.workload.requests.len()) {
                let request = &self.workload.requests[place];
                let differs = |found: String| Error::Differs {
                    contender: name.to_owned(),
                    request: format!("{} {}", request.method, shown(request.uri.to_string())),
                    found,
                    expected: match &request.expected {
                        Expected::Json(value) => shown(value.to_string()),
                        Expected::Created => "201 with an order_id".to_owned(),
                    },
                };
                let (status, body) = connection
                    .ask(request, &mut || {})
                    .await
                    .map_err(|error| differs(error.to_string()))?;
                if !self.check(place, status, &body) {
                    return Err(differs(answer(status, &body)));
                }
            }
            Ok(())
        })
    }

    /// Whether that is the right answer to request `place`.
    fn check(&self, place: usize, status: StatusCode, body: &Bytes) -> bool {
        match &self.workload.requests[place].expected {
            Expected::Created => {
                status == StatusCode::CREATED
                    && serde_json::from_slice::<Value>(body)
                        .is_ok_and(|value| value["order_id"].as_i64().is_some_and(|id| id > 0))
            }
            Expected::Json(expected) => {
                if status != StatusCode::OK {
                    return false;
                }
                if let Some(right) = self.right[place].get() {
                    return right == body;
                }
                let found = serde_json::from_slice(body);
                let same = found.is_ok_and(|found| same(&found, expected));
                if same {
                    let _ = self.right[place].set(body.clone());
                }
                same
            }
        }
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
        let connections = connect(target, load.connections).await?;
        let tally = Tally::new();
        let start = Instant::now();
        let end = start + load.duration;
        let mut tasks = JoinSet::new();
        for (number, mut connection) in connections.into_iter().enumerate() {
            let (target, tally) = (Arc::clone(target), tally.clone());
            tasks.spawn(async move {
                let mut draws = Draws::new(&target.workload, number);
                loop {
                    let now = Instant::now();
                    if now >= end {
                        break;
                    }
                    let place = draws.next();
                    one(&target, &tally, &mut connection, place, now).await;
                }
            });
        }
        finish(tasks, end + load.patience).await;
        Ok(tally.outcome(start))
    })
}

/// So many requests a second, whether or not earlier ones have been answered:
/// a request that finds no free connection waits, and the wait counts.
///
/// # Errors
///
/// When the first connections cannot be made.
pub fn open(target: &Arc<Target>, load: Load, rate: f64) -> Result<Outcome> {
    open_observed(target, load, rate, |_| {})
}

/// `due` hears of each request that has become due, in order.
fn open_observed(
    target: &Arc<Target>,
    load: Load,
    rate: f64,
    due: impl FnMut(u64) + Send + 'static,
) -> Result<Outcome> {
    runtime()?.block_on(async {
        let connections = connect(target, load.connections).await?;
        let schedule = Arc::new(Schedule::new(Instant::now(), load.duration, rate));
        let tally = Tally::new();
        let mut tasks = JoinSet::new();
        for mut connection in connections {
            let (target, tally) = (Arc::clone(target), tally.clone());
            let schedule = Arc::clone(&schedule);
            tasks.spawn(async move {
                while let Some(number) = schedule.take().await {
                    // The sequence belongs to the schedule, not to a connection.
                    let place = Draws::at(&target.workload, number);
                    let due = schedule.due(number);
                    one(&target, &tally, &mut connection, place, due).await;
                }
            });
        }
        let pacer = thread::spawn({
            let (schedule, waiting) = (Arc::clone(&schedule), load.connections);
            move || schedule.pace(waiting, due)
        });
        finish(tasks, schedule.start + load.duration + load.patience).await;
        schedule.stop();
        let _ = pacer.join();
        for number in schedule.taken()..schedule.total {
            let mut tally = tally.lock();
            tally.unfinished += 1;
            tally.record(schedule.due(number).elapsed());
        }
        Ok(tally.outcome(schedule.start))
    })
}

/// Waits for the tasks, then ends those that hang.
async fn finish(mut tasks: JoinSet<()>, limit: Instant) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if time::timeout_at(limit.into(), all).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Asks once and writes down what came of it.
async fn one(
    target: &Target,
    tally: &Tally,
    connection: &mut Connection,
    place: usize,
    due: Instant,
) {
    let request = &target.workload.requests[place];
    let under_way = UnderWay { tally, due };
    let mut reconnected = || tally.lock().reconnects += 1;
    tally.lock().sent += 1;
    let result = connection.ask(request, &mut reconnected).await;
    std::mem::forget(under_way);
    let now = Instant::now();
    match result {
        Ok((status, body)) if target.check(place, status, &body) => {
            let mut tally = tally.lock();
            tally.right += 1;
            tally.last = now;
            tally.created += u64::from(status == StatusCode::CREATED);
            tally.record(now - due);
        }
        Ok((status, body)) => {
            let mut tally = tally.lock();
            tally.wrong += 1;
            tally.complaint.get_or_insert_with(|| {
                format!(
                    "{} {}: {}",
                    request.method,
                    shown(request.uri.to_string()),
                    answer(status, &body)
                )
            });
        }
        Err(error) => {
            {
                let mut tally = tally.lock();
                tally.failed += 1;
                tally.complaint.get_or_insert_with(|| error.to_string());
            }
            // Not to burn the processor that the server needs.
            time::sleep(RECONNECT).await;
        }
    }
}

/// A request whose task may be ended before the answer.
struct UnderWay<'a> {
    tally: &'a Tally,
    due: Instant,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut tally = self.tally.lock();
        tally.unfinished += 1;
        tally.record(self.due.elapsed());
    }
}

/// The outcome so far, which all connections add to. They share a thread, so
/// the lock is free.
#[derive(Clone)]
struct Tally(Arc<Mutex<Outcome>>);

impl Tally {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Outcome::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(self, start: Instant) -> Outcome {
        let mut outcome = std::mem::replace(&mut *self.lock(), Outcome::new());
        outcome.duration = outcome.last.saturating_duration_since(start);
        outcome
    }
}

/// When each request of an open loop is due.
struct Schedule {
    start: Instant,
    /// Between two requests.
    interval: Duration,
    total: u64,
    /// The next request that a connection takes.
    next: AtomicU64,
    /// A permit for each request that is due and not taken.
    ready: Semaphore,
}

impl Schedule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of requests"
    )]
    fn new(start: Instant, duration: Duration, rate: f64) -> Self {
        Self {
            start,
            interval: Duration::from_secs_f64(1.0 / rate),
            total: (duration.as_secs_f64() * rate).round().max(1.0) as u64,
            next: AtomicU64::new(0),
            ready: Semaphore::new(0),
        }
    }

    fn due(&self, number: u64) -> Instant {
        let nanos = self.interval.as_nanos() * u128::from(number);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The next request as soon as it is due; `None` when all are taken.
    async fn take(&self) -> Option<u64> {
        self.ready.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.total).then_some(number)
    }

    fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.total)
    }

    /// Lets requests go when they are due, then lets `waiting` takers find
    /// that there are no more. On a thread of its own: the runtime's timer
    /// counts in whole milliseconds, a thread wakes after some 60 µs.
    fn pace(&self, waiting: usize, mut due: impl FnMut(u64)) {
        let mut released = 0;
        while released < self.total {
            thread::sleep(self.due(released).saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let mut count = 0;
            while released < self.total && self.due(released) <= now {
                due(released);
                released += 1;
                count += 1;
            }
            if self.ready.is_closed() {
                return;
            }
            self.ready.add_permits(count);
        }
        self.ready.add_permits(waiting);
    }

    fn stop(&self) {
        self.ready.close();
    }
}

/// Which requests of a workload come one after another.
struct Draws {
    state: u64,
    count: u64,
}

impl Draws {
    fn new(workload: &Workload, connection: usize) -> Self {
        Self {
            // Far apart, so that no connection repeats another's draws.
            state: workload
                .seed
                .wrapping_add((connection as u64).wrapping_mul(0xd134_2543_de82_ef95)),
            count: workload.requests.len() as u64,
        }
    }

    /// The draw with that number of a sequence that needs none of the others.
    fn at(workload: &Workload, number: u64) -> usize {
        let mut draws = Self::new(workload, 0);
        draws.state = draws.state.wrapping_add(number.wrapping_mul(GOLDEN));
        draws.next()
    }

    /// A place in the workload's list.
    fn next(&mut self) -> usize {
        self.state = self.state.wrapping_add(GOLDEN);
        let random = u128::from(mix(self.state));
        // The upper half of the product is evenly spread from 0 to count - 1.
        usize::try_from((random * u128::from(self.count)) >> 64).unwrap_or(0)
    }
}

/// 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of `SplitMix64`: numbers in a row become random ones.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A kept-alive connection that is made again when it has ended.
struct Connection {
    addr: SocketAddr,
    host: HeaderValue,
    sender: Option<SendRequest<Full<Bytes>>>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Connection {
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            host: HeaderValue::from_str(&addr.to_string()).expect("an address is ASCII"),
            sender: None,
        }
    }

    async fn connect(&mut self) -> std::result::Result<(), Failure> {
        let socket = TcpStream::connect(self.addr).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        // Its errors come out of the sender as well.
        tokio::spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    /// The connection's sender, when it can take a request.
    async fn sender(
        &mut self,
        reconnected: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !open {
            if self.sender.take().is_some() {
                reconnected();
            }
            self.connect().await?;
        }
        Ok(self.sender.as_mut().expect("it is connected"))
    }

    /// Sends one request and reads the whole answer.
    async fn ask(
        &mut self,
        request: &Request,
        reconnected: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<(StatusCode, Bytes), Failure> {
        let mut message = hyper::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = request.uri.clone();
        let headers = message.headers_mut();
        headers.insert(HOST, self.host.clone());
        if !request.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        let sender = self.sender(reconnected).await?;
        let response = sender.send_request(message).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }
}

async fn connect(target: &Target, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for number in 1..=count {
        let mut connection = Connection::new(target.addr);
        connection.connect().await.map_err(|error| {
            Error::Environment(format!("cannot connect to {}: {error}", target.addr))
        })?;
        connections.push(connection);
        if number % AT_ONCE == 0 {
            time::sleep(ACCEPT).await;
        }
    }
    Ok(connections)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the load generator"))
}

/// Whether two JSON values are equal, `30` and `30.0` being the same number.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn answer(status: StatusCode, body: &[u8]) -> String {
    shown(format!(
        "{} {}",
        status.as_u16(),
        String::from_utf8_lossy(body)
    ))
}

/// At most 200 characters of it.
fn shown(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::{Path, State};
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use serde_json::json;
    use tokio::sync::watch;

    /// A server on a thread of its own whose every answer is known.
    struct Server {
        addr: SocketAddr,
        asked: Arc<AtomicU64>,
        /// Opens the gate at which the request with number `stalled` waits.
        gate: watch::Sender<bool>,
    }

    #[derive(Clone)]
    struct Answers {
        asked: Arc<AtomicU64>,
        gate: watch::Receiver<bool>,
        stalled: u64,
    }

    /// What each test asks: `/double/0` to `/double/99`.
    fn doubles() -> Arc<Workload> {
        let requests = (0..100)
            .map(|n| Request::get(&format!("/double/{n}"), json!({ "double": 2 * n })))
            .collect();
        Arc::new(Workload::new(requests, 1))
    }

    const NEVER: u64 = u64::MAX;

    impl Server {
        fn start(stalled: u64) -> Self {
            let (gate, closed) = watch::channel(false);
            let asked = Arc::new(AtomicU64::new(0));
            let answers = Answers {
                asked: Arc::clone(&asked),
                gate: closed,
                stalled,
            };
            let (found, addr) = std::sync::mpsc::channel();
            thread::spawn(move || {
                runtime().unwrap().block_on(async {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                    found.send(listener.local_addr().unwrap()).unwrap();
                    let app = Router::new()
                        .route("/double/{n}", get(double))
                        .route("/order", post(order))
                        .with_state(answers);
                    axum::serve(listener, app).await.unwrap();
                });
            });
            Self {
                addr: addr.recv().unwrap(),
                asked,
                gate,
            }
        }

        fn target(&self, workload: &Arc<Workload>) -> Arc<Target> {
            Arc::new(Target::new(self.addr, Arc::clone(workload)))
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    async fn double(State(mut answers): State<Answers>, Path(n): Path<u64>) -> impl IntoResponse {
        let number = answers.asked.fetch_add(1, Ordering::SeqCst);
        if number == answers.stalled {
            let _ = answers.gate.wait_for(|open| *open).await;
        }
        let (status, answer) = match n {
            // Right, but written in another way the second time.
            13 if number.is_multiple_of(2) => (StatusCode::OK, r#"{"double": 26}"#.to_owned()),
            66 => (StatusCode::IM_A_TEAPOT, r#"{"double":132}"#.to_owned()),
            _ => (StatusCode::OK, format!(r#"{{"double":{}.0}}"#, 2 * n)),
        };
        (status, answer)
    }

    async fn order(State(answers): State<Answers>, body: String) -> impl IntoResponse {
        let number = answers.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match body.as_str() {
            "1" => json!({ "order_id": number + 1 }),
            _ => Value::Null,
        };
        (StatusCode::CREATED, answer.to_string())
    }

    /// Only those that the server answers in one way.
    fn plain() -> Arc<Workload> {
        let requests = (0..10)
            .map(|n| Request::get(&format!("/double/{n}"), json!({ "double": 2 * n })))
            .collect();
        Arc::new(Workload::new(requests, 1))
    }

    fn load(connections: usize, millis: u64) -> Load {
        Load {
            connections,
            duration: Duration::from_millis(millis),
            patience: Duration::from_mins(1),
        }
    }

    #[test]
    fn a_closed_loop_counts_what_the_server_counts() {
        let server = Server::start(NEVER);
        let outcome = closed(&server.target(&plain()), load(4, 200)).unwrap();
        assert_eq!(outcome.sent, server.asked());
        assert_eq!(outcome.right, server.asked());
        assert_eq!(outcome.latency.len(), server.asked());
        assert_eq!(outcome.trouble(), None);
        assert_eq!(outcome.reconnects, 0);
        assert!(outcome.right > 4);
    }

    #[test]
    fn an_open_loop_sends_what_its_schedule_says() {
        let server = Server::start(NEVER);
        let outcome = open(&server.target(&plain()), load(4, 200), 1_000.0).unwrap();
        assert_eq!(outcome.sent, 200);
        assert_eq!(outcome.right, 200);
        assert_eq!(server.asked(), 200);
        assert_eq!(outcome.latency.len(), 200);
    }

    #[test]
    fn wrong_answers_are_counted_and_not_timed() {
        let server = Server::start(NEVER);
        let requests = vec![
            Request::get("/double/1", json!({ "double": 2 })),
            Request::get("/double/2", json!({ "double": 5 })),
            Request::get("/double/66", json!({ "double": 132 })),
            Request::get("/unknown", json!(null)),
        ];
        let workload = Arc::new(Workload::new(requests, 7));
        let outcome = open(&server.target(&workload), load(2, 100), 2_000.0).unwrap();
        // The sequence is known before anything is sent.
        let right = (0..200).filter(|n| Draws::at(&workload, *n) == 0).count() as u64;
        assert!(right > 0);
        assert_eq!(outcome.right, right);
        assert_eq!(outcome.wrong, 200 - right);
        assert_eq!(outcome.latency.len(), right);
        assert!(outcome.trouble().unwrap().contains("of 200 requests"));
    }

    #[test]
    fn an_answer_that_changes_is_wrong() {
        let server = Server::start(NEVER);
        let workload = Workload::new(vec![Request::get("/double/13", json!({ "double": 26 }))], 1);
        let target = server.target(&Arc::new(workload));
        let outcome = closed(&target, load(1, 50)).unwrap();
        assert!(outcome.right > 0 && outcome.wrong > 0);
        assert_eq!(outcome.right, server.asked().div_ceil(2));
    }

    #[test]
    fn orders_are_acknowledged_by_their_number() {
        let server = Server::start(NEVER);
        let requests = vec![
            Request::create("/order", &json!(1)),
            Request::create("/order", &json!(2)),
        ];
        let workload = Arc::new(Workload::new(requests, 3));
        let outcome = open(&server.target(&workload), load(2, 100), 1_000.0).unwrap();
        let good = (0..100).filter(|n| Draws::at(&workload, *n) == 0).count() as u64;
        assert_eq!(outcome.created, good);
        assert_eq!(outcome.wrong, 100 - good);
    }

    #[test]
    fn what_is_compared_first_names_path_and_both_answers() {
        let server = Server::start(NEVER);
        server.target(&plain()).compare("it", 10).unwrap();
        assert_eq!(server.asked(), 10);
        let error = server.target(&doubles()).compare("it", 100).unwrap_err();
        let text = error.to_string();
        for part in ["it differs at GET /double/66", "418", r#"{"double":132}"#] {
            assert!(text.contains(part), "{text}");
        }
    }

    /// One request waits until all have become due. Those behind it are late,
    /// and an open loop says so.
    #[test]
    fn an_open_loop_shows_a_stall() {
        let server = Server::start(50);
        let gate = server.gate.clone();
        let outcome = open_observed(
            &server.target(&plain()),
            load(1, 200),
            1_000.0,
            move |number| {
                if number == 199 {
                    gate.send_replace(true);
                }
            },
        )
        .unwrap();
        assert_eq!(outcome.right, 200);
        // Request 50 + n waited for at least 149 - n milliseconds.
        assert!(outcome.latency.max() >= 149_000);
        assert!(outcome.latency.value_at_quantile(0.99) >= 147_000);
        assert!(outcome.latency.value_at_quantile(0.6) >= 60_000);
        assert!(total(&outcome) > 10_000_000);
    }

    /// The same stall in a closed loop: what is not sent is not late, so that
    /// all latencies together are no longer than the test.
    #[test]
    fn a_closed_loop_hides_a_stall() {
        let server = Server::start(5);
        let gate = server.gate.clone();
        let start = Instant::now();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(150));
            gate.send_replace(true);
        });
        let outcome = closed(&server.target(&plain()), load(1, 200)).unwrap();
        assert!(outcome.right > 5);
        assert!(total(&outcome) <= u64::try_from(start.elapsed().as_micros()).unwrap());
    }

    /// All latencies added up, in µs, each at least as the histogram's low end.
    fn total(outcome: &Outcome) -> u64 {
        let recorded = outcome.latency.iter_recorded();
        recorded
            .map(|step| {
                let value = outcome.latency.lowest_equivalent(step.value_iterated_to());
                value * step.count_at_value()
            })
            .sum()
    }

    #[test]
    fn a_server_that_never_answers_leaves_requests_unfinished() {
        let server = Server::start(3);
        let load = Load {
            patience: Duration::from_millis(100),
            ..load(1, 10)
        };
        let outcome = open(&server.target(&plain()), load, 1_000.0).unwrap();
        assert_eq!(outcome.right, 3);
        // The one that hangs, and six that never found a connection.
        assert_eq!(outcome.unfinished, 7);
        assert_eq!(outcome.sent, 4);
        assert_eq!(outcome.latency.len(), 10);
        assert!(outcome.latency.max() >= 100_000);
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(same(
            &json!({ "a": [30, null] }),
            &json!({ "a": [30.0, null] })
        ));
        assert!(!same(&json!({ "a": 30 }), &json!({ "a": 30.01 })));
        assert!(!same(&json!({ "a": 30 }), &json!({ "a": "30" })));
        assert!(!same(&json!({ "a": 1 }), &json!({ "a": 1, "b": 2 })));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(&json!(null), &json!(0)));
    }

    #[test]
    fn draws_are_the_same_for_all_and_different_for_each_connection() {
        let workload = doubles();
        let sequence = |connection| {
            let mut draws = Draws::new(&workload, connection);
            (0..1_000).map(|_| draws.next()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(0), sequence(0));
        assert_ne!(sequence(0), sequence(1));
        let in_a_row: Vec<_> = (0..1_000).map(|n| Draws::at(&workload, n)).collect();
        assert_eq!(in_a_row, sequence(0));
        let mut seen = sequence(2);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }
}
