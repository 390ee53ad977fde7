//! Answers that are longer than memory should be.

use check::{Database, OrFail, Outcome, equal};
use contract::expect_problem;
use futures::future::join_all;
use marketsvc::Limits;

use crate::common::{Market, add_order, soon};

const READERS: u32 = 4;

#[tokio::test]
async fn stopped_readers_do_not_delay_others() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(200_000).await?;
    let limits = Limits {
        readers: READERS,
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    // Eight times as many as there are connections. Each has its first bytes,
    // so each stands in the middle of its answer.
    let open = (0..READERS * 8).map(|_| market.service.open("/api/customers"));
    let mut stopped = Vec::new();
    for reply in join_all(open).await {
        let mut reply = reply?;
        reply.next_chunk().await.or_fail("a first chunk")??;
        stopped.push(reply);
    }
    for _ in 0..20 {
        soon("a total", market.service.get("/api/order_total/1"))
            .await?
            .expect_status(200)?;
    }
    soon("a new order", add_order(&market.service)).await?;
    // They can go on where they stopped.
    let last = stopped
        .pop()
        .or_fail("a stopped reader")?
        .read_whole()
        .await?;
    check::ensure(
        last.body.ends_with(b"}]"),
        last.asked(),
        "the whole array",
        "a part of it",
    )
}

#[tokio::test]
async fn a_failure_before_the_first_row_is_500() -> Outcome {
    let market = Market::sample().await?;
    market.service.get("/").await?.expect_status(200)?;
    market
        .database
        .execute("ALTER TABLE address RENAME TO addresses_lost")
        .await?;
    let reply = market.service.get("/api/customers").await?;
    expect_problem(&reply, 500)?;
    let text = reply.text().to_lowercase();
    for secret in ["address", "table", "sql", "select", "customer"] {
        check::ensure(
            !text.contains(secret),
            reply.asked(),
            format!("no word of `{secret}`"),
            &text,
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn a_failure_midway_is_visible() -> Outcome {
    for accept in ["application/json", "application/x-ndjson"] {
        let database = Database::sample().await?;
        database.add_customers(200_000).await?;
        let market = Market::over(database, Limits::default()).await?;
        let mut reply = market
            .service
            .open_with("/api/customers", &[("accept", accept)])
            .await?;
        equal(reply.asked(), 200, reply.status)?;
        reply.next_chunk().await.or_fail("a first chunk")??;
        // Far more is to come than any buffer on the way holds.
        market
            .database
            .execute("ALTER TABLE address RENAME TO addresses_lost")
            .await?;
        let error = loop {
            match reply.next_chunk().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => {
                    return check::ensure(
                        false,
                        reply.asked(),
                        "a body that breaks off",
                        "an end like any other",
                    );
                }
            }
        };
        check::ensure(
            error.got().contains("broke off"),
            error.asked(),
            "a body that breaks off",
            error.got(),
        )?;
        // The service itself goes on.
        market
            .service
            .get("/api/order_total/1")
            .await?
            .expect_status(200)?;
    }
    Ok(())
}
