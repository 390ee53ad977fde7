//! What happens at each limit. The limits are made small; none of the tests
//! waits for a default one.

use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, Reply, Then, ensure, equal};
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use marketsvc::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{HANG, Market, add_order, expect_come_again, metric, order, soon, try_order};

const SHORT: Duration = Duration::from_millis(200);

async fn market(limits: Limits) -> Result<Market, Failure> {
    Market::over(Database::sample().await?, limits).await
}

#[tokio::test]
async fn a_locked_database_is_503_and_nothing_is_stored() -> Outcome {
    let market = market(Limits {
        lock_wait: SHORT,
        ..Limits::default()
    })
    .await?;
    market.service.get("/").await?.expect_status(200)?;
    let before = market.database.snapshot().await?;
    let lock = market.database.lock_exclusively().await?;
    let reply = try_order(&market.service).await?;
    expect_come_again(&reply)?;
    // Readers do not mind.
    market
        .service
        .get("/api/order_total/1")
        .await?
        .expect_status(200)?;
    lock.release().await?;
    market
        .database
        .expect_unchanged("a refused order", &before)
        .await?;
    add_order(&market.service).await.map(drop)
}

/// Waits until `count` more of the orders were refused.
async fn expect_refusals(
    replies: &mut (impl Stream<Item = Result<Reply, Failure>> + Unpin),
    count: usize,
) -> Outcome {
    for _ in 0..count {
        let reply = soon("a refusal", replies.next())
            .await
            .or_fail("a reply")??;
        expect_come_again(&reply)?;
    }
    Ok(())
}

#[tokio::test]
async fn writers_that_wait_too_long_for_their_turn_are_503() -> Outcome {
    let limits = Limits {
        lock_wait: HANG,
        // Opening the database has to fit in as well.
        acquire: SHORT * 10,
        ..Limits::default()
    };
    let market = market(limits).await?;
    market.service.get("/").await?.expect_status(200)?;
    let lock = market.database.lock_exclusively().await?;
    let mut replies: FuturesUnordered<_> = (0..6).map(|_| try_order(&market.service)).collect();
    // One of them, whichever it is, holds the writing connection and waits for
    // the lock. The others are answered meanwhile.
    expect_refusals(&mut replies, 5).await?;
    lock.release().await?;
    let reply = soon("the one order", replies.next())
        .await
        .or_fail("a reply")??;
    reply.expect_status(201)?;
    let stored: i64 = market.database.one("SELECT count(*) FROM orders").await?;
    equal("orders afterwards", 4, stored)
}

/// Nothing but a full queue can answer here before the lock is released.
#[tokio::test]
async fn a_full_queue_of_orders_is_503_at_once() -> Outcome {
    let market = market(Limits {
        lock_wait: HANG,
        acquire: HANG,
        queue: 2,
        ..Limits::default()
    })
    .await?;
    market.service.get("/").await?.expect_status(200)?;
    let lock = market.database.lock_exclusively().await?;
    let mut replies: FuturesUnordered<_> = (0..10).map(|_| try_order(&market.service)).collect();
    // One has its turn and two wait.
    expect_refusals(&mut replies, 7).await?;
    lock.release().await?;
    let mut created = 0;
    while let Some(reply) = soon("the others", replies.next()).await {
        // All ten may have come before the first had its turn.
        created += i64::from(reply?.status == 201);
    }
    ensure(created >= 2, "ten orders", "two or three stored", created)?;
    let stored: i64 = market.database.one("SELECT count(*) FROM orders").await?;
    equal("orders afterwards", 3 + created, stored)
}

/// Each of 64 customers is told what is true of its own order.
#[tokio::test]
async fn answers_of_orders_that_come_together_are_not_mixed_up() -> Outcome {
    let market = Market::sample().await?;
    let service = &market.service;
    for _ in 0..5 {
        let orders = (1..=64).map(|n| async move {
            // Every fourth names an item that does not exist.
            let item = if n % 4 == 0 { 1_000 + n } else { 2 };
            let order = json!({"customer_id": 1, "items": [{"id": item, "quantity": n}]});
            Ok::<_, Failure>((n, service.post_json("/api/add_new_order", &order).await?))
        });
        for reply in join_all(orders).await {
            let (n, reply) = reply?;
            if n % 4 == 0 {
                reply.expect_status(422)?;
                let named = format!("names item {}, which does not exist", 1_000 + n);
                let text = reply.text();
                ensure(text.contains(&named), reply.asked(), &named, &text)?;
            } else {
                reply.expect_status(201)?;
                let id = &reply.json()?["order_id"];
                let sql = format!("SELECT quantity FROM order_items WHERE order_id = {id}");
                equal(reply.asked(), n, market.database.one::<i64>(&sql).await?)?;
            }
        }
    }
    Ok(())
}

/// A sender who is told "too slow" does not know whether the order was stored.
#[tokio::test]
async fn an_order_that_is_being_stored_is_waited_for() -> Outcome {
    let market = market(Limits {
        lock_wait: HANG,
        request: SHORT,
        ..Limits::default()
    })
    .await?;
    market.service.get("/").await?.expect_status(200)?;
    let lock = market.database.lock_exclusively().await?;
    let reply = try_order(&market.service);
    tokio::pin!(reply);
    let early = tokio::time::timeout(SHORT * 3, &mut reply).await;
    ensure(
        early.is_err(),
        "an order beyond the time limit",
        "no answer yet",
        "an answer",
    )?;
    lock.release().await?;
    soon("the order", reply).await?.expect_status(201)?;
    Ok(())
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() -> Outcome {
    let market = market(Limits {
        body_bytes: 1_000,
        ..Limits::default()
    })
    .await?;
    let path = "/api/add_new_order";
    let fits = format!("{:>1000}", order().to_string());
    let reply = market
        .service
        .post(path, "application/json", fits.clone())
        .await?;
    reply.expect_status(201)?;
    let reply = market
        .service
        .post(path, "application/json", format!(" {fits}"))
        .await?;
    reply.expect_status(413)?;
    // Refused before a byte of it has come, if its length says so.
    let announced = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 67108864\r\n\r\n"
    );
    let reply = market.service.raw(announced, Then::ReadFor(HANG)).await?;
    equal(
        "a 64 MiB body that is only announced",
        Some(413),
        reply.status(),
    )?;
    // And when it is sent in chunks, as soon as there is too much.
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{:>1001}\r\n",
        ""
    );
    let reply = market.service.raw(chunked, Then::ReadFor(HANG)).await?;
    equal(
        "1001 bytes in a chunk, without an end",
        Some(413),
        reply.status(),
    )
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() -> Outcome {
    let market = market(Limits {
        body_read: SHORT,
        ..Limits::default()
    })
    .await?;
    let half = "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"customer_id\":";
    let reply = market.service.raw(half, Then::ReadFor(HANG)).await?;
    equal("half a body", Some(408), reply.status())?;
    equal("the connection afterwards is closed", true, reply.closed)
}

#[tokio::test]
async fn half_a_head_and_an_idle_connection_are_closed() -> Outcome {
    let market = market(Limits {
        header_read: SHORT,
        ..Limits::default()
    })
    .await?;
    let silence = market.service.raw("", Then::ReadFor(HANG)).await?;
    equal(
        "a connection without a request is closed",
        true,
        silence.closed,
    )?;
    let half = market
        .service
        .raw("GET / HTTP/1.1\r\nHost:", Then::ReadFor(HANG))
        .await?;
    equal("half a head: the connection is closed", true, half.closed)?;
    let whole = market
        .service
        .raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Then::ReadFor(HANG))
        .await?;
    equal("a whole request", Some(200), whole.status())?;
    equal("the idle connection after it is closed", true, whole.closed)
}

#[tokio::test]
async fn heads_have_a_limit() -> Outcome {
    let head = |bytes| {
        let value = "x".repeat(bytes);
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {value}\r\n\r\n")
    };
    for (connection_buffer, fits, too_long) in [
        (Limits::default().connection_buffer, 40_000, 1 << 20),
        (8_192, 4_000, 40_000),
        // As a library it is not checked, and does not panic.
        (0, 4_000, 40_000),
    ] {
        let limits = Limits {
            connection_buffer,
            ..Limits::default()
        };
        let market = market(limits).await?;
        let reply = market.service.raw(head(fits), Then::ReadFor(HANG)).await?;
        equal(format!("a head of {fits}"), Some(200), reply.status())?;
        let reply = market
            .service
            .raw(head(too_long), Then::ReadFor(HANG))
            .await?;
        ensure(
            matches!(reply.status(), Some(431) | None) && reply.closed,
            format!("a head of {too_long} bytes"),
            "431 or nothing",
            reply.text(),
        )?;
    }
    Ok(())
}

/// Asks until there is a place, and returns how often there was none.
async fn until_there_is_a_place(market: &Market) -> Result<usize, Failure> {
    soon("a place", async {
        for refused in 0.. {
            let reply = market.service.get("/").await?;
            if reply.status == 200 {
                return Ok(refused);
            }
            reply.expect_status(503)?;
            tokio::task::yield_now().await;
        }
        unreachable!("the numbers do not end")
    })
    .await
}

#[tokio::test]
async fn the_longest_idle_connection_gives_its_place_to_a_new_client() -> Outcome {
    let market = market(Limits {
        connections: 2,
        header_read: HANG,
        ..Limits::default()
    })
    .await?;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut socket = market.connect().await?;
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .or_fail("a request")?;
        soon("an answer", socket.read_exact(&mut [0; 100]))
            .await
            .or_fail("an answer")?;
        idle.push(socket);
    }
    until_there_is_a_place(&market).await?;
    let mut rest = Vec::new();
    soon("the first is closed", idle[0].read_to_end(&mut rest))
        .await
        .or_fail("the end of the first connection")?;
    // The place is free again, so the second one can stay.
    idle[1]
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .or_fail("a second request")?;
    let mut rest = Vec::new();
    soon("the second answer", idle[1].read_to_end(&mut rest))
        .await
        .or_fail("a second answer")?;
    let text = String::from_utf8_lossy(&rest);
    equal("answers", 1, text.matches("HTTP/1.1 200 OK").count())?;
    // Those of this test's own that were about to go may be among them.
    let evicted = metric(&market.service, "http_connections_evicted_total").await?;
    ensure(
        evicted >= 1.0,
        "the metrics",
        "one that was closed",
        evicted,
    )
}

#[tokio::test]
async fn when_every_connection_is_at_work_more_are_503() -> Outcome {
    let market = market(Limits {
        connections: 2,
        lock_wait: HANG,
        acquire: HANG,
        patience: HANG,
        ..Limits::default()
    })
    .await?;
    let lock = market.database.lock_exclusively().await?;
    let body = order().to_string();
    let mut orders = Vec::new();
    for _ in 0..2 {
        let mut socket = market.connect().await?;
        let head = format!(
            "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            body.len()
        );
        socket
            .write_all(head.as_bytes())
            .await
            .or_fail("a request's head")?;
        soon("100 Continue", socket.read_u8())
            .await
            .or_fail("100 Continue")?;
        socket
            .write_all(body.as_bytes())
            .await
            .or_fail("a request's body")?;
        orders.push(socket);
    }
    let refused = market.service.get("/").await?;
    expect_come_again(&refused)?;
    lock.release().await?;
    for mut order in orders {
        let mut rest = Vec::new();
        soon("an order", order.read_to_end(&mut rest))
            .await
            .or_fail("the answer to an order")?;
        let text = String::from_utf8_lossy(&rest);
        ensure(text.contains("HTTP/1.1 201"), "an order", "201", &text)?;
    }
    market.service.get("/").await?.expect_status(200)?;
    let refused = metric(&market.service, "http_connections_refused_total").await?;
    equal("connections that were refused", 1.0, refused)
}

#[tokio::test]
async fn those_who_keep_it_waiting_lose_their_place_when_it_is_needed() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(50_000).await?;
    let limits = Limits {
        connections: 2,
        patience: SHORT,
        body_read: HANG,
        write_stall: HANG,
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    let mut reader = market.service.open("/api/customers").await?;
    reader.next_chunk().await.or_fail("a first chunk")??;
    let mut sender = market.connect().await?;
    sender
        .write_all(b"POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        .await
        .or_fail("half a request")?;
    // Its body is being waited for.
    soon("100 Continue", sender.read_u8())
        .await
        .or_fail("100 Continue")?;
    until_there_is_a_place(&market).await?;
    // The next client needed one place and has left it; the other slow client
    // can go on.
    let mut gone = 0;
    while let Some(chunk) = reader.next_chunk().await {
        if chunk.is_err() {
            gone = 1;
            break;
        }
    }
    sender
        .write_all(&[b' '; 100])
        .await
        .or_fail("the rest of a body")?;
    let mut rest = Vec::new();
    if soon("an answer", sender.read_to_end(&mut rest))
        .await
        .is_err()
        || !String::from_utf8_lossy(&rest).contains("HTTP/1.1 400")
    {
        gone += 1;
    }
    equal("clients that have lost their place", 1, gone)
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(200_000).await?;
    // One place only, and it is taken by somebody who has stopped reading.
    let limits = Limits {
        connections: 1,
        write_stall: SHORT,
        patience: HANG,
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    let stopped = market.service.open("/api/customers").await?;
    equal("the status came", 200, stopped.status)?;
    let refused = until_there_is_a_place(&market).await?;
    ensure(refused > 0, "the one place", "taken at first", refused)
}

/// Every connection is as good as new after a client that vanished.
#[tokio::test]
async fn clients_that_vanish_take_nothing_with_them() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(50_000).await?;
    let market = Market::over(
        database,
        Limits {
            connections: 64,
            ..Limits::default()
        },
    )
    .await?;
    let before = market.database.snapshot().await?;
    for round in 0..5 {
        let open = (0..40).map(|_| market.service.open("/api/customers"));
        for reply in join_all(open).await {
            let mut reply = reply?;
            if round % 2 == 0 {
                reply.next_chunk().await.or_fail("a first chunk")??;
            }
            drop(reply);
        }
    }
    soon("an answer", market.service.get("/api/order_total/1"))
        .await?
        .expect_status(200)?;
    market
        .database
        .expect_unchanged("200 connections dropped mid-response", &before)
        .await?;
    let database = market.stop().done().await?;
    database.wait_until_closed().await
}

/// Orders whose senders hang up at once are stored whole or not at all.
#[tokio::test]
async fn a_vanished_customer_leaves_no_half_order() -> Outcome {
    let market = Market::sample().await?;
    let body = json!({"customer_id": 1, "items": [{"id": 1, "quantity": 1}, {"id": 2, "quantity": 2}, {"id": 3, "quantity": 3}]})
        .to_string();
    let request = format!(
        "POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for round in 0..100 {
        let mut socket = market.connect().await?;
        socket
            .write_all(request.as_bytes())
            .await
            .or_fail("a request")?;
        // Some go at once, some after the server has surely begun.
        if round % 4 == 0 {
            socket
                .read_u8()
                .await
                .or_fail("the first byte of the answer")?;
        }
        drop(socket);
    }
    // The writer is not stuck in an abandoned transaction.
    soon("a later order", add_order(&market.service)).await?;
    let halves: i64 = market
        .database
        .one("SELECT count(*) FROM orders WHERE customer_id = 1 AND id > 3 AND (SELECT count(*) FROM order_items WHERE order_id = orders.id) <> 3")
        .await?;
    equal("orders without all their items", 0, halves)?;
    let stored: i64 = market
        .database
        .one("SELECT count(*) FROM orders WHERE customer_id = 1 AND id > 3")
        .await?;
    ensure(
        stored >= 25,
        "orders whose answer began to come",
        "at least 25",
        stored,
    )
}
