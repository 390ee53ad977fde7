//! Program `pace`: streams with a timeout and with a maximum rate.
//!
//! The combinators that use tokio's clock are in `tokio_stream::StreamExt`. It also
//! has `next`, `map` and other methods of `futures::StreamExt`, so a module that
//! imports both could not call those: the compiler would not know which trait is
//! meant.

use std::pin::pin;

use async_stream::stream;
use tokio::time::sleep;
use tokio_stream::{Stream, StreamExt};
use tracing::info;

use crate::fetch::ms;

/// Three deliveries, of which the last one takes long.
fn deliveries() -> impl Stream<Item = &'static str> {
    stream! {
        yield "milk";
        sleep(ms(10)).await;
        yield "bread";
        sleep(ms(40)).await;
        yield "onions";
    }
}

/// The program.
pub async fn run() {
    info!("timeout: reports when nothing comes for 25 ms");
    let mut watched = pin!(deliveries().timeout(ms(25)));
    while let Some(delivery) = watched.next().await {
        match delivery {
            Ok(item) => info!("gets the {item}"),
            Err(error) => info!("{error}"),
        }
    }

    info!("throttle: accepts a delivery every 30 ms");
    let mut slowed = pin!(deliveries().throttle(ms(30)));
    while let Some(item) = slowed.next().await {
        info!("gets the {item}");
    }
}
