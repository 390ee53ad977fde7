//! Totals of orders: those that are asked for at the same time are read with
//! one statement.
//!
//! To hand a statement over to SQLite's thread and back costs several times
//! what the total of one order takes to compute. So while a statement runs,
//! the loads that come gather in a queue, and when it has ended they go out
//! together. There is no timer: a load that finds nothing running goes out at
//! once, alone.
//!
//! The statements have a connection of their own, which is kept: the pool
//! would test it after each of them, which is a second hand-over. It also
//! means that totals do not wait for those who read long lists.
//!
//! # Promises
//!
//! - **What is read.** A load only joins a statement that has not begun, so it
//!   sees every order that was committed before it was asked for. The loads of
//!   one statement see the same moment of the database.
//! - **Order.** Loads go out in the order in which they came, at most
//!   [`Limits::totals_batch`] with one statement, and one statement runs at a
//!   time. With two, each would find half as many waiting.
//! - **Giving up.** A load whose caller has gone is left out of a statement
//!   that has not begun. No other load notices; with nobody left there is no
//!   statement.
//! - **Errors.** A statement that fails is the error of each load in it, and a
//!   panic is too. The next statement has nothing to do with it, and goes over
//!   a connection that was tested.
//! - **Limits.** A load is answered within [`Limits::acquire`], or is
//!   [`Error::Busy`] then; for that long it also waits to get into a queue that
//!   holds [`Limits::totals_queue`] loads already.
//! - **End.** The task that reads ends when the database is closed, or with the
//!   last [`Totals`]. Loads after that are [`Error::Busy`].

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde_json::Value;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::domain::{Money, OrderId};
use crate::trace::{Trace, shared_statement};
use crate::{Error, Limits};

/// For each order of a JSON list of numbers its place there and its total,
/// which is `"empty"` when it has no items and `null` when it does not exist:
/// `[[0,3000],[1,"empty"],[2,null]]`. What has items exists, so `orders` is
/// looked at only for what has none.
///
/// SQLite writes one text, since rows would each cross from its thread on their
/// own. Not checked while compiling: `query_scalar!` asks where columns are
/// declared, and those of `json_each` are declared nowhere.
const TOTALS: &str = "
    SELECT json_group_array(json_array(
               asked.key,
               coalesce(
                   (SELECT sum(item.price_cents * order_items.quantity)
                    FROM order_items
                    JOIN item ON item.id = order_items.item_id
                    WHERE order_items.order_id = asked.value),
                   (SELECT 'empty' FROM orders WHERE orders.id = asked.value))))
    FROM json_each($1) AS asked";

/// What an order costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderTotal {
    /// There is no such order.
    Unknown,
    /// The order has no items.
    Empty,
    Of(Money),
}

/// The loads of all requests. Clones share one queue.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    pool: SqlitePool,
    queue: mpsc::Sender<Load>,
    patience: Duration,
    batch: usize,
    batch_sizes: Histogram,
}

/// One order, and where its total is awaited.
#[derive(Debug)]
struct Load {
    order: OrderId,
    answer: oneshot::Sender<Result<OrderTotal, Error>>,
    trace: Option<Trace>,
}

impl Totals {
    /// Starts the task that reads, until `pool` is closed. It keeps one
    /// connection.
    pub(super) fn start(pool: SqlitePool, limits: &Limits) -> Self {
        let (queue, waiting) = mpsc::channel(limits.totals_queue.max(1));
        // Up to 256, which is the default of `totals_batch`.
        let batch_sizes = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        let batch = limits.totals_batch.max(1);
        tokio::spawn(answer(pool.clone(), waiting, batch, batch_sizes.clone()));
        Self {
            pool,
            queue,
            patience: limits.acquire,
            batch,
            batch_sizes,
        }
    }

    /// How many loads one statement answers at most.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// How many loads wait for a statement.
    pub(super) fn queue_len(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How many loads each statement answered.
    pub(super) fn batch_sizes(&self) -> &Histogram {
        &self.batch_sizes
    }

    /// Waits for the running statement and closes the connection. Loads that
    /// still wait are [`Error::Busy`].
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Where its connection is from.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Takes the connection before a first statement does, so that a test sees
    /// what happens without.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> PoolConnection<Sqlite> {
        self.pool.acquire().await.expect("a connection")
    }

    /// The total of one order.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when there is no answer in time, [`Error::Database`]
    /// when the statement failed, [`Error::Panicked`] when the code around it
    /// did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the load back, and touches no other.
    pub(super) async fn load(&self, order: OrderId) -> Result<OrderTotal, Error> {
        let (answer, answered) = oneshot::channel();
        let load = async {
            let load = Load {
                order,
                answer,
                trace: Trace::at_hand(),
            };
            let sent = self.queue.send(load).await;
            sent.map_err(|_| sqlx::Error::PoolClosed)?;
            answered.await.unwrap_or_else(|_| {
                Err(if self.queue.is_closed() {
                    sqlx::Error::PoolClosed.into()
                } else {
                    Error::Panicked
                })
            })
        };
        time::timeout(self.patience, load)
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
    }
}

/// Answers what is waiting, until the pool is closed or nobody can ask any
/// more.
async fn answer(
    pool: SqlitePool,
    mut waiting: mpsc::Receiver<Load>,
    most: usize,
    batch_sizes: Histogram,
) {
    let mut closed = pin!(pool.close_event());
    let mut kept = None;
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            () = &mut closed => return,
            received = waiting.recv_many(&mut batch, most) => received,
        };
        if received == 0 {
            return;
        }
        let read = AssertUnwindSafe(read(&pool, &mut kept, &mut waiting, most, &mut batch));
        let totals = read.catch_unwind().await.unwrap_or(Err(Error::Panicked));
        let answers = match totals {
            Ok(totals) => {
                if !totals.is_empty() {
                    batch_sizes.observe(u32::try_from(totals.len()).unwrap_or(u32::MAX).into());
                }
                totals.into_iter().map(Ok).collect()
            }
            Err(error) => {
                // Back to the pool, which tests it.
                kept = None;
                vec![Err(error); batch.len()]
            }
        };
        for (load, answer) in batch.drain(..).zip(answers) {
            // It is nobody's loss when the caller has gone meanwhile.
            let _ = load.answer.send(answer);
        }
    }
}

/// The totals of a batch, in its order, over the `kept` connection. Takes loads
/// out of the batch whose callers have gone, and fills it up with those that
/// came while there was no connection.
async fn read(
    pool: &SqlitePool,
    kept: &mut Option<PoolConnection<Sqlite>>,
    waiting: &mut mpsc::Receiver<Load>,
    most: usize,
    batch: &mut Vec<Load>,
) -> Result<Vec<OrderTotal>, Error> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(pool.acquire().await?),
    };
    batch.retain(|load| !load.answer.is_closed());
    while batch.len() < most
        && let Ok(load) = waiting.try_recv()
    {
        batch.push(load);
    }
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let orders: Vec<i64> = batch.iter().map(|load| load.order.get()).collect();
    shared_statement(batch.iter().filter_map(|load| load.trace.as_ref()));
    let found: String = sqlx::query_scalar(TOTALS)
        .bind(Value::from(orders).to_string())
        .fetch_one(&mut **connection)
        .await?;
    let found: Vec<(usize, Value)> =
        serde_json::from_str(&found).map_err(|cause| sqlx::Error::Decode(cause.into()))?;
    let mut totals = vec![OrderTotal::Unknown; batch.len()];
    for (place, found) in found {
        totals[place] = match found {
            Value::Null => OrderTotal::Unknown,
            Value::String(_) => OrderTotal::Empty,
            total => {
                let cents = total.as_i64().ok_or_else(|| too_large(&total))?;
                OrderTotal::Of(Money::from_cents(cents))
            }
        };
    }
    Ok(totals)
}

/// SQLite makes a float of a product that 64 bits do not hold.
fn too_large(total: &Value) -> sqlx::Error {
    sqlx::Error::Decode(format!("{total} is no total in cents").into())
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::future::join_all;
    use futures::poll;

    use super::*;
    use crate::db::Db;

    /// The sample market: orders 1 and 2 cost 30 and 12 units, order 3 has no
    /// items, and there is no order 4.
    async fn sample(patience: Duration) -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("market.sqlite");
        let limits = Limits {
            acquire: patience,
            totals_queue: QUEUE,
            totals_batch: BATCH,
            ..Limits::default()
        };
        (folder, Db::open(&path, &limits).await.unwrap())
    }

    const LONG: Duration = Duration::from_mins(1);
    const QUEUE: usize = 100;
    const BATCH: usize = 30;

    fn order(number: usize) -> OrderId {
        OrderId::try_from(i64::try_from(number).unwrap()).unwrap()
    }

    fn expected(number: usize) -> OrderTotal {
        match number {
            1 => OrderTotal::Of(Money::from_cents(3_000)),
            2 => OrderTotal::Of(Money::from_cents(1_200)),
            3 => OrderTotal::Empty,
            _ => OrderTotal::Unknown,
        }
    }

    /// Many times what one statement and the queue hold, and every order many
    /// times in each statement.
    #[tokio::test]
    async fn each_load_has_its_own_answer() {
        let (_folder, db) = sample(LONG).await;
        let held = db.totals.hold().await;
        let numbers = (0..4 * QUEUE).map(|i| 1 + i % 4);
        let mut loads: Vec<_> = numbers
            .map(|number| (number, Box::pin(db.totals.load(order(number)))))
            .collect();
        for (_, load) in &mut loads {
            assert!(poll!(load).is_pending());
        }
        // The task has taken none of them yet, and the others wait to get in.
        assert_eq!(db.totals.queue_len(), QUEUE);
        drop(held);
        for (number, total) in
            join_all(loads.into_iter().map(async |(n, load)| (n, load.await))).await
        {
            assert_eq!(total.unwrap(), expected(number), "{number}");
        }
        assert_eq!(db.totals.queue_len(), 0);
    }

    #[tokio::test]
    async fn callers_that_give_up_take_nothing_with_them() {
        let (_folder, db) = sample(LONG).await;
        let held = db.totals.hold().await;
        let mut loads: Vec<_> = (0..99)
            .map(|i| (i, Box::pin(db.totals.load(order(1 + i % 4)))))
            .collect();
        for (_, load) in &mut loads {
            assert!(poll!(load).is_pending());
        }
        loads.retain(|(i, _)| i % 3 == 1);
        drop(held);
        for (i, load) in loads {
            assert_eq!(load.await.unwrap(), expected(1 + i % 4));
        }
        // Nor does a statement for which nobody waits any more.
        let mut abandoned = Box::pin(db.totals.load(order(1)));
        assert!(matches!(poll!(&mut abandoned), Poll::Pending));
        tokio::task::yield_now().await;
        drop(abandoned);
        assert_eq!(db.totals.load(order(2)).await.unwrap(), expected(2));
    }

    #[tokio::test]
    async fn an_error_is_everybodys_and_the_next_statement_has_none() {
        let (_folder, db) = sample(LONG).await;
        for _ in 0..2 {
            let rename = |from: &str, to: &str| {
                let sql = format!("ALTER TABLE {from} RENAME TO {to}");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&db.writer)
            };
            rename("order_items", "lost").await.unwrap();
            for answer in join_all((1..=50).map(|i| db.totals.load(order(i)))).await {
                assert!(matches!(answer, Err(Error::Database(_))), "{answer:?}");
            }
            rename("lost", "order_items").await.unwrap();
            for (i, answer) in
                join_all((1..=4).map(async |i| (i, db.totals.load(order(i)).await))).await
            {
                assert_eq!(answer.unwrap(), expected(i));
            }
        }
    }

    #[tokio::test]
    async fn a_total_that_is_too_large_is_an_error() {
        let (_folder, db) = sample(LONG).await;
        // Of item 1 there is one in order 1, of item 4 there are five in order 2.
        sqlx::query("UPDATE item SET price_cents = 9223372036854775807 WHERE id IN (1, 4)")
            .execute(&db.writer)
            .await
            .unwrap();
        // The sum does not fit, and one product.
        for too_large in [1, 2] {
            let total = db.totals.load(order(too_large)).await;
            assert!(matches!(total, Err(Error::Database(_))), "{total:?}");
        }
        assert_eq!(db.totals.load(order(3)).await.unwrap(), expected(3));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_allowed() {
        let (_folder, db) = sample(Duration::from_millis(100)).await;
        let held = db.totals.hold().await;
        // Those that do not get into the queue neither.
        let loads = (1..=QUEUE + BATCH + 10).map(|i| db.totals.load(order(i)));
        for answer in join_all(loads).await {
            assert!(matches!(answer, Err(Error::Busy(_))), "{answer:?}");
        }
        drop(held);
        let db = Db {
            totals: Totals {
                patience: LONG,
                ..db.totals.clone()
            },
            ..db
        };
        assert_eq!(db.totals.load(order(1)).await.unwrap(), expected(1));
    }

    #[tokio::test]
    async fn a_closed_database_is_busy_and_keeps_nobody() {
        let (folder, db) = sample(LONG).await;
        assert_eq!(db.totals.load(order(1)).await.unwrap(), expected(1));
        let mut early = Box::pin(db.totals.load(order(2)));
        assert!(poll!(&mut early).is_pending());
        let (early, ()) = tokio::join!(early, db.close());
        assert!(matches!(early, Ok(_) | Err(Error::Busy(_))), "{early:?}");
        let late = db.totals.load(order(2)).await;
        assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
        assert!(!folder.path().join("market.sqlite-wal").exists());
    }
}
