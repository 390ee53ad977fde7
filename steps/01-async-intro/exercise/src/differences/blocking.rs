//! Program `blocking`: a blocked thread stops all tasks on it.
//!
//! This program and `errands` need the real clock, because they block threads.

use std::thread;

use timeline::lane;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;

/// The program: a clock that ticks five times, and an oven that takes long and does
/// not await anything.
pub async fn run() {
    info!("blocks the runtime's thread");
    let clock = tokio::spawn(lane("clock", ticks()));
    // Lets the clock start first.
    tokio::task::yield_now().await;
    lane("oven", async { thread::sleep(ms(300)) }).await;
    let _ = clock.await;

    info!("blocks a thread of spawn_blocking");
    let clock = tokio::spawn(lane("clock", ticks()));
    let oven = spawn_blocking(|| timeline::blocking_lane("oven", || thread::sleep(ms(300))));
    let _ = tokio::join!(clock, oven);
}

async fn ticks() {
    for tick in 1..=5 {
        sleep(ms(40)).await;
        info!("tick {tick}");
    }
}
