//! Queries about orders, and how one is added.

use std::borrow::Cow;

use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::Db;
use super::totals::OrderTotal;
use super::values;
use crate::domain::{CustomerId, Money, NewOrder, OrderId, UtcTime};
use crate::trace::part_of_request;
use crate::{Error, trace};

/// One line of an order as it was placed, or an order without any.
///
/// In the text of a page, a line is a JSON array of these fields in this order.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    #[serde(borrow)]
    pub customer: Cow<'a, str>,
    pub order_id: i64,
    #[serde(deserialize_with = "values::time")]
    pub order_time: UtcTime,
    /// Where this line stands in its order: grows from line to line.
    position: i64,
    /// `None` for an order that has no items.
    #[serde(borrow)]
    pub item: Option<LineItem<'a>>,
}

/// So many of an item, at today's price. In a page, an array as [`Line`] is.
#[derive(Debug, Deserialize)]
pub struct LineItem<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// For one piece.
    #[serde(deserialize_with = "values::cents")]
    pub price: Money,
    pub quantity: i64,
    /// For all pieces.
    #[serde(deserialize_with = "values::cents")]
    pub total: Money,
}

impl Line<'_> {
    /// Where a page that ends with this line is continued.
    pub fn after(&self) -> After {
        After {
            order_time: self.order_time,
            order_id: self.order_id,
            position: self.position,
        }
    }
}

/// The last line that a reader has seen.
#[derive(Debug, Clone, Copy)]
pub struct After {
    order_time: UtcTime,
    order_id: i64,
    position: i64,
}

impl After {
    /// Before the first order of `time`.
    pub fn start_of(time: UtcTime) -> Self {
        Self {
            order_time: time,
            order_id: i64::MIN,
            position: i64::MIN,
        }
    }
}

/// Some lines, one after the other, as one text that SQLite has written.
///
/// As rows, each line would be handed on its own from SQLite's thread to the
/// task that waits. The text has a bounded number of lines, and a line is as
/// long as the two names in it and at most 150 bytes more; escapes can make a
/// name six times as long.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    /// In bytes.
    pub fn text_len(&self) -> usize {
        self.0.len()
    }

    /// The lines, each read when it is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] for a line with a value that is none of its column.
    pub fn lines(&self) -> impl Iterator<Item = Result<Line<'_>, Error>> {
        serde_json::Deserializer::from_str(&self.0)
            .into_iter()
            .map(|line| Ok(line.map_err(|cause| sqlx::Error::Decode(cause.into()))?))
    }
}

// Both listings read lines, not orders, page by page: an order may be larger
// than a page. LEFT JOIN keeps orders without items as a line of their own, so
// that a long run of them also ends a page instead of holding a connection.
// An item's rowid is its place in the order; a line without item takes the
// greatest position, which says that its order is finished.
//
// A page that begins inside of an order sorts that order's lines again, which
// is nothing for the thousand lines that a new order may have.
macro_rules! select_lines {
    ($where:literal) => {
        concat!(
            "SELECT customer.name AS customer, orders.id AS order_id,
                    orders.order_time AS order_time,
                    ifnull(order_items.rowid, 9223372036854775807) AS position,
                    item.name AS item, item.price_cents AS price_cents,
                    order_items.quantity AS quantity,
                    item.price_cents * order_items.quantity AS total_cents
             FROM orders
             JOIN customer ON customer.id = orders.customer_id
             LEFT JOIN order_items ON order_items.order_id = orders.id
             LEFT JOIN item ON item.id = order_items.item_id
             WHERE ",
            $where
        )
    };
}

// The lines come in the order of the inner query, which its LIMIT makes SQLite
// keep. A plus before the LIMIT's parameter, because SQLite otherwise plans the
// statement anew each time that a parameter there is bound.
macro_rules! page_of_lines {
    ($($select:expr),+) => {
        concat!(
            "SELECT ifnull(group_concat(
                        json_array(customer, order_id, order_time, position,
                            CASE WHEN item IS NOT NULL
                            THEN json_array(item, price_cents, quantity, total_cents) END),
                        ''), '')
             FROM (",
            $($select),+,
            ")"
        )
    };
}

const OF_CUSTOMER: &str = page_of_lines!(
    select_lines!(
        "orders.customer_id = $1
         AND orders.id >= $2
         AND (orders.id > $2 OR order_items.rowid > $3)"
    ),
    " ORDER BY order_id, position LIMIT +$4"
);

/// The orders of one second first, then those of later ones. As a single
/// condition, `(order_time, id) >= ($1, $2)`, SQLite would use the index for
/// the time alone, and pass over all orders of that second again for each page.
const BETWEEN: &str = page_of_lines!(
    select_lines!(
        "orders.order_time = $1
         AND orders.order_time <= $4
         AND orders.id >= $2
         AND (orders.id > $2 OR order_items.rowid > $3)"
    ),
    " UNION ALL ",
    select_lines!("orders.order_time > $1 AND orders.order_time <= $4"),
    " ORDER BY order_time, order_id, position LIMIT +$5"
);

/// At most `limit` lines of the customer's orders that come after `after`
/// (`None`: from the first), by order and then as they were placed.
///
/// # Errors
///
/// [`Error::Busy`] when no connection comes free in time, else
/// [`Error::Database`].
pub async fn page_of_customer(
    db: &Db,
    customer: CustomerId,
    after: Option<After>,
    limit: u32,
) -> Result<Page, Error> {
    trace::statement();
    let page = sqlx::query_scalar(OF_CUSTOMER)
        .bind(customer.get())
        .bind(after.map_or(i64::MIN, |after| after.order_id))
        .bind(after.map_or(i64::MIN, |after| after.position))
        .bind(limit)
        .fetch_one(&db.readers)
        .await?;
    Ok(Page(page))
}

/// At most `limit` lines that come after `after`, of orders up to and
/// including `last`: by time, then order, then as they were placed.
///
/// # Errors
///
/// As [`page_of_customer`].
pub async fn page_between(db: &Db, after: After, last: UtcTime, limit: u32) -> Result<Page, Error> {
    trace::statement();
    let page = sqlx::query_scalar(BETWEEN)
        .bind(after.order_time.to_string())
        .bind(after.order_id)
        .bind(after.position)
        .bind(last.to_string())
        .bind(limit)
        .fetch_one(&db.readers)
        .await?;
    Ok(Page(page))
}

/// The total of one order, read together with others that are asked for at
/// the same time: see [`totals`](super::totals).
///
/// # Errors
///
/// [`Error::Busy`] when there is no answer in time, else [`Error::Database`].
pub async fn total(db: &Db, order: OrderId) -> Result<OrderTotal, Error> {
    db.totals.load(order).await
}

/// The totals of many orders, in the order asked for.
///
/// One statement could read them all; tasks are what this endpoint shows. They
/// wait for the same statements, so as many run at once as one takes: fewer
/// would take more statements, more would only keep other requests waiting.
///
/// # Errors
///
/// The first error of any of them. The others are then aborted.
///
/// # Cancel safety
///
/// Dropping the future aborts the tasks.
pub async fn totals(db: &Db, orders: &[OrderId]) -> Result<Vec<OrderTotal>, Error> {
    in_order(orders, db.totals.batch(), |order| {
        let totals = db.totals.clone();
        Box::pin(async move { totals.load(order).await })
    })
    .await
}

/// Runs `work` on every input, at most `limit` at a time, and returns the
/// results in the order of the inputs.
async fn in_order<T, R>(
    inputs: &[T],
    limit: usize,
    work: impl Fn(T) -> BoxFuture<'static, Result<R, Error>>,
) -> Result<Vec<R>, Error>
where
    T: Copy,
    R: Send + 'static,
{
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(inputs.len(), || None);
    let mut waiting = inputs.iter().copied().enumerate();
    // Leaving this function by any way drops the set, which aborts its tasks.
    let mut running = JoinSet::new();
    loop {
        while running.len() < limit.max(1) {
            let Some((place, input)) = waiting.next() else {
                break;
            };
            let task = work(input);
            running.spawn(part_of_request(async move {
                Ok::<_, Error>((place, task.await?))
            }));
        }
        // Tasks finish in any order; each knows its place.
        let Some(finished) = running.join_next().await else {
            break;
        };
        let (place, result) = finished??;
        results[place] = Some(result);
    }
    Ok(results.into_iter().flatten().collect())
}

/// Stores a new order and returns its number, which is above all earlier ones.
/// Orders that come together are stored together: see `db/writer.rs`.
///
/// # Errors
///
/// [`Error::Refused`] when the customer or an item does not exist, naming each
/// field; [`Error::QueueFull`] at once, when too many orders wait already;
/// [`Error::Busy`] when its turn does not come in time, another program holds
/// the database, or the service is stopping; [`Error::Database`] and
/// [`Error::Panicked`]. After an error nothing of the order is
/// stored, unless the fault came between its commit and its answer.
///
/// # Cancel safety
///
/// Dropped while the order waits for its turn, it is not stored. Dropped
/// later, it is stored as if the caller were still there: wholly, or refused.
pub async fn add(db: &Db, order: NewOrder, time: UtcTime) -> Result<OrderId, Error> {
    db.new_orders.store(order, time).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use check::gate::Gate;

    /// Each job waits at the gate; job `failing` fails behind it.
    fn job(
        gate: &Gate,
        failing: u32,
    ) -> impl Fn(u32) -> BoxFuture<'static, Result<u32, Error>> + use<> {
        let gate = gate.clone();
        move |n| {
            let gate = gate.clone();
            Box::pin(async move {
                if n != failing {
                    gate.pass().await;
                }
                if n == failing {
                    Err(Error::NotFound(n.to_string()))
                } else {
                    Ok(n * 10)
                }
            })
        }
    }

    const NONE: u32 = u32::MAX;

    #[tokio::test]
    async fn results_are_in_the_order_of_inputs_and_never_too_many_run() {
        let gate = Gate::closed();
        let inputs: Vec<u32> = (0..40).collect();
        let work = tokio::spawn({
            let (inputs, job) = (inputs.clone(), job(&gate, NONE));
            async move { in_order(&inputs, 4, job).await }
        });
        gate.wait_until_in_flight(4).await;
        gate.open();
        let expected: Vec<u32> = inputs.iter().map(|n| n * 10).collect();
        assert_eq!(work.await.unwrap().unwrap(), expected);
        assert_eq!(gate.most_in_flight(), 4);
    }

    /// Jobs that end in the reverse order still come back in the right one.
    #[tokio::test(start_paused = true)]
    async fn the_order_of_completion_does_not_matter() {
        let inputs = [5, 4, 3, 2, 1];
        let slow = |n: u64| -> BoxFuture<'static, Result<u64, Error>> {
            Box::pin(async move {
                tokio::time::sleep(std::time::Duration::from_secs(n)).await;
                Ok(n)
            })
        };
        assert_eq!(in_order(&inputs, 5, slow).await.unwrap(), inputs);
    }

    #[tokio::test]
    async fn the_first_failure_aborts_the_others() {
        let gate = Gate::closed();
        let inputs: Vec<u32> = (0..40).collect();
        let error = in_order(&inputs, 4, job(&gate, 3)).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(n) if n == "3"));
        gate.wait_until_empty().await;
        assert_eq!(gate.ended(), 0);
        // Three ran beside it; those that waited for their turn never began.
        assert!(gate.entered() <= 3, "{}", gate.entered());
    }

    #[tokio::test]
    async fn dropping_the_whole_aborts_the_parts() {
        let gate = Gate::closed();
        let whole = tokio::spawn({
            let job = job(&gate, NONE);
            async move { in_order(&[1, 2, 3], 2, job).await }
        });
        gate.wait_until_in_flight(2).await;
        whole.abort();
        gate.wait_until_empty().await;
        assert_eq!(gate.dropped(), 2);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let panics = |_: u32| -> BoxFuture<'static, Result<(), Error>> {
            Box::pin(async { panic!("on purpose") })
        };
        let result = in_order(&[1], 1, panics).await;
        assert!(matches!(result, Err(Error::Panicked)), "{result:?}");
    }

    #[tokio::test]
    async fn nothing_is_no_work() {
        let gate = Gate::closed();
        assert!(in_order(&[], 4, job(&gate, NONE)).await.unwrap().is_empty());
    }
}
