//! New orders are stored by one task, many with one commit.
//!
//! A commit waits for the disk, and a statement for SQLite's thread; neither
//! takes longer for a hundred orders than for one. So orders gather in a queue
//! while a transaction runs, and the next transaction takes what waits then.
//! No timer holds an order back for company: when the writer is free, a single
//! one is stored at once.
//!
//! - **Order.** Orders are stored, and numbered, in the order in which they
//!   came into the queue. Each is answered after the commit that holds it.
//! - **Refusals.** A batch is checked by one statement before it is stored by
//!   another, in the same transaction. An order whose customer or items do not
//!   exist is left out, and told why; its neighbours are stored.
//! - **Failures of one order.** What the check did not foresee, such as a
//!   constraint that was added to a table, makes the statement fail that stores
//!   the batch. Then each order of it is stored on its own, in a savepoint: the
//!   one that fails is undone and its sender gets the error; its neighbours are
//!   stored, and answered after the commit as ever. That takes three times as
//!   long. Where an order ends the whole transaction (a trigger with
//!   `RAISE(ROLLBACK)`), or only the commit finds it wrong (a deferred
//!   constraint), savepoints do not help: then the batch is rolled back, and each
//!   order of it has a transaction of its own, and its answer after that.
//! - **Failures of the database.** When a statement or the commit fails for
//!   anything else (no space on the disk, say), nothing of the batch is stored,
//!   and each of its senders gets the error. The connection is replaced, and
//!   the next batch is tried anew: after such a failure SQLite may have ended
//!   the transaction by itself, which sqlx does not notice. When another
//!   program holds the database for longer than [`Limits::lock_wait`], the
//!   order whose turn it is gets the error, and the next one has its turn.
//! - **Waiting.** An order waits for its turn for at most [`Limits::acquire`],
//!   and is then withdrawn. Its turn comes when the writer takes it: the first
//!   of a batch before the transaction begins, the others right after.
//! - **A sender that gives up.** Before its turn the order is withdrawn and
//!   never stored. From then on it is stored, or refused, as if its sender were
//!   there: wholly or not at all.
//! - **Limits.** [`Limits::queue`] orders wait, and one more is refused at
//!   once. A batch has [`Limits::batch`] orders; it takes no further one when
//!   it has [`BATCH_LINES`] lines, since all of them wait for it.
//! - **Time.** An order's time is when its request was read, not when it was
//!   committed.
//! - **A file that is gone.** Nothing is stored in a database, or said to be,
//!   that has been removed or replaced: see `db/place.rs`.
//! - **Panics.** The orders of a batch that panics get [`Error::Panicked`] and
//!   are not stored, and the next batch is tried.
//! - **The end.** [`Writer::close`] refuses new orders, stores and answers
//!   those that wait, and returns when the connection is free.
//!
//! Libraries that gather requests (such as `batch-aint-one`) take an item for
//! good when it is handed over. Here a sender must be able to take it back,
//! and to know whether it was in time; the rest is a channel.

use std::collections::HashSet;
use std::iter;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time;

use super::place::Place;
use crate::domain::{FieldError, MAX_LINES, NewOrder, OrderId, UtcTime};
use crate::error::sqlite_code;
use crate::trace::{Trace, shared_statement};
use crate::{Error, Limits};

/// A batch with so many lines is large enough: about 10 ms of work.
const BATCH_LINES: usize = 4 * MAX_LINES;

/// Hands orders to the writing task. Clones hand them to the same one.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Waiting>,
    stop: Arc<watch::Sender<bool>>,
    patience: Duration,
    batch_sizes: Histogram,
}

/// An order in the queue.
#[derive(Debug)]
struct Waiting {
    order: NewOrder,
    time: UtcTime,
    turn: Arc<Turn>,
    answer: oneshot::Sender<Result<OrderId, Error>>,
    trace: Option<Trace>,
}

/// Either the writer takes an order or its sender takes it back.
#[derive(Debug, Default)]
struct Turn(AtomicBool);

impl Turn {
    /// Whether the caller was the first of the two.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

impl Waiting {
    /// Whether it is still there to be stored; then it is.
    fn take(&self) -> bool {
        !self.answer.is_closed() && self.turn.take()
    }

    /// A sender that is gone does not mind.
    fn answer(self, answer: Result<OrderId, Error>) {
        let _ = self.answer.send(answer);
    }
}

impl Writer {
    /// Starts the task, which writes through a connection of `pool`. Other
    /// users of the pool have to be done before the first order comes.
    pub(super) fn start(pool: SqlitePool, place: Place, limits: &Limits) -> Self {
        let (queue, waiting) = mpsc::channel(limits.queue.max(1));
        let (stop, stopping) = watch::channel(false);
        let batch_sizes = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        let task = Task {
            waiting,
            pool,
            place,
            connection: None,
            most: limits.batch.max(1),
            batch_sizes: batch_sizes.clone(),
        };
        tokio::spawn(task.run(stopping));
        Self {
            queue,
            stop: Arc::new(stop),
            patience: limits.acquire,
            batch_sizes,
        }
    }

    /// Stores an order; see the module for when.
    ///
    /// # Errors
    ///
    /// As [`add`](super::orders::add), which is this function's only caller.
    pub(super) async fn store(&self, order: NewOrder, time: UtcTime) -> Result<OrderId, Error> {
        let turn = Arc::new(Turn::default());
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting {
            order,
            time,
            turn: Arc::clone(&turn),
            answer,
            trace: Trace::at_hand(),
        };
        self.queue
            .try_send(waiting)
            .map_err(|refused| match refused {
                TrySendError::Full(_) => Error::QueueFull,
                TrySendError::Closed(_) => sqlx::Error::PoolClosed.into(),
            })?;
        let answer = match time::timeout(self.patience, &mut answered).await {
            Ok(answer) => answer,
            Err(_) if turn.take() => return Err(sqlx::Error::PoolTimedOut.into()),
            Err(_) => answered.await,
        };
        answer.map_err(|_| Error::Panicked)?
    }

    /// How many orders wait for their turn.
    pub(super) fn queue_len(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How many orders each transaction had, whether it was committed or not.
    pub(super) fn batch_sizes(&self) -> &Histogram {
        &self.batch_sizes
    }

    /// Refuses new orders, and returns when those that wait are stored and
    /// answered.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it still makes the task end when the queue is empty.
    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        // Until the task has ended, and its end of the channel with it.
        self.stop.closed().await;
    }
}

struct Task {
    waiting: mpsc::Receiver<Waiting>,
    pool: SqlitePool,
    place: Place,
    /// Kept from batch to batch, since the pool tests a connection that is
    /// given back, which costs as much as a statement.
    connection: Option<PoolConnection<Sqlite>>,
    most: usize,
    batch_sizes: Histogram,
}

impl Task {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                biased;
                // Also when every `Writer` is gone.
                _ = stopping.wait_for(|stop| *stop), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
                first = self.waiting.recv() => first,
            };
            let Some(first) = first else { break };
            if first.take() {
                // What a panic leaves behind is a connection, which rolls back
                // and returns to its pool.
                let _ = AssertUnwindSafe(self.batch(first)).catch_unwind().await;
            }
        }
    }

    /// Stores `first` and those who wait when its transaction has begun.
    async fn batch(&mut self, first: Waiting) {
        let connection = match self.begin(&first).await {
            Ok(connection) => connection,
            Err(error) => return first.answer(Err(error)),
        };
        let batch = self.gather(first);
        // The others have waited for it as well.
        shared_statement(traces(&batch[1..]));
        let mut again = self.finish(connection, batch).await.into_iter();
        while let Some(one) = again.next() {
            match self.begin(&one).await {
                // Of a single order, nothing is left to be done again.
                Ok(connection) => drop(self.finish(connection, vec![one]).await),
                // Not each of them has to find out by itself.
                Err(error) => tell_all(iter::once(one).chain(&mut again), &error),
            }
        }
    }

    /// Begins the transaction of `first`.
    async fn begin(&mut self, first: &Waiting) -> Result<PoolConnection<Sqlite>, Error> {
        self.place.check()?;
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let mut connection = self.pool.acquire().await?;
            // Wherever it is dropped, in whatever state: SQLite rolls back
            // what is open, and the pool opens another in its place.
            connection.close_on_drop();
            connection
        };
        shared_statement(&first.trace);
        let begun = sqlx::query(BEGIN).execute(&mut *connection).await;
        match begun.map_err(Error::from) {
            Ok(_) => Ok(connection),
            Err(error) => {
                if let Error::Busy(_) = error {
                    self.connection = Some(connection);
                }
                Err(error)
            }
        }
    }

    /// Stores a batch whose transaction has begun, and answers. Returns the whole
    /// batch when each order needs a transaction of its own.
    async fn finish(
        &mut self,
        mut connection: PoolConnection<Sqlite>,
        batch: Vec<Waiting>,
    ) -> Vec<Waiting> {
        self.batch_sizes
            .observe(u32::try_from(batch.len()).unwrap_or(u32::MAX).into());
        let stored = store(&mut connection, &batch).await;
        if let Err(error) = &stored
            && batch.len() > 1
            && may_be_of_one(error)
        {
            return batch;
        }
        match stored.and_then(|answers| Ok(self.place.check_committed().map(|()| answers)?)) {
            Ok(answers) => {
                for (waiting, answer) in batch.into_iter().zip(answers) {
                    waiting.answer(answer);
                }
                self.connection = Some(connection);
            }
            Err(error) => tell_all(batch, &error),
        }
        Vec::new()
    }

    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut lines = first.order.lines().len();
        let mut batch = vec![first];
        while batch.len() < self.most && lines < BATCH_LINES {
            match self.waiting.try_recv() {
                Ok(next) if next.take() => {
                    lines += next.order.lines().len();
                    batch.push(next);
                }
                Ok(_withdrawn) => {}
                Err(_) => break,
            }
        }
        batch
    }
}

fn tell_all(batch: impl IntoIterator<Item = Waiting>, error: &Error) {
    for waiting in batch {
        waiting.answer(Err(error.clone()));
    }
}

/// A transaction that starts as a reader and turns into a writer can fail with
/// `SQLITE_BUSY` halfway, and no amount of waiting helps it.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// What of a batch does not exist: `$1` are its customers, `$2` its items. As
/// `NOT EXISTS (SELECT …)` it would take three times as long.
const UNKNOWN: &str = "
    SELECT (SELECT max(id) FROM orders),
           (SELECT json_group_array(value) FROM json_each($1)
            WHERE value NOT IN (SELECT id FROM customer)),
           (SELECT json_group_array(value) FROM json_each($2)
            WHERE value NOT IN (SELECT id FROM item))";

/// Stores orders. One text, since sqlx hands each text to SQLite's thread and
/// waits for it, which takes longer than the statements for a single order.
macro_rules! store {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "INSERT INTO orders (id, customer_id, order_time)
             SELECT value ->> 0, value ->> 1, value ->> 2
             FROM json_each($1);
             INSERT INTO order_items (order_id, item_id, quantity)
             SELECT value ->> 0, value ->> 1, value ->> 2
             FROM json_each($2)
             ORDER BY key;",
            $after
        )
    };
}
const STORE_ALL: &str = store!("", "COMMIT");
const STORE_ONE: &str = store!("SAVEPOINT one;", "RELEASE one");

/// As if nothing of the batch had been tried.
const UNDO_ALL: &str = "ROLLBACK; BEGIN IMMEDIATE";
/// As if the order at hand had not been tried.
const UNDO_ONE: &str = "ROLLBACK TO one; RELEASE one";

/// The requests that wait for a batch.
fn traces(batch: &[Waiting]) -> impl Iterator<Item = &Trace> {
    batch.iter().filter_map(|waiting| waiting.trace.as_ref())
}

/// What the senders of some orders are told, in the orders' order.
type Answers = Vec<Result<OrderId, Error>>;

/// Stores those orders of the batch that can be, and commits.
///
/// # Errors
///
/// Nothing was stored. [Of one order](may_be_of_one) when savepoints did not
/// keep it from its neighbours.
async fn store(connection: &mut SqliteConnection, batch: &[Waiting]) -> Result<Answers, Error> {
    #[cfg(test)]
    tests::panic_if_asked(batch);
    let mut unknown = Unknown::of(batch, connection).await?;
    shared_statement(traces(batch));
    match store_part(connection, batch, &mut unknown, STORE_ALL).await {
        Err(error) if batch.len() > 1 && may_be_of_one(&error) => {
            undo(connection, batch, UNDO_ALL, &error).await?;
        }
        stored => return stored,
    }
    // Another program may have had a turn.
    unknown = Unknown::of(batch, connection).await?;
    let mut answers = Vec::with_capacity(batch.len());
    for one in batch.chunks(1) {
        // All of them wait for it.
        shared_statement(traces(batch));
        match store_part(connection, one, &mut unknown, STORE_ONE).await {
            Err(error) if may_be_of_one(&error) => {
                undo(connection, batch, UNDO_ONE, &error).await?;
                answers.push(Err(error));
            }
            stored => answers.extend(stored?),
        }
    }
    shared_statement(traces(batch));
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(answers)
}

/// Stores those orders of `part` that are not known to be wrong, by one of the
/// texts for it.
async fn store_part(
    connection: &mut SqliteConnection,
    part: &[Waiting],
    unknown: &mut Unknown,
    store: &'static str,
) -> Result<Answers, Error> {
    let mut last = unknown.last_order;
    let mut answers = Vec::with_capacity(part.len());
    let mut orders = Vec::with_capacity(part.len());
    let mut lines = Vec::new();
    for Waiting { order, time, .. } in part {
        if let Err(refused) = unknown.check(order) {
            answers.push(Err(Error::Refused(refused)));
            continue;
        }
        let id = number_after(last)?;
        last = id.get();
        orders.push((id, order.customer(), time));
        let numbered = order.lines().iter();
        lines.extend(numbered.map(|line| (id, line.item, line.quantity.get())));
        answers.push(Ok(id));
    }
    // Also when there are none: it may end the transaction.
    sqlx::query(store)
        .bind(json(&orders))
        .bind(json(&lines))
        .execute(connection)
        .await?;
    unknown.last_order = last;
    Ok(answers)
}

/// # Errors
///
/// `cause`, when SQLite has ended the transaction because of it; [`Error::Busy`],
/// when another program has taken the lock since.
async fn undo(
    connection: &mut SqliteConnection,
    batch: &[Waiting],
    undo: &'static str,
    cause: &Error,
) -> Result<(), Error> {
    shared_statement(traces(batch));
    let undone = sqlx::query(undo).execute(connection).await;
    undone.map(drop).map_err(|error| match Error::from(error) {
        busy @ Error::Busy(_) => busy,
        _ => cause.clone(),
    })
}

/// Whether SQLite failed for what one order may have brought with it, by its
/// primary code: `SQLITE_ERROR`, as of a function in a trigger,
/// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT`, `SQLITE_MISMATCH`. The others are of
/// the disk, the file or its locks, and so of every order. A missing table is
/// `SQLITE_ERROR` too: then each order fails on its own, which is only slow.
fn may_be_of_one(error: &Error) -> bool {
    matches!(error, Error::Database(cause) if matches!(sqlite_code(cause), Some(1 | 18..=20)))
}

/// SQLite would number the orders alike; but their lines have to know.
fn number_after(last: i64) -> Result<OrderId, sqlx::Error> {
    let next = last
        .checked_add(1)
        .and_then(|id| OrderId::try_from(id).ok());
    next.ok_or_else(|| sqlx::Error::Decode("the last order has the largest number".into()))
}

fn json(rows: &impl Serialize) -> String {
    serde_json::to_string(rows).expect("lists of numbers and texts can be written as JSON")
}

fn distinct<T: Ord>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut ids: Vec<T> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What an order can be refused for, and the number of the last one that is
/// stored.
struct Unknown {
    last_order: i64,
    customers: HashSet<i64>,
    items: HashSet<i64>,
}

impl Unknown {
    async fn of(batch: &[Waiting], connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let orders = batch.iter().map(|waiting| &waiting.order);
        let customers = distinct(orders.clone().map(NewOrder::customer));
        let items = distinct(orders.flat_map(NewOrder::lines).map(|line| line.item));
        shared_statement(traces(batch));
        let (last_order, customers, items): (Option<i64>, String, String) = sqlx::query_as(UNKNOWN)
            .bind(json(&customers))
            .bind(json(&items))
            .fetch_one(connection)
            .await?;
        let ids =
            |list: &str| serde_json::from_str(list).map_err(|e| sqlx::Error::Decode(e.into()));
        Ok(Self {
            // Negative ones can only have come there by another program's hand.
            last_order: last_order.unwrap_or(0).max(0),
            customers: ids(&customers)?,
            items: ids(&items)?,
        })
    }

    fn check(&self, order: &NewOrder) -> Result<(), Vec<FieldError>> {
        let customer = order.customer();
        if self.customers.contains(&customer.get()) {
            let detail = format!("names customer {customer}, who does not exist");
            return Err(vec![FieldError::new("customer_id", detail)]);
        }
        let lines = order.lines().iter().enumerate();
        let unknown: Vec<_> = lines
            .filter(|(_, line)| self.items.contains(&line.item.get()))
            .map(|(place, line)| {
                let detail = format!("names item {}, which does not exist", line.item);
                FieldError::new(format!("items[{place}].id"), detail)
            })
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::pin::Pin;

    use check::{Database, WriteLock};
    use futures::future::join_all;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::db::Db;
    use crate::domain::{ItemId, OrderLine, Quantity};

    /// An order of this time makes its batch panic.
    const PANICS: i64 = 0;

    pub(super) fn panic_if_asked(batch: &[Waiting]) {
        let asked = UtcTime::from_unix_seconds(PANICS);
        assert!(batch.iter().all(|w| Some(w.time) != asked), "on purpose");
    }

    /// No test takes a tenth of it.
    const HANG: Duration = Duration::from_mins(1);

    fn order(customer: i64, items: impl IntoIterator<Item = i64>) -> NewOrder {
        let line = |item| OrderLine {
            item: ItemId::try_from(item).unwrap(),
            quantity: Quantity::try_from(2).unwrap(),
        };
        let lines = items.into_iter().map(line).collect();
        NewOrder::new(customer.try_into().unwrap(), lines).unwrap()
    }

    /// A market, and the lock that keeps its writer from beginning.
    struct Fixture {
        database: Database,
        db: Db,
        lock: Option<WriteLock>,
    }

    type Answer = Pin<Box<dyn Future<Output = Result<OrderId, Error>> + Send>>;

    impl Fixture {
        async fn new(limits: Limits) -> Self {
            let database = Database::sample().await.unwrap();
            let db = Db::open(database.path(), &limits).await.unwrap();
            Self {
                database,
                db,
                lock: None,
            }
        }

        /// With limits at which nothing but the writer ends a wait.
        async fn patient() -> Self {
            Self::new(patient()).await
        }

        async fn lock(&mut self) {
            self.lock = Some(self.database.lock_exclusively().await.unwrap());
        }

        async fn unlock(&mut self) {
            self.lock.take().unwrap().release().await.unwrap();
        }

        /// Puts an order into the queue.
        fn place(&self, order: NewOrder) -> Answer {
            self.place_at(order, UtcTime::now())
        }

        fn place_at(&self, order: NewOrder, time: UtcTime) -> Answer {
            let writer = self.db.new_orders.clone();
            let mut answer: Answer = Box::pin(async move { writer.store(order, time).await });
            assert!((&mut answer).now_or_never().is_none());
            answer
        }

        /// Places an order and waits until its turn has come.
        async fn place_first(&self, order: NewOrder) -> Answer {
            let answer = self.place(order);
            let taken = async {
                while self.db.queue_len() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            time::timeout(HANG, taken).await.unwrap();
            answer
        }

        /// How many batches there were, and how many orders in them, as
        /// Prometheus is told.
        fn batches(&self) -> (usize, usize) {
            let mut registry = Registry::default();
            registry.register("size", "", self.db.batch_sizes().clone());
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let value = |name| -> usize {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim_end_matches(".0").parse().unwrap()
            };
            (value("size_count "), value("size_sum "))
        }

        /// The number of the last order.
        async fn last(&self) -> i64 {
            let last = self.database.one("SELECT max(id) FROM orders");
            last.await.unwrap()
        }

        /// `[[order, customer, lines], …]` of all but the sample's.
        async fn stored(&self) -> String {
            let sql = "SELECT json_group_array(json_array(id, customer_id, (
                           SELECT group_concat(item_id, ' ' ORDER BY order_items.rowid)
                           FROM order_items WHERE order_id = orders.id)) ORDER BY id)
                       FROM orders WHERE id > 3";
            self.database.one(sql).await.unwrap()
        }
    }

    fn patient() -> Limits {
        Limits {
            acquire: HANG,
            lock_wait: HANG,
            ..Limits::default()
        }
    }

    async fn all(answers: impl IntoIterator<Item = Answer>) -> Vec<Result<OrderId, Error>> {
        time::timeout(HANG, join_all(answers)).await.unwrap()
    }

    /// The numbers of the stored orders; 0 for an order that was not.
    fn numbers(answers: &[Result<OrderId, Error>]) -> Vec<i64> {
        let number = |answer: &Result<OrderId, _>| answer.as_ref().map_or(0, |id| id.get());
        answers.iter().map(number).collect()
    }

    /// The commits in the log, by SQLite's own record of them: the frame that
    /// ends a transaction holds the size of the database, and the others 0.
    fn commits(database: &Database) -> usize {
        let mut log = database.path().as_os_str().to_owned();
        log.push("-wal");
        let log = fs::read(PathBuf::from(log)).unwrap();
        let Some((header, frames)) = log.split_at_checked(32) else {
            return 0;
        };
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let page = usize::try_from(number(&header[8..12])).unwrap();
        frames
            .chunks_exact(24 + page)
            // Beyond them are those of an earlier round of the log.
            .take_while(|frame| frame[8..16] == header[16..24])
            .filter(|frame| number(&frame[4..8]) > 0)
            .count()
    }

    #[tokio::test]
    async fn a_refused_order_does_not_touch_its_neighbours() {
        let mut market = Fixture::patient().await;
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [2, 1])).await];
        for next in [
            order(2, [4, 3]),
            order(77, [50]),
            order(1, [1, 50, 2, 51]),
            order(3, [1]),
        ] {
            answers.push(market.place(next));
        }
        assert_eq!(market.db.queue_len(), 4);
        market.unlock().await;
        let answers = all(answers).await;
        assert_eq!(numbers(&answers), [4, 5, 0, 0, 6]);
        let refused = |place: usize| match &answers[place] {
            Err(Error::Refused(errors)) => errors.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(2),
            [FieldError::new(
                "customer_id",
                "names customer 77, who does not exist"
            )]
        );
        assert_eq!(
            refused(3),
            [
                FieldError::new("items[1].id", "names item 50, which does not exist"),
                FieldError::new("items[3].id", "names item 51, which does not exist"),
            ]
        );
        assert_eq!(
            market.stored().await,
            r#"[[4,1,"2 1"],[5,2,"4 3"],[6,3,"1"]]"#
        );
        assert_eq!(market.batches(), (1, 5));

        // A batch in which none is left ends its transaction as well.
        let refused = all([market.place(order(77, [1]))]).await;
        assert!(matches!(refused[..], [Err(Error::Refused(_))]));
        market.lock().await;
        market.unlock().await;
        let answers = all([market.place(order(1, [1]))]).await;
        assert_eq!(numbers(&answers), [7]);
    }

    #[tokio::test]
    async fn what_waits_is_stored_in_its_order_with_one_commit() {
        let mut market = Fixture::patient().await;
        market.lock().await;
        let before = commits(&market.database);
        let mut answers = vec![market.place_first(order(1, [1])).await];
        answers.extend((1..64).map(|n| market.place(order(1 + n % 3, [1 + n % 4]))));
        market.unlock().await;
        let expected: Vec<i64> = (4..68).collect();
        assert_eq!(numbers(&all(answers).await), expected);
        assert_eq!(commits(&market.database), before + 1);
        // And alone, with one each.
        for number in 68..71 {
            let answers = all([market.place(order(1, [1]))]).await;
            assert_eq!(numbers(&answers), [number]);
        }
        assert_eq!(commits(&market.database), before + 4);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_are_all_stored_with_numbers_of_their_own() {
        let market = Fixture::patient().await;
        let clients = (0..64_i64).map(|client| {
            let db = market.db.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..10 {
                    let order = order(1 + client % 3, [1 + client % 4]);
                    mine.push(db.new_orders.store(order, UtcTime::now()).await.unwrap());
                }
                mine
            })
        });
        let mut numbers = Vec::new();
        for mine in join_all(clients).await {
            let mine = mine.unwrap();
            assert!(mine.is_sorted());
            numbers.extend(mine.into_iter().map(OrderId::get));
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(4..644));
        let (batches, orders) = market.batches();
        assert_eq!(orders, 640);
        assert!(batches < 640, "{batches}");
    }

    #[tokio::test]
    async fn a_batch_has_a_limit_in_orders_and_one_in_lines() {
        let mut market = Fixture::new(Limits {
            batch: 8,
            ..patient()
        })
        .await;
        let many = i64::try_from(MAX_LINES).unwrap();
        let items = format!(
            "WITH RECURSIVE n (i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
             INSERT INTO item (id, name, price_cents) SELECT i, 'Thing', i FROM n"
        );
        market.database.execute(&items).await.unwrap();
        for (lines, orders, batches) in [(1, 20, 3), (many, 10, 3), (many / 4, 8, 1)] {
            let before = market.batches().0;
            market.lock().await;
            let mut answers = vec![market.place_first(order(1, 1..=lines)).await];
            answers.extend((1..orders).map(|_| market.place(order(1, 1..=lines))));
            market.unlock().await;
            assert!(all(answers).await.iter().all(Result::is_ok));
            assert_eq!(market.batches().0 - before, batches, "{orders} of {lines}");
        }
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_at_once() {
        let mut market = Fixture::new(Limits {
            queue: 2,
            ..patient()
        })
        .await;
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [1])).await];
        answers.extend(iter::repeat_with(|| market.place(order(1, [1]))).take(2));
        let refused = market.db.new_orders.store(order(1, [1]), UtcTime::now());
        // At once: it has an answer when it is first asked.
        let refused = refused.now_or_never().unwrap();
        assert!(matches!(refused, Err(Error::QueueFull)), "{refused:?}");
        market.unlock().await;
        assert_eq!(numbers(&all(answers).await), [4, 5, 6]);
        assert_eq!(market.db.queue_len(), 0);
    }

    #[tokio::test]
    async fn given_up_before_its_turn_an_order_is_not_stored_and_after_it_wholly() {
        let mut market = Fixture::patient().await;
        market.lock().await;
        let begun = market.place_first(order(1, [1, 2, 3])).await;
        let waiting = market.place(order(2, [1, 2, 3]));
        let staying = market.place(order(3, [1]));
        drop(begun);
        drop(waiting);
        market.unlock().await;
        assert_eq!(numbers(&all([staying]).await), [5]);
        assert_eq!(market.stored().await, r#"[[4,1,"1 2 3"],[5,3,"1"]]"#);
        assert_eq!(market.batches(), (1, 2));
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_and_not_stored() {
        let mut market = Fixture::new(Limits {
            // Opening the database has to fit in as well.
            acquire: Duration::from_secs(2),
            ..patient()
        })
        .await;
        market.lock().await;
        let first = market.place_first(order(1, [1])).await;
        let late = all([market.place(order(2, [1]))]).await;
        assert!(matches!(late[..], [Err(Error::Busy(_))]), "{late:?}");
        // The first has waited longer, but its turn has come.
        market.unlock().await;
        assert_eq!(numbers(&all([first]).await), [4]);
        assert_eq!(market.stored().await, r#"[[4,1,"1"]]"#);
    }

    #[tokio::test]
    async fn a_lock_that_is_not_released_is_busy_for_one_and_then_the_next() {
        let mut market = Fixture::new(Limits {
            lock_wait: Duration::from_millis(100),
            ..patient()
        })
        .await;
        market.lock().await;
        let answers: Vec<_> = (0..3).map(|_| market.place(order(1, [1]))).collect();
        for answer in all(answers).await {
            assert!(matches!(answer, Err(Error::Busy(_))), "{answer:?}");
        }
        market.unlock().await;
        assert_eq!(numbers(&all([market.place(order(1, [1]))]).await), [4]);
    }

    #[tokio::test]
    async fn closing_stores_and_answers_those_who_wait() {
        // Those who wait are more than a batch.
        let mut market = Fixture::new(Limits {
            batch: 4,
            ..patient()
        })
        .await;
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [1])).await];
        answers.extend((0..20).map(|_| market.place(order(2, [1]))));
        let mut close = Box::pin(market.db.close());
        assert!((&mut close).now_or_never().is_none());
        // The writer hears of it when it has finished what it is at; whoever
        // comes until then is among those who wait.
        drop(close);
        market.unlock().await;
        let expected: Vec<i64> = (4..25).collect();
        assert_eq!(numbers(&all(answers).await), expected);
        market.db.close().await;
        let late = market.db.new_orders.store(order(1, [1]), UtcTime::now());
        assert!(matches!(late.await, Err(Error::Busy(_))));
        market.database.wait_until_closed().await.unwrap();
        let stored: i64 = market
            .database
            .one("SELECT count(*) FROM orders WHERE id > 3")
            .await
            .unwrap();
        assert_eq!(stored, 21);
    }

    /// All of a batch fail, nothing of it is stored, and the next one is.
    async fn fails_and_recovers(market: &mut Fixture, failing: NewOrder) {
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [1])).await];
        answers.push(market.place(failing));
        answers.extend((0..100).map(|_| market.place(order(2, [1, 2, 3, 4]))));
        market.unlock().await;
        for answer in all(answers).await {
            assert!(matches!(answer, Err(Error::Database(_))), "{answer:?}");
        }
        assert_eq!(market.stored().await, "[]");
        let next = (0..100).map(|_| market.place(order(2, [1, 2, 3, 4])));
        let expected: Vec<i64> = (4..104).collect();
        assert_eq!(numbers(&all(next).await), expected);
    }

    /// Whatever it is that nobody could foresee of one order.
    #[tokio::test]
    async fn an_order_that_cannot_be_stored_fails_alone() {
        // After a failure the batch is done again with savepoints, or, where these
        // do not help, with a transaction for each of its four orders.
        let (savepoints, transactions) = ((1, 4), (1 + 4, 4 + 4));
        for (raise, (more_batches, more_orders)) in [
            ("SELECT RAISE(ABORT, 'not today')", savepoints),
            ("SELECT RAISE(FAIL, 'not today')", savepoints),
            (
                "INSERT INTO orders VALUES (new.order_id, 1, '2024-01-01 00:00:00')",
                savepoints,
            ),
            ("SELECT abs(-9223372036854775808)", savepoints),
            // Ends the transaction, and what was stored before is gone with it.
            ("SELECT RAISE(ROLLBACK, 'not today')", transactions),
            // What SQLite checks at the commit, when all else has succeeded.
            ("INSERT INTO late VALUES (77)", transactions),
        ] {
            let mut market = Fixture::patient().await;
            // After its first line, so that a part of the order is stored.
            let sql = format!(
                "CREATE TABLE late (id INTEGER REFERENCES customer (id)
                     DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER too_late AFTER INSERT ON order_items WHEN new.item_id = 4
                 BEGIN {raise}; END"
            );
            market.database.execute(&sql).await.unwrap();
            for failing in 0..3 {
                let before = (market.batches(), market.last().await);
                market.lock().await;
                let mut orders = vec![order(1, [1]), order(77, [1]), order(2, [2, 1])];
                orders.insert(failing, order(3, [1, 4]));
                let mut answers = Vec::new();
                for (place, order) in orders.into_iter().enumerate() {
                    answers.push(match place {
                        0 => market.place_first(order).await,
                        _ => market.place(order),
                    });
                }
                market.unlock().await;
                let mut answers = all(answers).await;
                let failed = answers.remove(failing);
                assert!(matches!(failed, Err(Error::Database(_))), "{failed:?}");
                let refused = &answers[1];
                assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
                let ((batches, orders), last) = before;
                assert_eq!(numbers(&answers), [last + 1, 0, last + 2], "{raise}");
                let expected = (batches + more_batches, orders + more_orders);
                assert_eq!(market.batches(), expected, "{raise}");
            }
            assert_eq!(
                market.stored().await,
                r#"[[4,1,"1"],[5,2,"2 1"],[6,1,"1"],[7,2,"2 1"],[8,1,"1"],[9,2,"2 1"]]"#
            );
            let rest = "SELECT (SELECT count(*) FROM late) + (SELECT count(*) FROM order_items
                        WHERE order_id NOT IN (SELECT id FROM orders))";
            assert_eq!(market.database.one::<i64>(rest).await.unwrap(), 0);
        }
    }

    /// One fails in its savepoint, the next ends the transaction, the third is
    /// found by the commit.
    #[tokio::test]
    async fn each_that_cannot_be_stored_fails_for_itself() {
        let mut market = Fixture::patient().await;
        let sql = "CREATE TABLE late (id INTEGER REFERENCES customer (id)
                       DEFERRABLE INITIALLY DEFERRED);
                   CREATE TRIGGER abort AFTER INSERT ON order_items WHEN new.item_id = 2
                   BEGIN SELECT RAISE(ABORT, 'savepoint'); END;
                   CREATE TRIGGER roll_back AFTER INSERT ON order_items WHEN new.item_id = 3
                   BEGIN SELECT RAISE(ROLLBACK, 'end'); END;
                   CREATE TRIGGER defer AFTER INSERT ON order_items WHEN new.item_id = 4
                   BEGIN INSERT INTO late VALUES (77); END";
        market.database.execute(sql).await.unwrap();
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [1])).await];
        answers.extend([2, 3, 4].map(|item| market.place(order(2, [1, item]))));
        answers.push(market.place(order(3, [1])));
        market.unlock().await;
        let answers = all(answers).await;
        assert_eq!(numbers(&answers), [4, 0, 0, 0, 5]);
        for (answer, why) in answers[1..4]
            .iter()
            .zip(["savepoint", "end", "FOREIGN KEY"])
        {
            let Err(Error::Database(cause)) = answer else {
                panic!("{answer:?}");
            };
            assert!(cause.to_string().contains(why), "{cause}");
        }
        assert_eq!(market.stored().await, r#"[[4,1,"1"],[5,3,"1"]]"#);
        assert_eq!(numbers(&all([market.place(order(1, [1]))]).await), [6]);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_to_all_of_its_batch() {
        let mut market = Fixture::patient().await;
        // As full as the database is now, for this connection, which the
        // writer is about to take and then to replace.
        let mut connection = market.db.writer.acquire().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);
        fails_and_recovers(&mut market, order(3, [1])).await;
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_next_batch_is_stored() {
        let mut market = Fixture::patient().await;
        market.lock().await;
        let mut answers = vec![market.place_first(order(1, [1])).await];
        let time = UtcTime::from_unix_seconds(PANICS).unwrap();
        answers.push(market.place_at(order(1, [1]), time));
        market.unlock().await;
        for answer in all(answers).await {
            assert!(matches!(answer, Err(Error::Panicked)), "{answer:?}");
        }
        assert_eq!(numbers(&all([market.place(order(1, [1]))]).await), [4]);
        assert_eq!(market.stored().await, r#"[[4,1,"1"]]"#);
    }

    #[tokio::test]
    async fn numbers_end_where_they_end() {
        let market = Fixture::patient().await;
        let sql = "INSERT INTO orders (id, customer_id, order_time)
                   VALUES (9223372036854775806, 1, '2024-01-01 00:00:00')";
        market.database.execute(sql).await.unwrap();
        let answers = all([market.place(order(1, [1]))]).await;
        assert_eq!(numbers(&answers), [i64::MAX]);
        let answers = all([market.place(order(1, [1]))]).await;
        assert!(matches!(answers[..], [Err(Error::Database(_))]));
    }
}
