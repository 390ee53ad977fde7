//! The service is told to stop, or killed, while it is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join, join_all};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::common::{add_order, soon};
use crate::support::{Program, expect_stored, shared};

/// What the promise is; a hang limit for the other runs too.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Orders that have been admitted when the service is told to stop, and whose
/// bodies come only then.
const ADMITTED: usize = 8;

fn order() -> String {
    json!({"customer_id": 2, "items": [{"id": 2, "quantity": 2}, {"id": 4, "quantity": 1}]})
        .to_string()
}

/// An order of which the service has said that it waits for the rest.
async fn admitted(program: &Program) -> Result<TcpStream, Failure> {
    let mut socket = TcpStream::connect(program.service().addr())
        .await
        .or_fail("a connection")?;
    let head = format!(
        "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        order().len()
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
    socket.write_all(order().as_bytes()).await.or_fail(asked)?;
    let mut answer = Vec::new();
    soon(asked, socket.read_to_end(&mut answer))
        .await
        .or_fail(asked)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    ensure(text.starts_with("HTTP/1.1 201"), asked, "201", &text)?;
    text.rsplit_once("{\"order_id\":")
        .and_then(|(_, rest)| rest.strip_suffix('}')?.parse().ok())
        .or_fail("an order's number")
}

/// Orders over connections that are kept alive, until the service refuses. An
/// answer that has begun has to be whole.
async fn write_until_gone(
    program: &Program,
    count: &AtomicUsize,
    progress: &mpsc::Sender<()>,
) -> Result<Vec<i64>, Failure> {
    let body = order();
    let request = format!(
        "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut mine = Vec::new();
    'connections: while let Ok(mut socket) = TcpStream::connect(program.service().addr()).await {
        loop {
            if socket.write_all(request.as_bytes()).await.is_err() {
                continue 'connections;
            }
            let mut answer = Vec::new();
            // A reset before the first byte can be one of a request that was
            // never admitted; whether it was, the database tells.
            while !answer.ends_with(b"}") {
                match socket.read_buf(&mut answer).await {
                    Ok(length) if length > 0 => {}
                    _ => {
                        equal("bytes of an answer that broke off", 0, answer.len())?;
                        continue 'connections;
                    }
                }
            }
            let text = String::from_utf8_lossy(&answer);
            if text.starts_with("HTTP/1.1 503") {
                continue 'connections;
            }
            ensure(text.starts_with("HTTP/1.1 201"), "an order", "201", &text)?;
            let number = text
                .rsplit_once("{\"order_id\":")
                .and_then(|(_, rest)| rest.strip_suffix('}')?.parse().ok())
                .or_fail("an order's number")?;
            mine.push(number);
            count.fetch_add(1, Ordering::Relaxed);
            let _ = progress.try_send(());
        }
    }
    Ok(mine)
}

#[tokio::test]
async fn told_to_stop_under_load_it_finishes_what_it_has_admitted() -> Outcome {
    const WRITERS: usize = 32;
    let _machine = shared().await;
    let rounds = 20;
    let mut database = Database::sample().await?;
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let mut program = Program::start(database, "").await?;
        let count = AtomicUsize::new(0);
        let (progress, mut more) = mpsc::channel(1);
        let writers = (0..WRITERS).map(|_| write_until_gone(&program, &count, &progress));
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
            }
            Ok::<_, Failure>(orders)
        };
        let (orders, last) = soon("a round", join(join_all(writers), stop)).await;
        for mine in orders {
            acknowledged.extend(mine?);
        }
        acknowledged.extend(last?);
        let status = tokio::time::timeout(STOPS_WITHIN, program.process.child.wait())
            .await
            .or_fail("the program ends in 10 s")?
            .or_fail("the program's end")?;
        equal("the exit code after SIGTERM", Some(0), status.code())?;
        program.expect_no_panic()?;
        let log = program.log()?;
        ensure(!log.contains("cut off"), "the log", "nothing cut off", &log)?;
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
    Ok(())
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
    let status = tokio::time::timeout(STOPS_WITHIN, program.process.child.wait())
        .await
        .or_fail("the program ends in 10 s")?
        .or_fail("the program's end")?;
    equal("the exit code after SIGTERM", Some(0), status.code())?;
    let log = program.log()?;
    ensure(!log.contains("cut off"), "the log", "nothing cut off", &log)
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
        program.expect_no_panic()?;
        database = program.database;
        // Through SQLite's recovery of what the killed one left.
        expect_stored(&database, &acknowledged).await?;
    }
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
