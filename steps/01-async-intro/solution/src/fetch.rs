//! The work in all programs: fetching an item, which takes time.

use std::panic::resume_unwind;
use std::time::Duration;

use timeline::lane;
use tokio::time::sleep;
use tracing::info;

use crate::error::Error;

/// A duration of `millis` milliseconds.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Fetches `item`, which takes as long as `takes` says. The lane in the output has
/// the item's name.
pub async fn fetch(item: &'static str, takes: Duration) -> &'static str {
    lane(item, sleep(takes)).await;
    item
}

/// Like [`fetch`], with the result type of an errand that can fail.
///
/// # Errors
/// Never returns one; [`fetch_sold_out`] always does.
pub async fn try_fetch(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    Ok(fetch(item, takes).await)
}

/// Tries to fetch `item` and finds that it is sold out.
///
/// # Errors
/// Always returns [`Error::SoldOut`], once `takes` has passed.
pub async fn fetch_sold_out(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    lane(item, async {
        sleep(takes).await;
        info!("is sold out");
        Err(Error::SoldOut(item))
    })
    .await
}

/// Tries to fetch `item` and panics on the way.
///
/// # Errors
/// Never returns one.
///
/// # Panics
/// Always, once `takes` has passed.
pub async fn fetch_and_panic(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    lane(item, async {
        sleep(takes).await;
        // Like `panic!`, but without the message on stderr, because this panic is
        // intended.
        resume_unwind(Box::new("a panic on the way"))
    })
    .await
}
