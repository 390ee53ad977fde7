//! Program `lazy`: a future does nothing until it is polled.

use tokio::time::sleep;
use tracing::info;

use crate::fetch::{fetch, ms};

/// The program.
pub async fn run() {
    let bread = fetch("bread", ms(10));
    info!("has called fetch for the bread");
    let milk = tokio::spawn(fetch("milk", ms(10)));
    info!("has spawned a task for the milk");
    sleep(ms(30)).await;
    info!("awaits both");
    let _ = milk.await;
    info!("has the milk");
    bread.await;
    info!("has the bread");
}
