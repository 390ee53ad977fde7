//! How many statements the totals of orders take. In a test binary of its own
//! with a single test, since it records what the whole process does.

mod common;

use check::statements::Recording;
use check::{Database, Failure, Outcome, ensure, equal};
use common::{Market, metric, soon};
use futures::FutureExt;
use futures::future::join_all;
use marketsvc::Limits;
use marketsvc::db::totals::OrderTotal;
use marketsvc::db::{Db, orders};
use marketsvc::domain::OrderId;
use serde_json::json;

const ORDERS: i64 = 1_000;

fn order(number: i64) -> OrderId {
    OrderId::try_from(number).expect("a number from 1")
}

/// What an order costs, in cents, told by another query than the service's.
async fn cents(database: &Database, number: i64) -> Result<Option<i64>, Failure> {
    database
        .one(&format!(
            "SELECT sum(price_cents * quantity) FROM order_items, item
             WHERE item.id = item_id AND order_id = {number}"
        ))
        .await
}

/// All on one thread: whoever can go on does so before the next one has a turn.
#[tokio::test]
async fn loads_that_wait_share_a_statement() -> Outcome {
    let recording = Recording::start();
    let database = Database::sample().await?;
    database
        .add_orders(u32::try_from(ORDERS).unwrap(), 3)
        .await?;
    let db = Db::open(database.path(), &Limits::default())
        .await
        .expect("the database opens");

    // Alone, and one after the other: each goes at once.
    for number in 1..=5 {
        recording.clear();
        soon("a lone load", orders::total(&db, order(number)))
            .await
            .expect("a total");
        equal("statements of a lone load", 1, recording.statements().len())?;
    }

    // At once, with repetitions, an empty and an unknown one.
    recording.clear();
    let numbers: Vec<i64> = (0..200)
        .map(|i| 1 + i * 37 % 50)
        .chain([3, 99_999])
        .collect();
    let loads = numbers
        .iter()
        .map(|number| orders::total(&db, order(*number)));
    let totals = soon("many loads", join_all(loads)).await;
    for (number, total) in numbers.iter().zip(totals) {
        let total = match total.expect("a total") {
            OrderTotal::Of(money) => Some(money.cents()),
            OrderTotal::Empty => None,
            OrderTotal::Unknown => {
                equal("the unknown order", 99_999, *number)?;
                None
            }
        };
        equal(
            format!("the total of order {number}"),
            cents(&database, *number).await?,
            total,
        )?;
    }
    few("202 loads at once", &recording, 3)?;

    // Callers that have gone before the statement begins are not in one.
    recording.clear();
    for number in 1..=50 {
        let gone = orders::total(&db, order(number)).now_or_never();
        ensure(gone.is_none(), "a load", "no answer yet", "an answer")?;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    equal("statements for nobody", 0, recording.statements().len())?;
    soon("a later load", orders::total(&db, order(1)))
        .await
        .expect("a total");
    equal("statements afterwards", 1, recording.statements().len())?;
    db.close().await;

    small_batches(&database, &recording).await?;

    // And over HTTP.
    let limits = Limits {
        in_flight: 100,
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    market.service.get("/").await?.expect_status(200)?;
    recording.clear();
    let numbers: Vec<i64> = (1..=ORDERS).rev().collect();
    let reply = market
        .service
        .get_json_body("/api/orders_total", &json!({ "orders": numbers }))
        .await?;
    reply.expect_status(200)?;
    few("the totals of a thousand orders", &recording, 50)?;
    recording.clear();
    // No more than `Limits::in_flight`.
    let replies = (1..=50).map(async |number: i64| {
        let path = format!("/api/order_total/{number}");
        market.service.get(&path).await?.expect_status(200)?;
        Ok::<_, Failure>(())
    });
    for reply in join_all(replies).await {
        reply?;
    }
    few("fifty requests at once", &recording, 25)?;
    let loads = metric(&market.service, "totals_per_statement_sum").await?;
    equal("loads, by the metrics", 1_050.0, loads)?;
    let statements = metric(&market.service, "totals_per_statement_count").await?;
    ensure(
        (2.0..=75.0).contains(&statements),
        "statements, by the metrics",
        "2 to 75",
        statements,
    )
}

/// As many as one statement takes, and as the queue holds; the others wait.
async fn small_batches(database: &Database, recording: &Recording) -> Outcome {
    let limits = Limits {
        totals_batch: 4,
        totals_queue: 6,
        ..Limits::default()
    };
    let db = Db::open(database.path(), &limits)
        .await
        .expect("the database opens");
    recording.clear();
    let loads = (1..=40).map(|number| orders::total(&db, order(number)));
    for total in soon("loads in small batches", join_all(loads)).await {
        total.expect("a total");
    }
    let statements = recording.statements().len();
    ensure(
        (10..=20).contains(&statements),
        "statements for 40 loads, 4 at a time",
        "10 to 20",
        statements,
    )?;
    db.close().await;
    Ok(())
}

fn few(what: &str, recording: &Recording, most: usize) -> Outcome {
    let statements = recording.statements().len();
    ensure(
        (1..=most).contains(&statements),
        format!("statements for {what}"),
        format!("at most {most}"),
        statements,
    )
}
