//! The service is told to stop, or killed, while it is busy.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::http::{Request, Response};
use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join, join3, try_join_all};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::common::{order, soon};
use crate::support::{Program, expect_stored, expect_total, full, shared};
use crate::wire::{Client, get, post};

/// How many orders are admitted when the service is told to stop, and send their bodies
/// only then.
const ADMITTED: usize = 8;

/// How many orders are acknowledged before the service is stopped: another number in each
/// round, so that it is stopped in the midst of other work.
fn enough(round: usize) -> usize {
    20 + round * 7 % 50
}

/// Begins an order: the service has answered that it waits for the body.
async fn admitted(program: &Program) -> Result<TcpStream, Failure> {
    let asked = "the head of an order";
    let socket = TcpStream::connect(program.service().addr()).await;
    let mut socket = socket.or_fail(asked)?;
    let head = format!(
        "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        order().to_string().len()
    );
    socket.write_all(head.as_bytes()).await.or_fail(asked)?;
    let mut answer = [0; 25];
    let read = soon("100 Continue", socket.read_exact(&mut answer)).await;
    read.or_fail(asked)?;
    equal(asked, *b"HTTP/1.1 100 Continue\r\n\r\n", answer)?;
    Ok(socket)
}

/// Sends the body of an admitted order. Returns the id of the order.
async fn finish(mut socket: TcpStream) -> Result<i64, Failure> {
    let asked = "the body of an order that was admitted before SIGTERM";
    let body = order().to_string();
    socket.write_all(body.as_bytes()).await.or_fail(asked)?;
    let mut answer = String::new();
    let read = soon(asked, socket.read_to_string(&mut answer)).await;
    read.or_fail(asked)?;
    ensure(answer.starts_with("HTTP/1.1 201 "), asked, 201, &answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").or_fail(asked)?;
    id(body.as_bytes())
}

/// Reads the id of an order that was stored.
fn id(body: &[u8]) -> Result<i64, Failure> {
    let body: Value = serde_json::from_slice(body).or_fail("an acknowledgement")?;
    body["order_id"].as_i64().or_fail("the id of an order")
}

/// Sends `request` again and again until the service has gone. Each answer must be whole.
/// `with` receives it.
async fn send_until_gone(
    program: &Program,
    request: &Request<Full<Bytes>>,
    mut with: impl FnMut(Response<Bytes>) -> Outcome,
) -> Outcome {
    while let Ok(mut client) = Client::connect(program.service().addr()).await {
        while let Some(answer) = client.send(request).await? {
            with(answer)?;
        }
    }
    Ok(())
}

/// Places orders until the service has gone, and returns those that were acknowledged.
/// `count` is how many all writers have; `more` is told each time.
async fn write_until_gone(
    program: &Program,
    count: &AtomicUsize,
    more: &Notify,
) -> Result<Vec<i64>, Failure> {
    let mut acknowledged = Vec::new();
    let place = post("/api/add_new_order", order().to_string());
    send_until_gone(program, &place, |answer| {
        equal("an order", 201, answer.status().as_u16())?;
        acknowledged.push(id(answer.body())?);
        count.fetch_add(1, Ordering::Relaxed);
        more.notify_one();
        Ok(())
    })
    .await?;
    Ok(acknowledged)
}

async fn until(enough: usize, count: &AtomicUsize, more: &Notify) {
    while count.load(Ordering::Relaxed) < enough {
        more.notified().await;
    }
}

#[tokio::test]
async fn told_to_stop_under_load_it_finishes_what_it_has_admitted() -> Outcome {
    const WRITERS: usize = 32;
    const READERS: usize = 16;
    let _machine = shared().await;
    let mut database = Database::sample().await?;
    let mut acknowledged = Vec::new();
    for round in 0..if full() { 20 } else { 3 } {
        let mut program = Program::start(database, "", &[]).await?;
        let (orders, totals, more) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        let writers = (0..WRITERS).map(|_| write_until_gone(&program, &orders, &more));
        let read = get("/api/order_total/1");
        let readers = (0..READERS).map(|_| {
            send_until_gone(&program, &read, |answer| {
                totals.fetch_add(1, Ordering::Relaxed);
                equal("a total", 200, answer.status().as_u16())
            })
        });
        let stop = async {
            until(enough(round), &orders, &more).await;
            let mut begun = Vec::new();
            for _ in 0..ADMITTED {
                begun.push(admitted(&program).await?);
            }
            program.process.signal("TERM").await?;
            let mut finished = Vec::new();
            for socket in begun {
                finished.push(finish(socket).await?);
            }
            Ok::<_, Failure>(finished)
        };
        let load = join3(try_join_all(writers), try_join_all(readers), stop);
        let (written, read, finished) = soon("a round", load).await;
        acknowledged.extend(written?.into_iter().flatten());
        acknowledged.extend(finished?);
        read?;
        program.expect_end().await?;

        let log = program.log()?;
        for late in ["requests are cut off", "are still in use"] {
            ensure(!log.contains(late), "the grace period", "long enough", late)?;
        }
        let lines = log
            .lines()
            .filter(|line| line.contains("marketsvc::requests:"));
        // Each request that has a line in the log was admitted, and its answer has come.
        let answers = orders.into_inner() + totals.into_inner() + ADMITTED;
        equal("requests in the log, and answers", lines.count(), answers)?;
        database = program.database;
        let stored = expect_stored(&database, &acknowledged).await?;
        acknowledged.sort_unstable();
        equal(
            "stored orders, and acknowledged ones",
            &stored,
            &acknowledged,
        )?;
        database.wait_until_closed().await?;
    }
    println!("{} orders acknowledged, none lost", acknowledged.len());
    Ok(())
}

/// The end waits for clients that are slow to send their requests, but no longer than the
/// grace period.
#[tokio::test]
async fn half_a_request_does_not_delay_the_end() -> Outcome {
    let _machine = shared().await;
    let flags = ["--receive-timeout", "3600", "--grace", "0.5"];
    let mut program = Program::start(Database::sample().await?, "", &flags).await?;
    let half_a_head = TcpStream::connect(program.service().addr()).await;
    let mut half_a_head = half_a_head.or_fail("a connection")?;
    let sent = half_a_head.write_all(b"GET / HTTP/1.1\r\nHost:").await;
    sent.or_fail("half a head")?;
    let _half_an_order = admitted(&program).await?;
    program.process.signal("TERM").await?;
    program.expect_end().await
}

#[tokio::test]
async fn killed_it_has_lost_no_acknowledged_order() -> Outcome {
    const WRITERS: usize = 64;
    let _machine = shared().await;
    let mut database = Database::sample().await?;
    let mut acknowledged = Vec::new();
    for round in 0..if full() { 50 } else { 4 } {
        let program = Program::start(database, "", &[]).await?;
        let (orders, more) = (AtomicUsize::new(0), Notify::new());
        let writers = (0..WRITERS).map(|_| write_until_gone(&program, &orders, &more));
        let kill = async {
            until(enough(round), &orders, &more).await;
            program.process.signal("KILL").await
        };
        let (written, killed) = soon("a round", join(try_join_all(writers), kill)).await;
        killed?;
        acknowledged.extend(written?.into_iter().flatten());
        program.expect_no_panic()?;
        database = program.database;
        // This first makes SQLite recover what the killed program has left.
        expect_stored(&database, &acknowledged).await?;
    }
    println!("{} orders acknowledged, none lost", acknowledged.len());
    let program = Program::start(database, "", &[]).await?;
    expect_total(program.service()).await
}
