//! Proves step 05. Run it with `./run.sh check 05`.
//!
//! What the engine does is read from what sqlx reports: each connection that is
//! opened and each statement with its level and its rows. Nothing is timed: where
//! a query has to wait, something holds a lock or a connection until the check
//! lets it go.

use std::process::ExitCode;
use std::time::Duration;

use axum::response::IntoResponse;
use contract::statements::Recording;
use contract::{Database, Failure, OrFail, Outcome, Service, Suite, answers, ensure, equal};
use futures::future::{join_all, select_all};
use futures::{FutureExt, StreamExt, TryStreamExt};
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use step05::db::base::{Engine, EngineConfig, Rows};
use step05::error::Error;
use step05::server::app;
use tokio::time::{sleep, timeout};
use tracing::Level;

fn main() -> ExitCode {
    Suite::new("05-engine", env!("CARGO_MANIFEST_DIR"))
        .check(
            "05.1",
            "the busy timeout is the configured one",
            busy_timeout,
        )
        .check("05.1", "foreign keys are enforced", foreign_keys)
        .check("05.1", "the echo is at INFO, without it DEBUG", echo)
        .check(
            "05.2",
            "the pool's limit and timeout are the configured ones",
            settings,
        )
        .check("05.2", "nothing is opened before the first query", lazy)
        .check("05.3", "queries use a connection of the pool again", shared)
        .check(
            "05.3",
            "a connection comes back after a failed query",
            after_failure,
        )
        .check(
            "05.3",
            "a connection comes back after a dropped query",
            after_drop,
        )
        .check(
            "05.3",
            "several inserts are stored together or not at all",
            together,
        )
        .check(
            "05.3",
            "50 clients, a pool of 4: 4 connections at most",
            fifty_clients,
        )
        .check(
            "05.3",
            "no connection in time: the query fails",
            acquire_timeout,
        )
        .check(
            "05.4",
            "a stream uses a connection of the pool",
            stream_shares,
        )
        .check(
            "05.4",
            "a dropped stream gives its connection back",
            stream_dropped,
        )
        .check("05.4", "streams count against the limit", streams_limited)
        .check(
            "05.4",
            "a stream passes on rows, then the error",
            stream_fails,
        )
        .check("05.5", "no connection in time is status 503", status_503)
        .check("05.6", "a 503 says when to come back", retry_after)
        .check(
            "05.6",
            "GET /api/order_total/1 while the pool is taken",
            pool_taken,
        )
        .check(
            "05.6",
            "the other addresses answer as before",
            others_unchanged,
        )
        .run()
}

fn engine(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

/// A pool of `max_connections`; a query waits `acquire_timeout` for its turn.
fn pool_of(max_connections: u32, acquire_timeout: Duration) -> EngineConfig {
    EngineConfig {
        max_connections,
        acquire_timeout,
        ..EngineConfig::default()
    }
}

/// Longer than any wait of a right answer.
const PATIENT: Duration = Duration::from_secs(5);

/// Three checks wait as long as this until a query has given up, so it is short.
/// Whoever needs a connection that is free tries more than once: a busy machine
/// may take longer to hand it over.
const IMPATIENT: Duration = Duration::from_millis(200);

/// How often a free connection is asked for.
const TRIES: u32 = 20;

/// Opens the pool's first connection, however long the machine takes for it.
async fn warm_up(engine: &Engine) -> Outcome {
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = engine
            .execute_query(sqlx::query("SELECT 1"))
            .await
            .or_fail("execute_query: SELECT 1")
            .map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// A stream that holds a connection: its first row is taken, others are to come.
async fn open_stream(engine: &Engine, asked: &str) -> Result<Rows<SqliteRow>, Failure> {
    let mut outcome = Err(Failure::new(asked, "a row", "no row"));
    for _ in 0..TRIES {
        let mut stream = engine.stream_query(sqlx::query(THREE));
        match stream.try_next().await {
            Ok(Some(_)) => return Ok(stream),
            Ok(None) => break,
            Err(error) => outcome = Err(error).or_fail(asked),
        }
    }
    outcome
}

/// What `sql` selects, as a number.
async fn number(engine: &Engine, sql: &'static str) -> Result<i64, Failure> {
    let rows = engine.execute_query(sqlx::query(sql)).await.or_fail(sql)?;
    let row = rows.first().or_fail(sql)?;
    row.try_get(0).or_fail(sql)
}

// ---- 05.1

async fn busy_timeout() -> Outcome {
    let database = Database::sample().await?;
    for millis in [250_i64, 7000] {
        let config = EngineConfig {
            busy_timeout: Duration::from_millis(millis.unsigned_abs()),
            ..EngineConfig::default()
        };
        let engine = engine(&database, config)?;
        let got = number(&engine, "PRAGMA busy_timeout").await?;
        ensure(
            got == millis,
            format_args!("an engine with busy_timeout {millis} ms: PRAGMA busy_timeout"),
            format_args!("{millis} (ms)"),
            format_args!("{got} (ms)"),
        )?;
    }
    Ok(())
}

async fn foreign_keys() -> Outcome {
    let database = Database::sample().await?;
    let before = database.snapshot().await?;
    let engine = engine(&database, EngineConfig::default())?;
    let result = engine
        .execute_insert_query(sqlx::query(
            "INSERT INTO orders (customer_id, order_time) VALUES (77, '2024-04-01 10:00:00')",
        ))
        .await;
    let asked = "execute_insert_query: an order of customer 77, who does not exist";
    let refused = matches!(&result, Err(Error::Database(error))
        if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation));
    ensure(
        refused,
        asked,
        "an error: the foreign key has no row to point to",
        format_args!("{result:?}"),
    )?;
    database.expect_unchanged(asked, &before).await
}

async fn echo() -> Outcome {
    let database = Database::sample().await?;
    let sql = "SELECT count(*) FROM item";
    for (echo, level) in [(true, Level::INFO), (false, Level::DEBUG)] {
        let config = EngineConfig {
            echo,
            ..EngineConfig::default()
        };
        let engine = engine(&database, config)?;
        let recording = Recording::start();
        number(&engine, sql).await?;
        let levels: Vec<Level> = recording
            .statements()
            .iter()
            .filter(|statement| statement.sql == sql)
            .map(|statement| statement.level)
            .collect();
        equal(
            format_args!("echo: {echo}; at which level is {sql} logged?"),
            vec![level],
            levels,
        )?;
    }
    Ok(())
}

// ---- 05.2

async fn settings() -> Outcome {
    let database = Database::sample().await?;
    let config = pool_of(3, Duration::from_millis(1234));
    // Queries do not show it before they go through the pool, but the pool says
    // of itself how it was made. It calls one value by an older name.
    let text =
        format!("{:?}", engine(&database, config)?).replace("connect_timeout", "acquire_timeout");
    let expected = ["max_connections: 3,", "acquire_timeout: 1.234s,"];
    let options = text.find("PoolOptions").map_or("", |start| &text[start..]);
    ensure(
        expected.iter().all(|part| text.contains(part)),
        "an engine with max_connections 3 and acquire_timeout 1.234 s",
        expected.join(" "),
        options.split_inclusive('}').next().unwrap_or(&text),
    )
}

async fn lazy() -> Outcome {
    let database = Database::sample().await?;
    let recording = Recording::start();
    let engine = engine(&database, pool_of(5, PATIENT))?;
    // Time enough for somebody who opens in the background.
    for _ in 0..20 {
        database.one::<i64>("SELECT count(*) FROM item").await?;
    }
    equal(
        "Engine::new with max_connections 5, no query yet: connections opened",
        0,
        recording.connections_opened(),
    )?;
    equal("and engine.connections()", 0, engine.connections())
}

// ---- 05.3

fn new_order() -> step05::db::base::SqlQuery {
    sqlx::query("INSERT INTO orders (customer_id, order_time) VALUES (2, '2024-04-01 10:00:00')")
}

fn new_item(order_id: i64, item_id: i64) -> step05::db::base::SqlQuery {
    sqlx::query("INSERT INTO order_items (order_id, item_id, quantity) VALUES ($1, $2, 3)")
        .bind(order_id)
        .bind(item_id)
}

async fn shared() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let opened = |recording: &Recording, asked: &str| {
        ensure(
            recording.connections_opened() == 1 && engine.connections() == 1,
            asked,
            "1 connection opened, 1 in the pool",
            format_args!(
                "{} opened, {} in the pool",
                recording.connections_opened(),
                engine.connections()
            ),
        )
    };
    let recording = Recording::start();
    for _ in 0..10 {
        number(&engine, "SELECT count(*) FROM item").await?;
    }
    opened(&recording, "a pool of 1: 10 times execute_query")?;
    let asked = "a pool of 1: execute_insert_query, then execute_insert_queries";
    let order_id = engine
        .execute_insert_query(new_order())
        .await
        .or_fail(asked)?;
    engine
        .execute_insert_queries(vec![new_item(order_id, 1), new_item(order_id, 2)])
        .await
        .or_fail(asked)?;
    opened(&recording, asked)?;
    equal("execute_insert_query: the id of the new row", 4, order_id)?;
    let items = database
        .one::<i64>("SELECT count(*) FROM order_items WHERE order_id = 4")
        .await?;
    equal(
        format_args!("{asked}: how many items has the new order?"),
        2,
        items,
    )
}

async fn after_failure() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    for _ in 0..3 {
        let result = engine
            .execute_query(sqlx::query("SELECT * FROM no_such_table"))
            .await;
        ensure(
            matches!(result, Err(Error::Database(_))),
            "execute_query: SELECT * FROM no_such_table",
            "Err(Database(..))",
            format_args!("{} rows", result.map_or(0, |rows| rows.len())),
        )?;
    }
    number(&engine, "SELECT count(*) FROM item").await?;
    equal(
        "a pool of 1: 3 failing queries, then a good one: connections opened",
        1,
        recording.connections_opened(),
    )
}

const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";

async fn after_drop() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    // Nobody tells from outside when a query has begun, but the record does
    // afterwards. Dropped before that, while its connection was still being
    // acquired, it may rightly cost the connection: then another try.
    for patience in [1, 10, 100, 1000] {
        number(&engine, "SELECT count(*) FROM item").await?;
        let opened = recording.connections_opened();
        let query = tokio::spawn({
            let engine = engine.clone();
            async move { engine.execute_query(sqlx::query(ENDLESS)).await.is_ok() }
        });
        sleep(Duration::from_millis(patience)).await;
        query.abort();
        // The error says that it was aborted.
        let _ = query.await;
        number(&engine, "SELECT count(*) FROM item").await?;
        if recording.statements().iter().any(|s| s.sql == ENDLESS) {
            return equal(
                "a pool of 1: a query, one dropped while it runs, a third: \
                 connections opened after the first query",
                0,
                recording.connections_opened() - opened,
            );
        }
    }
    Err(Failure::new(
        "a query that runs for a second",
        "it is executed",
        "it is not",
    ))
}

async fn together() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let before = database.snapshot().await?;
    let asked = "a pool of 1: execute_insert_queries, the second of two names no item";
    let result = engine
        .execute_insert_queries(vec![new_item(3, 1), new_item(3, 2222)])
        .await;
    let refused = matches!(&result, Err(Error::Database(error))
        if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation));
    ensure(
        refused,
        asked,
        "an error: the foreign key has no row to point to",
        format_args!("{result:?}"),
    )?;
    // Waits for the rollback, which happens when the connection is back.
    database.lock_exclusively().await?.release().await?;
    database.expect_unchanged(asked, &before).await?;
    number(&engine, "SELECT count(*) FROM item").await.map(drop)
}

// ---- 05.3 with the limits of 05.2, which work now that queries go through the pool

async fn fifty_clients() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(4, PATIENT))?;
    let service = Service::start(app(engine.clone()));
    let recording = Recording::start();
    let asked = "a pool of 4, 50 clients at once: GET /api/order_total/1";
    let clients = (0..50).map(|_| service.get("/api/order_total/1"));
    for reply in join_all(clients).await {
        reply?.expect_json(200, &json!({"Order Total": 30.0}))?;
    }
    let opened = recording.connections_opened();
    ensure(
        opened <= 4,
        asked,
        "at most 4 connections opened",
        format_args!("{opened} connections opened"),
    )?;
    let clients = (0..100).map(|_| service.get("/api/order_total/1"));
    for reply in join_all(clients).await {
        reply?.expect_status(200)?;
    }
    let opened = recording.connections_opened();
    ensure(
        opened <= 4,
        format_args!("{asked}; then 100 more"),
        "at most 4 connections opened in all",
        format_args!("{opened} connections opened"),
    )
}

async fn acquire_timeout() -> Outcome {
    let database = Database::sample().await?;
    // Without a WAL an exclusive lock keeps even readers waiting.
    database.execute("PRAGMA journal_mode = DELETE").await?;
    let config = EngineConfig {
        busy_timeout: Duration::from_secs(9),
        ..pool_of(1, IMPATIENT)
    };
    let engine = engine(&database, config)?;
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = gives_up(&database, &engine).await;
        // Not even one of the two queries had the connection in time.
        let late = |failure: &Failure| failure.asked() == HAD_THE_CONNECTION;
        if !outcome.as_ref().is_err_and(late) {
            break;
        }
    }
    outcome
}

const HAD_THE_CONNECTION: &str = "the query that had the connection";

async fn gives_up(database: &Database, engine: &Engine) -> Outcome {
    warm_up(engine).await?;
    let mut lock = database.connect().await?;
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut lock)
        .await
        .or_fail("a lock for the check")?;

    // One of the two gets the only connection and waits for the lock; the other
    // waits for the connection.
    let asked = "a pool of 1, acquire_timeout 200 ms; its connection is in use, a query comes";
    let expected = "Err(PoolTimedOut) while the connection is still in use";
    let count = || engine.execute_query(sqlx::query("SELECT count(*) FROM item"));
    let both = select_all([count().boxed(), count().boxed()]);
    let (result, _, rest) = timeout(PATIENT, both)
        .await
        .map_err(|_| Failure::new(asked, expected, "the query waits without end"))?;
    ensure(
        matches!(result, Err(Error::Database(sqlx::Error::PoolTimedOut))),
        asked,
        expected,
        result.map_or_else(|error| format!("{error:?}"), |_| "an answer".to_owned()),
    )?;
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut lock)
        .await
        .or_fail("the end of the check's lock")?;
    for query in rest {
        query.await.or_fail(HAD_THE_CONNECTION)?;
    }
    Ok(())
}

// ---- 05.4

const THREE: &str = "SELECT id FROM item WHERE id <= 3 ORDER BY id";

async fn stream_shares() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    let stream = engine.stream_query(sqlx::query(THREE));
    number(&engine, "SELECT count(*) FROM item").await?;
    let early = recording.statements().iter().any(|s| s.sql == THREE);
    ensure(
        !early,
        "stream_query, not polled yet; then execute_query",
        "the stream's query is not executed yet",
        "it is",
    )?;
    let asked = "stream_query, read to its end";
    let rows: Vec<_> = stream.try_collect().await.or_fail(asked)?;
    let ids: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get("id")).collect();
    equal(asked, vec![1, 2, 3], ids.or_fail(asked)?)?;
    number(&engine, "SELECT count(*) FROM item").await?;
    equal(
        "a pool of 1: a query, a stream, a query: connections opened",
        1,
        recording.connections_opened(),
    )
}

async fn streams_limited() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, IMPATIENT))?;
    warm_up(&engine).await?;
    let asked = "a pool of 1; one stream is open, another is read from";
    let first = open_stream(&engine, asked).await?;
    let second = engine.stream_query(sqlx::query(THREE)).next().await;
    ensure(
        matches!(
            second,
            Some(Err(Error::Database(sqlx::Error::PoolTimedOut)))
        ),
        asked,
        "Err(PoolTimedOut): the only connection is in use",
        match second {
            Some(Ok(_)) => "a row".to_owned(),
            Some(Err(error)) => format!("{error:?}"),
            None => "no row".to_owned(),
        },
    )?;
    let rest: Vec<_> = first.try_collect().await.or_fail("the open stream")?;
    equal("the open stream: rows still to come", 2, rest.len())
}

async fn stream_dropped() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(10_000).await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    let asked = "a pool of 1; a stream of 10,000 rows, dropped after the first";
    let sql = "SELECT id, name FROM customer";
    let mut stream = engine.stream_query(sqlx::query(sql));
    stream.try_next().await.or_fail(asked)?;
    drop(stream);
    // Gets the connection as soon as the stream has let go of it.
    engine
        .execute_query(sqlx::query("SELECT 1"))
        .await
        .or_fail(format_args!("{asked}; then a query"))?;
    let read = recording
        .statements()
        .iter()
        .find(|statement| statement.sql == sql)
        .map_or(0, |statement| statement.rows_returned);
    ensure(
        read <= 200,
        format_args!("{asked}: rows read"),
        "few: sqlx reads about 50 ahead",
        format_args!("{} rows", grouped(read)),
    )?;
    equal(
        format_args!("{asked}; then a query: connections opened"),
        1,
        recording.connections_opened(),
    )
}

/// `10003` as `10,003`: fewer than a million rows are counted here.
fn grouped(rows: u64) -> String {
    match rows / 1000 {
        0 => rows.to_string(),
        thousands => format!("{thousands},{:03}", rows % 1000),
    }
}

async fn stream_fails() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    // SQLite has no positive counterpart of its smallest integer.
    let stream = engine.stream_query(sqlx::query(
        "SELECT abs(i) FROM (SELECT -1 AS i UNION ALL SELECT -9223372036854775807 - 1)",
    ));
    let items: Vec<&str> = stream
        .map(|item| if item.is_ok() { "a row" } else { "an error" })
        .collect()
        .await;
    equal(
        "a stream whose second row cannot be computed",
        vec!["a row", "an error"],
        items,
    )?;
    number(&engine, "SELECT count(*) FROM item").await.map(drop)
}

// ---- 05.5 and 05.6

/// Status and header `Retry-After` of the answer to `error`.
fn answer(error: Error) -> (u16, Option<String>) {
    let response = error.into_response();
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    (response.status().as_u16(), retry_after)
}

async fn status_503() -> Outcome {
    for (error, name, status) in [
        // Which of sqlx's errors this is, is the task's question.
        (
            sqlx::Error::PoolTimedOut,
            "the error of a pool that is taken",
            503,
        ),
        // Not a matter of waiting.
        (sqlx::Error::PoolClosed, "Error::Database(PoolClosed)", 500),
        (
            sqlx::Error::Io(std::io::Error::other("an error of the check")),
            "Error::Database(Io(..))",
            500,
        ),
        (
            sqlx::Error::RowNotFound,
            "Error::Database(RowNotFound)",
            500,
        ),
        (
            sqlx::Error::WorkerCrashed,
            "Error::Database(WorkerCrashed)",
            500,
        ),
    ] {
        let (got, _) = answer(Error::Database(error));
        equal(format_args!("the status for {name}"), status, got)?;
    }
    Ok(())
}

async fn retry_after() -> Outcome {
    let (_, value) = answer(Error::Database(sqlx::Error::PoolTimedOut));
    let seconds = value.as_deref().and_then(|text| text.parse::<u32>().ok());
    ensure(
        seconds.is_some_and(|seconds| (1..=60).contains(&seconds)),
        "the header Retry-After of the answer to the error of a pool that is taken",
        "a number of seconds, from 1 to 60",
        value.unwrap_or_else(|| "no such header".to_owned()),
    )?;
    for (error, name) in [
        (
            Error::Database(sqlx::Error::RowNotFound),
            "Database(RowNotFound)",
        ),
        (Error::BadRequest("no"), "BadRequest"),
    ] {
        let (_, value) = answer(error);
        equal(
            format_args!("the header Retry-After of the answer to Error::{name}"),
            None,
            value,
        )?;
    }
    Ok(())
}

async fn pool_taken() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, IMPATIENT))?;
    warm_up(&engine).await?;
    let service = Service::start(app(engine.clone()));
    let stream = open_stream(&engine, "a stream that takes the connection").await?;

    let reply = service.get("/api/order_total/1").await?;
    reply.expect_status(503)?;
    let asked = format!(
        "{}, while the pool's only connection is in use",
        reply.asked()
    );
    ensure(
        reply.header("retry-after").is_some(),
        &asked,
        "a header Retry-After",
        "none",
    )?;
    equal(
        format_args!("{asked}: the content type"),
        Some("application/problem+json"),
        reply.header("content-type"),
    )?;
    let text = reply.text();
    ensure(
        reply.json()?["status"].as_u64() == Some(503)
            && !text.contains("SELECT")
            && !text.contains("pool"),
        &asked,
        "a problem with status 503 that says nothing of SQL or the pool",
        &text,
    )?;

    drop(stream);
    let mut reply = service.get("/api/order_total/1").await?;
    for _ in 1..TRIES {
        if reply.status != 503 {
            break;
        }
        reply = service.get("/api/order_total/1").await?;
    }
    reply.expect_json(200, &json!({"Order Total": 30.0}))
}

/// A service over the sample data: those of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let engine = engine(&database, EngineConfig::default())?;
    Ok((Service::start(app(engine)), database))
}

async fn others_unchanged() -> Outcome {
    let (service, database) = fresh().await?;
    answers::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_refusals_400(&service, &database).await?;
    let (service, _database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::orders_of_unknown_customer_empty(&service).await?;
    answers::order_total_null_when_unknown(&service).await
}
