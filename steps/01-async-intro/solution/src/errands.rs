//! Program `errands`: three errands on one thread, without async.

use std::thread;
use std::time::Duration;

use timeline::blocking_lane;
use tracing::info;

use crate::fetch::ms;

/// Fetches `item` and blocks the thread for as long as that takes. Nothing else
/// can run on the thread in the meantime.
pub fn fetch(item: &'static str, takes: Duration) -> &'static str {
    blocking_lane(item, || thread::sleep(takes));
    item
}

/// The program.
pub fn run() {
    info!("starts three errands");
    let basket = [
        fetch("milk", ms(300)),
        fetch("bread", ms(200)),
        fetch("onions", ms(100)),
    ];
    info!("has {}", basket.join(", "));
}
