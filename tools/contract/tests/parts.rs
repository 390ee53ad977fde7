//! The parts that a check uses, tried against a small service. They run in a
//! [`Suite`], one after another, since a recording sees the whole process;
//! `suite.rs` proves that a suite reports what fails.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use contract::gate::Gate;
use contract::statements::Recording;
use contract::{
    Database, Failure, OrFail, Outcome, Service, Suite, Then, ensure, equal, equal_json, memory,
};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, SqlitePool};
use tracing::Level;

fn main() -> ExitCode {
    Suite::new("contract", env!("CARGO_MANIFEST_DIR"))
        .check("database", "the sample has the market's rows", sample)
        .check(
            "database",
            "bulk rows are many, whole and the same each time",
            bulk,
        )
        .check(
            "database",
            "two databases share nothing and leave nothing",
            separate,
        )
        .check(
            "database",
            "the wait ends when the last connection does",
            closed,
        )
        .check("database", "the write lock keeps writers out", write_lock)
        .check(
            "database",
            "a snapshot tells new, gone and changed rows",
            snapshot,
        )
        .check(
            "statements",
            "statements are recorded with their rows",
            recorded,
        )
        .check("statements", "a later recording takes over", takes_over)
        .check("statements", "log messages are recorded by level", logged)
        .check(
            "service",
            "requests carry method, headers and body",
            requests,
        )
        .check("service", "a failure tells status and body", reply_failures)
        .check(
            "service",
            "a handler that panics gives no answer",
            no_answer,
        )
        .check("service", "a body comes chunk by chunk", chunks)
        .check("service", "a body that breaks off is an error", broken_body)
        .check(
            "service",
            "dropping a reply is felt by the service",
            disconnect,
        )
        .check(
            "service",
            "a client that does not read holds the service back",
            stopped,
        )
        .check("service", "raw bytes are sent as they are", raw)
        .check(
            "service",
            "dropping a service ends its requests",
            service_ends,
        )
        .check("memory", "the peak of memory is that of the work", peak)
        .paused_check("gate", "a gate counts and holds jobs", gate)
        .paused_check("gate", "a gate knows dropped jobs", gate_drops)
        .check("failure", "JSON differences are named", differences)
        .run()
}

async fn sample() -> Outcome {
    let database = Database::sample().await?;
    let cents: i64 = database
        .one(
            "SELECT sum(price_cents * quantity) FROM order_items JOIN item ON item.id = item_id
             WHERE order_id = 1",
        )
        .await?;
    equal("order 1 in cents", 3000, cents)?;
    let mode: String = database.one("PRAGMA journal_mode").await?;
    equal("the journal mode", "wal", mode.as_str())?;
    let none: Option<i64> = database
        .one("SELECT max(id) FROM orders WHERE id > 9")
        .await?;
    equal("no row", None, none)?;

    let empty = Database::empty().await?;
    equal(
        "items of an empty database",
        0,
        empty.one::<i64>("SELECT count(*) FROM item").await?,
    )
}

async fn bulk() -> Outcome {
    let (a, b) = (Database::sample().await?, Database::sample().await?);
    for database in [&a, &b] {
        database.add_customers(1000).await?;
        database.add_customers(0).await?;
        database.add_orders(500, 3).await?;
    }
    let counts: String = a
        .one(
            "SELECT (SELECT count(*) FROM customer) || ' ' || (SELECT count(*) FROM orders)
             || ' ' || (SELECT count(*) FROM order_items) || ' ' || (SELECT max(id) FROM customer)",
        )
        .await?;
    equal(
        "customers, orders, items, last id",
        "1003 503 1505 1003",
        counts.as_str(),
    )?;
    let faults: i64 = a
        .one("SELECT count(*) FROM pragma_foreign_key_check")
        .await?;
    equal("rows that point nowhere", 0, faults)?;
    b.expect_unchanged("the same calls again", &a.snapshot().await?)
        .await
}

async fn separate() -> Outcome {
    let (a, b) = (Database::sample().await?, Database::sample().await?);
    a.execute("DELETE FROM order_items; DELETE FROM orders")
        .await?;
    equal(
        "orders of the other",
        3,
        b.one::<i64>("SELECT count(*) FROM orders").await?,
    )?;
    let path = a.path().to_owned();
    drop(a);
    equal("the file of a dropped database", false, path.exists())
}

async fn closed() -> Outcome {
    let database = Database::sample().await?;
    database.wait_until_closed().await?;

    let pool = SqlitePool::connect(&database.url())
        .await
        .or_fail("a pool")?;
    let total: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&pool)
        .await
        .or_fail("a query")?;
    equal("orders", 3, total)?;
    let closed = AtomicUsize::new(0);
    let (waited, ()) = tokio::join!(
        async {
            database.wait_until_closed().await?;
            equal(
                "closed before the wait ended",
                1,
                closed.load(Ordering::SeqCst),
            )
        },
        async {
            // The other branch has run up to its wait by now.
            closed.store(1, Ordering::SeqCst);
            pool.close().await;
        }
    );
    waited
}

async fn write_lock() -> Outcome {
    let database = Database::sample().await?;
    let options = SqliteConnectOptions::new()
        .filename(database.path())
        .busy_timeout(Duration::ZERO);
    let mut writer = options.connect().await.or_fail("a connection")?;
    let write = "UPDATE item SET price_cents = 600 WHERE id = 1";

    let lock = database.lock_exclusively().await?;
    let refused = sqlx::query(write).execute(&mut writer).await;
    ensure(
        refused.is_err(),
        write,
        "an error: the database is locked",
        "success",
    )?;
    let read: i64 = database
        .one("SELECT price_cents FROM item WHERE id = 1")
        .await?;
    equal("a reader beside the lock", 500, read)?;
    lock.release().await?;
    sqlx::query(write)
        .execute(&mut writer)
        .await
        .or_fail(write)?;
    writer.close().await.or_fail("close")
}

async fn snapshot() -> Outcome {
    let database = Database::sample().await?;
    let before = database.snapshot().await?;
    database.expect_unchanged("nothing done", &before).await?;

    database
        .execute("UPDATE item SET price_cents = 501 WHERE id = 1")
        .await?;
    let Err(failure) = database.expect_unchanged("a new price", &before).await else {
        return Err(Failure::new("a new price", "a difference", "none"));
    };
    let expected = "new in item: [1,\"Milk\",501,\"1L bottle of milk\"]\n\
                    gone from item: [1,\"Milk\",500,\"1L bottle of milk\"]";
    equal("the difference", expected, failure.got())
}

async fn recorded() -> Outcome {
    let database = Database::sample().await?;
    let recording = Recording::start();
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect(&database.url()).await.or_fail("a pool")?;
    database.one::<i64>("SELECT count(*) FROM item").await?;

    let rows = sqlx::query("SELECT id, name FROM item WHERE price_cents < $1")
        .bind(600)
        .fetch_all(&pool)
        .await
        .or_fail("a select")?;
    sqlx::query("DELETE FROM order_items")
        .execute(&pool)
        .await
        .or_fail("a delete")?;
    let statements = recording.statements();
    let seen: Vec<_> = statements
        .iter()
        .map(|s| (s.level, s.sql.as_str(), s.rows_returned, s.rows_affected))
        .collect();
    let expected = vec![
        (
            Level::DEBUG,
            "SELECT id, name FROM item WHERE price_cents < $1",
            rows.len() as u64,
            0,
        ),
        (Level::DEBUG, "DELETE FROM order_items", 0, 5),
    ];
    equal("statements", expected, seen)?;
    equal("connections", 1, recording.connections_opened())?;

    recording.clear();
    equal(
        "after clear",
        0,
        recording.statements().len() + recording.connections_opened(),
    )?;
    let _another = SqlitePool::connect(&database.url())
        .await
        .or_fail("another pool")?;
    equal(
        "connections opened since",
        1,
        recording.connections_opened(),
    )
}

async fn takes_over() -> Outcome {
    let database = Database::sample().await?;
    let pool = SqlitePool::connect(&database.url())
        .await
        .or_fail("a pool")?;
    let first = Recording::start();
    let second = Recording::start();
    drop(first);
    sqlx::query("SELECT 1")
        .fetch_one(&pool)
        .await
        .or_fail("a select")?;
    equal("statements of the later one", 1, second.statements().len())
}

async fn logged() -> Outcome {
    let recording = Recording::start();
    tracing::error!(order = 7, "no such {}", "item");
    tracing::warn!("slow");
    tracing::debug!("not kept");
    equal(
        "errors",
        vec!["no such item order=7".to_owned()],
        recording.logged(Level::ERROR),
    )?;
    equal(
        "warnings",
        vec!["slow".to_owned()],
        recording.logged(Level::WARN),
    )?;
    equal(
        "debug",
        Vec::<String>::new(),
        recording.logged(Level::DEBUG),
    )
}

fn echo() -> Router {
    async fn answer(headers: HeaderMap, body: String) -> Json<Value> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Json(json!({"accept": header("accept"), "type": header("content-type"), "body": body}))
    }
    Router::new().route("/echo", get(answer).post(answer))
}

async fn requests() -> Outcome {
    let service = Service::start(echo());
    let reply = service.get("/echo").await?;
    reply.expect_json(200, &json!({"accept": null, "type": null, "body": ""}))?;
    equal(
        "a header",
        Some("application/json"),
        reply.header("content-type"),
    )?;

    let reply = service.get_with("/echo", &[("accept", "text/x")]).await?;
    reply.expect_json(200, &json!({"accept": "text/x", "type": null, "body": ""}))?;
    let reply = service.get_json_body("/echo", &json!([1])).await?;
    let json_type = "application/json";
    reply.expect_json(
        200,
        &json!({"accept": null, "type": json_type, "body": "[1]"}),
    )?;
    let reply = service.post_json("/echo", &json!([1])).await?;
    reply.expect_json(
        200,
        &json!({"accept": null, "type": json_type, "body": "[1]"}),
    )?;
    let reply = service.post("/echo", "text/plain", "hello").await?;
    reply.expect_json(
        200,
        &json!({"accept": null, "type": "text/plain", "body": "hello"}),
    )?;

    let same = Service::at(service.addr());
    same.get("/nowhere").await?.expect_status(404).map(drop)
}

async fn reply_failures() -> Outcome {
    let app = Router::new()
        .route("/", post(|| async { (StatusCode::BAD_REQUEST, "no") }))
        .route("/one", get(|| async { Json(json!({"a": [1, 2.0]})) }));
    let service = Service::start(app);

    let reply = service.post_json("/", &json!({"b": 1})).await?;
    let failure = reply.expect_status(201).map(drop).unwrap_err();
    equal("asked", "POST / {\"b\":1}", failure.asked())?;
    equal("expected", "status 201", failure.expected())?;
    equal("got", "status 400: no", failure.got())?;
    equal("not JSON", true, reply.json().is_err())?;

    let reply = service.get("/one").await?;
    reply.expect_json(200, &json!({"a": [1.0, 2]}))?;
    let failure = reply.expect_json(200, &json!({"a": [1, 3]})).unwrap_err();
    let got = "{\"a\":[1,2.0]}\nfirst difference: .a[1]: 3 expected, 2.0 came";
    equal("got", got, failure.got())?;
    let failure = reply.expect_json(201, &json!({"a": [1, 2]})).unwrap_err();
    equal("got", "status 200: {\"a\":[1,2.0]}", failure.got())
}

async fn no_answer() -> Outcome {
    async fn panics() -> &'static str {
        panic!("as a handler may")
    }
    let service = Service::start(Router::new().route("/", get(panics)).merge(echo()));
    let failure = service.get("/").await.map(drop).unwrap_err();
    equal(
        "got",
        "no answer: connection closed before message completed",
        failure.got(),
    )?;
    service.get("/echo").await?.expect_status(200).map(drop)
}

/// Sends `a`, waits at the gate, then sends `b`, or on `/broken` an error.
fn streaming(gate: Gate) -> Router {
    async fn stream(State(gate): State<Gate>) -> impl IntoResponse {
        Body::from_stream(async_stream::stream! {
            let visit = gate.enter();
            yield Ok::<_, std::io::Error>(Bytes::from_static(b"a"));
            gate.pass().await;
            yield Ok(Bytes::from_static(b"b"));
            visit.end();
        })
    }
    async fn broken(State(gate): State<Gate>) -> impl IntoResponse {
        Body::from_stream(async_stream::stream! {
            yield Ok(Bytes::from_static(b"a"));
            gate.pass().await;
            yield Err(std::io::Error::other("the database is gone"));
        })
    }
    Router::new()
        .route("/stream", get(stream))
        .route("/broken", get(broken))
        .with_state(gate)
}

async fn chunks() -> Outcome {
    let gate = Gate::closed();
    let service = Service::start(streaming(gate.clone()));
    let mut reply = service.open("/stream").await?;
    equal("status", 200, reply.status)?;
    let first = reply.next_chunk().await.or_fail("the first chunk")??;
    equal("the first chunk", "a", String::from_utf8_lossy(&first))?;
    gate.open();
    let second = reply.next_chunk().await.or_fail("the second chunk")??;
    equal("the second chunk", "b", String::from_utf8_lossy(&second))?;
    equal("the end", true, reply.next_chunk().await.is_none())?;

    let whole = service.get("/stream").await?;
    equal("the whole", "ab", whole.text().as_str())
}

async fn broken_body() -> Outcome {
    let gate = Gate::closed();
    let service = Service::start(streaming(gate.clone()));
    let mut reply = service.open("/broken").await?;
    let first = reply.next_chunk().await.or_fail("the first chunk")??;
    equal("the first chunk", "a", String::from_utf8_lossy(&first))?;
    gate.open();
    let Some(Err(failure)) = reply.next_chunk().await else {
        return Err(Failure::new(
            "GET /broken",
            "an error",
            "another chunk, or the end",
        ));
    };
    ensure(
        failure.got().starts_with("the body broke off"),
        "GET /broken",
        "the body broke off",
        failure.got(),
    )?;
    equal("the whole", true, service.get("/broken").await.is_err())
}

async fn disconnect() -> Outcome {
    let gate = Gate::closed();
    let service = Service::start(streaming(gate.clone()));
    let mut reply = service.open("/stream").await?;
    reply.next_chunk().await.or_fail("the first chunk")??;
    gate.wait_until_in_flight(1).await;
    drop(reply);
    gate.wait_until_empty().await;
    // The stream's own visit and the one at the gate inside it.
    equal(
        "streams dropped in the service",
        (0, 2),
        (gate.ended(), gate.dropped()),
    )
}

async fn stopped() -> Outcome {
    const CHUNK: usize = 16 * 1024;
    async fn endless(State(sent): State<Arc<AtomicUsize>>) -> impl IntoResponse {
        Body::from_stream(async_stream::stream! {
            loop {
                sent.fetch_add(CHUNK, Ordering::SeqCst);
                yield Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; CHUNK]));
            }
        })
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route("/", get(endless))
        .with_state(Arc::clone(&sent));
    let service = Service::start(app.merge(echo()));
    let mut reader = service.open("/").await?;
    reader.next_chunk().await.or_fail("the first chunk")??;
    // Enough turns of the runtime for a stream that nothing holds back.
    for _ in 0..200 {
        service.get("/echo").await?.expect_status(200)?;
    }
    let sent = sent.load(Ordering::SeqCst);
    ensure(
        sent <= 1024 * 1024,
        "a client that does not read",
        "at most 1 MiB made for it",
        format!("{sent} bytes"),
    )
}

async fn raw() -> Outcome {
    let service = Service::start(echo());
    let request = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let reply = service
        .raw(request, Then::ReadFor(Duration::from_secs(8)))
        .await?;
    equal(
        "status and end",
        (Some(200), true),
        (reply.status(), reply.closed),
    )?;
    ensure(
        reply.text().ends_with("\"type\":null}"),
        request,
        "the body",
        reply.text(),
    )?;

    let reply = service
        .raw(b"\0\xff\r\n\r\n", Then::ReadFor(Duration::from_secs(8)))
        .await?;
    equal(
        "status of no HTTP",
        (Some(400), true),
        (reply.status(), reply.closed),
    )?;
    let reply = service.raw("GET /echo HT", Then::CloseWriting).await?;
    equal(
        "half a request",
        (None, true),
        (reply.status(), reply.closed),
    )?;
    let reply = service
        .raw("GET /echo HT", Then::ReadFor(Duration::from_millis(1)))
        .await?;
    equal(
        "a request without end",
        (None, false),
        (reply.status(), reply.closed),
    )?;
    service.raw(request, Then::Disconnect).await?;
    service.get("/echo").await?.expect_status(200).map(drop)
}

async fn service_ends() -> Outcome {
    let gate = Gate::closed();
    let waiting = gate.clone();
    let app = Router::new().route("/", get(async move || waiting.pass().await));
    let service = Service::start(app);
    let client = Service::at(service.addr());
    let request = tokio::spawn(async move { client.get("/").await });
    gate.wait_until_in_flight(1).await;
    drop(service);
    gate.wait_until_empty().await;
    equal("handlers dropped", 1, gate.dropped())?;
    let reply = request.await.or_fail("the client's task")?;
    equal("an answer", true, reply.is_err())
}

async fn peak() -> Outcome {
    const MIB: usize = 1024 * 1024;
    let (length, peak) = memory::peak_during(async {
        let first = vec![1_u8; 8 * MIB];
        drop(first);
        vec![1_u8; 4 * MIB].len()
    })
    .await;
    equal("the result", 4 * MIB, length)?;
    ensure(
        peak.abs_diff(8 * MIB) < MIB / 16,
        "8 MiB, then 4 MiB",
        "a peak of about 8 MiB",
        format!("{peak} bytes"),
    )
}

async fn gate() -> Outcome {
    let gate = Gate::closed();
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let gate = gate.clone();
        jobs.spawn(async move { gate.pass().await });
    }
    gate.wait_until_in_flight(5).await;
    equal("ended behind a closed gate", 0, gate.ended())?;
    gate.let_through(2);
    jobs.join_next().await;
    jobs.join_next().await;
    equal("ended, in flight", (2, 3), (gate.ended(), gate.in_flight()))?;
    gate.open();
    while jobs.join_next().await.is_some() {}
    equal(
        "entered, most at once, ended, dropped",
        (5, 5, 5, 0),
        (
            gate.entered(),
            gate.most_in_flight(),
            gate.ended(),
            gate.dropped(),
        ),
    )
}

async fn gate_drops() -> Outcome {
    let gate = Gate::opened();
    let visit = gate.enter();
    gate.pass().await;
    drop(visit);
    let counts = (
        gate.most_in_flight(),
        gate.ended(),
        gate.dropped(),
        gate.in_flight(),
    );
    equal(
        "most at once, ended, dropped, in flight",
        (2, 1, 1, 0),
        counts,
    )
}

async fn differences() -> Outcome {
    let cases = [
        (json!(1), json!(2), "2"),
        (
            json!([1]),
            json!([1, 2]),
            "[1,2]\nfirst difference: 1 values expected, 2 came: the first too many is 2",
        ),
        (
            json!({"a": 1}),
            json!({}),
            "{}\nfirst difference: no member \"a\"",
        ),
        (
            json!({}),
            json!({"a": 1}),
            "{\"a\":1}\nfirst difference: member \"a\" is not expected",
        ),
        (
            json!([{"a": "1"}]),
            json!([{"a": 1}]),
            "[{\"a\":1}]\nfirst difference: [0].a: \"1\" expected, 1 came",
        ),
        (json!(null), json!(0), "0"),
    ];
    for (expected, got, text) in cases {
        let failure = equal_json("?", &expected, &got).unwrap_err();
        equal(format!("{expected} against {got}"), text, failure.got())?;
    }
    Ok(())
}
