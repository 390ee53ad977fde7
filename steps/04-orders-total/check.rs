//! Proves step 04. Run it with `./run.sh check 04`.
//!
//! `map_concurrently` is checked without a database, under tokio's paused
//! clock: there a millisecond passes only when no task can go on, so "nothing
//! more happens" is a fact and not a guess. The queries are checked by holding
//! the database's lock while they run and counting their connections.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use check::gate::Gate;
use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal};
use futures::FutureExt;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use step04::db::base::Engine;
use step04::db_accessor::{MAX_QUERIES_IN_FLIGHT, get_total_cost_of_orders};
use step04::error::Error;
use step04::server::app;
use step04::tasks::map_concurrently;
use step04::types::Money;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task;
use tokio::time::{sleep, timeout};
use tracing::Level;

pub fn main() -> ExitCode {
    Suite::new("04-orders-total", env!("CARGO_MANIFEST_DIR"))
        .paused_check("04.1", "all results are returned", all_results)
        .paused_check("04.1", "tasks run at the same time", same_time)
        .paused_check("04.1", "each input has a task of its own", own_tasks)
        .paused_check("04.1", "never more than `limit` at a time", limit)
        .paused_check("04.1", "results come in the order of the inputs", order)
        .paused_check("04.1", "when one task ends, the next begins", next_begins)
        .paused_check("04.1", "slow tasks do not hold up the others", slow_tasks)
        .paused_check(
            "04.1",
            "the first failure is returned at once",
            first_failure,
        )
        .paused_check(
            "04.1",
            "a failure of any input is returned",
            failure_anywhere,
        )
        .paused_check("04.1", "a failure aborts the other tasks", others_aborted)
        .paused_check("04.1", "after a failure no task begins", none_begins)
        .paused_check("04.1", "a panic in a task is Error::Task", panic)
        .paused_check("04.1", "dropping the call aborts its tasks", dropped_call)
        .check(
            "04.2",
            "a total for each order, in the order of the ids",
            totals,
        )
        .check(
            "04.2",
            "10 queries at a time, and not more",
            queries_in_flight,
        )
        .check("04.2", "one order fails: the call fails", one_order_fails)
        .check(
            "04.2",
            "a failure does not wait for slow queries",
            slow_query,
        )
        .check(
            "04.2",
            "dropping the call leaves no task running",
            dropped_queries,
        )
        .check("04.3", "GET /api/orders_total?orders=3,1,2,1,99", by_query)
        .check("04.3", "GET /api/orders_total with a JSON body", by_body)
        .check(
            "04.3",
            "a list of 1000 ids is accepted; longer and malformed lists are refused",
            all_requests,
        )
        .check(
            "04.3",
            "a request runs 10 queries at a time, and not more",
            queries_of_a_request,
        )
        .check(
            "04.3",
            "one order fails: one problem, status 500",
            one_problem,
        )
        .check("04.3", "a client that hangs up ends its queries", hang_up)
        .check(
            "04.3",
            "the other endpoints answer as before",
            others_unchanged,
        )
        .run()
}

// ---- 04.1, under paused time

/// Goes on with `call` until neither it nor a task can do anything more.
/// Returns its output if it has completed.
async fn settle<F: Future>(call: &mut Pin<&mut F>) -> Option<F::Output> {
    timeout(Duration::from_millis(1), call.as_mut()).await.ok()
}

/// The output of a call that should complete by itself. `expected` says what
/// its output should be.
async fn finished<F: Future>(asked: &str, expected: &str, call: F) -> Result<F::Output, Failure> {
    // An hour of the paused clock, which passes at once when nothing moves.
    timeout(Duration::from_hours(1), call)
        .await
        .map_err(|_| Failure::new(asked, expected, "the call never returns"))
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

fn in_flight<T>(gate: &Gate, returned: Option<&Result<Vec<T>, Error>>) -> String {
    let returned = match returned {
        Some(Ok(results)) => format!("; the call has returned {} results", results.len()),
        Some(Err(error)) => format!("; the call has returned Err({error:?})"),
        None => String::new(),
    };
    format!(
        "begun: {}, in flight: {}{returned}",
        gate.entered(),
        gate.in_flight()
    )
}

async fn all_results() -> Outcome {
    for (inputs, limit) in [(3, 100), (1, 100), (0, 100), (10, 3), (3, 1)] {
        let asked = format!("map_concurrently over {inputs} inputs, limit {limit}");
        let gate = Gate::opened();
        let mut results = results(&asked, through(&gate, inputs, limit)).await?;
        // Another check is about their order.
        results.sort_unstable();
        equal(&asked, (0..inputs).collect::<Vec<_>>(), results)?;
    }
    Ok(())
}

async fn same_time() -> Outcome {
    for inputs in [5, 200] {
        let gate = Gate::closed();
        let mut call = pin!(through(&gate, inputs, inputs));
        let returned = settle(&mut call).await;
        ensure(
            gate.in_flight() == inputs && returned.is_none(),
            format_args!(
                "map_concurrently over {inputs} inputs, limit {inputs}, while no task can end"
            ),
            format_args!("begun: {inputs}, in flight: {inputs}"),
            in_flight(&gate, returned.as_ref()),
        )?;
    }
    Ok(())
}

async fn own_tasks() -> Outcome {
    let gate = Gate::closed();
    let tasks = Arc::new(Mutex::new(HashSet::new()));
    let mut call = pin!(map_concurrently(vec![(); 5], 5, |()| {
        let (gate, tasks) = (gate.clone(), tasks.clone());
        async move {
            let id = task::try_id();
            tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(id);
            gate.pass().await;
            Ok(())
        }
    }));
    settle(&mut call).await;
    let tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner).len();
    ensure(
        tasks == 5,
        "map_concurrently over 5 inputs, limit 5: how many tasks are there?",
        "5: each input runs in a task that was spawned for it",
        format_args!("{tasks}: futures that were not spawned run inside the call itself"),
    )
}

async fn limit() -> Outcome {
    for (inputs, limit) in [(10, 3), (10, 1), (200, 20)] {
        let gate = Gate::closed();
        let mut call = pin!(through(&gate, inputs, limit));
        let returned = settle(&mut call).await;
        ensure(
            gate.in_flight() == limit && gate.entered() == limit,
            format_args!(
                "map_concurrently over {inputs} inputs, limit {limit}, while no task can end"
            ),
            format_args!("begun: {limit}, in flight: {limit}"),
            in_flight(&gate, returned.as_ref()),
        )?;
    }
    Ok(())
}

async fn order() -> Outcome {
    let shuffled = (1..=40).map(|i| i * 17 % 41).collect();
    for (inputs, limit) in [(vec![5, 4, 3, 2, 1], 5), (shuffled, 7)] {
        let asked = format!("map_concurrently over {inputs:?}, limit {limit}; task n takes n ms");
        let expected: Vec<u64> = inputs.iter().map(|input| input * 10).collect();
        let call = map_concurrently(inputs, limit, |input| async move {
            sleep(Duration::from_millis(input)).await;
            Ok(input * 10)
        });
        equal(&asked, expected, results(&asked, call).await?)?;
    }
    Ok(())
}

async fn next_begins() -> Outcome {
    let asked = "map_concurrently over 10 inputs, limit 3";
    // A gate lets waiting jobs through in any order, so the first job has its own.
    let (first, gate) = (Gate::closed(), Gate::closed());
    let mut call = pin!(map_concurrently((0..10).collect(), 3, |input: usize| {
        let gate = if input == 0 { &first } else { &gate }.clone();
        async move {
            gate.pass().await;
            Ok(input)
        }
    }));
    settle(&mut call).await;
    first.open();
    let returned = settle(&mut call).await;
    ensure(
        gate.entered() == 3 && gate.in_flight() == 3,
        format_args!("{asked}; the first has ended, the others that have begun go on"),
        "of the others begun: 3, in flight: 3",
        in_flight(&gate, returned.as_ref()),
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

async fn slow_tasks() -> Outcome {
    for slow in [[0, 1], [3, 4], [2, 9]] {
        let [first, second] = slow;
        let asked = format!(
            "map_concurrently over 10 inputs, 0, 1, 2 and so on, limit 3; \
             {first} and {second} go on, the others end at once"
        );
        let (held, others) = (Gate::closed(), Gate::opened());
        let mut call = pin!(map_concurrently((0..10).collect(), 3, |input| {
            let gate = if slow.contains(&input) {
                &held
            } else {
                &others
            };
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(input)
            }
        }));
        settle(&mut call).await;
        ensure(
            others.ended() == 8,
            &asked,
            "ended: 8, in flight: 2",
            format_args!("ended: {}, in flight: {}", others.ended(), held.in_flight()),
        )?;
        held.open();
        let results = results(&asked, call).await?;
        equal(&asked, (0..10).collect::<Vec<_>>(), results)?;
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
            "the call never returns: it has to look at each result as soon as the task ends, \
             even while inputs are left and other tasks run",
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

/// A call over 0 to 9, of which `failing` fails. Each goes through `gate`, which
/// is open, and ends after 1 ms.
async fn with_failing(gate: &Gate, failing: usize, limit: usize) -> Result<Vec<usize>, Error> {
    map_concurrently((0..10).collect(), limit, |input| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            sleep(Duration::from_millis(1)).await;
            if input == failing {
                Err(Error::BadRequest("this one failed"))
            } else {
                Ok(input)
            }
        }
    })
    .await
}

async fn failure_anywhere() -> Outcome {
    for limit in [1, 3, 20] {
        for failing in 0..10 {
            let asked = format!(
                "map_concurrently over 10 inputs, 0, 1, 2 and so on, limit {limit}; \
                 {failing} fails, the others end"
            );
            let expected = "Err(BadRequest(\"this one failed\"))";
            let call = with_failing(&Gate::opened(), failing, limit).await;
            ensure(
                matches!(call, Err(Error::BadRequest("this one failed"))),
                &asked,
                expected,
                format_args!("{call:?}"),
            )?;
        }
    }
    Ok(())
}

async fn others_aborted() -> Outcome {
    for (inputs, limit) in SHAPES {
        let asked = format!(
            "map_concurrently over {inputs} inputs, limit {limit}; one fails, \
             the others have not ended"
        );
        let gate = Gate::closed();
        failed(&asked, "Err", with_failures(&gate, inputs, limit)).await?;
        none_left(&asked, &gate).await?;
        ensure(
            gate.ended() == 1,
            &asked,
            "only the task that failed has ended",
            format_args!("{} tasks have ended", gate.ended()),
        )?;
    }
    Ok(())
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
    let called = Arc::new(AtomicUsize::new(0));
    let called_before = Arc::new(AtomicUsize::new(0));
    let call = map_concurrently((0..10).collect(), 3, |input| {
        called.fetch_add(1, Ordering::Relaxed);
        let (gate, called, called_before) = (gate.clone(), called.clone(), called_before.clone());
        async move {
            if input != 2 {
                gate.pass().await;
                return Ok(());
            }
            let visit = gate.enter();
            sleep(Duration::from_millis(10)).await;
            called_before.store(called.load(Ordering::Relaxed), Ordering::Relaxed);
            visit.end();
            Err(Error::BadRequest("2 failed"))
        }
    });
    failed(asked, "Err", call).await?;
    none_left(asked, &gate).await?;
    gate.open();
    sleep(Duration::from_millis(100)).await;
    ensure(
        gate.entered() == 3,
        asked,
        "3 tasks have begun",
        format_args!("{} tasks have begun", gate.entered()),
    )?;
    equal(
        format_args!("{asked}: how often was `task` called after the failure?"),
        0,
        called.load(Ordering::Relaxed) - called_before.load(Ordering::Relaxed),
    )?;
    for failing in 0..10 {
        let gate = Gate::opened();
        failed(asked, "Err", with_failing(&gate, failing, 1)).await?;
        sleep(Duration::from_millis(100)).await;
        equal(
            format_args!(
                "map_concurrently over 10 inputs, 0, 1, 2 and so on, limit 1; {failing} fails: \
                 how many tasks have begun?"
            ),
            failing + 1,
            gate.entered(),
        )?;
    }
    Ok(())
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
    let call = map_concurrently((0..inputs).collect(), limit, |input| {
        let gate = gate.clone();
        async move {
            if input == 1 {
                // Lets the others begin, then panics without a message.
                sleep(Duration::from_millis(1)).await;
                std::panic::resume_unwind(Box::new(()));
            }
            gate.pass().await;
            Ok(input)
        }
    });
    let expected = "Err(Task(..)), with the JoinError of the panic";
    // A panic of the call itself is a result too.
    match finished(&asked, expected, AssertUnwindSafe(call).catch_unwind()).await? {
        Ok(Err(Error::Task(error))) if error.is_panic() => none_left(&asked, &gate).await,
        Ok(other) => Err(Failure::new(asked, expected, format_args!("{other:?}"))),
        Err(_) => Err(Failure::new(
            asked,
            expected,
            "map_concurrently itself panics",
        )),
    }
}

async fn dropped_call() -> Outcome {
    for (inputs, limit) in [(10, 3), (3, 3), (3, 5)] {
        let asked =
            format!("map_concurrently over {inputs} inputs, limit {limit}, dropped while 3 run");
        let gate = Gate::closed();
        {
            let mut call = pin!(through(&gate, inputs, limit));
            settle(&mut call).await;
        }
        none_left(&asked, &gate).await?;
        gate.open();
        sleep(Duration::from_millis(100)).await;
        ensure(
            gate.entered() == 3 && gate.ended() == 0,
            asked,
            "3 have begun, none has ended",
            format_args!("{} have begun, {} have ended", gate.entered(), gate.ended()),
        )?;
    }
    Ok(())
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
    let totals = get_total_cost_of_orders(&engine, vec![3, 1, 2, 1, 99]).await;
    equal(asked, expected, totals.or_fail(asked)?)?;

    database.add_item(8, "Salt", 75).await?;
    database.add_item(9, "Air", 0).await?;
    database.add_order(-7, 1, &[(8, 3), (9, 1)]).await?;
    database.add_order(0, 1, &[(9, 2)]).await?;
    database.add_order(5_000_000, 2, &[(8, 1)]).await?;
    let asked = "get_total_cost_of_orders for 5000000, 0, -7, 4, 0 (the item of 0 is free)";
    let free = Some(Money(0));
    let expected = vec![Some(Money(75)), free, Some(Money(225)), None, free];
    let totals = get_total_cost_of_orders(&engine, vec![5_000_000, 0, -7, 4, 0]).await;
    equal(asked, expected, totals.or_fail(asked)?)?;

    let asked = "get_total_cost_of_orders for no orders";
    let totals = get_total_cost_of_orders(&engine, Vec::new()).await;
    equal(asked, Vec::<Option<Money>>::new(), totals.or_fail(asked)?)
}

/// The sample data and two orders whose totals cannot be queried: the sum of
/// order 4 is too large for SQLite's integers, so its query fails. One line of
/// order 5 is so large that SQLite returns a float, which is not `Money`.
async fn with_failing_orders() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let large = 9_000_000_000_000_000_000;
    database.add_item(5, "Moon", large).await?;
    database.add_item(6, "Mars", large).await?;
    database.add_order(4, 2, &[(5, 1), (6, 1)]).await?;
    database.add_order(5, 2, &[(5, 2)]).await?;
    Ok(database)
}

async fn one_order_fails() -> Outcome {
    let database = with_failing_orders().await?;
    let engine = engine(&database)?;
    for (failing, why) in [(4, "overflows"), (5, "is not an integer")] {
        for orders in [
            vec![failing, 1, 2],
            vec![1, failing, 2],
            vec![1, 2, failing],
        ] {
            let asked =
                format!("get_total_cost_of_orders for {orders:?}; the total of {failing} {why}");
            let result = get_total_cost_of_orders(&engine, orders).await;
            ensure(
                matches!(result, Err(Error::Database(_))),
                asked,
                "Err(Database(..))",
                format_args!("{result:?}"),
            )?;
        }
    }
    database
        .execute("ALTER TABLE order_items RENAME TO gone")
        .await?;
    // The aborted queries of the calls above must not be counted.
    database.wait_until_closed().await?;
    let asked = "get_total_cost_of_orders for 1, without the table order_items";
    let recording = Recording::start();
    let result = get_total_cost_of_orders(&engine, vec![1]).await;
    database.wait_until_closed().await?;
    let opened = recording.connections_opened();
    ensure(
        result.is_err() && opened == 1,
        asked,
        "one connection opened, and the error of its query",
        format_args!("{opened} connections opened, then {result:?}"),
    )?;

    let result = get_total_cost_of_orders(&engine, vec![1, 2, 3]).await;
    ensure(
        matches!(result, Err(Error::Database(_))),
        "get_total_cost_of_orders for 1, 2, 3, without the table order_items",
        "Err(Database(..))",
        format_args!("{result:?}"),
    )?;
    // The aborted queries must not be counted by a later check.
    database.wait_until_closed().await
}

/// Waits until the tasks of a call are gone, those that it has left running
/// included. `over` says when they would end by themselves.
async fn no_task_left(asked: &str, over: impl Fn() -> bool) -> Outcome {
    let metrics = Handle::current().metrics();
    let gone = async {
        loop {
            if metrics.num_alive_tasks() == 0 || over() {
                break !over();
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let gone = timeout(Duration::from_secs(2), gone).await;
    ensure(
        gone == Ok(true),
        format_args!("{asked}; and afterwards"),
        "no task is left: each was aborted at its `.await`",
        match gone {
            Ok(_) => "the tasks have gone on to the end of their queries".to_owned(),
            Err(_) => format!("{} tasks still run", metrics.num_alive_tasks()),
        },
    )
}

/// Makes `order_items` a view in which order 7 has so many rows that its total
/// takes a while. The queries for other orders do not visit those rows.
async fn with_slow_order() -> Result<Database, Failure> {
    let database = with_failing_orders().await?;
    database
        .execute(
            "ALTER TABLE order_items RENAME TO stored;
             CREATE VIEW order_items AS
             SELECT order_id, item_id, quantity FROM stored
             UNION ALL
             SELECT 7, 1, i FROM (
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
                 SELECT i FROM n
             )",
        )
        .await?;
    Ok(database)
}

async fn slow_query() -> Outcome {
    let asked = "get_total_cost_of_orders for 7, 4; the query for 7 is slow, the one for 4 fails";
    let database = with_slow_order().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let result = get_total_cost_of_orders(&engine, vec![7, 4]).await;
    let slow_has_ended = || recording.statements().len() == 2;
    ensure(
        !slow_has_ended(),
        asked,
        "Err while the query for 7 still runs",
        format_args!("{result:?} after the query for 7 has ended"),
    )?;
    ensure(
        matches!(result, Err(Error::Database(_))),
        asked,
        "Err(Database(..))",
        format_args!("{result:?}"),
    )?;
    no_task_left(asked, slow_has_ended).await?;
    // SQLite itself goes on until it has the sum. A later check must not count it.
    let ended = async {
        while !slow_has_ended() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let _ = timeout(Duration::from_secs(5), ended).await;
    Ok(())
}

async fn dropped_queries() -> Outcome {
    let asked =
        format!("get_total_cost_of_orders for {MANY} orders, dropped while its queries run");
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let lock = lock_readers_out(&database).await?;
    let recording = Recording::start();
    tokio::select! {
        // The lock keeps the result back.
        result = get_total_cost_of_orders(&engine, many()) => { result.or_fail(&asked)?; }
        () = wait_until_opened(&recording, MAX_QUERIES_IN_FLIGHT) => {}
    }
    no_task_left(&asked, || false).await?;
    unlock(lock).await
}

const MANY: usize = 40;

/// The ids of `MANY` orders: 1 and 2 of the sample, 3 without items, and others
/// that do not exist.
fn many() -> Vec<i64> {
    (1..).take(MANY).collect()
}

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
    // The check says how many were opened if there are fewer by then.
    let _ = timeout(Duration::from_secs(3), opened).await;
}

/// Runs `call` while no query can end, and returns how many connections it has
/// opened by then, and its output.
async fn opened_while_locked<F: Future>(
    database: &Database,
    call: F,
) -> Result<(usize, F::Output), Failure> {
    let lock = lock_readers_out(database).await?;
    let engine = engine(database)?;
    let recording = Recording::start();
    let count = async {
        wait_until_opened(&recording, MAX_QUERIES_IN_FLIGHT).await;
        // If more were wanted they would be opened by the time that as many have
        // been opened here, one after another.
        for _ in 0..MANY {
            engine.connect().await.or_fail("Engine::connect")?;
        }
        let opened = recording.connections_opened() - MANY;
        unlock(lock).await?;
        Ok(opened)
    };
    let (opened, output) = tokio::join!(count, call);
    Ok((opened?, output))
}

async fn queries_in_flight() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let asked = format!("get_total_cost_of_orders for {MANY} orders, while no query can end");
    let (opened, totals) =
        opened_while_locked(&database, get_total_cost_of_orders(&engine, many())).await?;
    equal(
        format_args!("{asked}: how many connections are open?"),
        MAX_QUERIES_IN_FLIGHT,
        opened,
    )?;
    let mut expected = vec![Some(Money(3000)), Some(Money(1200))];
    expected.resize(MANY, None);
    equal("and when they can", expected, totals.or_fail(&asked)?)
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
    contract::orders_total(&service(&database)?, &database).await
}

/// `/api/orders_total` for the orders of [`many`].
fn path_for_many() -> String {
    let ids: Vec<String> = many().iter().map(ToString::to_string).collect();
    format!("/api/orders_total?orders={}", ids.join(","))
}

async fn queries_of_a_request() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let path = path_for_many();
    let (opened, reply) = opened_while_locked(&database, service.get(&path)).await?;
    equal(
        format_args!(
            "GET /api/orders_total for {MANY} orders, while no query can end: \
             how many connections are open?"
        ),
        MAX_QUERIES_IN_FLIGHT,
        opened,
    )?;
    let mut expected = vec![json!(30.0), json!(12.0)];
    expected.resize(MANY, Value::Null);
    reply?.expect_json(200, &expected.into())
}

async fn one_problem() -> Outcome {
    let database = with_failing_orders().await?;
    let service = service(&database)?;
    for (orders, cause) in [
        ("1,4,2", "overflow"),
        ("1,5,2", "ColumnDecode"),
        ("1,2,3", "no such table"),
    ] {
        if cause == "no such table" {
            database
                .execute("ALTER TABLE order_items RENAME TO gone")
                .await?;
        }
        let recording = Recording::start();
        let path = format!("/api/orders_total?orders={orders}");
        let reply = service.get(&path).await?;
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
            !text.contains(cause) && !text.contains("SELECT") && !text.contains("total_cents"),
            reply.asked(),
            "a text without the cause, which belongs in the log",
            &text,
        )?;
        let logged = recording.logged(Level::ERROR);
        ensure(
            logged.len() == 1 && logged[0].contains(cause),
            format_args!("{}: what is in the log?", reply.asked()),
            "the cause, once",
            format_args!("{logged:?}"),
        )?;
    }
    Ok(())
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
    let path = path_for_many();
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
    let in_time = timeout(Duration::from_secs(5), dropped.notified()).await;
    ensure(
        in_time.is_ok(),
        &asked,
        "axum drops the handler",
        "the handler goes on: it blocks its thread instead of waiting at an `.await`",
    )?;
    unlock(lock).await?;
    // While a second client gets its 40 answers, 40 queries of the first would
    // have run too.
    service.get(&path).await?.expect_status(200)?;
    let executed = recording.statements().len() - MANY;
    // The tasks are aborted one after another. Meanwhile, a permit that one of them gives
    // back may let another one begin.
    let most = 2 * MAX_QUERIES_IN_FLIGHT;
    ensure(
        executed <= most,
        asked,
        format_args!(
            "the {MAX_QUERIES_IN_FLIGHT} queries that were in flight, or a few more: at most {most}"
        ),
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
    contract::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total(&service, &database).await?;
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
