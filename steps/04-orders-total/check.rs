//! Proves step 04. Run it with `./run.sh check 04`.
//!
//! `map_concurrently` is checked without a database, under tokio's paused
//! clock: there a millisecond passes only when no task can go on, so "nothing
//! more happens" is a fact and not a guess. The queries are checked by holding
//! the database's lock while they run and counting their connections.

use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use contract::gate::Gate;
use contract::statements::Recording;
use contract::{Database, Failure, OrFail, Outcome, Service, Suite, answers, ensure, equal};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;
use step04::db::base::Engine;
use step04::db_accessor::{MAX_QUERIES_IN_FLIGHT, get_total_cost_of_orders};
use step04::error::Error;
use step04::server::app;
use step04::tasks::map_concurrently;
use step04::types::Money;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::Level;

fn main() -> ExitCode {
    Suite::new("04-orders-total", env!("CARGO_MANIFEST_DIR"))
        .paused_check("04.1", "tasks run at the same time", same_time)
        .paused_check("04.1", "never more than `limit` at a time", limit)
        .paused_check("04.1", "when one task ends, the next begins", next_begins)
        .paused_check("04.1", "results come in the order of the inputs", order)
        .paused_check("04.1", "few inputs and none", few_inputs)
        .paused_check(
            "04.1",
            "the first failure is returned at once",
            first_failure,
        )
        .paused_check("04.1", "a failure aborts the other tasks", others_aborted)
        .paused_check("04.1", "after a failure no task begins", none_begins)
        .paused_check("04.1", "a panic in a task is Error::Task", panic)
        .paused_check("04.1", "dropping the call aborts its tasks", dropped_call)
        .check("04.2", "a total for each order, in the order asked", totals)
        .check(
            "04.2",
            "10 queries at a time, and not more",
            queries_in_flight,
        )
        .check("04.2", "one order fails: the call fails", one_order_fails)
        .check("04.3", "GET /api/orders_total?orders=3,1,2,1,99", by_query)
        .check("04.3", "GET /api/orders_total with a JSON body", by_body)
        .check(
            "04.3",
            "1000 orders are answered, other requests refused",
            all_requests,
        )
        .check("04.3", "a client that hangs up ends its queries", hang_up)
        .check(
            "04.3",
            "one order fails: one problem, status 500",
            one_problem,
        )
        .check(
            "04.3",
            "the other addresses answer as before",
            others_unchanged,
        )
        .run()
}

// ---- 04.1, under paused time

/// Goes on with `call` until neither it nor a task can do anything more.
/// Returns what it gave, if it came to its end.
async fn settle<F: Future>(call: &mut Pin<&mut F>) -> Option<F::Output> {
    timeout(Duration::from_millis(1), call.as_mut()).await.ok()
}

/// What a call gives that should end by itself. What it should give is
/// `expected`.
async fn finished<F: Future>(asked: &str, expected: &str, call: F) -> Result<F::Output, Failure> {
    // An hour of the paused clock, which passes at once when nothing moves.
    timeout(Duration::from_hours(1), call)
        .await
        .map_err(|_| Failure::new(asked, expected, "still waiting"))
}

/// The results of a call in which no task fails.
async fn results<T, F>(asked: &str, call: F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<Vec<T>, Error>>,
{
    finished(asked, "Ok with all results", call)
        .await?
        .or_fail(asked)
}

/// A call of `map_concurrently` over `0..inputs` whose tasks go through `gate`.
async fn through(gate: &Gate, inputs: usize, limit: usize) -> Result<Vec<usize>, Error> {
    map_concurrently((0..inputs).collect(), limit, |input| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(input)
        }
    })
    .await
}

fn in_flight(gate: &Gate) -> String {
    format!("begun: {}, in flight: {}", gate.entered(), gate.in_flight())
}

async fn same_time() -> Outcome {
    let gate = Gate::closed();
    let mut call = pin!(through(&gate, 5, 5));
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 5,
        "map_concurrently over 5 inputs, limit 5, while no task can end",
        "begun: 5, in flight: 5",
        in_flight(&gate),
    )
}

async fn limit() -> Outcome {
    let gate = Gate::closed();
    let mut call = pin!(through(&gate, 10, 3));
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 3,
        "map_concurrently over 10 inputs, limit 3, while no task can end",
        "begun: 3, in flight: 3",
        in_flight(&gate),
    )
}

async fn next_begins() -> Outcome {
    let asked = "map_concurrently over 10 inputs, limit 3";
    let gate = Gate::closed();
    let mut call = pin!(through(&gate, 10, 3));
    settle(&mut call).await;
    gate.let_through(1);
    settle(&mut call).await;
    ensure(
        gate.entered() == 4 && gate.in_flight() == 3,
        format_args!("{asked}; one of the first 3 has ended, the other two go on"),
        "begun: 4, in flight: 3",
        in_flight(&gate),
    )?;
    gate.open();
    let results = results(asked, call).await?;
    equal(format_args!("{asked}: how many results"), 10, results.len())?;
    equal(
        format_args!("{asked}: the most at a time"),
        3,
        gate.most_in_flight(),
    )
}

async fn order() -> Outcome {
    for limit in [5, 2] {
        let asked =
            format!("map_concurrently over [5, 4, 3, 2, 1], limit {limit}; task n takes n ms");
        let call = map_concurrently(vec![5, 4, 3, 2, 1], limit, |input| async move {
            sleep(Duration::from_millis(input)).await;
            Ok(input * 10)
        });
        let results = results(&asked, call).await?;
        equal(&asked, vec![50, 40, 30, 20, 10], results)?;
    }
    Ok(())
}

async fn few_inputs() -> Outcome {
    let gate = Gate::opened();
    for inputs in [3, 1, 0] {
        let asked = format!("map_concurrently over {inputs} inputs, limit 100");
        let call = through(&gate, inputs, 100);
        let results = results(&asked, call).await?;
        equal(&asked, (0..inputs).collect::<Vec<_>>(), results)?;
    }
    Ok(())
}

/// `map_concurrently` over 0, 1, 2, …: 2 fails after 10 ms, 1 after 20 ms, all
/// others stay at the gate.
async fn with_failures(gate: &Gate, inputs: u64, limit: usize) -> Result<Vec<()>, Error> {
    map_concurrently((0..inputs).collect(), limit, |input| {
        let gate = gate.clone();
        async move {
            let failure = match input {
                1 => "1 failed",
                2 => "2 failed",
                _ => {
                    gate.pass().await;
                    return Ok(());
                }
            };
            let visit = gate.enter();
            sleep(Duration::from_millis(30 - 10 * input)).await;
            visit.end();
            Err(Error::BadRequest(failure))
        }
    })
    .await
}

/// `inputs` and `limit`. A task is collected while others are yet to be spawned
/// (more inputs than `limit`), when the last has been spawned (as many), or
/// when all have been and there was room for more (fewer).
const SHAPES: [(u64, usize); 3] = [(4, 4), (10, 3), (3, 5)];

/// The error of a call in which a task has failed, while others never end.
async fn failed<T, F>(asked: &str, expected: &str, call: F) -> Result<Error, Failure>
where
    T: std::fmt::Debug,
    F: Future<Output = Result<Vec<T>, Error>>,
{
    let Ok(result) = timeout(Duration::from_hours(1), call).await else {
        return Err(Failure::new(
            asked,
            format_args!("{expected} at once"),
            "still waiting; is a failed task collected while others are being spawned, \
             and while others have not ended?",
        ));
    };
    match result {
        Err(error) => Ok(error),
        Ok(results) => Err(Failure::new(
            asked,
            expected,
            format_args!("Ok({results:?})"),
        )),
    }
}

async fn first_failure() -> Outcome {
    let expected = "Err(BadRequest(\"2 failed\"))";
    for (inputs, limit) in SHAPES {
        let asked = format!(
            "map_concurrently over {inputs} inputs, 0, 1, 2 and so on, limit {limit}; \
             2 fails after 10 ms, 1 after 20 ms, the others never end"
        );
        let gate = Gate::closed();
        let error = failed(&asked, expected, with_failures(&gate, inputs, limit)).await?;
        ensure(
            matches!(error, Error::BadRequest("2 failed")),
            asked,
            expected,
            format_args!("Err({error:?})"),
        )?;
    }
    Ok(())
}

async fn others_aborted() -> Outcome {
    let asked = "map_concurrently over 4 inputs, limit 4; one fails, the others have not ended";
    let gate = Gate::closed();
    failed(asked, "Err", with_failures(&gate, 4, 4)).await?;
    none_left(asked, &gate).await?;
    equal(
        format_args!("{asked}: how many were aborted"),
        3,
        gate.dropped(),
    )
}

/// Aborted tasks end when the runtime next looks at them: waits for that.
async fn none_left(asked: &str, gate: &Gate) -> Outcome {
    // The time limit lets each task run that can.
    let left = timeout(Duration::from_millis(1), gate.wait_until_empty()).await;
    ensure(
        left.is_ok(),
        format_args!("{asked}; and afterwards"),
        "no task is left",
        format_args!("{} still in flight", gate.in_flight()),
    )
}

async fn none_begins() -> Outcome {
    let asked = "map_concurrently over 10 inputs, limit 3; the third fails";
    let gate = Gate::closed();
    failed(asked, "Err", with_failures(&gate, 10, 3)).await?;
    none_left(asked, &gate).await?;
    let begun = gate.entered();
    gate.open();
    sleep(Duration::from_millis(100)).await;
    ensure(
        gate.entered() == begun && begun < 10,
        asked,
        "after the failure no other task begins",
        format_args!("{} of 10 have begun", gate.entered()),
    )
}

async fn panic() -> Outcome {
    for (inputs, limit) in SHAPES {
        panic_among(inputs, limit).await?;
    }
    Ok(())
}

async fn panic_among(inputs: u64, limit: usize) -> Outcome {
    let asked = format!(
        "map_concurrently over {inputs} inputs, 0, 1, 2 and so on, limit {limit}; \
         the task of 1 panics, the others never end"
    );
    let gate = Gate::closed();
    let inside = gate.clone();
    // In a task of its own: a panic that comes through is a result too.
    let call = tokio::spawn(async move {
        map_concurrently((0..inputs).collect(), limit, |input| {
            let gate = inside.clone();
            async move {
                if input == 1 {
                    // Lets the others begin, then panics without a message.
                    sleep(Duration::from_millis(1)).await;
                    std::panic::resume_unwind(Box::new(()));
                }
                gate.pass().await;
                Ok(input)
            }
        })
        .await
    });
    let expected = "Err(Task(..))";
    match finished(&asked, expected, call).await? {
        Ok(Err(Error::Task(_))) => none_left(&asked, &gate).await,
        Ok(other) => Err(Failure::new(asked, expected, format_args!("{other:?}"))),
        Err(_) => Err(Failure::new(
            asked,
            expected,
            "map_concurrently itself panics",
        )),
    }
}

async fn dropped_call() -> Outcome {
    let asked = "map_concurrently over 10 inputs, limit 3, dropped while 3 are in flight";
    let gate = Gate::closed();
    {
        let mut call = pin!(through(&gate, 10, 3));
        settle(&mut call).await;
    }
    none_left(asked, &gate).await?;
    gate.open();
    sleep(Duration::from_millis(100)).await;
    ensure(
        gate.entered() == 3 && gate.ended() == 0,
        asked,
        "3 have begun, none came to its end",
        format_args!(
            "{} have begun, {} came to their end",
            gate.entered(),
            gate.ended()
        ),
    )
}

// ---- 04.2, without HTTP

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url()).or_fail("Engine::new")
}

async fn totals() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let asked = "get_total_cost_of_orders for 3, 1, 2, 1, 99 (3 is empty, 99 unknown)";
    let order_1 = Some(Money(3000));
    let expected = vec![None, order_1, Some(Money(1200)), order_1, None];
    // In a task of its own, so that a panic is told together with what should
    // have come.
    let call =
        tokio::spawn(async move { get_total_cost_of_orders(&engine, vec![3, 1, 2, 1, 99]).await });
    match call.await {
        Ok(totals) => equal(asked, expected, totals.or_fail(asked)?),
        Err(_) => Err(Failure::new(
            asked,
            format_args!("Ok({expected:?})"),
            "a panic",
        )),
    }
}

/// The sample data and order 4, whose total is too large for SQLite's integers,
/// so that the query for its total fails and no other does.
async fn with_failing_order() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    database
        .execute(
            "INSERT INTO item (id, name, price_cents) VALUES
                 (5, 'Moon', 9000000000000000000), (6, 'Mars', 9000000000000000000);
             INSERT INTO orders (id, customer_id, order_time) VALUES
                 (4, 2, '2024-04-01 10:00:00');
             INSERT INTO order_items (order_id, item_id, quantity) VALUES (4, 5, 1), (4, 6, 1);",
        )
        .await?;
    Ok(database)
}

async fn one_order_fails() -> Outcome {
    let database = with_failing_order().await?;
    let result = get_total_cost_of_orders(&engine(&database)?, vec![1, 4, 2]).await;
    ensure(
        matches!(result, Err(Error::Database(_))),
        "get_total_cost_of_orders for 1, 4, 2; the sum of order 4 overflows",
        "Err(Database(..))",
        format_args!("{result:?}"),
    )?;
    // The aborted queries shall not be counted by a later check.
    database.wait_until_closed().await
}

const MANY: usize = 40;

/// Keeps every query of other connections waiting, as a checkpoint or a backup
/// may: an exclusive lock keeps even readers out unless the journal is a WAL.
async fn lock_readers_out(database: &Database) -> Result<SqliteConnection, Failure> {
    let asked = "a lock that readers wait for";
    database.execute("PRAGMA journal_mode = DELETE").await?;
    let mut connection = database.connect().await?;
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut connection)
        .await
        .or_fail(asked)?;
    Ok(connection)
}

async fn unlock(mut lock: SqliteConnection) -> Outcome {
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut lock)
        .await
        .or_fail("the end of the lock")
        .map(drop)
}

/// Waits until the service has opened `count` connections, at most 3 s.
async fn wait_until_opened(recording: &Recording, count: usize) {
    let opened = async {
        while recording.connections_opened() < count {
            sleep(Duration::from_millis(2)).await;
        }
    };
    // Who has opened fewer by then is told so by the check.
    let _ = timeout(Duration::from_secs(3), opened).await;
}

async fn queries_in_flight() -> Outcome {
    let database = Database::sample().await?;
    let lock = lock_readers_out(&database).await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let call = tokio::spawn({
        let engine = engine.clone();
        async move { get_total_cost_of_orders(&engine, vec![1; MANY]).await }
    });
    wait_until_opened(&recording, MAX_QUERIES_IN_FLIGHT).await;
    // If more were wanted they would be opened by the time that as many have
    // been opened here, one after another.
    for _ in 0..MANY {
        engine.connect().await.or_fail("Engine::connect")?;
    }
    let opened = recording.connections_opened() - MANY;
    unlock(lock).await?;

    let asked = format!("get_total_cost_of_orders for {MANY} orders, while no query can end");
    equal(
        format_args!("{asked}: how many connections are open?"),
        MAX_QUERIES_IN_FLIGHT,
        opened,
    )?;
    let totals = call.await.or_fail(&asked)?.or_fail(&asked)?;
    equal("and when they can", vec![Some(Money(3000)); MANY], totals)
}

// ---- 04.3, over HTTP

fn service(database: &Database) -> Result<Service, Failure> {
    Ok(Service::start(app(engine(database)?)))
}

async fn by_query() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let reply = service.get("/api/orders_total?orders=3,1,2,1,99").await?;
    reply.expect_json(200, &json!([null, 30.0, 12.0, 30.0, null]))
}

async fn by_body() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let body = json!({"orders": [2, 3, 1]});
    let reply = service.get_json_body("/api/orders_total", &body).await?;
    reply.expect_json(200, &json!([12.0, null, 30.0]))?;
    let body = json!({"orders": []});
    let reply = service.get_json_body("/api/orders_total", &body).await?;
    reply.expect_json(200, &json!([]))
}

async fn all_requests() -> Outcome {
    let database = Database::sample().await?;
    answers::orders_total(&service(&database)?, &database).await
}

async fn one_problem() -> Outcome {
    let database = with_failing_order().await?;
    let service = service(&database)?;
    let recording = Recording::start();
    let reply = service.get("/api/orders_total?orders=1,4,2").await?;
    reply.expect_status(500)?;
    equal(
        format_args!("{}: the content type", reply.asked()),
        Some("application/problem+json"),
        reply.header("content-type"),
    )?;
    equal(
        format_args!("{}: the member \"status\"", reply.asked()),
        Some(500),
        reply.json()?["status"].as_u64(),
    )?;
    let text = reply.text();
    ensure(
        !text.contains("overflow") && !text.contains("SELECT"),
        reply.asked(),
        "a text without the cause: that belongs into the log",
        &text,
    )?;
    let logged = recording.logged(Level::ERROR);
    ensure(
        logged.len() == 1 && logged[0].contains("overflow"),
        format_args!("{}: what is in the log?", reply.asked()),
        "the cause, once",
        format_args!("{logged:?}"),
    )
}

/// Tells when the handler is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn hang_up() -> Outcome {
    let database = Database::sample().await?;
    let lock = lock_readers_out(&database).await?;
    let dropped = Arc::new(Notify::new());
    let watched = dropped.clone();
    let service = Service::start(app(engine(&database)?).layer(from_fn(
        move |request: Request, next: Next| {
            let guard = Dropped(watched.clone());
            async move {
                let response = next.run(request).await;
                drop(guard);
                response
            }
        },
    )));
    let ids = vec!["1"; MANY].join(",");
    let path = format!("/api/orders_total?orders={ids}");
    let recording = Recording::start();
    {
        let mut request = pin!(service.get(&path));
        tokio::select! {
            // The lock keeps the answer back.
            reply = &mut request => { reply?; }
            () = wait_until_opened(&recording, MAX_QUERIES_IN_FLIGHT) => {}
        }
    }
    let asked = format!("GET /api/orders_total for {MANY} orders, by a client that hangs up");
    timeout(Duration::from_secs(5), dropped.notified())
        .await
        .or_fail(&asked)?;
    unlock(lock).await?;
    // While a second client gets its 40 answers, 40 queries of the first would
    // have run too.
    service.get(&path).await?.expect_status(200)?;
    let executed = recording.statements().len() - MANY;
    ensure(
        executed <= MAX_QUERIES_IN_FLIGHT,
        asked,
        format_args!("at most the {MAX_QUERIES_IN_FLIGHT} queries that were in flight"),
        format_args!("{executed} queries"),
    )
}

/// A service over the sample data: those of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database)?, database))
}

async fn others_unchanged() -> Outcome {
    let (service, database) = fresh().await?;
    answers::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total(&service, &database).await?;
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
