//! What step 12 asks for: a slow endpoint that waits in three ways, a load that counts
//! what it gets, and the numbers to expect.

use std::collections::HashSet;
use std::fmt::Display;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use check::gate::Gate;
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal};
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use step12::app;
use step12::books::{ExtensiveQuery, Slow};
use step12::db::base::{Engine, EngineConfig};
use step12::load::{
    self, CYCLE, Call, CallError, Client, Kind, Limits, LoadError, Plan, Report, Stop, ceiling,
    http,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("12-load", env!("CARGO_MANIFEST_DIR"))
        .check("12.1", "a slow query says how long it took", slow_answers)
        .check(
            "12.1",
            "seconds that are not a number from 0 to 10 are refused",
            seconds_refused,
        )
        .check(
            "12.1",
            "a slow query holds a connection until it ends",
            holds_connection,
        )
        .check(
            "12.1",
            "other requests are answered while slow queries wait",
            others_answered,
        )
        .check(
            "12.1",
            "a book can be added while slow queries wait",
            book_added_meanwhile,
        )
        .check(
            "12.1",
            "a slow query that is dropped gives its connection back",
            dropped_gives_back,
        )
        .check(
            "12.2",
            "with Slow::Blocking, slow queries block the threads of handlers",
            blocking_blocks,
        )
        .check(
            "12.2",
            "with Slow::SpawnBlocking, other requests are answered",
            spawn_blocking_answers,
        )
        .check(
            "12.2",
            "with Slow::SpawnBlocking, each slow query blocks a thread",
            spawn_blocking_blocks,
        )
        .check(
            "12.2",
            "with Slow::SpawnBlocking, a query that waits for a connection takes no thread",
            connection_before_thread,
        )
        .check(
            "12.2",
            "with Slow::Blocking and Slow::SpawnBlocking, a slow query holds a connection until it ends",
            block_with_connection,
        )
        .check(
            "12.3",
            "an answer that is as it should be is a success",
            calls_succeed,
        )
        .check(
            "12.3",
            "an answer with another status is a failure",
            other_status,
        )
        .check("12.3", "a redirect is a failure", redirects)
        .check(
            "12.3",
            "an answer with another body is a failure",
            other_body,
        )
        .check("12.3", "an answer that breaks off is a failure", breaks_off)
        .check(
            "12.3",
            "an answer that does not come is a failure after the timeout",
            hangs,
        )
        .check(
            "12.3",
            "a client asks for books of its last list only",
            last_list,
        )
        .check("12.3", "the seed picks the books", seeds)
        .check("12.3", "no two calls add the same name", unique_names)
        .check(
            "12.3",
            "the calls of a client share a connection",
            connections_kept,
        )
        .check(
            "12.4",
            "a cycle is eleven calls, one after another",
            cycle_in_order,
        )
        .check(
            "12.4",
            "a client begins no call after its time, and ends the one that it has begun",
            stops_after,
        )
        .check(
            "12.4",
            "a client ends when nobody receives its calls",
            nobody_receives,
        )
        .check(
            "12.5",
            "successes and failures are counted apart",
            counted_apart,
        )
        .check(
            "12.5",
            "a load lasts from its first call to the end of its last",
            duration,
        )
        .check("12.5", "the rate is that of the successes", rate)
        .check(
            "12.6",
            "all clients call at the same time",
            at_the_same_time,
        )
        .check("12.6", "the report counts every call", every_call)
        .check(
            "12.6",
            "a call is shown as soon as it has ended",
            shown_at_once,
        )
        .check(
            "12.6",
            "a failure is counted, and the other calls go on",
            failures_go_on,
        )
        .check(
            "12.6",
            "a client that panics is an error of the load",
            client_panics,
        )
        .check("12.6", "a load without time makes no call", no_time)
        .check("12.6", "dropping the load ends its requests", dropped_load)
        .check(
            "12.6",
            "the load and the service fit together",
            real_service,
        )
        .check(
            "12.7",
            "the smallest limit is the peak of slow queries",
            peaks,
        )
        .check("12.7", "the ceiling follows from the peak", ceilings)
        .run()
}

/// How long a check waits for what must happen. It is shorter than the slow queries of
/// 10 s that it does not wait for.
const PATIENCE: Duration = Duration::from_secs(7);

/// Waits for `work`, which must end. `cause` is the likely reason if it does not.
async fn within<T>(
    asked: impl Display,
    expected: &str,
    cause: &str,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    timeout(PATIENCE, work)
        .await
        .map_err(|_| Failure::new(asked, expected, format_args!("nothing for 7 s: {cause}")))
}

// The service, on a runtime of its own

/// The service on threads that nothing else uses.
struct Elsewhere {
    service: Service,
    engine: Engine,
    polls: Polls,
    runtime: Option<Runtime>,
    _database: Database,
}

impl Elsewhere {
    async fn start(
        slow: Slow,
        workers: usize,
        blocking_threads: usize,
        connections: u32,
    ) -> Result<Self, Failure> {
        let patient = Duration::from_mins(1);
        Self::start_with(slow, workers, blocking_threads, connections, patient).await
    }

    async fn start_with(
        slow: Slow,
        workers: usize,
        blocking_threads: usize,
        connections: u32,
        acquire_timeout: Duration,
    ) -> Result<Self, Failure> {
        let database = Database::sample().await?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(blocking_threads)
            .enable_all()
            .build()
            .or_fail("a runtime")?;
        let guard = runtime.enter();
        let config = EngineConfig {
            max_connections: connections,
            acquire_timeout,
            busy_timeout: Duration::from_millis(100),
            ..EngineConfig::default()
        };
        let engine = Engine::new(&database.url(), config).or_fail("Engine::new")?;
        let polls = Polls {
            handlers: Gate::opened(),
            longest: Arc::default(),
        };
        let router = app::app_with(engine.clone(), slow)
            .layer(from_fn_with_state(polls.clone(), Polls::watch));
        let service = Service::start(router);
        drop(guard);
        Ok(Self {
            service,
            engine,
            polls,
            runtime: Some(runtime),
            _database: database,
        })
    }

    fn in_use(&self) -> usize {
        let pool = self.engine.pool();
        usize::try_from(pool.size()).map_or(0, |size| size.saturating_sub(pool.num_idle()))
    }

    /// Waits until so many connections are in use, and some time longer, in which the
    /// service answers other requests. None of `requests` may end meanwhile.
    async fn wait_until_in_use(
        &self,
        connections: usize,
        requests: &mut JoinSet<Outcome>,
    ) -> Outcome {
        let asked = "GET /book/extensive_query?seconds=10, several at the same time";
        let reached = async {
            while self.in_use() != connections {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let expected = format!("{connections} connections in use at the same time");
        let reached = tokio::select! {
            reached = timeout(PATIENCE, reached) => reached,
            Some(ended) = requests.join_next() => {
                ended.or_fail(asked)??;
                return Err(Failure::new(asked, expected, "an answer before the 10 s are over"));
            }
        };
        if reached.is_err() {
            let got = format_args!("{} after 7 s", self.in_use());
            return Err(Failure::new(asked, expected, got));
        }
        for _ in 0..10 {
            self.service.get("/app/info").await?.expect_status(200)?;
        }
        equal(
            format_args!("{asked}: the connections in use"),
            connections,
            self.in_use(),
        )
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Its threads may sleep.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The handlers of slow queries.
#[derive(Clone)]
struct Polls {
    /// Those that run, have ended, or were dropped.
    handlers: Gate,
    /// The longest poll of each that has ended.
    longest: Arc<Mutex<Vec<Duration>>>,
}

impl Polls {
    fn longest(&self) -> Vec<Duration> {
        let longest = self.longest.lock();
        longest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn watch(State(polls): State<Self>, request: Request, next: Next) -> Response {
        if request.uri().path() != "/book/extensive_query" {
            return next.run(request).await;
        }
        let visit = polls.handlers.enter();
        let mut longest = Duration::ZERO;
        let mut answer = pin!(next.run(request));
        let response = poll_fn(|context| {
            let began = Instant::now();
            let poll = answer.as_mut().poll(context);
            longest = longest.max(began.elapsed());
            poll
        })
        .await;
        visit.end();
        let mut all = polls.longest.lock();
        all.as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut())
            .push(longest);
        response
    }
}

/// Sends so many slow queries that end when the set is dropped.
fn slow_queries(service: &Arc<Elsewhere>, count: usize, seconds: f64) -> JoinSet<Outcome> {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let service = Arc::clone(service);
        requests.spawn(async move {
            let path = format!("/book/extensive_query?seconds={seconds}");
            let reply = service.service.get(&path).await?;
            reply.expect_json(200, &json!({"seconds": seconds}))
        });
    }
    requests
}

/// Waits for all requests.
async fn all(mut requests: JoinSet<Outcome>) -> Outcome {
    while let Some(ended) = requests.join_next().await {
        ended.or_fail("a slow query")??;
    }
    Ok(())
}

// 12.1: the slow endpoint

async fn slow_answers() -> Outcome {
    let service = Elsewhere::start(Slow::Async, 2, 4, 2).await?;
    for seconds in [0.0, 0.02, 0.005] {
        let began = Instant::now();
        let path = format!("/book/extensive_query?seconds={seconds}");
        let reply = service.service.get(&path).await?;
        reply.expect_json(200, &json!({"seconds": seconds}))?;
        ensure(
            began.elapsed().as_secs_f64() >= seconds,
            reply.asked(),
            format_args!("an answer after {seconds} s"),
            format_args!("an answer after {:?}", began.elapsed()),
        )?;
    }
    let seconds = |seconds| ExtensiveQuery { seconds }.seconds().ok();
    equal("the seconds without a parameter", Some(5.0), seconds(None))?;
    equal(
        "the seconds of ?seconds=10",
        Some(10.0),
        seconds(Some(10.0)),
    )
}

async fn seconds_refused() -> Outcome {
    let service = Elsewhere::start(Slow::Async, 2, 4, 1).await?;
    for query in [
        "seconds=-0.001",
        "seconds=10.001",
        "seconds=1e300",
        "seconds=NaN",
        "seconds=inf",
        "seconds=-inf",
        "seconds=x",
        "seconds=",
        "seconds=0&seconds=0",
    ] {
        let path = format!("/book/extensive_query?{query}");
        let reply = service.service.get(&path).await?;
        contract::expect_problem(&reply, 400)?;
    }
    Ok(())
}

async fn holds_connection() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::Async, 2, 4, 3).await?);
    let mut requests = slow_queries(&service, 5, 10.0);
    service.wait_until_in_use(3, &mut requests).await?;
    ensure(
        service.engine.pool().try_acquire().is_none(),
        "5 slow queries and a pool of 3 connections",
        "no free connection",
        "a free connection",
    )?;
    drop(requests);
    needs_connection(Slow::Async).await
}

async fn needs_connection(slow: Slow) -> Outcome {
    tokio::try_join!(holds_one(slow), fails_without_one(slow))?;
    Ok(())
}

/// Expects that a slow query waits for a connection, holds it for all its seconds, and
/// needs no second one.
async fn holds_one(slow: Slow) -> Outcome {
    let service = Arc::new(Elsewhere::start(slow, 2, 2, 1).await?);
    let pool = service.engine.pool();
    let asked = format!(
        "Slow::{slow:?}, a slow query of 0.1 s, and a pool whose only connection is free after 0.1 s"
    );
    let seconds = Duration::from_millis(100);
    let held = pool.acquire().await.or_fail(&asked)?;
    let requests = slow_queries(&service, 1, seconds.as_secs_f64());
    let handlers = &service.polls.handlers;
    let begins = handlers.wait_until_in_flight(1);
    within(&asked, "a request", "the service does not run", begins).await?;
    // The query waits for a connection as long as it will then hold it.
    sleep(seconds).await;
    let released = Instant::now();
    drop(held);
    // The pool lends its connection in the order in which it was asked.
    let second = "does your query need a second connection while it holds one?";
    let again = within(&asked, "the connection comes back", second, pool.acquire());
    again.await?.or_fail(&asked)?;
    let took = released.elapsed();
    ensure(
        took >= seconds,
        &asked,
        "the query holds the connection for 0.1 s, counted from when it has got it",
        format_args!("the connection comes back after {took:?}"),
    )?;
    all(requests).await
}

/// Expects that a slow query for which no connection becomes free is a 503.
async fn fails_without_one(slow: Slow) -> Outcome {
    let limit = Duration::from_millis(100);
    let service = Elsewhere::start_with(slow, 2, 2, 1, limit).await?;
    // On a machine that is busy, opening the connection may take longer.
    let held = async {
        loop {
            if let Ok(held) = service.engine.pool().acquire().await {
                return held;
            }
        }
    };
    let held = within("a pool", "a connection", "the pool opens none", held).await?;
    let reply = service
        .service
        .get("/book/extensive_query?seconds=0")
        .await?;
    ensure(
        reply.status == 503,
        format_args!("Slow::{slow:?}, and no connection becomes free within the acquire timeout"),
        "status 503: without a connection, the query has not run",
        format_args!("status {}", reply.status),
    )?;
    drop(held);
    Ok(())
}

async fn others_answered() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::Async, 1, 4, 6).await?);
    let mut requests = slow_queries(&service, 5, 10.0);
    service.wait_until_in_use(5, &mut requests).await?;
    service.service.get("/book/1").await?.expect_status(200)?;
    drop(requests);
    Ok(())
}

async fn book_added_meanwhile() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::Async, 2, 4, 3).await?);
    let mut requests = slow_queries(&service, 2, 10.0);
    service.wait_until_in_use(2, &mut requests).await?;
    let reply = service
        .service
        .post_json("/book", &contract::new_book("Emma"))
        .await?;
    reply.expect_status(201)?;
    drop(requests);
    Ok(())
}

async fn dropped_gives_back() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::Async, 2, 4, 2).await?);
    let mut requests = slow_queries(&service, 4, 10.0);
    service.wait_until_in_use(2, &mut requests).await?;
    drop(requests);
    service.wait_until_in_use(0, &mut JoinSet::new()).await?;
    service.service.get("/book/1").await?.expect_status(200)?;
    Ok(())
}

// 12.2: the two that block

async fn blocking_blocks() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::Blocking, 2, 4, 4).await?);
    let began = Instant::now();
    all(slow_queries(&service, 3, 0.1)).await?;
    let took = began.elapsed();
    let longest = service.polls.longest();
    ensure(
        longest.len() == 3
            && longest
                .iter()
                .all(|poll| *poll >= Duration::from_millis(100)),
        "3 slow queries of 0.1 s: the longest poll of each handler",
        "0.1 s or more: the handler blocks its thread",
        format_args!("{longest:?}"),
    )?;
    ensure(
        took >= Duration::from_millis(200),
        "3 slow queries of 0.1 s, and two threads for handlers",
        "all of them after 0.2 s or more",
        format_args!("after {took:?}"),
    )
}

async fn spawn_blocking_answers() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::SpawnBlocking, 1, 3, 4).await?);
    let mut requests = slow_queries(&service, 3, 10.0);
    service.wait_until_in_use(3, &mut requests).await?;
    service.service.get("/book/1").await?.expect_status(200)?;
    drop(requests);
    Ok(())
}

async fn spawn_blocking_blocks() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::SpawnBlocking, 2, 1, 4).await?);
    let began = Instant::now();
    all(slow_queries(&service, 3, 0.1)).await?;
    ensure(
        began.elapsed() >= Duration::from_millis(300),
        "3 slow queries of 0.1 s, and one thread for blocking work",
        "all of them after 0.3 s or more",
        format_args!("after {:?}", began.elapsed()),
    )
}

async fn connection_before_thread() -> Outcome {
    let service = Arc::new(Elsewhere::start(Slow::SpawnBlocking, 2, 2, 1).await?);
    let mut requests = slow_queries(&service, 3, 10.0);
    service.wait_until_in_use(1, &mut requests).await?;
    let runtime = service.runtime.as_ref().map(Runtime::handle);
    let job = runtime.map(|handle| handle.spawn_blocking(|| ()));
    if let Some(job) = job {
        let asked = "3 slow queries, one connection, and two threads for blocking work";
        let cause = "queries without a connection have taken the threads";
        within(asked, "a thread that is free for other work", cause, job)
            .await?
            .or_fail(asked)?;
    }
    drop(requests);
    Ok(())
}

async fn block_with_connection() -> Outcome {
    tokio::try_join!(
        needs_connection(Slow::Blocking),
        needs_connection(Slow::SpawnBlocking),
        dropped_holds(),
    )?;
    Ok(())
}

/// Expects that a query whose request was dropped holds thread and connection until its
/// thread has slept to the end.
async fn dropped_holds() -> Outcome {
    let mut free_at_once = false;
    // On a machine that is busy, the query may end before its request is dropped.
    for seconds in [0.4, 1.0, 2.0] {
        let service = Arc::new(Elsewhere::start(Slow::SpawnBlocking, 2, 1, 1).await?);
        let asked = format!(
            "Slow::SpawnBlocking, and a slow query of {seconds} s whose request is dropped"
        );
        let Some(runtime) = service.runtime.as_ref().map(Runtime::handle) else {
            continue;
        };
        let began = Instant::now();
        let requests = slow_queries(&service, 1, seconds);
        let thread_taken = async {
            while timeout(Duration::from_millis(50), runtime.spawn_blocking(|| ()))
                .await
                .is_ok()
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let cause = "no thread for blocking work sleeps";
        within(&asked, "a thread that sleeps", cause, thread_taken).await?;
        drop(requests);
        let handlers = &service.polls.handlers;
        let cause = "the handler does not end";
        let dropped = handlers.wait_until_empty();
        within(&asked, "the handler is dropped", cause, dropped).await?;
        if handlers.dropped() == 0 {
            continue;
        }
        let (thread, connection) = tokio::join!(
            runtime.spawn_blocking(move || began.elapsed()),
            service.engine.pool().acquire().map(|_| began.elapsed()),
        );
        let thread = thread.or_fail(&asked)?;
        if thread.as_secs_f64() < seconds {
            free_at_once = true;
            continue;
        }
        return ensure(
            connection.as_secs_f64() >= seconds,
            asked,
            "the connection comes back when the thread has slept to the end",
            format_args!("after {connection:?}, while the thread still sleeps"),
        );
    }
    ensure(
        !free_at_once,
        "Slow::SpawnBlocking, and a slow query whose request is dropped",
        "its thread sleeps to the end",
        "its thread is free earlier",
    )
}

// A bookstore that the check makes

/// What a bookstore does wrong with the requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// It answers with this status; the rest is right.
    Status(u16),
    /// It answers 307 with a `Location` that has the right answer.
    Redirect,
    /// The body is not JSON.
    NotJson,
    /// The body is JSON of another shape.
    OtherShape,
    /// The body is about another book or another time.
    AboutOther,
    /// The body ends in the middle.
    BreaksOff,
    /// The connection is closed before the answer.
    Closes,
    /// No answer comes.
    Hangs,
    /// Bytes come all the time, and the body never ends.
    Trickles,
    /// It answers 404, and the end of the body comes some time after its beginning.
    LateEnd,
    /// The list has no books.
    Empty,
    /// It answers 500, except the first time.
    LaterStatus,
    /// The list has no books, except the first time.
    LaterEmpty,
}

impl Wrong {
    /// What the service does, for a learner.
    fn words(self) -> String {
        match self {
            Self::Status(status) => format!("answers with status {status}"),
            Self::Redirect => "answers 307, with a Location".to_owned(),
            Self::NotJson => "answers with a body that is not JSON".to_owned(),
            Self::OtherShape => "answers with JSON of another shape".to_owned(),
            Self::AboutOther => "answers with another book".to_owned(),
            Self::BreaksOff => "ends the body in the middle".to_owned(),
            Self::Closes => "closes the connection before its answer".to_owned(),
            Self::Hangs => "does not answer".to_owned(),
            Self::Trickles => "sends a body that never ends".to_owned(),
            Self::LateEnd => "answers 404, and sends the end of the body 0.2 s later".to_owned(),
            Self::Empty => "answers with an empty list".to_owned(),
            Self::LaterStatus => "answers the second list with status 500".to_owned(),
            Self::LaterEmpty => "answers the second time with an empty list".to_owned(),
        }
    }

    /// What a call of this kind must then report.
    fn error(self, kind: Kind) -> String {
        let expected = if kind == Kind::Add { 201 } else { 200 };
        let status = |got| format!("CallError::Status {{ expected: {expected}, got: {got} }}");
        match self {
            Self::Status(got) => status(got),
            Self::Redirect => status(307),
            Self::LateEnd => status(404),
            Self::LaterStatus => status(500),
            Self::NotJson | Self::OtherShape => "CallError::NotJson".to_owned(),
            Self::AboutOther => "CallError::Unexpected".to_owned(),
            Self::BreaksOff | Self::Closes | Self::Hangs | Self::Trickles => {
                "CallError::NoAnswer".to_owned()
            }
            Self::Empty | Self::LaterEmpty => "CallError::NoBook".to_owned(),
        }
    }
}

/// The end of a call as [`Wrong::error`] names it.
fn end_of(call: &Call) -> String {
    match &call.result {
        Ok(()) => "a success".to_owned(),
        Err(CallError::NoAnswer(_)) => "CallError::NoAnswer".to_owned(),
        Err(CallError::NotJson(_)) => "CallError::NotJson".to_owned(),
        Err(error) => format!("CallError::{error:?}"),
    }
}

/// A bookstore that records its requests and answers as it was told.
#[derive(Clone)]
struct Store {
    base: String,
    shared: Arc<Shared>,
    _server: Arc<JoinSet<()>>,
}

struct Shared {
    wrong: Option<(Kind, Wrong)>,
    gate: Gate,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Whether the late end of a body was sent.
    end_sent: AtomicBool,
}

#[derive(Clone, Debug)]
struct Seen {
    kind: Option<Kind>,
    path: String,
    name: String,
}

impl Store {
    async fn right() -> Result<Self, Failure> {
        Self::start(None, Gate::opened()).await
    }

    async fn wrong(kind: Kind, wrong: Wrong) -> Result<Self, Failure> {
        Self::start(Some((kind, wrong)), Gate::opened()).await
    }

    async fn start(wrong: Option<(Kind, Wrong)>, gate: Gate) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            wrong,
            gate,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            end_sent: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
        let addr = listener.local_addr().or_fail("a port")?;
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let counted = Arc::clone(&shared);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let listener = listener.tap_io(move |_| {
                counted.connections.fetch_add(1, Ordering::Relaxed);
            });
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            base: format!("http://{addr}"),
            shared,
            _server: Arc::new(server),
        })
    }

    fn seen(&self) -> Vec<Seen> {
        let seen = self.shared.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The paths of the requests for one book.
    fn ones(&self) -> Vec<String> {
        let ones = self.seen().into_iter();
        ones.filter(|seen| seen.kind == Some(Kind::One))
            .map(|seen| seen.path)
            .collect()
    }

    fn client(&self, number: usize, plan: &Plan) -> Result<Client, Failure> {
        let http = http(plan.timeout).or_fail("load::http")?;
        Ok(Client::new(http, &self.base, number, plan))
    }
}

/// The ids in the list number `list`, from 1. There are gaps between them.
fn ids(list: usize) -> impl Iterator<Item = usize> {
    (0..9).map(move |book| 100 * list + 7 * book + 1)
}

/// A body that breaks off, after the text if there is one.
fn broken(text: Option<String>) -> Body {
    let begins = text.is_some();
    let error = async move {
        // A body that comes to its error at once would end before its head is sent.
        if begins {
            tokio::task::yield_now().await;
        }
        Err(std::io::Error::other("the check breaks off"))
    };
    Body::from_stream(stream::iter(text.map(Ok)).chain(stream::once(error)))
}

async fn answer(State(store): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("", |it| it.as_str());
    let path = path.to_owned();
    let kind = match (request.method(), request.uri().path()) {
        (&Method::GET, "/book") => Some(Kind::List),
        (&Method::POST, "/book") => Some(Kind::Add),
        (&Method::GET, "/book/extensive_query") => Some(Kind::Slow),
        (&Method::GET, path) if path.starts_with("/book/") => Some(Kind::One),
        _ => None,
    };
    let body = to_bytes(request.into_body(), 10_000)
        .await
        .unwrap_or_default();
    let book: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = book["book_name"].as_str().unwrap_or_default().to_owned();
    let number = {
        let mut seen = store.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen {
            kind,
            path: path.clone(),
            name: name.clone(),
        });
        seen.iter().filter(|seen| seen.kind == kind).count()
    };
    store.gate.pass().await;
    let wrong = store
        .wrong
        .and_then(|(of, wrong)| (kind == Some(of)).then_some(wrong));
    let other = i64::from(wrong == Some(Wrong::AboutOther));
    let (status, json) = match kind {
        Some(Kind::List)
            if wrong == Some(Wrong::Empty) || wrong == Some(Wrong::LaterEmpty) && number > 1 =>
        {
            (200, json!([]))
        }
        Some(Kind::List) => {
            let books = ids(number).map(|id| json!({"id": id, "book_name": "A"}));
            (200, books.collect())
        }
        Some(Kind::One) => {
            let id: i64 = path["/book/".len()..].parse().unwrap_or(-1);
            (200, json!({"id": id + other, "book_name": "A"}))
        }
        Some(Kind::Slow) => {
            let seconds = path.split_once("?seconds=");
            let seconds: f64 = seconds.map_or(-1.0, |it| it.1.parse().unwrap_or(-1.0));
            (200, json!({"seconds": seconds}))
        }
        Some(Kind::Add) => {
            let other = if other == 1 { " again" } else { "" };
            (201, json!({"id": 1, "book_name": format!("{name}{other}")}))
        }
        None => (404, json!({})),
    };
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let text = json.to_string();
    match wrong {
        Some(Wrong::Status(status)) => {
            (StatusCode::from_u16(status).unwrap_or_default(), text).into_response()
        }
        Some(Wrong::LaterStatus) if number > 1 => {
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        Some(Wrong::Redirect) if !path.contains("moved") => {
            let there = [(header::LOCATION, format!("{path}?moved"))];
            (StatusCode::TEMPORARY_REDIRECT, there, text).into_response()
        }
        Some(Wrong::NotJson) => (status, "<p>hello</p>").into_response(),
        Some(Wrong::OtherShape) => (status, "{\"detail\":[]}").into_response(),
        Some(Wrong::BreaksOff) => (status, broken(Some(text))).into_response(),
        Some(Wrong::Closes) => (status, broken(None)).into_response(),
        Some(Wrong::Hangs) => std::future::pending().await,
        Some(Wrong::Trickles) => {
            let spaces = stream::repeat(()).then(|()| async {
                sleep(Duration::from_millis(5)).await;
                Ok::<_, std::io::Error>(" ")
            });
            (status, Body::from_stream(spaces)).into_response()
        }
        Some(Wrong::LateEnd) => {
            let late = Arc::clone(&store);
            let end = stream::once(async move {
                sleep(Duration::from_millis(200)).await;
                late.end_sent.store(true, Ordering::Relaxed);
                Ok::<_, std::io::Error>(text)
            });
            let parts = stream::iter([Ok(" ".to_owned())]).chain(end);
            (StatusCode::NOT_FOUND, Body::from_stream(parts)).into_response()
        }
        _ => (status, text).into_response(),
    }
}

fn plan(clients: usize, cycles: u64) -> Plan {
    Plan {
        clients,
        stop: Stop::Cycles(cycles),
        seconds: 0.25,
        seed: 7,
        timeout: Duration::from_secs(5),
    }
}

// 12.3: the calls of one client

/// Makes a list, and then a call of this kind.
async fn call_after_list(store: &Store, kind: Kind, plan: &Plan) -> Result<Call, Failure> {
    let mut client = store.client(0, plan)?;
    if kind != Kind::List {
        expect_success(&client.call(Kind::List).await)?;
    }
    let asked = format!("`{}`: a call of a client", kind.name());
    let cause = "its timeout does not limit the whole request";
    within(asked, "an end", cause, client.call(kind)).await
}

fn expect_success(call: &Call) -> Outcome {
    ensure(
        call.result.is_ok(),
        format_args!("`{}`: a call of a client", call.kind.name()),
        "a success",
        format_args!("{:?}", call.result),
    )
}

/// Expects that the call has failed, and that its error says why.
fn expect_error(call: &Call, wrong: Wrong) -> Outcome {
    let (kind, error) = (call.kind.name(), wrong.error(call.kind));
    ensure(
        end_of(call) == error,
        format_args!("`{kind}` of a client, and the service {}", wrong.words()),
        error,
        match &call.result {
            Ok(()) => "a success".to_owned(),
            Err(error) => format!("{}: {error:?}", end_of(call)),
        },
    )
}

/// For each kind, expects that a store which does this wrong makes the call fail.
async fn expect_failures(wrong: Wrong, kinds: &[Kind]) -> Outcome {
    for kind in kinds {
        let store = Store::wrong(*kind, wrong).await?;
        let call = call_after_list(&store, *kind, &plan(1, 1)).await?;
        expect_error(&call, wrong)?;
    }
    Ok(())
}

async fn calls_succeed() -> Outcome {
    let store = Store::right().await?;
    let mut client = store.client(3, &plan(4, 1))?;
    for kind in [Kind::List, Kind::One, Kind::Slow, Kind::Add] {
        let before = Instant::now();
        let call = client.call(kind).await;
        expect_success(&call)?;
        ensure(
            call.kind == kind
                && call.client == 3
                && before <= call.began
                && call.began <= call.ended,
            format_args!("`{}`: a call of a client", kind.name()),
            "its kind, its client, when it began and when it ended",
            format_args!("{call:?}"),
        )?;
    }
    let seen: Vec<_> = store
        .seen()
        .into_iter()
        .map(|seen| (seen.kind, seen.path))
        .collect();
    let last = seen.get(2).map(|seen| seen.1.clone());
    equal(
        "the path of slow",
        Some("/book/extensive_query?seconds=0.25".to_owned()),
        last,
    )?;
    equal(
        "the requests",
        vec![
            Some(Kind::List),
            Some(Kind::One),
            Some(Kind::Slow),
            Some(Kind::Add),
        ],
        seen.into_iter().map(|seen| seen.0).collect::<Vec<_>>(),
    )
}

async fn other_status() -> Outcome {
    expect_failures(Wrong::Status(500), &Kind::ALL).await?;
    expect_failures(Wrong::Status(404), &Kind::ALL).await?;
    expect_failures(Wrong::Status(202), &Kind::ALL).await?;
    expect_failures(Wrong::Status(200), &[Kind::Add]).await?;
    expect_failures(Wrong::Status(201), &[Kind::List, Kind::One, Kind::Slow]).await
}

async fn redirects() -> Outcome {
    expect_failures(Wrong::Redirect, &Kind::ALL).await
}

async fn other_body() -> Outcome {
    expect_failures(Wrong::NotJson, &Kind::ALL).await?;
    expect_failures(Wrong::OtherShape, &Kind::ALL).await?;
    expect_failures(Wrong::AboutOther, &[Kind::One, Kind::Add]).await
}

async fn breaks_off() -> Outcome {
    expect_failures(Wrong::BreaksOff, &Kind::ALL).await?;
    expect_failures(Wrong::Closes, &Kind::ALL).await
}

async fn hangs() -> Outcome {
    let [list, one, slow, add] = Kind::ALL.map(never_answers);
    tokio::try_join!(list, one, slow, add, trickles())?;
    Ok(())
}

async fn never_answers(kind: Kind) -> Outcome {
    let store = Store::wrong(kind, Wrong::Hangs).await?;
    let mut list = Ok(());
    // On a machine that is busy, the list before may take longer than the first.
    for limit in [100, 1000, 4000].map(Duration::from_millis) {
        let plan = Plan {
            timeout: limit,
            ..plan(1, 1)
        };
        let mut client = store.client(0, &plan)?;
        if kind != Kind::List {
            list = expect_success(&client.call(Kind::List).await);
        }
        if list.is_ok() {
            return ends_after_timeout(&mut client, kind, Wrong::Hangs, limit).await;
        }
    }
    list
}

async fn trickles() -> Outcome {
    // On a machine that is busy, no piece may come for a while.
    let limit = Duration::from_millis(300);
    let plan = Plan {
        timeout: limit,
        ..plan(1, 1)
    };
    let store = Store::wrong(Kind::List, Wrong::Trickles).await?;
    let mut client = store.client(0, &plan)?;
    ends_after_timeout(&mut client, Kind::List, Wrong::Trickles, limit).await
}

async fn ends_after_timeout(
    client: &mut Client,
    kind: Kind,
    wrong: Wrong,
    limit: Duration,
) -> Outcome {
    let asked = format!(
        "`{}` of a client with a timeout of {limit:?}, and the service {}",
        kind.name(),
        wrong.words()
    );
    let cause = "the timeout of `http` does not limit the whole request";
    let call = within(asked, "a failure", cause, client.call(kind)).await?;
    expect_error(&call, wrong)
}

async fn last_list() -> Outcome {
    let store = Store::right().await?;
    let mut client = store.client(0, &plan(1, 1))?;
    for list in 1..=3 {
        expect_success(&client.call(Kind::List).await)?;
        for _ in 0..3 {
            expect_success(&client.call(Kind::One).await)?;
        }
        let known: Vec<String> = ids(list).map(|id| format!("/book/{id}")).collect();
        for path in store.ones().split_off(3 * (list - 1)) {
            ensure(
                known.contains(&path),
                format_args!("one, after a list with the books {}", known.join(", ")),
                "one of these books",
                path,
            )?;
        }
    }
    for (wrong, ones) in [
        (Wrong::Empty, 0),
        (Wrong::LaterStatus, 1),
        (Wrong::LaterEmpty, 1),
    ] {
        let store = Store::wrong(Kind::List, wrong).await?;
        let mut client = store.client(0, &plan(1, 1))?;
        for number in 0..2 {
            let _ = client.call(Kind::List).await;
            let call = client.call(Kind::One).await;
            if number < ones {
                expect_success(&call)?;
                continue;
            }
            ensure(
                matches!(call.result, Err(CallError::NoBook)),
                format_args!(
                    "`list` and then `one`, {}, and the service {}",
                    if number == 0 { "once" } else { "twice" },
                    wrong.words()
                ),
                "the last `one` fails with CallError::NoBook: the last list has no books for it",
                match &call.result {
                    Ok(()) => format!("a success, for {}", store.ones().join(", ")),
                    Err(error) => format!("{}: {error:?}", end_of(&call)),
                },
            )?;
        }
        equal("the requests for one book", ones, store.ones().len())?;
    }
    Ok(())
}

async fn seeds() -> Outcome {
    let mut sequences = Vec::new();
    for seed in [1, 1, 2] {
        let store = Store::right().await?;
        let mut client = store.client(0, &Plan { seed, ..plan(1, 1) })?;
        expect_success(&client.call(Kind::List).await)?;
        for _ in 0..24 {
            expect_success(&client.call(Kind::One).await)?;
        }
        sequences.push(store.ones());
    }
    let different: HashSet<&String> = sequences[0].iter().collect();
    ensure(
        different.len() > 3,
        "24 times one, after a list of 9 books",
        "more than 3 different books",
        format_args!("{different:?}"),
    )?;
    equal(
        "24 times one, with the same seed twice",
        &sequences[0],
        &sequences[1],
    )?;
    ensure(
        sequences[0] != sequences[2],
        "24 times one, with two seeds",
        "other books",
        "the same books",
    )
}

async fn unique_names() -> Outcome {
    // A book may be stored although its answer is a failure.
    for failing in [None, Some((Kind::Add, Wrong::Status(503)))] {
        let store = Store::start(failing, Gate::opened()).await?;
        for seed in [1, 11, 111] {
            for number in [0, 1, 11] {
                let plan = Plan {
                    seed,
                    ..plan(12, 1)
                };
                let mut client = store.client(number, &plan)?;
                for _ in 0..12 {
                    let call = client.call(Kind::Add).await;
                    if failing.is_none() {
                        expect_success(&call)?;
                    }
                }
            }
        }
        let answered = if failing.is_some() {
            ", and each is answered with 503"
        } else {
            ""
        };
        let mut names = HashSet::new();
        for seen in store.seen() {
            ensure(
                names.insert(seen.name.clone()),
                format_args!("12 times `add`, by three clients, with three seeds{answered}"),
                "names that are not used twice",
                seen.name,
            )?;
        }
    }
    Ok(())
}

async fn connections_kept() -> Outcome {
    let store = Store::wrong(Kind::One, Wrong::Status(404)).await?;
    let mut client = store.client(0, &plan(1, 1))?;
    for _ in 0..10 {
        for kind in Kind::ALL {
            client.call(kind).await;
        }
    }
    let (calls, connections) = (store.seen().len(), &store.shared.connections);
    let connections = connections.load(Ordering::Relaxed);
    ensure(
        calls == 40 && connections <= 20,
        "40 calls of one client, 10 of them answered with 404",
        "40 requests over far fewer connections",
        format_args!("{calls} requests over {connections} connections"),
    )?;

    // reqwest closes a connection whose answer was not read to its end.
    let store = Store::wrong(Kind::One, Wrong::LateEnd).await?;
    let call = call_after_list(&store, Kind::One, &plan(1, 1)).await?;
    ensure(
        store.shared.end_sent.load(Ordering::Relaxed),
        format_args!(
            "`one` of a client, and the service {}",
            Wrong::LateEnd.words()
        ),
        "the call reads the body to its end, so that its connection can be used again",
        "the call has ended before the body",
    )?;
    expect_error(&call, Wrong::LateEnd)
}

// 12.4: cycles

/// The calls of one client.
async fn work(store: &Store, stop: Stop, began: Instant) -> Result<Vec<Call>, Failure> {
    let client = store.client(0, &plan(1, 1))?;
    let (sender, mut calls) = mpsc::channel(100);
    let asked = format!("load::work with {stop:?}");
    let cause = "`work` does not stop";
    let working = load::work(client, stop, began, sender);
    within(&asked, "an end", cause, working).await?;
    let mut all = Vec::new();
    while let Some(call) = calls.recv().await {
        all.push(call);
    }
    Ok(all)
}

const IN_ORDER: [&str; 11] = [
    "list", "one", "slow", "add", "add", "add", "list", "one", "list", "one", "slow",
];

async fn cycle_in_order() -> Outcome {
    equal("CYCLE", IN_ORDER, CYCLE.map(Kind::name))?;
    for cycles in [0, 1, 3] {
        let store = Store::right().await?;
        let calls = work(&store, Stop::Cycles(cycles), Instant::now()).await?;
        let expected = IN_ORDER.repeat(usize::try_from(cycles).unwrap_or(0));
        let sent: Vec<_> = store
            .seen()
            .iter()
            .map(|seen| seen.kind.map_or("something else", Kind::name))
            .collect();
        let asked = format!("the requests of {cycles} cycles");
        equal(&asked, &expected, &sent)?;
        let counted: Vec<_> = calls.iter().map(|call| call.kind.name()).collect();
        equal(format_args!("{asked}, as calls"), &expected, &counted)?;
        calls.iter().try_for_each(expect_success)?;
        let most = store.shared.gate.most_in_flight();
        ensure(
            most <= 1,
            asked,
            "one at a time",
            format_args!("{most} at the same time"),
        )?;
    }
    // A client whose list has failed knows no book, and its next call fails as well.
    let store = Store::wrong(Kind::List, Wrong::Status(503)).await?;
    let calls = work(&store, Stop::Cycles(1), Instant::now()).await?;
    let counted: Vec<_> = calls.iter().map(|call| call.kind.name()).collect();
    equal(
        "the calls of a cycle in which each `list` fails, and so each `one`",
        IN_ORDER.to_vec(),
        counted,
    )
}

async fn nobody_receives() -> Outcome {
    let store = Store::right().await?;
    let (sender, _) = mpsc::channel(100);
    let client = store.client(0, &plan(1, 1))?;
    let endless = store.client(1, &plan(1, 1))?;
    let cause = "`work` does not look at the error of `send`";
    let asked = "load::work with Cycles(3), and a channel whose receiver is gone";
    let working = load::work(client, Stop::Cycles(3), Instant::now(), sender.clone());
    within(asked, "an end", cause, working).await?;
    let sent = store.seen().len();
    ensure(
        sent <= 1,
        asked,
        "an end as soon as `send` has failed",
        format_args!("{sent} requests"),
    )?;
    let asked = "load::work with After(Duration::MAX), and a channel whose receiver is gone";
    let working = load::work(endless, Stop::After(Duration::MAX), Instant::now(), sender);
    within(asked, "an end", cause, working).await
}

async fn stops_after() -> Outcome {
    tokio::try_join!(stops_during_a_call(), stops_while_it_sends())?;
    Ok(())
}

async fn stops_during_a_call() -> Outcome {
    let store = Store::right().await?;
    let Some(earlier) = Instant::now().checked_sub(Duration::from_secs(1)) else {
        return Ok(());
    };
    let calls = work(&store, Stop::After(Duration::from_secs(1)), earlier).await?;
    equal("calls of a client whose time is over", 0, calls.len())?;

    // On a machine that is busy, the first call may begin too late.
    for limit in [100, 1000, 3000].map(Duration::from_millis) {
        let store = Store::start(None, Gate::closed()).await?;
        let gate = &store.shared.gate;
        let began = Instant::now();
        let (calls, in_time) = tokio::join!(work(&store, Stop::After(limit), began), async {
            let in_time = timeout(limit, gate.wait_until_in_flight(1)).await;
            sleep((2 * limit).saturating_sub(began.elapsed())).await;
            gate.open();
            in_time.is_ok()
        });
        let calls = calls?;
        if !in_time {
            continue;
        }
        calls.iter().try_for_each(expect_success)?;
        let asked = "a client whose time ends during its first call";
        equal(format_args!("{asked}: calls"), 1, calls.len())?;
        equal(format_args!("{asked}: requests"), 1, store.seen().len())?;
        return Ok(());
    }
    Err(Failure::new(
        "a client that may begin calls for 3 s",
        "a request",
        "none",
    ))
}

/// Expects that the time is looked at when the call before is in the channel.
async fn stops_while_it_sends() -> Outcome {
    for limit in [200, 1000, 2000].map(Duration::from_millis) {
        let store = Store::right().await?;
        let client = store.client(0, &plan(1, 1))?;
        let gate = &store.shared.gate;
        let (sender, mut calls) = mpsc::channel(1);
        let began = Instant::now();
        let asked =
            "a client whose second call waits for room in the channel until its time is over";
        let working = load::work(client, Stop::After(limit), began, sender);
        let receiving = async {
            while gate.ended() < 2 && began.elapsed() < limit {
                sleep(Duration::from_millis(1)).await;
            }
            let in_time = gate.ended() >= 2;
            sleep((limit + Duration::from_millis(100)).saturating_sub(began.elapsed())).await;
            while calls.recv().await.is_some() {}
            in_time
        };
        let both = async { tokio::join!(working, receiving) };
        let ((), in_time) = within(asked, "an end", "`work` does not stop", both).await?;
        if in_time {
            return equal(format_args!("{asked}: requests"), 2, store.seen().len());
        }
    }
    Err(Failure::new(
        "a client whose first call is in the channel, which has no room for another, for 2 s",
        "a second call, which the client makes before it waits for room",
        "no second call until there is room",
    ))
}

// 12.5: the report

/// A call that lasts from `from` to `to`, in milliseconds after `start`.
fn call(start: Instant, kind: Kind, from: u64, to: u64, fails: bool) -> Call {
    Call {
        kind,
        client: 0,
        began: start + Duration::from_millis(from),
        ended: start + Duration::from_millis(to),
        result: if fails {
            Err(CallError::NoBook)
        } else {
            Ok(())
        },
    }
}

fn some_calls() -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    for (kind, from, to, fails) in [
        (Kind::List, 1500, 1520, false),
        (Kind::Slow, 1000, 2000, false),
        (Kind::Slow, 1100, 1400, false),
        (Kind::One, 500, 600, true),
        (Kind::Slow, 1200, 3500, true),
        (Kind::Add, 3400, 3450, false),
        (Kind::One, 3000, 3001, true),
    ] {
        report.record(&call(start, kind, from, to, fails));
    }
    report
}

async fn counted_apart() -> Outcome {
    let report = some_calls();
    for (kind, successes, failures) in [
        (Kind::List, 1, 0),
        (Kind::One, 0, 2),
        (Kind::Slow, 2, 1),
        (Kind::Add, 1, 0),
    ] {
        let tally = report.of(kind);
        let asked = format!("7 calls, of which some failed: {}", kind.name());
        equal(
            format_args!("{asked}: successes, failures"),
            (successes, failures),
            (tally.successes, tally.failures),
        )?;
        equal(
            format_args!("{asked}: times in the histogram"),
            successes,
            tally.latency.len(),
        )?;
        equal(
            format_args!("{asked}: there is a first failure"),
            failures > 0,
            tally.first_failure.is_some(),
        )?;
    }
    let slow = &report.of(Kind::Slow).latency;
    let times = [slow.min(), slow.max()].map(|time| (time + 500) / 1000);
    equal(
        "slow calls of 300 and 1000 ms: the times",
        [300, 1000],
        times,
    )?;

    let (start, mut report) = (Instant::now(), Report::default());
    report.record(&call(start, Kind::List, 0, 7_200_000, false));
    equal(
        "a list that took two hours: times in the histogram",
        1,
        report.of(Kind::List).latency.len(),
    )?;
    let mut first = call(start, Kind::Add, 0, 1, true);
    first.result = Err(CallError::Status {
        expected: StatusCode::CREATED,
        got: StatusCode::CONFLICT,
    });
    report.record(&first);
    report.record(&call(start, Kind::Add, 2, 3, true));
    let text = report.of(Kind::Add).first_failure.clone();
    let text = text.unwrap_or_default();
    ensure(
        text.contains("409"),
        "two failures, the first with status 409: first_failure",
        "a text with 409",
        text,
    )
}

async fn duration() -> Outcome {
    equal(
        "calls from 500 ms to 3500 ms: the duration",
        Duration::from_secs(3),
        some_calls().duration(),
    )?;
    equal(
        "no calls: the duration",
        Duration::ZERO,
        Report::default().duration(),
    )
}

async fn rate() -> Outcome {
    let close = |asked: &str, expected: f64, got: f64| {
        ensure((expected - got).abs() < 0.001, asked, expected, got)
    };
    close(
        "4 successes and 3 failures in 3 s: per_minute",
        80.0,
        some_calls().per_minute(),
    )?;
    close("no calls: per_minute", 0.0, Report::default().per_minute())?;
    let mut report = Report::default();
    report.record(&call(Instant::now(), Kind::List, 0, 0, false));
    close(
        "a call that began and ended at the same time: per_minute",
        0.0,
        report.per_minute(),
    )
}

// 12.6: the load

async fn drive(store: &Store, plan: &Plan) -> Result<(Report, Vec<(usize, Kind)>), Failure> {
    let mut shown = Vec::new();
    let running = load::run(&store.base, plan, |call| {
        shown.push((call.client, call.kind));
    });
    let report = within("load::run", "an end", WAITS, running)
        .await?
        .or_fail("load::run")?;
    Ok((report, shown))
}

/// Why a load does not end.
const WAITS: &str =
    "does `run` keep a sender, or wait for the clients while nothing receives their calls?";

async fn at_the_same_time() -> Outcome {
    let store = Store::start(None, Gate::closed()).await?;
    let gate = store.shared.gate.clone();
    let plan = plan(5, 1);
    let (outcome, arrived) = tokio::join!(drive(&store, &plan), async {
        let arrived = within(
            "load::run with 5 clients",
            "5 requests at the same time",
            "does `run` wait for one client before it starts the next?",
            gate.wait_until_in_flight(5),
        )
        .await;
        gate.open();
        arrived
    });
    arrived?;
    outcome?;
    equal(
        "load::run with 5 clients: the most requests at the same time",
        5,
        gate.most_in_flight(),
    )
}

async fn every_call() -> Outcome {
    let store = Store::right().await?;
    let (report, shown) = drive(&store, &plan(4, 3)).await?;
    for (kind, each) in [
        (Kind::List, 3),
        (Kind::One, 3),
        (Kind::Slow, 2),
        (Kind::Add, 3),
    ] {
        let tally = report.of(kind);
        let asked = format!("4 clients and 3 cycles: {}", kind.name());
        equal(
            format_args!("{asked}: successes, failures"),
            (12 * each, 0),
            (tally.successes, tally.failures),
        )?;
        let count = |seen: usize| u64::try_from(seen).unwrap_or(0);
        let sent = store.seen();
        let sent = sent.iter().filter(|seen| seen.kind == Some(kind)).count();
        equal(format_args!("{asked}: requests"), 12 * each, count(sent))?;
    }
    for client in 0..4 {
        let calls: Vec<_> = shown
            .iter()
            .filter(|call| call.0 == client)
            .map(|call| call.1.name())
            .collect();
        equal(
            format_args!("3 cycles: the calls of client {client} that were shown"),
            IN_ORDER.repeat(3),
            calls,
        )?;
    }
    let names: HashSet<String> = store
        .seen()
        .into_iter()
        .filter(|seen| seen.kind == Some(Kind::Add))
        .map(|seen| seen.name)
        .collect();
    equal("36 books: different names", 36, names.len())?;

    // When the last client ends, its last calls are still in the channel.
    let base = &store.base;
    let loads = (0..16).map(|_| async move {
        let plan = plan(4, 1);
        let mut shown = 0;
        let running = load::run(base, &plan, |_| shown += 1);
        let report = within("load::run", "an end", WAITS, rarely(running))
            .await?
            .or_fail("load::run")?;
        let asked = "4 clients, and 1 cycle that ends before all its calls are received";
        equal(
            format_args!("{asked}: calls in the report"),
            44,
            report.successes(),
        )?;
        equal(format_args!("{asked}: calls that were shown"), 44, shown)
    });
    try_join_all(loads).await?;
    Ok(())
}

/// Polls `future` now and then only, so that much has happened between two polls.
async fn rarely<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Some(output) = future.as_mut().now_or_never() {
            return output;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn shown_at_once() -> Outcome {
    let store = Store::start(None, Gate::closed()).await?;
    let gate = &store.shared.gate;
    let (sender, mut shown) = mpsc::unbounded_channel();
    let plan = plan(3, 1);
    let running = load::run(&store.base, &plan, move |call| {
        let _ = sender.send(call.kind);
    });
    let watching = async {
        gate.wait_until_in_flight(3).await;
        gate.let_through(1);
        shown.recv().await
    };
    tokio::select! {
        ended = running => Err(Failure::new(
            "load::run, with requests that get no answer",
            "no end",
            format_args!("{ended:?}"),
        )),
        first = within(
            "one answer of three",
            "a call that is shown",
            "does `run` receive calls while the clients run?",
            watching,
        ) => {
            equal("one answer of three: what is shown", Some("list"), first?.map(Kind::name))
        }
    }
}

async fn failures_go_on() -> Outcome {
    let store = Store::wrong(Kind::List, Wrong::Status(503)).await?;
    let (report, _) = drive(&store, &plan(2, 2)).await?;
    let counts = Kind::ALL.map(|kind| {
        let tally = report.of(kind);
        (kind.name(), tally.successes, tally.failures)
    });
    equal(
        "2 clients, 2 cycles, every list fails: successes and failures",
        [
            ("list", 0, 12),
            ("one", 0, 12),
            ("slow", 8, 0),
            ("add", 12, 0),
        ],
        counts,
    )?;
    let text = report.of(Kind::List).first_failure.clone();
    let text = text.unwrap_or_default();
    ensure(
        text.contains("503"),
        "every list is answered with 503: first_failure",
        "a text with 503",
        text,
    )
}

async fn client_panics() -> Outcome {
    let store = Store::right().await?;
    let base = store.base.clone();
    let (send, ended) = oneshot::channel();
    // The harness takes a panic of this check's threads for the cause of its failure,
    // unless the thread has the name of another check.
    let other = thread::Builder::new().name("check-without-timers".to_owned());
    let run = move || {
        // The timeout of a request needs a timer, and a runtime without timers panics.
        let runtime = Builder::new_current_thread().enable_io().build();
        let plan = plan(2, 1);
        let load = load::run(&base, &plan, |_| {});
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.map(|it| it.block_on(load))));
        let _ = send.send(match ended {
            Ok(Ok(Err(LoadError::Panic(_)))) => None,
            Ok(Ok(Err(error))) => Some(format!("{error:?}")),
            Ok(Ok(Ok(report))) => Some(format!(
                "a report of {} calls, as if nothing had happened",
                report.successes() + report.failures()
            )),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the panic ends `run` as well".to_owned()),
        });
    };
    let asked = "load::run in a runtime without timers, in which each client panics";
    other.spawn(run).or_fail(asked)?;
    let ended = within(asked, "an end", WAITS, ended)
        .await?
        .or_fail(asked)?;
    ensure(
        ended.is_none(),
        asked,
        "LoadError::Panic",
        ended.unwrap_or_default(),
    )
}

async fn no_time() -> Outcome {
    let store = Store::right().await?;
    let plan = Plan {
        stop: Stop::After(Duration::ZERO),
        ..plan(3, 1)
    };
    let (report, shown) = drive(&store, &plan).await?;
    equal("Stop::After(0): calls", 0, shown.len())?;
    equal("Stop::After(0): requests", 0, store.seen().len())?;
    equal("Stop::After(0): successes", 0, report.successes())
}

async fn dropped_load() -> Outcome {
    let store = Store::start(None, Gate::closed()).await?;
    let gate = &store.shared.gate;
    // The timeout would end the requests, too.
    let plan = Plan {
        timeout: Duration::from_mins(1),
        ..plan(4, 1)
    };
    tokio::select! {
        ended = load::run(&store.base, &plan, |_| {}) => {
            return Err(Failure::new("load::run", "no end", format_args!("{ended:?}")));
        }
        arrived = within(
            "load::run",
            "4 requests",
            "the clients do not call at the same time",
            gate.wait_until_in_flight(4),
        ) => arrived?,
    }
    within(
        "load::run, dropped while it waits for 4 answers",
        "no request goes on",
        "the tasks of the clients go on",
        gate.wait_until_empty(),
    )
    .await?;
    equal("requests that were dropped", 4, gate.dropped())?;
    equal("requests", 4, store.seen().len())
}

async fn real_service() -> Outcome {
    let database = Database::sample().await?;
    let before: i64 = database.one("SELECT count(*) FROM book").await?;
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")?;
    let service = Service::start(app::app(engine));
    let base = format!("http://{}", service.addr());
    let plan = Plan {
        seconds: 0.01,
        ..plan(3, 2)
    };
    let report = load::run(&base, &plan, |_| {}).await.or_fail("load::run")?;
    for kind in Kind::ALL {
        let failure = report.of(kind).first_failure.as_deref();
        equal(
            format_args!("the first failure of {}", kind.name()),
            None,
            failure,
        )?;
    }
    equal("3 clients and 2 cycles: successes", 66, report.successes())?;
    let after: i64 = database.one("SELECT count(*) FROM book").await?;
    equal("3 clients and 2 cycles: new books", 18, after - before)
}

// 12.7: what to expect

async fn peaks() -> Outcome {
    for (clients, connections, workers, blocking_threads, expected) in [
        (10, 20, 2, 4, [10, 2, 4]),
        (10, 5, 2, 4, [5, 2, 4]),
        (10, 3, 2, 4, [3, 2, 3]),
        (10, 1, 2, 4, [1, 1, 1]),
        (3, 20, 8, 16, [3, 3, 3]),
        (600, 1000, 2, 512, [600, 2, 512]),
    ] {
        let limits = Limits {
            clients,
            connections,
            workers,
            blocking_threads,
        };
        let ways = [Slow::Async, Slow::Blocking, Slow::SpawnBlocking];
        equal(
            format_args!("{limits:?}: the peak of Async, Blocking and SpawnBlocking"),
            expected,
            ways.map(|slow| limits.peak(slow)),
        )?;
    }
    Ok(())
}

async fn ceilings() -> Outcome {
    for (peak, seconds, expected) in [
        (10, 5.0, 660.0),
        (2, 5.0, 132.0),
        (10, 0.05, 66_000.0),
        (3, 7.0, 141.428_571),
        (1, 45.0, 7.333_333),
        (7, 2.4, 962.5),
    ] {
        let got = ceiling(peak, seconds);
        ensure(
            (got - expected).abs() < 0.001,
            format_args!("ceiling({peak}, {seconds})"),
            expected,
            got,
        )?;
    }
    Ok(())
}
