//! Program `select`: the branch that loses is dropped, with everything it owns.

use timeline::lane;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;
use crate::market::Order;

/// The program: the queue has room for one order and is full. Another order waits
/// for room until the market closes.
pub async fn run() {
    let (queue, _orders) = mpsc::channel(1);
    let _ = queue.send(Order(1)).await;

    let order = Order(2);
    tokio::select! {
        // The future of `send` owns the order. Dropping it drops the order.
        _ = lane("send", queue.send(order)) => info!("order 2 is placed"),
        () = sleep(ms(10)) => info!("closed; order 2 was dropped together with `send`"),
    }

    let order = Order(3);
    tokio::select! {
        // The future of `reserve` owns no order. It only waits for room.
        Ok(permit) = lane("reserve", queue.reserve()) => {
            info!("{order} is placed");
            permit.send(order);
        }
        () = sleep(ms(10)) => info!("closed; main still has {order}"),
    }
}
