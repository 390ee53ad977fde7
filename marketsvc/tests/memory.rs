//! The memory that an answer takes does not grow with the table. In a test
//! binary of its own, since it counts every allocation of the process.

mod common;

use check::{Database, Failure, Outcome, ensure, memory::peak_during};
use common::Market;
use marketsvc::Limits;

/// Reads the whole answer, keeping nothing of it.
async fn length(market: &Market, path: &str) -> Result<usize, Failure> {
    let mut reply = market.service.open(path).await?;
    let mut length = 0;
    while let Some(chunk) = reply.next_chunk().await {
        length += chunk?.len();
    }
    Ok(length)
}

#[tokio::test]
async fn it_is_the_same_for_ten_times_the_rows() -> Outcome {
    let mut peaks = Vec::new();
    for customers in [10_000, 100_000] {
        let database = Database::sample().await?;
        database.add_customers(customers).await?;
        // All for one customer, and one more order so large that its items
        // alone fill many pages.
        database
            .execute(&format!(
                "WITH RECURSIVE n (i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n WHERE i < {customers} / 10)
                 INSERT INTO item (id, name, price_cents) SELECT i, 'Thing ' || i, i FROM n;
                 WITH RECURSIVE n (i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < {customers} / 10)
                 INSERT INTO orders (id, customer_id, order_time) SELECT i, 1, '2024-06-01 00:00:00' FROM n;
                 INSERT INTO order_items (order_id, item_id, quantity) SELECT id, 1 + id % 4, 1 FROM orders WHERE id > 4;
                 INSERT INTO order_items (order_id, item_id, quantity) SELECT 4, id, 1 FROM item WHERE id > 4;"
            ))
            .await?;
        let market = Market::over(database, Limits::default()).await?;
        let mut peak_of = Vec::new();
        for path in [
            "/api/customers",
            "/api/orders/1",
            "/api/orders_between_dates/2025-01-01/2024-01-01",
        ] {
            // Once to warm up: prepared statements and connections stay.
            length(&market, path).await?;
            // As many pages of both sizes: how much of one page is on its way
            // while the next is made differs from one to the next.
            let (mut read, mut peak) = (0, 0);
            for _ in 0..100_000 / customers {
                let (length, highest) = peak_during(length(&market, path)).await;
                read = length?;
                peak = peak.max(highest);
            }
            let least = customers as usize * 6;
            ensure(read > least, path, format!("more than {least} bytes"), read)?;
            peak_of.push((path, peak));
        }
        peaks.push(peak_of);
        market.stop().done().await?;
    }
    for (small, large) in peaks[0].iter().zip(&peaks[1]) {
        // Two pages, what the sockets' ends hold in this process, and the
        // rows of a page before they are text: 1.5 MB is several times that,
        // and a tenth of what one answer has.
        ensure(
            large.1 < 1_500_000 && large.1 < small.1 + 300_000,
            format!("the peak of {} for ten times the rows", large.0),
            format!("as for the tenth, which took {} bytes", small.1),
            format!("{} bytes", large.1),
        )?;
    }
    Ok(())
}
