//! Proves step 05. Run it with `./run.sh check 05`.
//!
//! The checks read what the engine does from what sqlx reports: each connection
//! that is opened, and each statement with its level and its rows. Where a query
//! must wait, a check holds a lock or a connection until it lets it go.

use std::process::ExitCode;
use std::time::Duration;

use axum::body::to_bytes;
use axum::response::IntoResponse;
use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal};
use futures::future::{Either, LocalBoxFuture, join_all, select, select_all};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, poll};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use step05::db::base::{Engine, EngineConfig, Rows, SqlQuery};
use step05::error::Error;
use step05::server::app;
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("05-engine", env!("CARGO_MANIFEST_DIR"))
        .check(
            "05.1",
            "the busy timeout is the configured one",
            busy_timeout,
        )
        .check("05.1", "foreign keys are enforced", foreign_keys)
        .check(
            "05.1",
            "while a query reads a table, another connection can write to it",
            readers_and_a_writer,
        )
        .check(
            "05.1",
            "statements are logged at INFO with the echo, at DEBUG without it",
            echo,
        )
        .check(
            "05.2",
            "the pool's limit and timeout are the configured ones",
            settings,
        )
        .check("05.2", "nothing is opened before the first query", lazy)
        .check("05.3", "queries use a connection of the pool again", shared)
        .check(
            "05.3",
            "an insert returns the id of its own row",
            ids_of_inserts,
        )
        .check(
            "05.3",
            "several inserts are stored together or not at all",
            together,
        )
        .check(
            "05.3",
            "a commit that fails is an error, and nothing is stored",
            commit_fails,
        )
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
            "a call that is dropped while it waits for a connection runs nothing",
            dropped_in_the_queue,
        )
        .check(
            "05.3",
            "a transaction that is dropped halfway is rolled back",
            dropped_halfway,
        )
        .check("05.3", "50 clients share 4 connections", fifty_clients)
        .check(
            "05.3",
            "a call that gets no connection in time fails",
            acquire_timeout,
        )
        .check(
            "05.4",
            "a stream uses a connection of the pool",
            stream_shares,
        )
        .check(
            "05.4",
            "a stream does nothing before its first row is asked for",
            stream_lazy,
        )
        .check(
            "05.4",
            "a row arrives as soon as SQLite has found it",
            stream_at_once,
        )
        .check(
            "05.4",
            "a stream that has ended gives its connection back",
            stream_ended,
        )
        .check(
            "05.4",
            "a dropped stream gives its connection back",
            stream_dropped,
        )
        .check(
            "05.4",
            "a stream that is dropped while it waits for a connection runs nothing",
            stream_dropped_in_the_queue,
        )
        .check("05.4", "streams count against the limit", streams_limited)
        .check(
            "05.4",
            "a stream passes on rows, then the error",
            stream_fails,
        )
        .check("05.5", "no connection in time is status 503", status_503)
        .check("05.5", "all other failures keep their status", other_status)
        .check(
            "05.5",
            "a 503 says nothing about SQL or the pool to the client",
            text_of_503,
        )
        .check("05.5", "a 503 is logged with its cause", log_of_503)
        .check("05.6", "a 503 says when to come back", retry_after)
        .check(
            "05.6",
            "every endpoint answers 503 while the pool is taken",
            pool_taken,
        )
        .check(
            "05.6",
            "with free connections the endpoints answer as before",
            others_unchanged,
        )
        .run()
}

fn engine(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

/// A pool of `max_connections`; a query waits `acquire_timeout` for one of them.
fn pool_of(max_connections: u32, acquire_timeout: Duration) -> EngineConfig {
    EngineConfig {
        max_connections,
        acquire_timeout,
        ..EngineConfig::default()
    }
}

/// Longer than any wait of a right answer.
const PATIENT: Duration = Duration::from_secs(5);

/// Three checks wait this long until a query has given up, so it is short. A check
/// that needs a free connection tries several times: a busy machine may take
/// longer to hand it over.
const IMPATIENT: Duration = Duration::from_millis(200);

/// How often a check tries to get a free connection.
const TRIES: u32 = 20;

const COUNT: &str = "SELECT count(*) FROM item";

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

/// Runs as many queries at once as the pool may have connections, so that it
/// opens all of them.
async fn open_all(engine: &Engine, connections: usize) -> Outcome {
    let queries = (0..connections).map(|_| number(engine, COUNT));
    join_all(queries)
        .await
        .into_iter()
        .try_for_each(|count| equal("a query while others run", 4, count?))
}

/// What `sql` selects, as a number.
async fn number(engine: &Engine, sql: &'static str) -> Result<i64, Failure> {
    let rows = engine.execute_query(sqlx::query(sql)).await.or_fail(sql)?;
    let row = rows.first().or_fail(sql)?;
    row.try_get(0).or_fail(sql)
}

/// Fails unless the only connection of the engine's pool is free, or soon is.
async fn connection_is_free(engine: &Engine, asked: &str) -> Outcome {
    let result = engine.execute_query(sqlx::query(COUNT)).await;
    ensure(
        result.is_ok(),
        format_args!("{asked}; then another query"),
        "the query gets the pool's only connection",
        result.map_or_else(|error| format!("{error:?}"), |_| String::new()),
    )
}

/// Three functions that run over the pool, each with the name that a failure shows.
const CALLS: [&str; 3] = [
    "execute_query",
    "execute_insert_query",
    "execute_insert_queries",
];

/// A call of one of them. The inserts add orders of customer 2.
fn call<'a>(engine: &'a Engine, name: &str) -> LocalBoxFuture<'a, Result<(), Error>> {
    match name {
        "execute_query" => engine
            .execute_query(sqlx::query(MARKED))
            .map_ok(drop)
            .boxed_local(),
        "execute_insert_query" => engine
            .execute_insert_query(new_order())
            .map_ok(drop)
            .boxed_local(),
        _ => engine
            .execute_insert_queries(vec![new_order(), new_order()])
            .boxed_local(),
    }
}

/// A statement that a check finds again in the recording.
const MARKED: &str = "SELECT id FROM item WHERE id <= 2 ORDER BY id";

const NEW_ORDER: &str =
    "INSERT INTO orders (customer_id, order_time) VALUES (2, '2024-04-01 10:00:00')";

fn new_order() -> SqlQuery {
    sqlx::query(NEW_ORDER)
}

fn executed(recording: &Recording, sql: &str) -> bool {
    recording.statements().iter().any(|s| s.sql == sql)
}

// ---- 05.1

async fn busy_timeout() -> Outcome {
    let database = Database::sample().await?;
    for millis in [1500_i64, 7000] {
        let config = EngineConfig {
            busy_timeout: Duration::from_millis(millis.unsigned_abs()),
            ..EngineConfig::default()
        };
        let engine = engine(&database, config)?;
        // Three at once, so that a pool has to open three connections.
        let queries = (0..3).map(|_| number(&engine, "PRAGMA busy_timeout"));
        for got in join_all(queries).await {
            let got = got?;
            ensure(
                got == millis,
                format_args!("an engine with busy_timeout {millis} ms: PRAGMA busy_timeout"),
                format_args!("{millis} (ms)"),
                format_args!("{got} (ms)"),
            )?;
        }
    }
    Ok(())
}

async fn readers_and_a_writer() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, EngineConfig::default())?;
    let asked = "a stream over `item` is open; an INSERT into `item`";
    let read = "SELECT a.id FROM item a, item b, item c, item d";
    let mut rows = engine.stream_query(sqlx::query(read));
    rows.try_next().await.or_fail(read)?;
    let insert = "INSERT INTO item (name, price_cents) VALUES ('Gum', 5)";
    let inserted = engine.execute_insert_query(sqlx::query(insert)).await;
    inserted.or_fail(asked)?;
    drop(rows);
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
    database.expect_unchanged(asked, &before).await?;
    // Three at once, so that a pool has to open three connections.
    let queries = (0..3).map(|_| number(&engine, "PRAGMA foreign_keys"));
    for got in join_all(queries).await {
        equal("PRAGMA foreign_keys, on each connection", 1, got?)?;
    }
    Ok(())
}

async fn echo() -> Outcome {
    let database = Database::sample().await?;
    for (echo, level) in [(true, Level::INFO), (false, Level::DEBUG)] {
        let config = EngineConfig {
            echo,
            ..EngineConfig::default()
        };
        let engine = engine(&database, config)?;
        let recording = Recording::start();
        number(&engine, COUNT).await?;
        engine
            .execute_insert_query(new_order())
            .await
            .or_fail("execute_insert_query: an order")?;
        let levels: Vec<Level> = recording
            .statements()
            .iter()
            .filter(|statement| statement.sql == COUNT || statement.sql == NEW_ORDER)
            .map(|statement| statement.level)
            .collect();
        equal(
            format_args!("echo: {echo}; the levels at which a SELECT and an INSERT are logged"),
            vec![level; 2],
            levels,
        )?;
    }
    Ok(())
}

// ---- 05.2

async fn settings() -> Outcome {
    let database = Database::sample().await?;
    for (connections, millis, timeout) in [(3, 1234, "1.234s"), (1, 50, "50ms"), (40, 9000, "9s")] {
        let config = pool_of(connections, Duration::from_millis(millis));
        // Queries do not show it before they go through the pool, but the pool says
        // of itself how it was made. It calls one value by an older name.
        let text = format!("{:?}", engine(&database, config)?)
            .replace("connect_timeout", "acquire_timeout");
        let expected = [
            format!("max_connections: {connections},"),
            "min_connections: 0,".to_owned(),
            format!("acquire_timeout: {timeout},"),
        ];
        let options = text.find("PoolOptions").map_or("", |start| &text[start..]);
        let expected_too = ["idle_timeout: Some(600s),", "max_lifetime: Some(1800s),"];
        let kept = expected_too.iter().all(|part| text.contains(part));
        ensure(
            kept && expected.iter().all(|part| text.contains(part)),
            format_args!(
                "an engine with max_connections {connections} and acquire_timeout {timeout}: \
                 the options of its pool"
            ),
            format_args!(
                "{} and sqlx's defaults: {}",
                expected.join(" "),
                expected_too.join(" ")
            ),
            options.split_inclusive('}').next().unwrap_or(&text),
        )?;
    }
    Ok(())
}

async fn lazy() -> Outcome {
    let database = Database::sample().await?;
    let recording = Recording::start();
    let engine = engine(&database, pool_of(5, PATIENT))?;
    give_time(&database).await?;
    equal(
        "Engine::new with max_connections 5, no query yet: connections opened",
        0,
        recording.connections_opened(),
    )?;
    equal("and engine.connections()", 0, engine.connections())
}

/// Lets the tasks run that an answer may have spawned: queries over other
/// connections take much longer than what those tasks would do.
async fn give_time(database: &Database) -> Outcome {
    for _ in 0..20 {
        database.one::<i64>(COUNT).await?;
    }
    Ok(())
}

// ---- 05.3

fn new_item(order_id: i64, item_id: i64) -> SqlQuery {
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
        number(&engine, COUNT).await?;
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

async fn ids_of_inserts() -> Outcome {
    let database = Database::sample().await?;
    // So the highest id is never that of the row that was inserted.
    database
        .execute(
            "CREATE TRIGGER copy AFTER INSERT ON customer WHEN new.name NOT LIKE 'copy%'
             BEGIN INSERT INTO customer (name, address_id) VALUES ('copy', 1); END",
        )
        .await?;
    let engine = engine(&database, pool_of(4, PATIENT))?;
    open_all(&engine, 4).await?;
    let asked = "a pool of 4 open connections: execute_insert_query";
    let insert = |name: String| {
        let sql = "INSERT INTO customer (name, address_id) VALUES ($1, 1)";
        engine.execute_insert_query(sqlx::query(sql).bind(name))
    };
    let mut rows = Vec::new();
    for i in 0..5 {
        let name = format!("'{i}' alone");
        rows.push((insert(name.clone()).await.or_fail(asked)?, name));
    }
    let names: Vec<_> = (0..6).map(|i| format!("{i} of 6 at once")).collect();
    let at_once = join_all(names.iter().cloned().map(insert)).await;
    for (id, name) in at_once.into_iter().zip(names) {
        rows.push((id.or_fail(asked)?, name));
    }
    let negative = engine
        .execute_insert_query(sqlx::query(
            "INSERT INTO customer (id, name, address_id) VALUES (-7, 'of id -7', 1)",
        ))
        .await;
    rows.push((negative.or_fail(asked)?, "of id -7".to_owned()));
    for (id, name) in rows {
        let sql = format!(
            "SELECT coalesce((SELECT name FROM customer WHERE id = {id}), 'no such customer')"
        );
        let got: String = database.one(&sql).await?;
        equal(
            format_args!(
                "{asked} with the customer {name:?} returns {id}; the customer with that id"
            ),
            name.as_str(),
            got,
        )?;
    }
    Ok(())
}

/// Creates a table whose rows tell in which order they were inserted. The number
/// must be below 1,000.
async fn with_notes() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    database
        .execute("CREATE TABLE note (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n < 1000))")
        .await?;
    Ok(database)
}

fn note(n: i64) -> SqlQuery {
    sqlx::query("INSERT INTO note (n) VALUES ($1)").bind(n)
}

async fn notes(database: &Database) -> Result<String, Failure> {
    let sql = "SELECT coalesce(group_concat(n, ' '), 'none') FROM (SELECT n FROM note ORDER BY id)";
    database.one(sql).await
}

/// Fails unless other connections see what each of the pool's 4 inserts: a
/// transaction that was left open would keep it back.
async fn inserts_are_seen(engine: &Engine, database: &Database, asked: &str) -> Outcome {
    let before = database.one::<i64>("SELECT count(*) FROM note").await?;
    for added in 1..=4 {
        let asked = format!("{asked}; then {added} times execute_insert_query");
        engine.execute_insert_query(note(5)).await.or_fail(&asked)?;
        let after = database.one::<i64>("SELECT count(*) FROM note").await?;
        ensure(
            after == before + added,
            asked,
            format_args!("{added} more rows, which every connection sees"),
            format_args!("{} more rows; is a transaction still open?", after - before),
        )?;
    }
    Ok(())
}

async fn together() -> Outcome {
    let database = with_notes().await?;
    let engine = engine(&database, pool_of(4, PATIENT))?;
    open_all(&engine, 4).await?;
    let asked = "a pool of 4 open connections: execute_insert_queries with 7, -3, 9, 0, 2";
    engine
        .execute_insert_queries([7, -3, 9, 0, 2].map(note).into())
        .await
        .or_fail(asked)?;
    equal(
        format_args!("{asked}; the rows in the order of their ids"),
        "7 -3 9 0 2",
        notes(&database).await?,
    )?;
    engine
        .execute_insert_queries(Vec::new())
        .await
        .or_fail("execute_insert_queries without any query")?;

    let before = database.snapshot().await?;
    for good in [1, 250] {
        let asked = format!("execute_insert_queries: {good} good inserts, then one that fails");
        let result = engine
            .execute_insert_queries((0..good).chain([1000]).map(note).collect())
            .await;
        let refused = matches!(&result, Err(Error::Database(error))
            if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_check_violation));
        ensure(
            refused,
            &asked,
            "the error of the insert that failed: its CHECK constraint",
            format_args!("{result:?}"),
        )?;
        database.expect_unchanged(&asked, &before).await?;
    }
    inserts_are_seen(
        &engine,
        &database,
        "execute_insert_queries with an insert that fails",
    )
    .await
}

async fn commit_fails() -> Outcome {
    let database = with_notes().await?;
    // SQLite looks at this foreign key at the commit and not before.
    database
        .execute(
            "CREATE TABLE late (item_id INTEGER REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await?;
    let before = database.snapshot().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let asked = "execute_insert_queries, whose COMMIT fails";
    let result = engine
        .execute_insert_queries(vec![
            note(1),
            sqlx::query("INSERT INTO late (item_id) VALUES (2222)"),
        ])
        .await;
    ensure(
        matches!(result, Err(Error::Database(_))),
        asked,
        "Err(Database(..))",
        format_args!("{result:?}"),
    )?;
    database.expect_unchanged(asked, &before).await?;
    inserts_are_seen(&engine, &database, asked).await
}

async fn after_failure() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    for (sql, what) in [
        (
            "SELECT * FROM no_such_table",
            "execute_query: SELECT * FROM no_such_table",
        ),
        (ROW_2_FAILS, "execute_query: SQLite fails at the second row"),
    ] {
        for _ in 0..2 {
            let result = engine.execute_query(sqlx::query(sql)).await;
            ensure(
                matches!(result, Err(Error::Database(_))),
                what,
                "Err(Database(..))",
                result.map_or_else(
                    |error| format!("{error:?}"),
                    |rows| format!("{} rows", rows.len()),
                ),
            )?;
        }
    }
    let asked = "a pool of 1: 4 failing queries";
    connection_is_free(&engine, asked).await?;
    equal(
        format_args!("{asked}, then a good one: connections opened"),
        1,
        recording.connections_opened(),
    )
}

const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";

async fn after_drop() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let asked = "a pool of 1: execute_query with endless rows, dropped while it runs";
    let recording = Recording::start();
    // From outside nobody can tell when a query has begun, but the record does
    // afterwards. If it was dropped before that, while its connection was still
    // being acquired, it may rightly cost the connection: then another try.
    for patience in [1, 10, 100, 1000] {
        connection_is_free(&engine, "a pool of 1, nothing runs").await?;
        let opened = recording.connections_opened();
        {
            let query = engine.execute_query(sqlx::query(ENDLESS)).boxed_local();
            let patience = sleep(Duration::from_millis(patience)).boxed_local();
            drop(select(query, patience).await);
        }
        connection_is_free(&engine, asked).await?;
        if executed(&recording, ENDLESS) {
            return equal(
                format_args!("{asked}; then another query: connections opened for it"),
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

async fn dropped_in_the_queue() -> Outcome {
    for name in CALLS {
        let database = Database::sample().await?;
        let engine = engine(&database, pool_of(1, PATIENT))?;
        warm_up(&engine).await?;
        let before = database.snapshot().await?;
        let asked = format!(
            "a pool of 1, whose connection is in use: {name} is called, waits, and is dropped"
        );
        // The holder has the only connection and waits for the lock with it.
        let lock = database.lock_exclusively().await?;
        let holder = engine.execute_insert_query(sqlx::query("DELETE FROM orders WHERE id = 0"));
        let mut holder = holder.boxed_local();
        let recording = Recording::start();
        for _ in 0..10 {
            let _ = poll!(&mut holder);
            yield_now().await;
        }
        let mut waits = call(&engine, name);
        for _ in 0..10 {
            if poll!(&mut waits).is_ready() {
                break;
            }
            yield_now().await;
        }
        drop(waits);
        lock.release().await?;
        holder
            .await
            .or_fail(format_args!("{asked}; the query that had the connection"))?;
        connection_is_free(&engine, &asked).await?;
        ensure(
            !executed(&recording, MARKED),
            &asked,
            "its statement is never executed",
            "the statement was executed after the drop",
        )?;
        database.expect_unchanged(&asked, &before).await?;
    }
    Ok(())
}

async fn dropped_halfway() -> Outcome {
    let database = with_notes().await?;
    let before = database.snapshot().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    warm_up(&engine).await?;
    let asked = "a pool of 1: execute_insert_queries, dropped while its first insert waits for \
                 the database's lock";
    let lock = database.lock_exclusively().await?;
    let inserts = engine.execute_insert_queries(vec![note(1), note(2)]);
    let until = give_time(&database).boxed_local();
    match select(inserts.boxed_local(), until).await {
        Either::Left((result, _)) => {
            return Err(Failure::new(
                "execute_insert_queries while another connection holds the lock",
                "it waits",
                format_args!("{result:?}"),
            ));
        }
        Either::Right((outcome, _dropped_here)) => outcome?,
    }
    lock.release().await?;
    connection_is_free(&engine, asked).await?;
    database.expect_unchanged(asked, &before).await?;
    inserts_are_seen(&engine, &database, asked).await
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
    let mut engines = Vec::new();
    for name in CALLS {
        engines.push((name, engine(&database, config)?));
    }
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = give_up(&database, &engines).await;
        // Not even one of two calls had the connection in time.
        let late = |failure: &Failure| failure.asked() == HAD_THE_CONNECTION;
        if !outcome.as_ref().is_err_and(late) {
            break;
        }
    }
    outcome
}

const HAD_THE_CONNECTION: &str = "the call that had the connection";

async fn give_up(database: &Database, engines: &[(&str, Engine)]) -> Outcome {
    for (_, engine) in engines {
        warm_up(engine).await?;
    }
    let mut lock = database.connect().await?;
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut lock)
        .await
        .or_fail("a lock for the check")?;
    let first = join_all(engines.iter().map(|(name, engine)| gives_up(name, engine))).await;
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut lock)
        .await
        .or_fail("the end of the check's lock")?;
    let mut rest = Vec::new();
    for call in first {
        rest.push(call?);
    }
    for result in join_all(rest).await {
        result.or_fail(HAD_THE_CONNECTION)?;
    }
    Ok(())
}

/// Calls the function twice. One call gets the only connection and waits for the
/// lock; the other waits for the connection. Returns the one that still waits.
async fn gives_up<'a>(
    name: &str,
    engine: &'a Engine,
) -> Result<LocalBoxFuture<'a, Result<(), Error>>, Failure> {
    let asked =
        format!("a pool of 1, acquire_timeout 200 ms; its connection is in use: {name} is called");
    let expected = "Err(PoolTimedOut) after 200 ms, while the connection is still in use";
    let both = select_all([call(engine, name), call(engine, name)]);
    // An async block, so that this time begins after that of the calls.
    let too_long = async { sleep(IMPATIENT * 2).await }.boxed_local();
    let Either::Left(((result, _, mut rest), _)) = select(both, too_long).await else {
        return Err(Failure::new(asked, expected, "after 400 ms it still waits"));
    };
    ensure(
        matches!(result, Err(Error::Database(sqlx::Error::PoolTimedOut))),
        asked,
        expected,
        result.map_or_else(|error| format!("{error:?}"), |()| "an answer".to_owned()),
    )?;
    Ok(rest.remove(0))
}

// ---- 05.4

const THREE: &str = "SELECT id FROM item WHERE id <= 3 ORDER BY id";

/// More rows than a stream may read ahead of its reader.
const MANY: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
     SELECT i FROM n";

/// A stream that holds a connection: its first row is taken, others are to come.
async fn open_stream(engine: &Engine, asked: &str) -> Result<Rows<SqliteRow>, Failure> {
    let mut outcome = Err(Failure::new(asked, "a row", "no row"));
    for _ in 0..TRIES {
        let mut stream = engine.stream_query(sqlx::query(MANY));
        match stream.try_next().await {
            Ok(Some(_)) => return Ok(stream),
            Ok(None) => break,
            Err(error) => outcome = Err(error).or_fail(asked),
        }
    }
    outcome
}

async fn stream_shares() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    number(&engine, COUNT).await?;
    let asked = "stream_query, read to its end";
    let stream = engine.stream_query(sqlx::query(THREE));
    let rows: Vec<_> = stream.try_collect().await.or_fail(asked)?;
    let ids: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get("id")).collect();
    equal(asked, vec![1, 2, 3], ids.or_fail(asked)?)?;
    number(&engine, COUNT).await?;
    equal(
        "a pool of 1: a query, a stream, a query: connections opened",
        1,
        recording.connections_opened(),
    )?;
    let stream = engine.stream_query(sqlx::query(MANY));
    let rows: Vec<_> = stream.try_collect().await.or_fail(asked)?;
    equal(
        "a stream of 10,000 rows: how many arrive?",
        10_000,
        rows.len(),
    )
}

async fn stream_lazy() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    let asked = "a pool of 1: stream_query is called twice, and no row is asked for";
    let short = engine.stream_query(sqlx::query(THREE));
    let long = engine.stream_query(sqlx::query(MANY));
    give_time(&database).await?;
    equal(
        format_args!("{asked}: connections opened"),
        0,
        recording.connections_opened(),
    )?;
    connection_is_free(&engine, asked).await?;
    give_time(&database).await?;
    let early = executed(&recording, THREE) || executed(&recording, MANY);
    ensure(
        !early,
        asked,
        "nothing is executed yet",
        "a stream's query was executed",
    )?;
    drop(long);
    let rows: Vec<_> = short.try_collect().await.or_fail(asked)?;
    equal(
        format_args!("{asked}; then one is read to its end: its rows"),
        3,
        rows.len(),
    )?;

    // The connection is open and free now.
    let idle = engine.stream_query(sqlx::query(THREE));
    connection_is_free(&engine, asked).await?;
    drop(idle);
    Ok(())
}

/// One row, after which SQLite counts on for a while and finds no other.
const COUNTS_ON: [&str; 3] = [
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
     SELECT i FROM n WHERE i = 1",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
     SELECT i FROM n WHERE i = 1",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000)
     SELECT i FROM n WHERE i = 1",
];

async fn stream_at_once() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    let asked = "a stream of one row, after which SQLite counts on to 5,000,000 without a row";
    // On a busy machine SQLite may be at the end before the row is looked at: then
    // it counts further.
    for sql in COUNTS_ON {
        let mut stream = engine.stream_query(sqlx::query(sql));
        ensure(
            stream.try_next().await.or_fail(asked)?.is_some(),
            asked,
            "a row",
            "the end",
        )?;
        if !executed(&recording, sql) {
            return Ok(());
        }
    }
    Err(Failure::new(
        asked,
        "the row arrives while SQLite still counts",
        "the row arrives when SQLite is at the end",
    ))
}

async fn stream_ended() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let asked = "a pool of 1: a stream is read to its end, and not dropped";
    let mut stream = engine.stream_query(sqlx::query(THREE));
    while stream.try_next().await.or_fail(asked)?.is_some() {}
    connection_is_free(&engine, asked).await?;
    drop(stream);
    Ok(())
}

async fn stream_dropped() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let recording = Recording::start();
    let asked = "a pool of 1: a stream of 10,000 rows, dropped a while after its first row";
    let stream = open_stream(&engine, asked).await?;
    give_time(&database).await?;
    drop(stream);
    // Gets the connection as soon as the stream has let go of it.
    connection_is_free(&engine, asked).await?;
    let statements = recording.statements();
    let read = statements
        .iter()
        .filter(|statement| statement.sql == MANY)
        .map(|statement| statement.rows_returned)
        .max()
        .unwrap_or(0);
    ensure(
        read <= 200,
        format_args!("{asked}: rows read"),
        "at most 200: about 50 that sqlx reads ahead, and at most 100 of your own",
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

async fn stream_dropped_in_the_queue() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    let asked = "a pool of 1, whose connection is in use: a stream is asked for its first row, \
                 waits, and is dropped";
    let holder = open_stream(&engine, asked).await?;
    let recording = Recording::start();
    let mut waits = engine.stream_query(sqlx::query(MARKED));
    for _ in 0..10 {
        let early = poll!(waits.next());
        ensure(
            early.is_pending(),
            "a pool of 1, whose connection is in use: a stream is asked for its first row",
            "it waits for the connection",
            "it does not wait",
        )?;
        yield_now().await;
    }
    drop(waits);
    give_time(&database).await?;
    drop(holder);
    connection_is_free(&engine, asked).await?;
    ensure(
        !executed(&recording, MARKED),
        asked,
        "its query is never executed",
        "the query was executed after the drop",
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
            None => "the end of the stream, and no error".to_owned(),
        },
    )?;
    let rest: Vec<_> = first.try_collect().await.or_fail("the open stream")?;
    equal("the open stream: rows still to come", 9_999, rest.len())
}

/// SQLite has no positive counterpart of its smallest integer.
const ROW_2_FAILS: &str =
    "SELECT abs(i) FROM (SELECT -1 AS i UNION ALL SELECT -9223372036854775807 - 1)";

const ROW_500_FAILS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
     SELECT abs(CASE i WHEN 500 THEN -9223372036854775807 - 1 ELSE i END) FROM n";

async fn stream_fails() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, pool_of(1, PATIENT))?;
    for (sql, fails, good) in [(ROW_2_FAILS, "second", 1), (ROW_500_FAILS, "500th", 499)] {
        let asked = format!("a stream whose {fails} row cannot be computed");
        let mut stream = engine.stream_query(sqlx::query(sql));
        let mut rows = 0;
        let end = loop {
            match stream.next().await {
                Some(Ok(_)) => rows += 1,
                Some(Err(_)) => break "an error",
                None => break "the end",
            }
        };
        ensure(
            rows == good && end == "an error",
            &asked,
            format_args!("{good} good, then an error (good rows: {good})"),
            format_args!("good rows: {rows}, then {end}"),
        )?;
        drop(stream);
        connection_is_free(&engine, &asked).await?;
    }
    Ok(())
}

// ---- 05.5 and 05.6

/// What a client receives when a handler returns an error.
struct Answer {
    status: u16,
    content_type: String,
    retry_after: Option<String>,
    body: String,
}

async fn answer(error: Error) -> Result<Answer, Failure> {
    let response = error.into_response();
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(Answer {
        status: response.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        retry_after: header("retry-after"),
        body: {
            let body = to_bytes(response.into_body(), 1 << 20).await;
            String::from_utf8_lossy(&body.or_fail("the body of an error")?).into_owned()
        },
    })
}

fn pool_is_taken() -> Error {
    Error::Database(sqlx::Error::PoolTimedOut)
}

const POOL_IS_TAKEN: &str = "the error of a pool without a free connection";

async fn status_503() -> Outcome {
    let answer = answer(pool_is_taken()).await?;
    ensure(
        answer.status == 503,
        format_args!("the answer to {POOL_IS_TAKEN}"),
        "status 503",
        format_args!("status {}: {}", answer.status, answer.body),
    )
}

/// Failures that waiting for a connection does not cure, with the status that each
/// had before.
async fn other_failures() -> Result<Vec<(Error, &'static str, u16)>, Failure> {
    let database = Database::sample().await?;
    let config = EngineConfig {
        busy_timeout: Duration::ZERO,
        ..EngineConfig::default()
    };
    let engine = engine(&database, config)?;
    let asked = "an insert that must fail";
    let lock = database.lock_exclusively().await?;
    let locked = engine.execute_insert_query(new_order()).await;
    lock.release().await?;
    let refused = engine.execute_insert_query(new_item(77, 1)).await;
    let task = tokio::spawn(std::future::pending::<()>());
    task.abort();
    let task = task.await;
    let io = |kind| std::io::Error::new(kind, "an error of the check: pool timed out");
    let database = |error| Error::Database(error);
    Ok(vec![
        (
            locked.err().or_fail(asked)?,
            "the error of a database that another program has locked",
            500,
        ),
        (
            refused.err().or_fail(asked)?,
            "the error of a foreign key",
            400,
        ),
        (
            Error::BadRequest("an error of the check"),
            "BadRequest",
            400,
        ),
        (
            database(sqlx::Error::PoolClosed),
            "Database(PoolClosed)",
            500,
        ),
        (
            database(sqlx::Error::Io(io(std::io::ErrorKind::TimedOut))),
            "Database(Io(..))",
            500,
        ),
        (
            database(sqlx::Error::Protocol("pool timed out".to_owned())),
            "Database(Protocol(..))",
            500,
        ),
        (
            database(sqlx::Error::RowNotFound),
            "Database(RowNotFound)",
            500,
        ),
        (
            database(sqlx::Error::WorkerCrashed),
            "Database(WorkerCrashed)",
            500,
        ),
        (
            Error::File(io(std::io::ErrorKind::TimedOut)),
            "File(..)",
            500,
        ),
        (
            Error::Task(task.err().or_fail("a task that was aborted")?),
            "Task(..)",
            500,
        ),
    ])
}

async fn other_status() -> Outcome {
    for (error, name, status) in other_failures().await? {
        let got = answer(error).await?.status;
        equal(format_args!("the status for {name}"), status, got)?;
    }
    Ok(())
}

async fn text_of_503() -> Outcome {
    let answer = answer(pool_is_taken()).await?;
    let asked = format!("the body of the answer to {POOL_IS_TAKEN}");
    let problem: Value = check::parse_json(&asked, answer.body.as_bytes())?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    let told = detail.to_lowercase();
    ensure(
        answer.content_type.starts_with("application/problem+json")
            && problem["status"] == 503
            && !detail.trim().is_empty()
            && !["pool", "sql", "select"]
                .iter()
                .any(|word| told.contains(word)),
        asked,
        "application/problem+json with status 503 and a detail that says nothing about SQL or \
         the pool",
        format_args!("{}: {}", answer.content_type, answer.body),
    )
}

async fn log_of_503() -> Outcome {
    let recording = Recording::start();
    answer(pool_is_taken()).await?;
    let logged = [
        recording.logged(Level::ERROR),
        recording.logged(Level::WARN),
    ]
    .concat();
    ensure(
        logged
            .iter()
            .any(|event| event.contains("PoolTimedOut") || event.contains("pool timed out")),
        format_args!("the log of the answer to {POOL_IS_TAKEN}"),
        "an ERROR (or WARN) event that names the cause, for the operator",
        if logged.is_empty() {
            "no ERROR and no WARN event".to_owned()
        } else {
            logged.join("\n")
        },
    )
}

/// Whether the header is a whole number of seconds from 1 to 60.
fn is_a_minute_at_most(value: Option<&str>) -> bool {
    value
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u32>().ok())
        .is_some_and(|seconds| (1..=60).contains(&seconds))
}

async fn retry_after() -> Outcome {
    let value = answer(pool_is_taken()).await?.retry_after;
    ensure(
        is_a_minute_at_most(value.as_deref()),
        format_args!("the header Retry-After of the answer to {POOL_IS_TAKEN}"),
        "a number of seconds, from 1 to 60",
        value.unwrap_or_else(|| "no such header".to_owned()),
    )?;
    for (error, name, _) in other_failures().await? {
        let value = answer(error).await?.retry_after;
        equal(
            format_args!("the header Retry-After of the answer to {name}"),
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
    let before = database.snapshot().await?;
    let service = Service::start(app(engine.clone()));
    let stream = open_stream(&engine, "a stream that takes the connection").await?;

    let order = json!({"customer_id": 1, "items": [{"id": 1, "quantity": 2}]});
    let paths = [
        "/api/order_total/1",
        "/api/customers",
        "/api/orders/1",
        "/api/orders_total?orders=1,2,3",
        "/api/orders_between_dates/2025-01-01/2024-01-01",
    ];
    let mut replies = vec![service.post_json("/api/add_new_order", &order).boxed()];
    replies.extend(paths.map(|path| service.get(path).boxed()));
    for reply in join_all(replies).await {
        let reply = reply?;
        contract::expect_problem(&reply, 503)?;
        let value = reply.header("retry-after");
        ensure(
            is_a_minute_at_most(value),
            format_args!(
                "{}, while the pool's only connection is in use",
                reply.asked()
            ),
            "a header Retry-After with a number of seconds, from 1 to 60",
            value.unwrap_or("no such header"),
        )?;
    }
    database
        .expect_unchanged("POST /api/add_new_order, answered with 503", &before)
        .await?;

    drop(stream);
    let mut reply = service.get("/api/order_total/1").await?;
    for _ in 1..TRIES {
        if reply.status != 503 {
            break;
        }
        reply = service.get("/api/order_total/1").await?;
    }
    reply.expect_json(200, &json!({"Order Total": 30.0}))?;
    equal(
        format_args!("{} with a free connection: Retry-After", reply.asked()),
        None,
        reply.header("retry-after"),
    )
}

/// A service over the sample data: those of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let engine = engine(&database, EngineConfig::default())?;
    Ok((Service::start(app(engine)), database))
}

async fn others_unchanged() -> Outcome {
    let (service, database) = fresh().await?;
    contract::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_refusals_400(&service, &database).await?;
    let (service, _database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::orders_of_unknown_customer_empty(&service).await?;
    contract::order_total_null_when_unknown(&service).await
}
