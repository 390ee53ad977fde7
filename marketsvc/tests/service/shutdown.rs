//! How the service stops.

use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, equal};
use marketsvc::Limits;
use tokio::net::TcpStream;

use crate::common::{Market, Process, soon};

async fn large() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    database.add_customers(200_000).await?;
    Ok(database)
}

#[tokio::test]
async fn a_request_in_flight_finishes_and_no_new_one_is_taken() -> Outcome {
    let limits = Limits {
        shutdown_grace: Duration::from_mins(1),
        ..Limits::default()
    };
    let market = Market::over(large().await?, limits).await?;
    let addr = market.addr();
    let mut reply = market.service.open("/api/customers").await?;
    let mut length = reply.next_chunk().await.or_fail("a first chunk")??.len();
    let idle = TcpStream::connect(addr)
        .await
        .or_fail("an idle connection")?;

    let stopping = market.stop();
    soon("new connections are refused", async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    equal(
        "it waits for the request in flight",
        false,
        stopping.is_done(),
    )?;
    let mut end = [0; 2];
    while let Some(chunk) = reply.next_chunk().await {
        let chunk = chunk?;
        length += chunk.len();
        if let [.., before, last] = chunk[..] {
            end = [before, last];
        } else if let [last] = chunk[..] {
            end = [end[1], last];
        }
    }
    check::ensure(length > 10_000_000, "its length", "more than 10 MB", length)?;
    equal("its end", *b"}]", end)?;
    let database = stopping.done().await?;
    drop(idle);
    // Closed properly: nothing is left in a log.
    database.wait_until_closed().await
}

#[tokio::test]
async fn those_who_do_not_finish_are_cut_off() -> Outcome {
    let limits = Limits {
        shutdown_grace: Duration::from_millis(200),
        ..Limits::default()
    };
    let market = Market::over(large().await?, limits).await?;
    let mut stopped = market.service.open("/api/customers").await?;
    stopped.next_chunk().await.or_fail("a first chunk")??;
    market.stop().done().await?.wait_until_closed().await?;
    // What is still on its way may arrive; the end of the body may not.
    while let Some(chunk) = stopped.next_chunk().await {
        if chunk.is_err() {
            return Ok(());
        }
    }
    check::ensure(
        false,
        "a body that was cut off",
        "a body that breaks off",
        "a proper end",
    )
}

#[cfg(unix)]
#[tokio::test]
async fn signals_stop_the_program_properly() -> Outcome {
    for signal in ["TERM", "INT"] {
        let database = large().await?;
        let mut process = Process::over(&database).await?;
        let mut reply = process.service.open("/api/customers").await?;
        reply.next_chunk().await.or_fail("a first chunk")??;
        process.signal(signal).await?;
        let whole = reply.read_whole().await?;
        check::ensure(
            whole.body.ends_with(b"}]"),
            format!("after SIG{signal}"),
            "the rest of the answer",
            "a part",
        )?;
        let status = soon("the program ends", process.child.wait())
            .await
            .or_fail("the program's end")?;
        equal(
            format!("the exit code after SIG{signal}"),
            Some(0),
            status.code(),
        )?;
        database.wait_until_closed().await?;
    }
    Ok(())
}
