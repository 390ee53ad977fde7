//! Program `select`: the branch that comes second is dropped, with what it owns.

use timeline::lane;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;
use crate::market::Order;

/// The program: the queue has one place, which is taken. An order waits for a
/// place while the market closes.
pub async fn run() {
    let (queue, _orders) = mpsc::channel(1);
    let _ = queue.send(Order(1)).await;

    let order = Order(2);
    tokio::select! {
        // `send` owns the order. When it is dropped, so is the order.
        _ = lane("send", queue.send(order)) => info!("order 2 is placed"),
        () = sleep(ms(10)) => info!("closed; order 2 went with the future that held it"),
    }

    let order = Order(3);
    tokio::select! {
        // `reserve` owns nothing: it waits for a place, and the order is here.
        Ok(place) = lane("reserve", queue.reserve()) => {
            info!("{order} is placed");
            place.send(order);
        }
        () = sleep(ms(10)) => info!("closed; {order} is still in hand"),
    }
}
