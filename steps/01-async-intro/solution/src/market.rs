//! Program `market`: customers place orders in a queue, and shops serve them.

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

/// An order. It cannot be cloned, so it has one owner at any time, and it is lost if
/// that owner drops it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(pub u32);

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.0)
    }
}

/// The receiving end of the queue. A channel has only one receiver, so the shops
/// share it behind a lock.
pub type Orders = Arc<Mutex<mpsc::Receiver<Order>>>;

/// The signal that the market closes. One side calls [`close`](Self::close), and
/// everyone with a clone can await [`time`](Self::time).
#[derive(Clone)]
pub struct Closing(Arc<Semaphore>);

impl Closing {
    /// A signal for a market that is open.
    pub fn new() -> Self {
        // This semaphore never has a permit, so waiting for one means waiting until
        // the semaphore is closed.
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Closes the market, for good.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until the market closes. Returns at once if it is closed already.
    ///
    /// # Cancel safety
    /// It is cancel safe: you can drop the call and call it again.
    pub async fn time(&self) {
        // The result is always the error that says that the semaphore is closed.
        let _ = self.0.acquire().await;
    }
}

impl Default for Closing {
    fn default() -> Self {
        Self::new()
    }
}

/// A customer places its orders one after another, in the order of the list, and
/// waits while the queue is full. It stops when all orders are placed, when the market
/// closes, or when the queue has no receiver any more. Returns the orders that were
/// not placed.
pub async fn customer(
    orders: Vec<Order>,
    queue: mpsc::Sender<Order>,
    closing: Closing,
) -> Vec<Order> {
    // TODO(01.6): stop when the market closes, and return the orders that are not placed
    let mut orders = VecDeque::from(orders);
    while !orders.is_empty() {
        tokio::select! {
            // Polls the branches from top to bottom, so a closed market never accepts
            // an order.
            biased;
            () = closing.time() => break,
            // A permit is the right to send one order. While we wait for it the order
            // is still in our list, so it is not lost if the market closes first.
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

/// A shop takes one order at a time from the queue and serves it with `serve`, until
/// the queue is closed and empty. Returns the orders that it has served.
pub async fn shop<F>(orders: Orders, serve: impl Fn(u32) -> F) -> Vec<Order>
where
    F: Future<Output = ()>,
{
    // TODO(01.7): take and serve orders until the queue is closed and empty
    let mut served = Vec::new();
    loop {
        // The lock is released at the end of this statement, so another shop can
        // take an order while this one serves.
        let order = orders.lock().await.recv().await;
        let Some(order) = order else { break };
        serve(order.0).await;
        served.push(order);
    }
    served
    // END TODO(01.7)
}

/// The result of a day.
#[derive(Debug, Default)]
pub struct Day {
    /// The orders that shops have served, shop by shop.
    pub served: Vec<Order>,
    /// The orders that customers could not place.
    pub kept: Vec<Order>,
}

/// A day at the market: one customer for each list of orders, `shops` shops, and a
/// queue with room for `room` orders between them. After `closing_time` customers
/// place no more orders; the shops still serve those in the queue.
///
/// # Panics
/// When a customer or a shop panics.
///
/// # Cancel safety
/// Dropping the call aborts all customers and shops.
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
    // Now only the customers have senders. The channel is closed when the last
    // customer ends, and `recv` returns `None` once the queue is empty as well.
    drop(queue);

    let mut all_kept = pin!(customers.join_all());
    let kept = tokio::select! {
        kept = &mut all_kept => kept,
        () = closing_time => {
            info!("the market closes");
            closing.close();
            all_kept.await
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
        "served: {}, not placed: {}",
        day.served.len(),
        day.kept.len()
    );
}
