//! The work of all programs: somebody goes to fetch an item, which takes time.

use std::panic::resume_unwind;
use std::time::Duration;

use timeline::lane;
use tokio::time::sleep;
use tracing::info;

use crate::error::Error;

/// So many milliseconds.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Fetches `item`, in a lane of that name.
pub async fn fetch(item: &'static str, takes: Duration) -> &'static str {
    lane(item, sleep(takes)).await;
    item
}

/// As [`fetch`], where fetching can fail.
///
/// # Errors
/// None here; [`fetch_sold_out`] has one.
pub async fn try_fetch(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    Ok(fetch(item, takes).await)
}

/// Goes to fetch `item` in vain.
///
/// # Errors
/// Always [`Error::SoldOut`].
pub async fn fetch_sold_out(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    lane(item, async {
        sleep(takes).await;
        info!("is sold out");
        Err(Error::SoldOut(item))
    })
    .await
}

/// Goes to fetch `item` and falls.
///
/// # Errors
/// None.
///
/// # Panics
/// Always, after the time that it takes.
pub async fn fetch_and_fall(item: &'static str, takes: Duration) -> Result<&'static str, Error> {
    lane(item, async {
        sleep(takes).await;
        info!("falls");
        // As `panic!`, but quiet: nobody has to look for a mistake here.
        resume_unwind(Box::new("fell"))
    })
    .await
}
