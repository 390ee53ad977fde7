//! Program `coroutines`: futures awaited one after another, and together.

use tracing::info;

use crate::error::Error;
use crate::fetch::{fetch, fetch_sold_out, ms, try_fetch};

/// Awaits three futures at the same time. Returns when all three have finished.
///
/// # Cancel safety
/// Dropping the call drops the futures that have not finished.
pub async fn together<A, B, C>(a: A, b: B, c: C) -> (A::Output, B::Output, C::Output)
where
    A: Future,
    B: Future,
    C: Future,
{
    // TODO(01.1): await all three at the same time
    (a.await, b.await, c.await)
    // END TODO(01.1)
}

/// Awaits three futures at the same time. Returns when all three have succeeded,
/// or as soon as one has failed.
///
/// # Errors
/// The first failure. The other futures are dropped, each at the await that it has
/// reached.
///
/// # Cancel safety
/// Dropping the call drops the futures that have not finished.
pub async fn all_or_none<T>(
    a: impl Future<Output = Result<T, Error>>,
    b: impl Future<Output = Result<T, Error>>,
    c: impl Future<Output = Result<T, Error>>,
) -> Result<[T; 3], Error> {
    // TODO(01.2): await all three at the same time, and stop at the first failure
    Ok([a.await?, b.await?, c.await?])
    // END TODO(01.2)
}

/// The program.
pub async fn run() {
    info!("one after another");
    let milk = fetch("milk", ms(30)).await;
    let bread = fetch("bread", ms(20)).await;
    let onions = fetch("onions", ms(10)).await;
    info!("has {milk}, {bread}, {onions}");

    info!("all together");
    let (milk, bread, onions) = together(
        fetch("milk", ms(30)),
        fetch("bread", ms(20)),
        fetch("onions", ms(10)),
    )
    .await;
    info!("has {milk}, {bread}, {onions}");

    info!("all or none");
    let basket = all_or_none(
        try_fetch("milk", ms(30)),
        fetch_sold_out("bread", ms(20)),
        try_fetch("onions", ms(10)),
    )
    .await;
    match basket {
        Ok(items) => info!("has {}", items.join(", ")),
        Err(error) => info!("gives up: {error}"),
    }
}
