//! Program `cancel`: dropping a future cancels it at its await.

use timeline::lane;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::fetch::{fetch, ms};

/// Reports when it is dropped. A lock, a file or a connection is released in the
/// same way.
struct Basket;

impl Drop for Basket {
    fn drop(&mut self) {
        info!("the basket is put back");
    }
}

/// The program.
pub async fn run() {
    let shopping = lane("shopper", async {
        let _basket = Basket;
        fetch("milk", ms(10)).await;
        info!("has milk");
        fetch("bread", ms(30)).await;
        info!("has bread");
    });
    let in_time = timeout(ms(20), shopping).await.is_ok();
    info!("finished in time: {in_time}");

    // Dropping its handle would not cancel a task. `abort` does.
    let task = tokio::spawn(fetch("onions", ms(30)));
    sleep(ms(10)).await;
    task.abort();
    let cancelled = task.await.is_err_and(|error| error.is_cancelled());
    info!("the onions were cancelled: {cancelled}");
}
