//! The service is told to stop, or killed, while it is busy.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join, join_all, join3};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::common::{add_order, order, soon};
use crate::support::{Program, expect_stored, shared};
use crate::wire::{Answer, get, post};

/// What the promise is; a hang limit for the other runs too.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Orders that have been admitted when the service is told to stop, and whose
/// bodies come only then.
const ADMITTED: usize = 8;

/// An order of which the service has said that it waits for the rest.
async fn admitted(program: &Program) -> Result<TcpStream, Failure> {
    let mut socket = TcpStream::connect(program.service().addr())
        .await
        .or_fail("a connection")?;
    let head = format!(
        "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        order().to_string().len()
    );
    socket.write_all(head.as_bytes()).await.or_fail("a head")?;
    let mut answer = [0; 25];
    soon("100 Continue", socket.read_exact(&mut answer))
        .await
        .or_fail("100 Continue")?;
    equal("the first line", *b"HTTP/1.1 100 Continue\r\n\r\n", answer)?;
    Ok(socket)
}

/// Sends the rest of an admitted order; returns its number.
async fn finish(mut socket: TcpStream) -> Result<i64, Failure> {
    let asked = "an order that was admitted before the service was told to stop";
    let body = order().to_string();
    socket.write_all(body.as_bytes()).await.or_fail(asked)?;
    let mut bytes = Vec::new();
    soon(asked, socket.read_to_end(&mut bytes))
        .await
        .or_fail(asked)?;
    let answer = Answer::parse(&bytes, false, true).map_err(io::Error::other);
    let (answer, _) = answer.or_fail(asked)?.or_fail(asked)?;
    equal(asked, 201, answer.status)?;
    number(&answer)
}

/// That of the order that was stored.
fn number(answer: &Answer) -> Result<i64, Failure> {
    let body: Value = serde_json::from_slice(&answer.body).or_fail("an order's answer")?;
    body["order_id"].as_i64().or_fail("an order's number")
}

/// Asks `request` over connections that are kept alive, until the service is
/// gone. An answer that has begun has to be whole; `with` gets each.
async fn ask_until_gone(
    program: &Program,
    request: &[u8],
    mut with: impl FnMut(&Answer) -> Outcome,
) -> Outcome {
    'connections: while let Ok(mut socket) = TcpStream::connect(program.service().addr()).await {
        loop {
            if socket.write_all(request).await.is_err() {
                continue 'connections;
            }
            let mut bytes = Vec::new();
            // A reset before the first byte can be one of a request that was
            // never admitted; whether it was, the log and the database tell.
            let answer = loop {
                match socket.read_buf(&mut bytes).await {
                    Ok(length) if length > 0 => {}
                    _ => {
                        equal("bytes of an answer that broke off", 0, bytes.len())?;
                        continue 'connections;
                    }
                }
                let parsed = Answer::parse(&bytes, false, false).map_err(io::Error::other);
                if let Some((answer, _)) = parsed.or_fail("an answer")? {
                    break answer;
                }
            };
            with(&answer)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn told_to_stop_under_load_it_finishes_what_it_has_admitted() -> Outcome {
    const WRITERS: usize = 32;
    const READERS: usize = 16;
    let _machine = shared().await;
    let rounds = 20;
    let mut database = Database::sample().await?;
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let mut program = Program::start(database, "").await?;
        // Whole answers, whatever they say; and orders that were acknowledged.
        let answers = AtomicU64::new(0);
        let count = AtomicUsize::new(0);
        let (progress, mut more) = mpsc::channel(1);
        let write = post("/api/add_new_order", &order().to_string());
        let writers = (0..WRITERS).map(|_| async {
            let mut mine = Vec::new();
            ask_until_gone(&program, &write, |answer| {
                answers.fetch_add(1, Ordering::Relaxed);
                if answer.status == 503 {
                    return Ok(());
                }
                equal("an order", 201, answer.status)?;
                mine.push(number(answer)?);
                count.fetch_add(1, Ordering::Relaxed);
                let _ = progress.try_send(());
                Ok(())
            })
            .await?;
            Ok::<_, Failure>(mine)
        });
        let read = get("/api/order_total/1");
        let readers = (0..READERS).map(|_| {
            ask_until_gone(&program, &read, |answer| {
                answers.fetch_add(1, Ordering::Relaxed);
                ensure(
                    matches!(answer.status, 200 | 503),
                    "a total",
                    "200 or 503",
                    answer.status,
                )
            })
        });
        let stop = async {
            // At another moment in each round.
            while count.load(Ordering::Relaxed) < 20 + round * 7 % 50 {
                more.recv().await;
            }
            let mut waiting = Vec::new();
            for _ in 0..ADMITTED {
                waiting.push(admitted(&program).await?);
            }
            program.process.signal("TERM").await?;
            let mut orders = Vec::new();
            for socket in waiting {
                orders.push(finish(socket).await?);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(orders)
        };
        let load = join3(join_all(writers), join_all(readers), stop);
        let (orders, totals, last) = soon("a round", load).await;
        for mine in orders {
            acknowledged.extend(mine?);
        }
        acknowledged.extend(last?);
        for reader in totals {
            reader?;
        }
        expect_end(&mut program).await?;
        // Each request that was admitted has a line, and its answer came.
        let log = program.log().await?;
        equal("lines of the log that were lost", 0, log.lost)?;
        equal(
            "requests that have a line, and answers that came",
            log.requests,
            answers.load(Ordering::Relaxed),
        )?;
        program.expect_no_panic().await?;
        database = program.database;
        // What was stored was admitted, and so has had its answer.
        let stored = expect_stored(&database, &acknowledged).await?;
        acknowledged.sort_unstable();
        equal(
            "stored orders, and those acknowledged",
            &acknowledged,
            &stored,
        )?;
        database.wait_until_closed().await?;
    }
    println!("{} orders acknowledged, none lost", acknowledged.len());
    Ok(())
}

/// Fails unless the program, which was told to stop, ends as it should.
async fn expect_end(program: &mut Program) -> Outcome {
    let status = tokio::time::timeout(STOPS_WITHIN, program.process.child.wait())
        .await
        .or_fail("the program ends in 10 s")?
        .or_fail("the program's end")?;
    equal("the exit code after SIGTERM", Some(0), status.code())?;
    let log = program.log().await?.text;
    ensure(!log.contains("cut off"), "the log", "nothing cut off", &log)
}

/// A client that dawdles over its request does not hold up the end.
#[tokio::test]
async fn half_a_request_does_not_delay_the_end() -> Outcome {
    let _machine = shared().await;
    let mut program = Program::start(Database::sample().await?, "").await?;
    let mut half = TcpStream::connect(program.service().addr())
        .await
        .or_fail("a connection")?;
    half.write_all(b"GET / HTTP/1.1\r\nHost:")
        .await
        .or_fail("half a head")?;
    // It has been read by the time that a later client has its answer.
    program.service().get("/").await?.expect_status(200)?;
    program.process.signal("TERM").await?;
    expect_end(&mut program).await
}

/// 64 writers, and no warning: what was acknowledged is there, whole.
#[tokio::test]
async fn killed_it_has_lost_no_acknowledged_order() -> Outcome {
    const WRITERS: usize = 64;
    let _machine = shared().await;
    let rounds = 50;
    let mut database = Database::sample().await?;
    let mut acknowledged: Vec<i64> = Vec::new();
    for round in 0..rounds {
        let mut program = Program::start(database, "").await?;
        let service = &program.process.service;
        // After a different number of orders each time, and in the midst of
        // whatever the other writers are doing then.
        let enough = 20 + round * 7 % 50;
        let count = AtomicUsize::new(0);
        let (full, mut is_full) = mpsc::channel::<()>(1);
        let writers = (0..WRITERS).map(|_| {
            let (count, full) = (&count, full.clone());
            async move {
                let mut mine = Vec::new();
                // Until the service is gone.
                while let Ok(order) = add_order(service).await {
                    mine.push(order);
                    if count.fetch_add(1, Ordering::Relaxed) + 1 >= enough {
                        let _ = full.try_send(());
                    }
                }
                mine
            }
        });
        let kill = async {
            is_full.recv().await;
            program.process.child.kill().await
        };
        let (orders, killed) = soon("a round", join(join_all(writers), kill)).await;
        killed.or_fail("kill -9")?;
        acknowledged.extend(orders.into_iter().flatten());
        program.expect_no_panic().await?;
        database = program.database;
        // Through SQLite's recovery of what the killed one left.
        expect_stored(&database, &acknowledged).await?;
    }
    println!("{} orders acknowledged, none lost", acknowledged.len());
    ensure(
        acknowledged.len() >= 20 * rounds,
        "the writers",
        format!("{} orders or more", 20 * rounds),
        acknowledged.len(),
    )?;
    // It also starts again, of course.
    let program = Program::start(database, "").await?;
    program
        .service()
        .get("/api/order_total/1")
        .await?
        .expect_json(200, &json!({"Order Total": 30}))
}
