//! The checks of step 15: work that waits together is done together, each caller gets what
//! is its own, and an order that is acknowledged is stored.

use std::fmt::Display;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use check::gate::Gate;
use check::statements::{Recording, Statement};
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal, equal_json};
use futures::FutureExt;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use step15::app;
use step15::batch::{Batch, Batcher, Room};
use step15::config::Limits;
use step15::customers::CustomerService;
use step15::db::base::{Engine, EngineConfig, PAGE_ROWS};
use step15::error::Error;
use step15::orders::{MAX_TASKS, NewOrder, NewOrderItem, OrderService, totals, writer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::{Instant, timeout};
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("15-fast-path", env!("CARGO_MANIFEST_DIR"))
        .paused_check("15.1", "a caller gets its own result", own_results)
        .paused_check(
            "15.1",
            "what waits together is one batch, in the order of the calls",
            one_batch,
        )
        .paused_check("15.1", "a batch has at most its size", batch_size)
        .paused_check("15.1", "nothing waits for more to come", no_timer)
        .paused_check(
            "15.1",
            "callers wait for room when the queue is full",
            bounded_queue,
        )
        .paused_check(
            "15.1",
            "the input of a caller that has gone is left out",
            gone_callers,
        )
        .paused_check(
            "15.1",
            "an error of the batch reaches each of its callers",
            shared_error,
        )
        .paused_check(
            "15.1",
            "the task ends when the last Batcher is gone",
            task_ends,
        )
        .paused_check(
            "15.2",
            "the callers of a batch that panics get an error",
            panic_answered,
        )
        .paused_check(
            "15.2",
            "after a panic, a new worker runs the next batches",
            panic_survived,
        )
        .check("15.3", "each order has its total", totals_right)
        .check(
            "15.3",
            "totals that wait together are one statement",
            totals_together,
        )
        .check(
            "15.3",
            "the ids of orders_total are one statement",
            list_together,
        )
        .check(
            "15.3",
            "a total is never older than its request",
            totals_fresh,
        )
        .check(
            "15.3",
            "a failure of the database is an error, not a total",
            totals_fail,
        )
        .check(
            "15.4",
            "orders are stored and refused as before",
            orders_as_before,
        )
        .check(
            "15.4",
            "orders that wait together are one commit",
            one_commit,
        )
        .check(
            "15.4",
            "an order that is refused does not touch its neighbours",
            neighbours,
        )
        .check(
            "15.4",
            "an order that the database refuses does not touch its neighbours",
            neighbours_of_failure,
        )
        .check(
            "15.4",
            "no order is acknowledged before its commit",
            acknowledged_after_commit,
        )
        .check(
            "15.4",
            "an acknowledged order is in the files",
            in_the_files,
        )
        .check(
            "15.4",
            "a commit waits until the disk has the data",
            waits_for_disk,
        )
        .check(
            "15.4",
            "if the transaction fails, nothing is stored and each client is told",
            transaction_fails,
        )
        .check(
            "15.4",
            "an order whose client gives up is stored completely or not at all",
            whole_or_not,
        )
        .check(
            "15.4",
            "the service ends with the database closed",
            ends_closed,
        )
        .check(
            "15.5",
            "customers are listed as before",
            customers_as_before,
        )
        .check("15.5", "a page of customers is one row", page_is_a_row)
        .check("15.5", "every text is written as JSON", texts_as_json)
        .check("15.5", "pages continue after the last id", pages_continue)
        .run()
}

/// Only for checks whose clock is paused: it lets the time pass at once.
const LONG: Duration = Duration::from_mins(10);

/// How long a check waits for what should happen soon.
const SOON: Duration = Duration::from_secs(3);

// A worker that notes its batches

/// An input. It counts how many of its kind there are.
#[derive(Debug)]
struct Input {
    number: u32,
    alive: Arc<AtomicUsize>,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this input is for.
const REFUSED: u32 = 1001;
const FAILS: u32 = 1002;
const PANICS: u32 = 1003;

#[derive(Clone)]
struct Notes {
    gate: Gate,
    batches: Arc<Mutex<Vec<Vec<u32>>>>,
    workers: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

impl Notes {
    fn new(gate: Gate) -> Self {
        Self {
            gate,
            batches: Arc::default(),
            workers: Arc::default(),
            ended: Arc::default(),
            alive: Arc::default(),
        }
    }

    fn start(&self, queue: usize, batch: usize) -> (Batcher<Noting>, JoinHandle<()>) {
        let notes = self.clone();
        Batcher::start(Room { queue, batch }, move || {
            notes.workers.fetch_add(1, Ordering::Relaxed);
            Noting {
                notes: notes.clone(),
                broken: false,
            }
        })
    }

    fn input(&self, number: u32) -> Input {
        let alive = Arc::clone(&self.alive);
        alive.fetch_add(1, Ordering::Relaxed);
        Input { number, alive }
    }

    fn note(&self, numbers: Vec<u32>) {
        let batches = self.batches.lock();
        let mut batches = batches.unwrap_or_else(PoisonError::into_inner);
        batches.push(numbers);
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        let batches = self.batches.lock();
        batches.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many inputs there are: in the queue, in a batch, and with their callers.
    fn inputs(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }
}

struct Noting {
    notes: Notes,
    broken: bool,
}

impl Batch for Noting {
    type Input = Input;
    type Output = u32;

    async fn run(&mut self, inputs: &[Input]) -> Result<Vec<Result<u32, Error>>, Error> {
        let numbers: Vec<u32> = inputs.iter().map(|input| input.number).collect();
        self.notes.note(numbers.clone());
        self.notes.gate.pass().await;
        if self.broken || numbers.contains(&PANICS) {
            self.broken = true;
            // Without a message, so that the log of the check stays readable.
            std::panic::resume_unwind(Box::new("a panic of the check"));
        }
        if numbers.contains(&FAILS) {
            return Err(Error::TimedOut);
        }
        let result = |number: &u32| match *number {
            REFUSED => Err(Error::BadRequest("refused")),
            number => Ok(10 * number),
        };
        Ok(numbers.iter().map(result).collect())
    }

    async fn end(self) {
        self.notes.ended.fetch_add(1, Ordering::Relaxed);
    }
}

type Calls = JoinSet<(u32, Result<u32, Error>)>;

/// Calls with each number, one after another, so that the inputs come in this order.
async fn call_all(
    notes: &Notes,
    batcher: &Batcher<Noting>,
    numbers: impl IntoIterator<Item = u32>,
    calls: &mut Calls,
) {
    for number in numbers {
        let (batcher, input) = (batcher.clone(), notes.input(number));
        calls.spawn(async move { (number, batcher.submit(input).await) });
        settle().await;
    }
}

/// Lets the other tasks run until all of them wait.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

/// Waits for all calls, and returns their results in the order of their numbers.
async fn all(asked: &str, mut calls: Calls) -> Result<Vec<(u32, Result<u32, Error>)>, Failure> {
    let mut results = Vec::new();
    let ends = async {
        while let Some(ended) = calls.join_next().await {
            results.push(ended.or_fail(asked)?);
        }
        Ok(())
    };
    let ended = timeout(LONG, ends).await;
    ended.map_err(|_| {
        Failure::new(asked, "a result for each caller", "a caller waits for ever")
    })??;
    results.sort_by_key(|(number, _)| *number);
    Ok(results)
}

fn status(error: Error) -> StatusCode {
    error.into_response().status()
}

// 15.1: batches

/// Fails unless the callers of a batch get their results although one of them has gone.
async fn results_beside_gone_caller() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 64);
    let (mut first, mut leave, mut stay) = (Calls::new(), Calls::new(), Calls::new());
    call_all(&notes, &batcher, [1], &mut first).await;
    call_all(&notes, &batcher, [2], &mut leave).await;
    call_all(&notes, &batcher, [3, 4], &mut stay).await;
    gate.let_through(1);
    settle().await;
    leave.shutdown().await;
    gate.open();
    let asked = "a batch of 3, and the first of its callers has gone while it ran";
    for (number, result) in all(asked, stay).await? {
        equal(asked, 10 * number, result.or_fail(asked)?)?;
    }
    Ok(())
}

async fn own_results() -> Outcome {
    results_beside_gone_caller().await?;
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 16);
    let mut calls = Calls::new();
    let numbers = (1..=20).chain([REFUSED]).chain(21..=40);
    call_all(&notes, &batcher, numbers, &mut calls).await;
    gate.open();
    let asked = "41 calls";
    let results = all(asked, calls).await?;
    equal(format_args!("{asked}: results"), 41, results.len())?;
    for (number, result) in results {
        let asked = format!("the call with the input {number}");
        match result {
            Ok(got) => equal(asked, 10 * number, got)?,
            Err(Error::BadRequest(_)) => equal(asked, REFUSED, number)?,
            Err(error) => return Err(Failure::new(asked, "its result", error)),
        }
    }
    Ok(())
}

async fn one_batch() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 64);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, 1..=20, &mut calls).await;
    let asked = "20 calls, while the batch of the first one runs";
    equal(
        format_args!("{asked}: the batches that have begun"),
        vec![vec![1]],
        notes.batches(),
    )?;
    gate.open();
    all(asked, calls).await?;
    equal(
        format_args!("{asked}: all batches"),
        vec![vec![1], (2..=20).collect::<Vec<u32>>()],
        notes.batches(),
    )
}

async fn batch_size() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 8);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, 1..=21, &mut calls).await;
    gate.open();
    let asked = "21 calls and batches of 8, while the batch of the first one runs: their sizes";
    all(asked, calls).await?;
    let sizes: Vec<usize> = notes.batches().iter().map(Vec::len).collect();
    equal(asked, vec![1, 8, 8, 4], sizes)
}

async fn no_timer() -> Outcome {
    let notes = Notes::new(Gate::opened());
    let (batcher, _task) = notes.start(64, 64);
    let began = Instant::now();
    let asked = "10 calls, one after another";
    for number in 1..=10 {
        let call = timeout(LONG, batcher.submit(notes.input(number))).await;
        call.or_fail(asked)?.or_fail(asked)?;
    }
    let mut calls = Calls::new();
    for number in 1..=10 {
        let (batcher, input) = (batcher.clone(), notes.input(number));
        calls.spawn(async move { (number, batcher.submit(input).await) });
    }
    let asked = "10 calls, one after another, then 10 at the same time";
    all(asked, calls).await?;
    ensure(
        began.elapsed().is_zero(),
        asked,
        "no time passes on the clock, which is paused",
        format_args!("{:?}: the task waits for a timer", began.elapsed()),
    )
}

async fn bounded_queue() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(4, 2);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, 1..=40, &mut calls).await;
    let asked = "40 calls with a queue of 4, while a batch runs";
    ensure(
        !calls.is_empty() && calls.try_join_next().is_none(),
        asked,
        "all callers wait",
        "one has a result already",
    )?;
    // A caller that is aborted takes along its input, unless that is in the queue.
    let mut kept = Calls::new();
    std::mem::swap(&mut kept, &mut calls);
    kept.shutdown().await;
    let left = notes.inputs();
    ensure(
        left <= 4 + 2,
        format_args!("{asked}; then all callers go away: inputs that are left"),
        "at most 6, in the queue and in the batch",
        left,
    )?;
    gate.open();
    call_all(&notes, &batcher, 50..=80, &mut calls).await;
    let asked = "31 calls after that";
    for (number, result) in all(asked, calls).await? {
        let asked = format!("{asked}: {number}");
        let result = result.or_fail(&asked)?;
        equal(asked, 10 * number, result)?;
    }
    Ok(())
}

async fn gone_callers() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 4);
    let (mut stay, mut leave) = (Calls::new(), Calls::new());
    call_all(&notes, &batcher, [1], &mut stay).await;
    call_all(&notes, &batcher, [2], &mut leave).await;
    leave.shutdown().await;
    gate.open();
    let asked = "2 calls, while the batch of the first one runs; 2 goes away before it ends";
    all(asked, stay).await?;
    settle().await;
    equal(asked, vec![vec![1]], notes.batches())?;

    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 4);
    let (mut stay, mut leave, mut late) = (Calls::new(), Calls::new(), Calls::new());
    call_all(&notes, &batcher, [1, 2], &mut stay).await;
    call_all(&notes, &batcher, [3], &mut leave).await;
    call_all(&notes, &batcher, [4, 5], &mut stay).await;
    call_all(&notes, &batcher, [6], &mut leave).await;
    call_all(&notes, &batcher, [7], &mut stay).await;
    call_all(&notes, &batcher, [8], &mut late).await;
    call_all(&notes, &batcher, [9], &mut stay).await;
    leave.shutdown().await;
    // The first batch ends, and the second one begins.
    gate.let_through(1);
    settle().await;
    late.shutdown().await;
    gate.open();
    let asked = "9 calls and batches of 4, while the batch of the first one runs; 3 and 6 go \
                 away before it ends, and 8 before the second one ends";
    all(asked, stay).await?;
    let got = notes.batches();
    // The place of the one that has gone may be given to the next.
    let filled = vec![vec![1], vec![2, 4, 5, 7], vec![9]];
    if got == filled {
        return Ok(());
    }
    equal(asked, vec![vec![1], vec![2, 4, 5], vec![7, 9]], got)
}

async fn shared_error() -> Outcome {
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 64);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, [1, 2, FAILS, 3], &mut calls).await;
    gate.open();
    let asked = "a batch of 3 that fails with Error::TimedOut, after a batch of 1";
    for (number, result) in all(asked, calls).await? {
        let asked = format!("{asked}: the call with the input {number}");
        match result {
            Ok(got) => equal(asked, (1, 10), (number, got))?,
            Err(error) => {
                ensure(number != 1, &asked, "10", &error)?;
                let cause = match &error {
                    Error::Shared(cause) => format!("Error::Shared({cause:?})"),
                    other => format!("{other:?}"),
                };
                equal(&asked, "Error::Shared(TimedOut)", &*cause)?;
                equal(asked, 503, status(error).as_u16())?;
            }
        }
    }
    let call = timeout(LONG, batcher.submit(notes.input(7))).await;
    let asked = "a call after a batch that has failed";
    equal(asked, 70, call.or_fail(asked)?.or_fail(asked)?)?;

    // The same, when one of its callers goes away meanwhile.
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 64);
    let (mut first, mut leave, mut stay) = (Calls::new(), Calls::new(), Calls::new());
    call_all(&notes, &batcher, [1], &mut first).await;
    call_all(&notes, &batcher, [2], &mut leave).await;
    call_all(&notes, &batcher, [FAILS, 3], &mut stay).await;
    gate.let_through(1);
    settle().await;
    leave.shutdown().await;
    gate.open();
    let asked = "a batch of 3 that fails, and the first of its callers has gone meanwhile";
    for (_, result) in all(asked, stay).await? {
        let shared = matches!(result, Err(Error::Shared(_)));
        let got = format!("{result:?}");
        ensure(shared, asked, "Error::Shared for each of the others", got)?;
    }
    let asked = "a batch of one that fails";
    let alone = timeout(LONG, batcher.submit(notes.input(FAILS))).await;
    let alone = alone.or_fail(asked)?;
    let got = format!("{alone:?}");
    ensure(
        matches!(alone, Err(Error::Shared(_))),
        asked,
        "Error::Shared",
        got,
    )
}

async fn task_ends() -> Outcome {
    let notes = Notes::new(Gate::opened());
    let (batcher, task) = notes.start(64, 64);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, 1..=3, &mut calls).await;
    let asked = "the task, after all callers have their results and the Batcher is dropped";
    all(asked, calls).await?;
    drop(batcher);
    match timeout(LONG, task).await {
        Ok(ended) => ended.or_fail(asked),
        Err(_) => Err(Failure::new(asked, "it ends", "it waits for ever")),
    }
}

// 15.2: panics

async fn panic_answered() -> Outcome {
    let recording = Recording::start();
    let gate = Gate::closed();
    let notes = Notes::new(gate.clone());
    let (batcher, _task) = notes.start(64, 64);
    let mut calls = Calls::new();
    call_all(&notes, &batcher, [1, 2, PANICS, 3], &mut calls).await;
    gate.let_through(1);
    settle().await;
    let mut next = Calls::new();
    call_all(&notes, &batcher, [4, 5], &mut next).await;
    gate.open();
    let asked = "two calls that came while a batch ran, which then panicked";
    for (number, result) in all(asked, next).await? {
        equal(asked, 10 * number, result.or_fail(asked)?)?;
    }
    let asked = "a batch of 3 that panics, after a batch of 1";
    for (number, result) in all(asked, calls).await? {
        let asked = format!("{asked}: the call with the input {number}");
        match result {
            Ok(got) => equal(asked, (1, 10), (number, got))?,
            Err(Error::BatchLost) if number != 1 => {}
            Err(error) => {
                let got = format!("{error:?}");
                return Err(Failure::new(asked, "Error::BatchLost", got));
            }
        }
    }
    let logged = recording.logged(Level::ERROR).len();
    equal(
        format_args!("{asked}: lines in the log at ERROR"),
        1,
        logged,
    )
}

async fn panic_survived() -> Outcome {
    let notes = Notes::new(Gate::opened());
    let (batcher, task) = notes.start(64, 64);
    let asked = "a call after a batch that has panicked";
    for round in 1..=3 {
        let panicked = timeout(LONG, batcher.submit(notes.input(PANICS))).await;
        let panicked = panicked.or_fail("a batch that panics")?;
        ensure(
            panicked.is_err(),
            "a batch that panics",
            "an error",
            "a result",
        )?;
        for number in [round, round + 1] {
            let call = timeout(LONG, batcher.submit(notes.input(number))).await;
            equal(asked, 10 * number, call.or_fail(asked)?.or_fail(asked)?)?;
        }
    }
    equal(
        "workers, after three batches that have panicked",
        4,
        notes.workers.load(Ordering::Relaxed),
    )?;
    for _ in 0..20 {
        let panicked = timeout(LONG, batcher.submit(notes.input(PANICS))).await;
        let panicked = panicked.or_fail("a batch that panics")?;
        ensure(
            panicked.is_err(),
            "a batch that panics",
            "an error",
            "a result",
        )?;
    }
    let asked = "a call after 20 batches that have panicked";
    let call = timeout(LONG, batcher.submit(notes.input(5))).await;
    equal(asked, 50, call.or_fail(asked)?.or_fail(asked)?)?;
    drop(batcher);
    let asked = "the task, after the Batcher is dropped";
    let ended = timeout(LONG, task).await;
    ended
        .map_err(|_| Failure::new(asked, "it ends", "it waits for ever"))?
        .or_fail(asked)?;
    equal(
        "workers whose `end` was called: the last one, and none that has panicked",
        1,
        notes.ended.load(Ordering::Relaxed),
    )
}

// The market over a database

struct Market {
    database: Database,
    engine: Engine,
    orders: OrderService,
    writing: JoinHandle<()>,
    loading: JoinHandle<()>,
}

impl Market {
    async fn start() -> Result<Self, Failure> {
        Self::start_with(EngineConfig::default()).await
    }

    async fn start_with(config: EngineConfig) -> Result<Self, Failure> {
        let database = Database::sample().await?;
        let engine = Engine::new(&database.url(), config).or_fail("an engine")?;
        let (totals, loading) = totals::start(engine.clone());
        let (writer, writing) = writer::start(engine.clone());
        Ok(Self {
            orders: OrderService::new(engine.clone(), totals, writer),
            database,
            engine,
            writing,
            loading,
        })
    }

    fn service(&self) -> Service {
        Service::start(app::app(self.engine.clone()))
    }

    /// Ends both tasks, so that the database has no connection of its own.
    async fn end(self) -> Result<Database, Failure> {
        drop(self.orders);
        for (task, of) in [(self.writing, "the writer"), (self.loading, "the totals")] {
            let ended = timeout(SOON, task).await;
            ended
                .or_fail(format_args!("the end of {of}"))?
                .or_fail(of)?;
        }
        self.engine.close().await;
        Ok(self.database)
    }
}

fn one_connection() -> EngineConfig {
    EngineConfig {
        max_connections: 1,
        ..EngineConfig::default()
    }
}

/// Locks a database that nobody else has open: until the connection is closed, readers wait
/// as writers do.
async fn keep_readers_out(database: &Database) -> Result<SqliteConnection, Failure> {
    database.wait_until_closed().await?;
    let mut connection = database.connect().await?;
    sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        .execute(&mut connection)
        .await
        .or_fail("a lock for the check")?;
    Ok(connection)
}

/// Fails unless the future ends soon.
async fn soon<T>(asked: impl Display, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(SOON, work).await.map_err(|_| {
        let got = format!("none within {} s", SOON.as_secs());
        Failure::new(asked, "an answer", got)
    })
}

/// Calls at the same time, of which the check knows when all have begun.
struct Begun<T> {
    calls: JoinSet<T>,
    begun: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Begun<T> {
    fn new() -> Self {
        Self {
            calls: JoinSet::new(),
            begun: Arc::default(),
        }
    }

    fn call(&mut self, work: impl Future<Output = T> + Send + 'static) {
        let (mut work, begun, mut first) = (Box::pin(work), Arc::clone(&self.begun), true);
        self.calls.spawn(poll_fn(move |context| {
            let poll = work.as_mut().poll(context);
            if first {
                first = false;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            poll
        }));
    }

    /// Waits until each call has been polled, so that its input is in the queue.
    async fn all_begun(self, asked: &str) -> Result<JoinSet<T>, Failure> {
        let count = self.calls.len();
        soon(asked, async {
            while self.begun.load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await?;
        Ok(self.calls)
    }
}

// 15.3: totals

async fn totals_right() -> Outcome {
    let fresh = async || {
        let database = Database::sample().await?;
        let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
        Ok::<_, Failure>((Service::start(app::app(engine)), database))
    };
    let (service, database) = fresh().await?;
    contract::order_total(&service, &database).await?;
    let (service, _database) = fresh().await?;
    contract::order_total_404_when_unknown(&service).await?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await
}

/// What was recorded, without what may prepare a connection that is opened meanwhile.
fn queries(recording: &Recording) -> Vec<Statement> {
    let mut statements = recording.statements();
    statements.retain(|it| !it.sql.starts_with("PRAGMA"));
    statements
}

/// Adds orders with the ids from 1001 on; the first has one item, and so on.
async fn add_orders(database: &Database, count: i64) -> Outcome {
    database
        .execute(&format!(
            "BEGIN IMMEDIATE;
             CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (
                 SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}
             ) SELECT i FROM n;
             INSERT INTO item VALUES (900, 'Pin', 1, NULL);
             INSERT INTO orders (id, customer_id, order_time) SELECT 1000 + i, 1, '2024-04-01 00:00:00' FROM n;
             INSERT INTO order_items SELECT 1000 + i, 900, i FROM n;
             -- Two lines that cost the same.
             INSERT INTO item VALUES (901, 'Needle', 1, NULL);
             INSERT INTO orders (id, customer_id, order_time) VALUES (3000, 1, '2024-04-01 00:00:00');
             INSERT INTO order_items VALUES (3000, 900, 7), (3000, 901, 7);
             COMMIT;"
        ))
        .await
}

/// Cents of the order with this id, if [`add_orders`] has added it.
fn cents(id: i64) -> i64 {
    id - 1000
}

async fn totals_together() -> Outcome {
    let market = Market::start().await?;
    add_orders(&market.database, 100).await?;
    let recording = Recording::start();
    let mut calls = Begun::new();
    // Some twice, one unknown, one without items.
    let ids = (1001..=1100).chain([1007, 1007, 3000, 4_000]);
    market
        .database
        .execute("INSERT INTO orders (id, customer_id, order_time) VALUES (2000, 1, '2024-04-01 00:00:00')")
        .await?;
    let held = keep_readers_out(&market.database).await?;
    for id in ids.chain([2000]) {
        let orders = market.orders.clone();
        calls.call(async move { (id, orders.total(id).await) });
    }
    let asked = "105 totals at the same time, while nobody can read the database";
    let mut calls = calls.all_begun(asked).await?;
    held.close().await.or_fail("the end of a lock")?;
    while let Some(call) = soon(asked, calls.join_next()).await? {
        let (id, total) = call.or_fail(asked)?;
        let asked = format!("{asked}: order {id}");
        match (id, total) {
            (4_000, Err(Error::NotFound(_))) | (2000, Ok(None)) => {}
            (1001..=1100, Ok(Some(total))) => equal(asked, cents(id), total.0)?,
            (3000, Ok(Some(total))) => equal(asked, 14, total.0)?,
            (_, total) => {
                let got = format!("{total:?}");
                return Err(Failure::new(asked, "its own total", got));
            }
        }
    }
    let statements = queries(&recording);
    let count = statements.len();
    ensure(
        (1..=2).contains(&count),
        format_args!("{asked}: statements"),
        "1 or 2: one for the first caller, one for all that came while it waited",
        count,
    )?;
    let rows: u64 = statements.iter().map(|it| it.rows_returned).sum();
    ensure(
        rows <= 105,
        format_args!("{asked}: rows that the statements return"),
        "one for each statement, or one for each order, and none for other orders",
        rows,
    )
}

async fn list_together() -> Outcome {
    few_tasks().await?;
    let market = Market::start().await?;
    add_orders(&market.database, 100).await?;
    let service = market.service();
    let held = keep_readers_out(&market.database).await?;
    let recording = Recording::start();
    let ids: Vec<String> = (1001..=1098).rev().map(|id| id.to_string()).collect();
    let path = format!("/api/orders_total?orders={},9,1001", ids.join(","));
    let service = Arc::new(service);
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let (service, path) = (Arc::clone(&service), path.clone());
        requests.spawn(async move { service.get(&path).await });
    }
    // Time for the tasks of all requests to call.
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.close().await.or_fail("the end of a lock")?;
    let asked = "three times GET /api/orders_total with 100 ids, while nobody can read the \
                 database";
    let mut expected: Vec<Value> = (1001..=1098)
        .rev()
        .map(|id| json!(f64::from(u32::try_from(cents(id)).unwrap_or_default()) / 100.0))
        .collect();
    expected.extend([Value::Null, json!(0.01)]);
    let expected = Value::Array(expected);
    while let Some(reply) = soon(asked, requests.join_next()).await? {
        let reply = reply.or_fail(asked)??;
        reply.expect_status(200)?;
        equal_json(asked, &expected, &reply.json()?)?;
    }
    let count = queries(&recording).len();
    ensure(
        (1..=3).contains(&count),
        format_args!("{asked}: statements"),
        "at most 3",
        count,
    )
}

/// Fails unless a list of many ids has few tasks at the same time.
async fn few_tasks() -> Outcome {
    let market = Market::start().await?;
    let held = keep_readers_out(&market.database).await?;
    let runtime = tokio::runtime::Handle::current().metrics();
    let before = runtime.num_alive_tasks();
    let orders = market.orders.clone();
    let request = tokio::spawn(async move { orders.totals((1..=1000).collect()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let tasks = runtime.num_alive_tasks().saturating_sub(before + 1);
    held.close().await.or_fail("the end of a lock")?;
    let asked = "the totals of 1,000 ids, while nobody can read the database";
    let totals = soon(asked, request).await?.or_fail(asked)?.or_fail(asked)?;
    equal(format_args!("{asked}: totals"), 1000, totals.len())?;
    ensure(
        // The task of the batch may have one of its own.
        tasks <= MAX_TASKS + 5,
        format_args!("{asked}: tasks at the same time"),
        format_args!("at most {MAX_TASKS}"),
        tasks,
    )
}

async fn totals_fresh() -> Outcome {
    let market = Market::start().await?;
    add_orders(&market.database, 1).await?;
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let orders = market.orders.clone();
        readers.spawn(async move {
            loop {
                let _ = orders.total(1001).await;
            }
        });
    }
    let mut connection = market.database.connect().await?;
    for quantity in 2..200 {
        let asked = "a total, after its order was changed, while 8 others read the same total";
        sqlx::query("UPDATE order_items SET quantity = $1 WHERE order_id = 1001")
            .bind(quantity)
            .execute(&mut connection)
            .await
            .or_fail(asked)?;
        let total = soon(asked, market.orders.total(1001)).await?;
        let total = total.or_fail(asked)?;
        equal(asked, Some(quantity), total.map(|total| total.0))?;
    }
    Ok(())
}

async fn totals_fail() -> Outcome {
    let market = Market::start().await?;
    market
        .database
        .execute("ALTER TABLE item RENAME TO things; ALTER TABLE orders RENAME TO papers")
        .await?;
    let service = market.service();
    for path in ["/api/order_total/1", "/api/orders_total?orders=1,2"] {
        let reply = soon(path, service.get(path)).await??;
        contract::expect_problem(&reply, 500)?;
    }
    market
        .database
        .execute("ALTER TABLE things RENAME TO item; ALTER TABLE papers RENAME TO orders")
        .await?;
    let reply = soon("a total after that", service.get("/api/order_total/1")).await??;
    reply.expect_json(200, &json!({"Order Total": 30}))
}

// 15.4: orders

async fn orders_as_before() -> Outcome {
    let fresh = async || {
        let database = Database::sample().await?;
        let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
        Ok::<_, Failure>((Service::start(app::app(engine)), database))
    };
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_refusals(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_overflow_422(&service, &database).await?;
    own_connection().await?;
    own_ids().await
}

fn order(customer_id: i64, items: &[(i64, i64)]) -> NewOrder {
    let item = |(id, quantity): &(i64, i64)| NewOrderItem {
        id: *id,
        quantity: *quantity,
    };
    NewOrder {
        customer_id,
        items: items.iter().map(item).collect(),
    }
}

/// How many transactions that wrote something are in the write-ahead log. Each page in it
/// has a header of 24 bytes, and only the last page of a transaction has a number that is
/// not 0 in bytes 4 to 8 (<https://sqlite.org/fileformat.html#the_write_ahead_log>).
fn commits(database: &Database) -> Result<usize, Failure> {
    let log = fs::read(database.path().with_extension("sqlite-wal"));
    let log = log.or_fail("the write-ahead log")?;
    let word = |at: usize| {
        let bytes = log.get(at..at + 4).unwrap_or_default();
        u32::from_be_bytes(bytes.try_into().unwrap_or_default())
    };
    let page = usize::try_from(word(8)).or_fail("the size of a page")?;
    let salt = (word(16), word(20));
    let frames = (32..log.len()).step_by(24 + page);
    // Frames of an older log have another salt.
    let commits = frames.filter(|at| (word(at + 8), word(at + 12)) == salt && word(at + 4) > 0);
    Ok(commits.count())
}

/// Places orders at the same time, and returns when each of them is in the queue.
async fn place_all(
    market: &Market,
    orders: Vec<NewOrder>,
) -> Result<JoinSet<Result<i64, Error>>, Failure> {
    let mut calls = Begun::new();
    for order in orders {
        let orders = market.orders.clone();
        calls.call(async move { orders.place(order).await });
    }
    calls.all_begun("orders at the same time").await
}

async fn one_commit() -> Outcome {
    let market = Market::start().await?;
    let first = market.orders.place(order(1, &[(1, 1)]));
    soon("an order", first).await?.or_fail("an order")?;
    let before = commits(&market.database)?;
    let lock = market.database.lock_exclusively().await?;
    let calls = place_all(&market, vec![order(1, &[(1, 1), (2, 2)]); 150]).await?;
    lock.release().await?;
    let asked = "150 orders at the same time, while another connection has the write lock";
    let ids = placed(asked, calls).await?;
    let stored: i64 = market
        .database
        .one("SELECT count(DISTINCT order_id) FROM order_items WHERE quantity = 2 AND item_id = 2")
        .await?;
    ensure(
        ids.len() == 150 && stored >= 150,
        asked,
        "150 orders with different ids",
        format_args!("{} ids, {stored} orders", ids.len()),
    )?;
    let commits = commits(&market.database)? - before;
    ensure(
        (1..=2).contains(&commits),
        format_args!("{asked}: commits"),
        "1 or 2: one for the first order, one for all that came while it waited",
        commits,
    )
}

/// The ids of the orders, which must all be stored.
async fn placed(
    asked: &str,
    mut calls: JoinSet<Result<i64, Error>>,
) -> Result<std::collections::BTreeSet<i64>, Failure> {
    let mut ids = std::collections::BTreeSet::new();
    while let Some(call) = soon(asked, calls.join_next()).await? {
        let id = call.or_fail(asked)?.or_fail(asked)?;
        ensure(
            ids.insert(id),
            asked,
            "different ids",
            format_args!("{id} twice"),
        )?;
    }
    Ok(ids)
}

/// Fails unless each order of a batch without refused ones gets its own id.
async fn own_ids() -> Outcome {
    let market = Market::start().await?;
    let mut connection = market.engine.connect().await.or_fail("a connection")?;
    let orders: Vec<NewOrder> = (1..=9)
        .map(|number| order(1 + number % 3, &[(1, 10 + number), (2, number)]))
        .collect();
    let asked = "a batch of 9 orders, all good";
    let stored = soon(asked, writer::store(&mut connection, &orders)).await?;
    let results = stored.or_fail(asked)?;
    equal(format_args!("{asked}: results"), 9, results.len())?;
    for (number, result) in (1..).zip(results) {
        let id = result.or_fail(asked)?;
        let got: String = market
            .database
            .one(&format!(
                "SELECT customer_id || ': ' || (
                     SELECT group_concat(quantity) FROM order_items WHERE order_id = orders.id
                 ) FROM orders WHERE id = {id}"
            ))
            .await?;
        let expected = format!("{}: {},{number}", 1 + number % 3, 10 + number);
        equal(
            format_args!(
                "{asked}: customer and quantities of the order with the id of number {number}"
            ),
            expected,
            got,
        )?;
    }
    Ok(())
}

/// Fails unless a commit that fails is an error.
async fn commit_fails() -> Outcome {
    let market = Market::start().await?;
    let before = market.database.snapshot().await?;
    let mut connection = market.engine.connect().await.or_fail("a connection")?;
    let asked = "a batch of 2 orders, whose commit fails";
    for orders in [
        [order(1, &[(1, 1)]), order(2, &[(2, 1)])],
        [order(1, &[(1, 1)]), order(2, &[(99, 1)])],
    ] {
        let mut handle = connection.lock_handle().await.or_fail(asked)?;
        // Only the first one fails: another attempt would be stored.
        let mut commits = 0;
        handle.set_commit_hook(move || {
            commits += 1;
            commits > 1
        });
        drop(handle);
        let stored = soon(asked, writer::store(&mut connection, &orders)).await?;
        let got = format!("{stored:?}");
        ensure(stored.is_err(), asked, "an error for the whole batch", got)?;
        market.database.expect_unchanged(asked, &before).await?;
        connection = market.engine.connect().await.or_fail("a connection")?;
    }
    Ok(())
}

async fn neighbours() -> Outcome {
    let market = Market::start().await?;
    let mut connection = market.engine.connect().await.or_fail("a connection")?;
    let orders = [
        order(1, &[(1, 1)]),
        order(77, &[(1, 1)]),
        order(2, &[(1, 2), (2, 2)]),
        order(2, &[(3, 5), (99, 1)]),
        order(3, &[(3, 3)]),
        order(3, &[(98, 1)]),
    ];
    let asked = "a batch of 6 orders, of which three have an unknown customer or item";
    let before = market.database.snapshot().await?;
    let stored = soon(asked, writer::store(&mut connection, &orders)).await?;
    let results = stored.or_fail(asked)?;
    let outcome = |result: &Result<i64, Error>| match result {
        Ok(_) => "stored".to_owned(),
        Err(Error::Unprocessable { field, .. }) => field.clone(),
        Err(error) => error.to_string(),
    };
    let outcomes: Vec<String> = results.iter().map(outcome).collect();
    let expected = [
        "stored",
        "customer_id",
        "stored",
        "items[1].id",
        "stored",
        "items[0].id",
    ];
    equal(
        format_args!("{asked}: its results"),
        expected.to_vec(),
        outcomes,
    )?;
    let difference = before.difference(&market.database.snapshot().await?);
    equal(
        format_args!("{asked}: new rows of the three stored orders and their four items"),
        7,
        difference.lines().count(),
    )?;
    for (result, (customer, quantities)) in [
        (&results[0], (1, "1")),
        (&results[2], (2, "2,2")),
        (&results[4], (3, "3")),
    ] {
        let id = result.as_ref().copied().unwrap_or_default();
        let asked = format!("{asked}: the order {id}");
        let got: String = market
            .database
            .one(&format!(
                "SELECT customer_id || ': ' || (
                     SELECT group_concat(quantity) FROM order_items WHERE order_id = orders.id
                 ) FROM orders WHERE id = {id}"
            ))
            .await?;
        equal(asked, format!("{customer}: {quantities}"), got)?;
    }
    Ok(())
}

async fn neighbours_of_failure() -> Outcome {
    let market = Market::start().await?;
    let mut connection = market.engine.connect().await.or_fail("a connection")?;
    for change in [
        "INSERT ON order_items WHEN new.quantity = 13",
        "INSERT ON orders WHEN new.customer_id = 3",
    ] {
        market.database.refuse(change).await?;
    }
    let orders = [
        order(1, &[(1, 1)]),
        order(1, &[(1, 1), (2, 13)]),
        order(3, &[(1, 1)]),
        order(2, &[(2, 1)]),
    ];
    let asked =
        "a batch of 4 orders; the database refuses an item of the second one, and the third one";
    let stored = soon(asked, writer::store(&mut connection, &orders)).await?;
    let results = stored.or_fail(asked)?;
    let stored: Vec<bool> = results.iter().map(Result::is_ok).collect();
    equal(
        format_args!("{asked}: whether each is stored"),
        vec![true, false, false, true],
        stored,
    )?;
    let ids: Vec<i64> = results.iter().flatten().copied().collect();
    for id in &ids {
        let items: i64 = market
            .database
            .one(&format!(
                "SELECT count(*) FROM order_items WHERE order_id = {id}"
            ))
            .await?;
        equal(format_args!("{asked}: items of order {id}"), 1, items)?;
    }
    let last = ids.iter().min().copied().unwrap_or_default() - 1;
    let count: i64 = market
        .database
        .one(&format!("SELECT count(*) FROM orders WHERE id > {last}"))
        .await?;
    equal(format_args!("{asked}: new orders"), 2, count)
}

/// Fails unless orders are placed while the pool has no free connection.
async fn own_connection() -> Outcome {
    let market = Market::start_with(one_connection()).await?;
    let held = market.engine.pool().acquire().await.or_fail("a pool")?;
    let asked = "an order, while the pool has no free connection";
    let placed = soon(asked, market.orders.place(order(1, &[(1, 1)]))).await?;
    placed.or_fail(asked)?;
    drop(held);
    Ok(())
}

async fn acknowledged_after_commit() -> Outcome {
    let market = Market::start().await?;
    let first = market.orders.place(order(1, &[(1, 1)]));
    soon("an order", first).await?.or_fail("an order")?;
    let lock = market.database.lock_exclusively().await?;
    let mut calls = place_all(&market, vec![order(2, &[(1, 1)]); 5]).await?;
    ensure(
        calls.try_join_next().is_none(),
        "5 orders, while another connection has the write lock",
        "no answer before the lock is released",
        "an answer",
    )?;
    lock.release().await?;
    placed("5 orders, after the write lock is released", calls).await?;
    // An order that has an id can be read by everybody.
    let asked = "an order, read through another connection as soon as it has its id";
    for _ in 0..50 {
        let id = soon(asked, market.orders.place(order(1, &[(1, 1)]))).await?;
        let id = id.or_fail(asked)?;
        let items: i64 = market
            .database
            .one(&format!(
                "SELECT count(*) FROM order_items WHERE order_id = {id}"
            ))
            .await?;
        equal(asked, 1, items)?;
    }
    Ok(())
}

async fn in_the_files() -> Outcome {
    let market = Market::start().await?;
    let asked = "the files of the database, copied when an order has its id: what a process \
                 that is killed at this moment leaves";
    for _ in 0..5 {
        let calls = place_all(&market, vec![order(1, &[(1, 1), (3, 2)]); 20]).await?;
        let ids = placed(asked, calls).await?;
        let folder = tempfile::tempdir().or_fail("a folder")?;
        let copy = folder.path().join("market.sqlite");
        for suffix in ["sqlite", "sqlite-wal"] {
            let from = market.database.path().with_extension(suffix);
            match fs::copy(&from, copy.with_extension(suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::new(asked, "a copy", error));
                }
                _ => {}
            }
        }
        let engine = Engine::new(&format!("sqlite://{}", copy.display()), one_connection());
        let engine = engine.or_fail(asked)?;
        for id in ids {
            let items: i64 =
                sqlx::query_scalar("SELECT count(*) FROM order_items WHERE order_id = $1")
                    .bind(id)
                    .fetch_one(engine.pool())
                    .await
                    .or_fail(asked)?;
            equal(format_args!("{asked}: items of order {id}"), 2, items)?;
        }
        engine.close().await;
    }
    Ok(())
}

async fn waits_for_disk() -> Outcome {
    let market = Market::start().await?;
    let mut connection = market.engine.connect().await.or_fail("a connection")?;
    let asked = "PRAGMA synchronous of the connection that places orders; 2 is FULL";
    for when in ["new", "after a batch"] {
        let setting: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut connection)
            .await
            .or_fail(asked)?;
        equal(format_args!("{asked} ({when})"), 2, setting)?;
        let recording = Recording::start();
        let stored = writer::store(&mut connection, &[order(1, &[(1, 1)])]).await;
        stored.or_fail(asked)?;
        let changed = recording.statements().into_iter().map(|it| it.sql);
        let changed: Vec<_> = changed.filter(|sql| sql.contains("synchronous")).collect();
        equal(
            "statements of a batch that change `synchronous`",
            Vec::<String>::new(),
            changed,
        )?;
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .or_fail("PRAGMA journal_mode")?;
    equal("PRAGMA journal_mode of this connection", "wal", mode)
}

async fn transaction_fails() -> Outcome {
    commit_fails().await?;
    let config = EngineConfig {
        busy_timeout: Duration::from_millis(300),
        ..EngineConfig::default()
    };
    let market = Market::start_with(config).await?;
    let before = market.database.snapshot().await?;
    let lock = market.database.lock_exclusively().await?;
    let mut calls = place_all(&market, vec![order(1, &[(1, 1)]); 10]).await?;
    let asked = "10 orders, while another connection has the write lock for longer than the \
                 busy timeout";
    while let Some(call) = soon(asked, calls.join_next()).await? {
        match call.or_fail(asked)? {
            Ok(id) => {
                return Err(Failure::new(
                    asked,
                    "status 503",
                    format_args!("the id {id}"),
                ));
            }
            Err(error) => equal(asked, 503, status(error).as_u16())?,
        }
    }
    lock.release().await?;
    market.database.expect_unchanged(asked, &before).await?;
    let calls = place_all(&market, vec![order(1, &[(1, 1)]); 10]).await?;
    let ids = placed("10 orders after that", calls).await?;
    equal("10 orders after that", 10, ids.len())
}

async fn whole_or_not() -> Outcome {
    let market = Market::start().await?;
    let asked = "200 orders of 3 items, most of whose clients give up at some time";
    let placed = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for client in 0..200_u64 {
        let (orders, placed) = (market.orders.clone(), Arc::clone(&placed));
        clients.spawn(async move {
            let order = order(1, &[(1, 1), (2, 2), (3, 3)]);
            let patience = Duration::from_micros(client * 50);
            if let Ok(Ok(id)) = timeout(patience, orders.place(order)).await {
                let placed = placed.lock();
                placed.unwrap_or_else(PoisonError::into_inner).push(id);
            }
        });
    }
    clients.join_all().await;
    let last = market
        .orders
        .place(order(1, &[(1, 1), (2, 2), (3, 3)]))
        .await;
    last.or_fail("an order after that")?;
    let database = market.end().await?;
    let halves: i64 = database
        .one(
            "SELECT count(*) FROM orders WHERE id > 3 AND
             (SELECT count(*) FROM order_items WHERE order_id = orders.id) != 3",
        )
        .await?;
    equal(
        format_args!("{asked}: orders with some of their items"),
        0,
        halves,
    )?;
    let ids = placed.lock().map(|ids| ids.clone()).unwrap_or_default();
    for id in ids {
        let stored: i64 = database
            .one(&format!("SELECT count(*) FROM orders WHERE id = {id}"))
            .await?;
        equal(
            format_args!("{asked}: order {id}, which has its id"),
            1,
            stored,
        )?;
    }
    Ok(())
}

async fn ends_closed() -> Outcome {
    let database = Database::sample().await?;
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
    let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
    let service = Service::at(listener.local_addr().or_fail("a port")?);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = stopped.map(drop);
    let running = tokio::spawn(app::run(listener, shutdown, engine, Limits::default()));
    let body = json!({"customer_id": 1, "items": [{"id": 1, "quantity": 1}]});
    let reply = service.post_json("/api/add_new_order", &body).await?;
    reply.expect_status(201)?;
    let _ = stop.send(());
    let asked = "the end of the service";
    soon(asked, running).await?.or_fail(asked)?;
    let log = database.path().with_extension("sqlite-wal");
    ensure(
        !log.exists(),
        format_args!("{asked}: the write-ahead log"),
        "none: the last connection is closed",
        "it is there",
    )
}

// 15.5: customers

async fn customers_as_before() -> Outcome {
    let fresh = async || {
        let database = Database::sample().await?;
        let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
        Ok::<_, Failure>((Service::start(app::app(engine)), database))
    };
    let (service, database) = fresh().await?;
    contract::customers_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::customers_nested_ndjson(&service, &database).await?;
    let (service, _database) = fresh().await?;
    contract::format_by_accept(&service, "/api/customers").await?;
    let (service, database) = fresh().await?;
    database
        .execute("PRAGMA foreign_keys = OFF; DELETE FROM customer")
        .await?;
    let reply = service.get("/api/customers").await?;
    reply.expect_json(200, &json!([]))?;
    let lines = [("accept", "application/x-ndjson")];
    let reply = service.get_with("/api/customers", &lines).await?;
    equal("no customers, as lines", "", reply.text())
}

async fn page_is_a_row() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(1500).await?;
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
    let service = Service::start(app::app(engine));
    let recording = Recording::start();
    let lock = database.lock_exclusively().await?;
    let asked = "GET /api/customers, while another connection has the write lock";
    let reply = soon(asked, service.get("/api/customers")).await??;
    lock.release().await?;
    let rows = reply.json()?;
    equal("customers", 1503, rows.as_array().map_or(0, Vec::len))?;
    let statements = recording.statements();
    let asked = format!("GET /api/customers, 1,503 customers in pages of {PAGE_ROWS}");
    let returned: Vec<u64> = statements.iter().map(|it| it.rows_returned).collect();
    ensure(
        returned.iter().all(|rows| *rows <= 1),
        format_args!("{asked}: rows that each statement returns"),
        "at most one: the text of the page",
        format_args!("{returned:?}"),
    )?;
    ensure(
        (4..=6).contains(&returned.len()),
        format_args!("{asked}: statements"),
        "4 pages, and one that is empty",
        returned.len(),
    )
}

async fn texts_as_json() -> Outcome {
    let database = Database::sample().await?;
    let names = [
        "\"quoted\"",
        "back\\slash",
        "a,b",
        "line\nfeed",
        "tab\tand \u{1}",
        "Zoë Ünlü 山田",
        "</script>",
        "[]{}",
        "},{\"id\":1},{",
        " ",
        "null",
    ];
    let mut expected = Vec::new();
    for (id, name) in (100..).zip(names) {
        database.add_customer(id, name).await?;
        expected.push(json!(name));
    }
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
    let service = Service::start(app::app(engine));
    let reply = service.get("/api/customers").await?;
    let names_of = |rows: &[Value]| -> Vec<Value> {
        rows.iter().skip(3).map(|row| row["name"].clone()).collect()
    };
    let rows = reply.json()?;
    let got = names_of(rows.as_array().map_or(&[][..], Vec::as_slice));
    equal_json(
        "the names of eleven new customers",
        &json!(expected),
        &json!(got),
    )?;
    let lines = [("accept", "application/x-ndjson")];
    let reply = service.get_with("/api/customers", &lines).await?;
    let mut rows = Vec::new();
    for line in reply.text().split_terminator('\n') {
        rows.push(check::parse_json(
            format!("the line {line:?}"),
            line.as_bytes(),
        )?);
    }
    let got = json!(names_of(&rows));
    equal_json(
        "the names of eleven new customers, as lines",
        &json!(expected),
        &got,
    )
}

async fn pages_continue() -> Outcome {
    let database = Database::sample().await?;
    let page = usize::try_from(PAGE_ROWS).or_fail("a page")?;
    // Ids with gaps, below 0, and the smallest one but one; the pages are just full.
    database
        .execute(&format!(
            "BEGIN; CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (
                 SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}
             ) SELECT i FROM n;
             INSERT INTO customer SELECT -7 * i, 'Customer ' || i, 1 FROM n;
             INSERT INTO customer VALUES ({}, 'First', 1), ({}, 'Last', 1); COMMIT;",
            2 * page - 5,
            i64::MIN + 1,
            i64::MAX,
        ))
        .await?;
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("an engine")?;
    let customers = CustomerService::new(engine.clone());
    for separator in [",", "\n"] {
        let pages: Vec<_> = {
            let mut pages = customers.list(separator);
            let mut all = Vec::new();
            let asked = format!("the pages with the separator {separator:?}");
            while let Some(page) = futures::StreamExt::next(&mut pages).await {
                all.push(page.or_fail(&asked)?);
            }
            all
        };
        let sizes: Vec<usize> = pages
            .iter()
            .map(|page| page.matches("\"name\"").count())
            .collect();
        equal("customers on each page", vec![page, page], sizes)?;
        let text = pages.join(separator).replace(separator, ",");
        let rows = check::parse_json("all pages", format!("[{text}]").as_bytes())?;
        let ids: Vec<i64> = rows
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| row["id"].as_i64())
            .collect();
        let sorted = ids.windows(2).all(|pair| pair[0] < pair[1]);
        ensure(
            sorted && ids.len() == 2 * page,
            "the ids of all customers",
            "each once, in their order",
            format_args!("{} ids, in order: {sorted}", ids.len()),
        )?;
    }
    Ok(())
}
