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
use check::gate::Gate;
use check::statements::{Recording, equal_runs};
use check::{
    Database, Failure, OrFail, Outcome, Service, Suite, Then, ensure, equal, equal_json, memory,
    parse_json,
};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, SqlitePool};
use tokio::sync::{Notify, oneshot};
use tracing::Level;

fn main() -> ExitCode {
    Suite::new("check", env!("CARGO_MANIFEST_DIR"))
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
        .check("database", "rows are added with chosen ids", chosen_ids)
        .check("database", "a kind of change is refused", refused)
        .check(
            "statements",
            "runs with other statements are told apart",
            runs,
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
        .check(
            "service",
            "an answer that never left is told, with its log",
            unsent_status,
        )
        .check(
            "service",
            "a failed request shows its lines of the log, and no other's",
            log_of_request,
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
        .check("memory", "a check may leave a task behind", leaves)
        .check("memory", "what it frees hides nothing of a peak", unhidden)
        .paused_check("gate", "a gate counts and holds jobs", gate)
        .paused_check("gate", "a gate knows dropped jobs", gate_drops)
        .check("failure", "JSON differences are named", differences)
        .check("failure", "a JSON error is shown where it is", json_errors)
        .check(
            "failure",
            "long texts are cut where they differ",
            long_texts,
        )
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
        .map(|s| (s.level, s.sql.as_str(), s.rows_returned))
        .collect();
    let expected = vec![
        (
            Level::DEBUG,
            "SELECT id, name FROM item WHERE price_cents < $1",
            rows.len() as u64,
        ),
        (Level::DEBUG, "DELETE FROM order_items", 0),
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
    tracing::info!(target: "other", "ended");
    tracing::warn!(target: "other", "late");
    equal(
        "by target",
        vec!["ended".to_owned(), "late".to_owned()],
        recording.logged_by("other"),
    )?;
    equal(
        "errors",
        vec!["no such item order=7".to_owned()],
        recording.logged(Level::ERROR),
    )?;
    equal(
        "warnings",
        vec!["slow".to_owned(), "late".to_owned()],
        recording.logged(Level::WARN),
    )?;
    equal(
        "debug",
        Vec::<String>::new(),
        recording.logged(Level::DEBUG),
    )?;
    recording.expect_logged("the log", Level::ERROR, "order=7")?;
    let failure = recording.expect_logged("the log", Level::WARN, "order=7");
    equal(
        "what was logged",
        "WARN slow\nWARN late",
        failure.unwrap_err().got(),
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
    let got = "{\"a\":[1,2.0]}\nfirst difference: .a[1]: expected 3, got 2.0";
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
        "no answer: the connection was closed before a status line was sent: the handler has \
         panicked, or the body failed before its first bytes (connection closed before message \
         completed)",
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
        failure.got().starts_with(
            "status 200 and 1 byte of the body were received, then the body broke off",
        ),
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

const MIB: usize = 1024 * 1024;

async fn peak() -> Outcome {
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

/// The memory of [`leaves`] is freed.
static FREED: Notify = Notify::const_new();

/// Its task holds memory for longer than the suite waits for it.
async fn leaves() -> Outcome {
    let (begun, begins) = oneshot::channel();
    tokio::task::spawn_blocking(|| {
        let held = vec![1_u8; 8 * MIB];
        begun.send(()).expect("the check waits");
        std::thread::sleep(Duration::from_secs(1));
        drop(held);
        FREED.notify_one();
    });
    begins.await.or_fail("the task's start")
}

async fn unhidden() -> Outcome {
    let ((), peak) = memory::peak_during(async {
        FREED.notified().await;
        drop(vec![1_u8; 4 * MIB]);
    })
    .await;
    ensure(
        peak.abs_diff(4 * MIB) < MIB / 16,
        "4 MiB, while an earlier check's task ends",
        "a peak of about 4 MiB",
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
            "[1,2]\nfirst difference: 1 values expected, 2 received: the first one too many is 2",
        ),
        (
            json!({"a": 1}),
            json!({}),
            "{}\nfirst difference: member \"a\" is missing",
        ),
        (
            json!({}),
            json!({"a": 1}),
            "{\"a\":1}\nfirst difference: member \"a\" is not expected",
        ),
        (
            json!([{"a": "1"}]),
            json!([{"a": 1}]),
            "[{\"a\":1}]\nfirst difference: [0].a: expected \"1\", got 1",
        ),
        (json!(null), json!(0), "0"),
    ];
    for (expected, got, text) in cases {
        let failure = equal_json("?", &expected, &got).unwrap_err();
        equal(format!("{expected} against {got}"), text, failure.got())?;
    }
    Ok(())
}

async fn json_errors() -> Outcome {
    // The comma between two of the objects is missing.
    let objects = vec!["{\"id\":1}"; 1000].join(",");
    let text = format!(
        "[\n{}]",
        objects
            .replacen("},{", "}{", 500)
            .replacen("}{", "},{", 499)
    );
    let failure = parse_json("a list", text.as_bytes()).unwrap_err();
    equal("asked", "a list", failure.asked())?;
    let around = "{\"id\":1},{\"id\":1}<<here>>{\"id\":1},{\"id\":1}";
    ensure(
        failure.got().contains(around) && failure.got().len() < 700,
        "a list without a comma",
        around,
        failure.got(),
    )?;
    let failure = parse_json("a list", b"[1, 2").unwrap_err();
    ensure(
        failure.got().ends_with("\n[1, 2<<here>>"),
        "a list without its end",
        "all of it",
        failure.got(),
    )?;
    equal("a list", json!([1]), parse_json("a list", b"[1]")?)
}

async fn long_texts() -> Outcome {
    let same = "x".repeat(1000);
    let failure = Failure::new("?", format!("{same}one"), format!("{same}two{same}"));
    let begin = format!("(900 characters are the same) … {}", "x".repeat(100));
    equal(
        "expected",
        format!("{begin}one").as_str(),
        failure.expected(),
    )?;
    ensure(
        failure.got().starts_with(&format!("{begin}twoxxx")) && failure.got().len() < 700,
        "got",
        "the text around the difference",
        failure.got(),
    )?;
    let failure = Failure::new("?", "short", &same);
    equal("expected", "short", failure.expected())?;
    let cut = format!("{} … (400 more characters)", "x".repeat(600));
    equal("got", cut.as_str(), failure.got())
}

async fn runs() -> Outcome {
    let database = Database::sample().await?;
    let pool = SqlitePool::connect(&database.url())
        .await
        .or_fail("a pool")?;
    let recording = Recording::start();
    let run = async |statements: &[&'static str]| {
        recording.clear();
        for sql in statements {
            let done = sqlx::query(*sql).execute(&pool).await;
            done.or_fail(sql)?;
        }
        Ok::<_, Failure>(recording.statements())
    };
    let (one, other) = ("SELECT 1 FROM item", "SELECT 2 FROM item");
    let of = async |first: &[&'static str], second: &[&'static str]| {
        let runs = [("a", run(first).await?), ("b", run(second).await?)];
        Ok::<_, Failure>(equal_runs("two runs", "the same", &runs).map_err(|f| f.got().to_owned()))
    };
    equal(
        "in another order",
        Ok(()),
        of(&[one, other], &[other, one]).await?,
    )?;
    let got = "the number of statements grows with the amount of data:\n\
               a: 2 statements\n  2 × SELECT 1 FROM item\n\
               b: 1 statement\n  1 × SELECT 1 FROM item";
    equal("N + 1", Err(got.to_owned()), of(&[one, one], &[one]).await?)?;
    let got = "the values are part of the SQL text, so the texts differ:\n\
               a: 1 statement\n  1 × SELECT 1 FROM item\n\
               b: 1 statement\n  1 × SELECT 2 FROM item";
    equal("values", Err(got.to_owned()), of(&[one], &[other]).await?)
}

async fn chosen_ids() -> Outcome {
    let database = Database::sample().await?;
    database.add_customer(20, "Zoë O'Neil").await?;
    database.add_item(30, "Farmer's Cheese", 250).await?;
    database.add_order(70, 20, &[(30, 2), (1, 1)]).await?;
    let row: String = database
        .one(
            "SELECT order_time || ' ' || customer.name || ' '
                 || group_concat(item.name || ' × ' || quantity, ', ' ORDER BY order_items.rowid)
             FROM orders JOIN customer ON customer.id = customer_id
                 JOIN order_items ON order_id = orders.id JOIN item ON item.id = item_id
             WHERE orders.id = 70",
        )
        .await?;
    let expected = "2024-04-01 01:10:00 Zoë O'Neil Farmer's Cheese × 2, Milk × 1";
    equal("order 70", expected, row.as_str())
}

async fn refused() -> Outcome {
    let database = Database::sample().await?;
    let before = database.snapshot().await?;
    database
        .refuse("INSERT ON order_items WHEN new.item_id = 3")
        .await?;
    database.refuse("UPDATE ON item").await?;
    let update = "UPDATE item SET price_cents = 1";
    for sql in ["INSERT INTO order_items VALUES (3, 3, 1)", update] {
        let failure = database.execute(sql).await.unwrap_err();
        ensure(
            failure.got().contains("refused by the check"),
            sql,
            "an error",
            failure.got(),
        )?;
    }
    database.expect_unchanged("both", &before).await?;
    database
        .execute("INSERT INTO order_items VALUES (3, 2, 1)")
        .await?;
    database.allow().await?;
    database.execute(update).await
}

/// Sends its status and a first byte together with what follows, which fails.
async fn unsent_status() -> Outcome {
    async fn fails_at_once() -> impl IntoResponse {
        Body::from_stream(async_stream::stream! {
            yield Ok(Bytes::from_static(b"["));
            tracing::error!("the first row has failed");
            yield Err(std::io::Error::other("no such table"));
        })
    }
    let service = Service::start(Router::new().route("/", get(fails_at_once)));
    let failure = service.get("/").await.map(drop).unwrap_err();
    ensure(
        failure
            .got()
            .contains("the body failed before its first bytes")
            && failure.got().ends_with("parts: the first row has failed"),
        "GET /",
        "what may have failed, and the log",
        failure.got(),
    )
}

async fn log_of_request() -> Outcome {
    async fn fails() -> (StatusCode, &'static str) {
        tracing::error!(error = "ColumnNotFound(\"price\")", "a request failed");
        let in_task = tokio::spawn(async { tracing::warn!("from a task of the handler") });
        in_task.await.expect("the task ends");
        (StatusCode::INTERNAL_SERVER_ERROR, "oops")
    }
    async fn warns(State(gate): State<Gate>) -> StatusCode {
        tracing::warn!("another request's");
        gate.pass().await;
        StatusCode::BAD_REQUEST
    }
    let gate = Gate::closed();
    let app = Router::new()
        .route("/fails", get(fails))
        .route("/warns", get(warns))
        .with_state(gate.clone());
    let service = Service::start(app);
    let failing = async {
        gate.wait_until_in_flight(1).await;
        let failing = service.get("/fails").await;
        gate.open();
        failing
    };
    let (warned, failed) = futures::future::join(service.get("/warns"), failing).await;
    let got = "status 500: oops\nthe service's log of this request:\n  \
               ERROR parts: a request failed error=ColumnNotFound(\"price\")\n  \
               WARN parts: from a task of the handler";
    let failed = failed?;
    for failure in [
        failed.expect_status(200).map(drop).unwrap_err(),
        failed.expect_json(200, &json!(1)).unwrap_err(),
        failed.failure("another one"),
    ] {
        equal("the failure of /fails", got, failure.got())?;
    }
    // Nothing is hidden in an answer below 500.
    let failure = warned?.expect_status(200).map(drop).unwrap_err();
    equal("the failure of /warns", "status 400:", failure.got())
}
