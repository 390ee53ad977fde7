//! Program `market`: customers place orders, shops serve them, a queue between.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use timeline::lane;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;

/// An order. There is no second one of it, so it cannot be at two places; it can
/// only be lost.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(pub u32);

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.0)
    }
}

/// Where the shops take orders from. A channel has one receiver, so they share it.
pub type Orders = Arc<Mutex<mpsc::Receiver<Order>>>;

/// Whether the market has closed, for those who close it and those who wait for
/// that. Clones belong together.
#[derive(Clone)]
pub struct Closing(Arc<Semaphore>);

impl Closing {
    /// For a market that is open.
    pub fn new() -> Self {
        // Without permits nobody gets one: who waits for one waits until the
        // semaphore is closed.
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Closes the market, for good.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until the market closes. At once if it is closed.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing: it can be called again.
    pub async fn time(&self) {
        // There is no other result than the error which says that it is closed.
        let _ = self.0.acquire().await;
    }
}

impl Default for Closing {
    fn default() -> Self {
        Self::new()
    }
}

/// What a customer does: places its orders one after another, waiting while the
/// queue is full, until all are placed or the market closes. Returns the orders
/// that were not placed.
pub async fn customer(
    orders: Vec<Order>,
    queue: mpsc::Sender<Order>,
    closing: Closing,
) -> Vec<Order> {
    // TODO(01.6): stop when the market closes, and keep the orders that are not placed
    let mut orders = VecDeque::from(orders);
    while !orders.is_empty() {
        tokio::select! {
            // From top to bottom, so that nothing is placed in a closed market.
            biased;
            () = closing.time() => break,
            // A permit is a free place. Waiting for one takes no order out of our
            // hands, so none is lost when the market closes first.
            permit = queue.reserve() => {
                let Ok(permit) = permit else { break };
                if let Some(order) = orders.pop_front() {
                    info!("places {order}");
                    permit.send(order);
                }
            }
        }
    }
    orders.into()
    // END TODO(01.6)
}

/// What a shop does: takes orders and serves each with `serve`, until the queue
/// is closed and empty. Returns the orders that it has served.
pub async fn shop<F>(orders: Orders, serve: impl Fn(u32) -> F) -> Vec<Order>
where
    F: Future<Output = ()>,
{
    // TODO(01.7): take and serve orders until there can be no more
    let mut served = Vec::new();
    loop {
        // A statement of its own: the lock is free again at its end, and another
        // shop can take an order while this one serves.
        let order = orders.lock().await.recv().await;
        let Some(order) = order else { break };
        serve(order.0).await;
        served.push(order);
    }
    served
    // END TODO(01.7)
}

/// How a day went.
#[derive(Debug, Default)]
pub struct Day {
    /// In the order in which the shops handed them in.
    pub served: Vec<Order>,
    /// What customers took home again.
    pub kept: Vec<Order>,
}

/// A day at the market: a customer for each list of orders, `shops` shops, a
/// queue with `room` places between them. At `closing_time` no more orders are
/// placed; those in the queue are served.
///
/// # Panics
/// When a customer or a shop panics.
///
/// # Cancel safety
/// Dropping it aborts customers and shops.
pub async fn market<F>(
    customers: Vec<Vec<Order>>,
    shops: usize,
    room: usize,
    closing_time: impl Future<Output = ()>,
    serve: impl Fn(u32) -> F + Clone + Send + 'static,
) -> Day
where
    F: Future<Output = ()> + Send + 'static,
{
    let (queue, orders) = mpsc::channel(room);
    let orders = Arc::new(Mutex::new(orders));
    let closing = Closing::new();

    let shops: JoinSet<_> = (1..=shops)
        .map(|number| {
            lane(
                format!("shop {number}"),
                shop(orders.clone(), serve.clone()),
            )
        })
        .collect();
    let customers: JoinSet<_> = (1..)
        .zip(customers)
        .map(|(number, orders)| {
            let work = customer(orders, queue.clone(), closing.clone());
            lane(format!("customer {number}"), work)
        })
        .collect();
    // From here on only customers can send. When the last of them is gone the
    // channel is closed, and `recv` says so once the queue is empty.
    drop(queue);

    let mut kept = pin!(customers.join_all());
    let kept = tokio::select! {
        kept = &mut kept => kept,
        () = closing_time => {
            info!("the market closes");
            closing.close();
            kept.await
        }
    };
    let served = shops.join_all().await;
    Day {
        served: served.into_iter().flatten().collect(),
        kept: kept.into_iter().flatten().collect(),
    }
}

/// The program.
pub async fn run() {
    let customers = [1, 2, 3].map(|customer| (1..=4).map(|n| Order(customer * 10 + n)).collect());
    let day = market(customers.into(), 2, 3, sleep(ms(25)), |order| async move {
        info!("serves order {order}");
        sleep(ms(10)).await;
    })
    .await;
    info!(
        "served: {}, taken home: {}",
        day.served.len(),
        day.kept.len()
    );
}
