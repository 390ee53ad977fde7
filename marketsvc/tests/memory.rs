//! The memory that an answer takes does not grow with the table. This test binary has one
//! test, since it counts every allocation of the process.

mod common;

use check::memory::peak_during;
use check::{Database, Failure, Outcome, Service, ensure};
use common::serve;

/// Every list without an end, here of so many bytes that no page holds a tenth of it.
const LISTS: [&str; 3] = [
    "/api/customers",
    "/api/orders/1",
    "/api/orders_between_dates/2025-01-01/2024-01-01",
];

/// Reads the whole answer and keeps nothing of it. Returns its length.
async fn length(service: &Service, path: &str) -> Result<usize, Failure> {
    let mut reply = service.open(path).await?;
    let mut length = 0;
    while let Some(chunk) = reply.next_chunk().await {
        length += chunk?.len();
    }
    Ok(length)
}

/// The length of each list and the least and the most memory that it takes at its peak, with
/// this many rows: how much the server is ahead of the client differs each time.
async fn measure(rows: u32) -> Result<Vec<(usize, usize, usize)>, Failure> {
    let database = Database::sample().await?;
    // The orders come first, so that the three sample customers share them.
    database.add_orders(rows, 2).await?;
    database.add_customers(rows).await?;
    let service = serve(&database)?;
    let mut measured = Vec::new();
    for path in LISTS {
        // Once to warm up: statements and connections stay.
        length(&service, path).await?;
        let (mut bytes, mut least, mut most) = (0, usize::MAX, 0);
        for _ in 0..3 {
            let (length, peak) = peak_during(length(&service, path)).await;
            bytes = length?;
            least = least.min(peak);
            most = most.max(peak);
        }
        measured.push((bytes, least, most));
    }
    Ok(measured)
}

#[tokio::test]
async fn ten_times_the_rows_take_no_more_memory() -> Outcome {
    let (few, many) = (measure(5_000).await?, measure(50_000).await?);
    for (path, (few, many)) in LISTS.iter().zip(few.into_iter().zip(many)) {
        let (length, peak, _) = many;
        let (short, _, usual) = few;
        let grown = length > short * 9;
        ensure(grown, path, "an answer that is ten times as long", length)?;
        ensure(
            peak < usual * 2 && peak < length / 5,
            format!("GET {path} of {length} bytes: memory at its peak"),
            format!("about {usual} bytes, as for a tenth of the rows"),
            format!("{peak} bytes"),
        )?;
    }
    Ok(())
}
