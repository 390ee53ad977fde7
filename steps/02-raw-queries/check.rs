//! What step 02 has to do: `./run.sh check 02`.
//!
//! The checks come in the order of the tasks: the first that fails belongs to
//! the task to do next.

use std::process::{ExitCode, Stdio};

use contract::statements::{Recording, equal_runs};
use contract::{Database, Failure, OrFail, Outcome, Service, Suite, answers, ensure, equal};
use serde_json::{Value, json};
use sqlx::Row;
use step02::db::base::{Engine, SqlQuery};
use step02::db_accessor::{add_new_order_for_customer, get_total_cost_of_an_order};
use step02::error::Error;
use step02::server;
use step02::types::{Money, NewOrderItem};

#[allow(clippy::too_many_lines)] // it is a list
fn main() -> ExitCode {
    Suite::new("02-raw-queries", env!("CARGO_MANIFEST_DIR"))
        .check("02.1", "a query gives all of its rows", query_gives_rows)
        .check(
            "02.1",
            "a value is bound to its place in the SQL",
            query_binds,
        )
        .check("02.1", "a query that fails gives its error", query_fails)
        .check(
            "02.1",
            "each query has a connection of its own",
            query_has_own_connection,
        )
        .check(
            "02.1",
            "after a query its connection is closed, also when the query failed",
            query_closes,
        )
        .check(
            "02.1",
            "a query that nobody waits for any more is given up",
            dropped_query_closes,
        )
        .check(
            "02.1",
            "GET /api/customers, /api/orders and /api/orders_between_dates answer",
            lists_over_http,
        )
        .check(
            "02.2",
            "an INSERT gives the id of its row, and the row is stored",
            insert_gives_id,
        )
        .check(
            "02.2",
            "an INSERT that is refused gives its error; its connection is closed",
            insert_refused,
        )
        .check("02.3", "many INSERTs are all stored", inserts_stored)
        .check(
            "02.3",
            "of many INSERTs none is stored when one is refused",
            inserts_all_or_none,
        )
        .check(
            "02.3",
            "many INSERTs share one connection, which is closed in the end",
            inserts_share_connection,
        )
        .check("02.4", "an order's total is the sum over its items", total)
        .check(
            "02.4",
            "the total of an order without items is None, not 0",
            total_is_none,
        )
        .check(
            "02.4",
            "every order's total is the same SQL with another value",
            total_binds,
        )
        .check(
            "02.5",
            "a new order is stored under its customer, with its items",
            order_stored,
        )
        .check(
            "02.5",
            "the values of a new order are bound, not written into the SQL",
            order_binds,
        )
        .check("02.5", ORDER_TIME_IS_UTC, order_time_is_utc)
        .check(
            "02.5",
            "an item that does not exist gives an error",
            order_with_bad_item,
        )
        .check(
            "02.5",
            "of a new order's items none is stored when one is refused",
            order_items_all_or_none,
        )
        .check(
            "02.5",
            "POST /api/add_new_order answers 201 with the order's id",
            order_over_http,
        )
        .check(
            "02.6",
            "GET /api/order_total answers the total, null for an empty order",
            total_over_http,
        )
        .check(
            "02.6",
            "a database that fails is answered with 500 and a problem, no SQL",
            failure_over_http,
        )
        .check(
            "02.6",
            "a new order is found under its customer and has its total",
            orders_over_http,
        )
        .run()
}

// ---- 02.1 execute_query

async fn query_gives_rows() -> Outcome {
    let database = Database::sample().await?;
    let rows = engine(&database)?
        .execute_query(sqlx::query("SELECT id, name FROM item ORDER BY id"))
        .await
        .or_fail("execute_query(SELECT id, name FROM item ORDER BY id)")?;
    let names = rows
        .iter()
        .map(|row| row.try_get("name"))
        .collect::<Result<Vec<String>, _>>()
        .or_fail("the column `name` of each row")?;
    equal(
        "execute_query(SELECT id, name FROM item ORDER BY id)",
        vec!["Milk", "Kit Kat", "Bread", "Onion"],
        names,
    )
}

async fn query_binds() -> Outcome {
    let database = Database::sample().await?;
    let hostile = "' OR 1 = 1 --";
    let rows = engine(&database)?
        .execute_query(sqlx::query("SELECT id FROM item WHERE name = $1").bind(hostile))
        .await
        .or_fail(format!("execute_query(… WHERE name = $1) with {hostile:?}"))?;
    equal(
        format!("how many items have the name {hostile:?}"),
        0,
        rows.len(),
    )
}

async fn query_fails() -> Outcome {
    let database = Database::sample().await?;
    let asked = "execute_query(SELECT price FROM no_such_table)";
    let rows = engine(&database)?
        .execute_query(sqlx::query("SELECT price FROM no_such_table"))
        .await;
    expect_database_error(asked, rows.map(|rows| format!("{} rows", rows.len())))?;

    let asked = "execute_query over a database file that does not exist";
    let nowhere = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let rows = nowhere.execute_query(sqlx::query("SELECT 1")).await;
    expect_database_error(asked, rows.map(|rows| format!("{} rows", rows.len())))
}

async fn query_has_own_connection() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    for _ in 0..3 {
        engine
            .execute_query(count_items())
            .await
            .or_fail("execute_query(SELECT count(*) FROM item)")?;
    }
    equal(
        "connections opened for 3 calls of execute_query",
        3,
        recording.connections_opened(),
    )
}

async fn query_closes() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let after_success = engine.execute_query(count_items()).await;
    after_success.or_fail("execute_query(SELECT count(*) FROM item)")?;
    expect_closed(&database, "a query that succeeded").await?;

    // The engine is still there: it must not hold on to a connection.
    let rows = engine
        .execute_query(sqlx::query(
            "SELECT abs(id * 0 - 9223372036854775807 - 1) FROM item",
        ))
        .await;
    expect_database_error("a query that overflows", rows.map(|_| "rows"))?;
    expect_closed(&database, "a query that failed").await
}

async fn dropped_query_closes() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    // Never ends, and each row takes a moment, so that few are kept.
    let endless = sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
         SELECT (WITH RECURSIVE m(j) AS (SELECT n.i UNION ALL SELECT j + 1 FROM m WHERE j < n.i + 5000)
                 SELECT count(*) FROM m)
         FROM n",
    );
    let asked = "execute_query with a query that never ends, dropped while it runs";
    tokio::select! {
        rows = engine.execute_query(endless) => {
            let got = rows.map_or_else(|error| format!("{error:?}"), |rows| format!("{} rows", rows.len()));
            return Err(Failure::new(asked, "a query that goes on", got));
        }
        () = async {
            // Only now is the query at work.
            while !is_open(&database) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    expect_closed(&database, asked).await
}

async fn lists_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::customers_flat(&service, &database).await?;
    expect_closed(&database, "GET /api/customers").await?;
    let (service, database) = fresh().await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await
}

// ---- 02.2 execute_insert_query

async fn insert_gives_id() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    // The sample has three addresses; one inserted row is not id 1, nor is the
    // number of rows.
    for id in [4, 5] {
        let given = engine
            .execute_insert_query(insert_address(100 + id))
            .await
            .or_fail("execute_insert_query(INSERT INTO address …)")?;
        equal(
            "the id that execute_insert_query returns for a new row of the table `address`",
            id,
            given,
        )?;
        let stored: i64 = database
            .one(&format!(
                "SELECT count(*) FROM address WHERE id = {id} AND flat_number = 100 + {id}"
            ))
            .await?;
        equal(format!("rows in `address` with id {id}"), 1, stored)?;
    }
    expect_closed(&database, "an INSERT").await
}

async fn insert_refused() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let before = database.snapshot().await?;
    let asked = "execute_insert_query: a customer at address 77, which does not exist";
    let id = engine.execute_insert_query(insert_customer(77)).await;
    expect_database_error(asked, id.map(|id| format!("id {id}")))?;
    database.expect_unchanged(asked, &before).await?;
    expect_closed(&database, "an INSERT that was refused").await
}

// ---- 02.3 execute_insert_queries

async fn inserts_stored() -> Outcome {
    let database = Database::sample().await?;
    let asked = "execute_insert_queries: 3 × INSERT INTO address";
    engine(&database)?
        .execute_insert_queries((1..=3).map(insert_address).collect())
        .await
        .or_fail(asked)?;
    let stored: i64 = database
        .one("SELECT count(*) FROM address WHERE id > 3")
        .await?;
    equal(
        format!("{asked}, then the number of new addresses"),
        3,
        stored,
    )
}

async fn inserts_all_or_none() -> Outcome {
    let database = Database::sample().await?;
    let before = database.snapshot().await?;
    let asked = "execute_insert_queries: two good customers, one at address 77, which does not \
                 exist, one more good one";
    let done = engine(&database)?
        .execute_insert_queries([1, 2, 77, 3].map(insert_customer).into())
        .await;
    expect_database_error(asked, done.map(|()| "Ok(())"))?;
    // Closed means that nothing is left that could still be rolled back.
    expect_closed(&database, "INSERTs of which one was refused").await?;
    database.expect_unchanged(asked, &before).await
}

async fn inserts_share_connection() -> Outcome {
    let database = Database::sample().await?;
    let recording = Recording::start();
    let asked = "execute_insert_queries: 3 × INSERT INTO address";
    engine(&database)?
        .execute_insert_queries((1..=3).map(insert_address).collect())
        .await
        .or_fail(asked)?;
    equal(
        format!("connections opened for {asked}"),
        1,
        recording.connections_opened(),
    )?;
    expect_closed(&database, asked).await
}

// ---- 02.4 get_total_cost_of_an_order

async fn total() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    for (order, cents) in [(1, 3000), (2, 1200)] {
        expect_total(&engine, order, Some(Money(cents))).await?;
    }
    Ok(())
}

async fn total_is_none() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    for order in [3, 99] {
        expect_total(&engine, order, None).await?;
    }
    Ok(())
}

async fn expect_total(engine: &Engine, order: i64, expected: Option<Money>) -> Outcome {
    let asked = format!("get_total_cost_of_an_order({order})");
    let total = get_total_cost_of_an_order(engine, order)
        .await
        .or_fail(&asked)?;
    equal(asked, expected, total)
}

async fn total_binds() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let mut runs = Vec::new();
    for (order, label) in [(1, "order 1, with 3 items"), (2, "order 2, with 2 items")] {
        get_total_cost_of_an_order(&engine, order)
            .await
            .or_fail("get_total_cost_of_an_order")?;
        runs.push((label, recording.statements()));
        recording.clear();
    }
    equal_runs(
        "the SQL that is run for the totals of order 1 and order 2",
        "the same text for both, with the id bound to $1",
        &runs,
    )
}

// ---- 02.5 add_new_order_for_customer

async fn order_stored() -> Outcome {
    let database = Database::sample().await?;
    let asked = "add_new_order_for_customer: customer 2, 4 of item 3, 6 of item 2";
    let id = add_new_order_for_customer(&engine(&database)?, 2, &items(&[(3, 4), (2, 6)]))
        .await
        .or_fail(asked)?;
    equal(format!("{asked}: the id"), 4, id)?;
    let customer: Option<i64> = database
        .one("SELECT max(customer_id) FROM orders WHERE id = 4")
        .await?;
    equal(
        format!("{asked}: customer_id of the order"),
        Some(2),
        customer,
    )?;
    let stored: Option<String> = database
        .one(
            "SELECT group_concat('item ' || item_id || ' × ' || quantity, ', ' ORDER BY rowid)
             FROM order_items WHERE order_id = 4",
        )
        .await?;
    equal(
        format!("{asked}: the rows in `order_items`"),
        "item 3 × 4, item 2 × 6",
        stored.unwrap_or_else(|| "none".to_owned()),
    )?;
    expect_closed(&database, asked).await
}

async fn order_binds() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    // Two orders with as many items and with no value in common, not even
    // their ids.
    let recording = Recording::start();
    let mut runs = Vec::new();
    for (label, customer, of_items) in [
        ("the first order", 1, [(2, 10), (3, 11)]),
        ("the second order", 2, [(1, 20), (4, 21)]),
    ] {
        recording.clear();
        add_new_order_for_customer(&engine, customer, &items(&of_items))
            .await
            .or_fail("add_new_order_for_customer")?;
        runs.push((label, recording.statements()));
    }
    equal_runs(
        "the SQL that is run for two new orders, each with two items",
        "the same texts for both, with the values bound to $1, $2, …",
        &runs,
    )
}

const ORDER_TIME_IS_UTC: &str = "the time of a new order is now, in UTC, wherever the machine is";

/// A zone in which local time is never UTC, in the form that needs no table of
/// zones: five and a half hours ahead.
const FAR_ZONE: &str = "FAR-5:30";

/// On a machine whose clock shows UTC, local time would pass. So the check runs
/// once more, as a process of its own, in another zone: that of this process
/// cannot be changed while it has threads.
async fn order_time_is_utc() -> Outcome {
    if std::env::var("TZ").is_ok_and(|zone| zone == FAR_ZONE) {
        return order_time_is_now().await;
    }
    order_time_is_now().await?;

    let asked = "this check in a process of its own, with TZ=FAR-5:30";
    let program = std::env::current_exe().or_fail(asked)?;
    let child = tokio::process::Command::new(program)
        .arg(ORDER_TIME_IS_UTC)
        .arg("--json")
        .env("TZ", FAR_ZONE)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .or_fail(asked)?;
    // The report is the last line: the code under test may print, too.
    let printed = String::from_utf8_lossy(&child.stdout);
    let report: Value =
        serde_json::from_str(printed.lines().last().unwrap_or_default()).or_fail(asked)?;
    let check = &report["checks"][0];
    let text = |member: &str| check[member].as_str().unwrap_or("nothing").to_owned();
    ensure(
        report["passed"] == 1,
        format!("{}, with the machine's zone at UTC+5:30", text("asked")),
        text("expected"),
        text("got"),
    )
}

async fn order_time_is_now() -> Outcome {
    let database = Database::sample().await?;
    // Text in this form sorts as time does.
    let before: String = database.one("SELECT datetime('now')").await?;
    add_new_order_for_customer(&engine(&database)?, 1, &items(&[(1, 1)]))
        .await
        .or_fail("add_new_order_for_customer")?;
    let time: Option<String> = database
        .one("SELECT max(order_time) FROM orders WHERE id = 4")
        .await?;
    let after: String = database.one("SELECT datetime('now')").await?;
    let time = time.unwrap_or_else(|| "no order".to_owned());
    ensure(
        before <= time && time <= after && time.len() == before.len(),
        "order_time of a new order",
        format!("from {before} to {after}, which is now in UTC"),
        &time,
    )
}

async fn order_with_bad_item() -> Outcome {
    let database = Database::sample().await?;
    let asked = "add_new_order_for_customer: item 1 and item 2222, which does not exist";
    let id = add_new_order_for_customer(&engine(&database)?, 1, &items(&[(1, 1), (2222, 1)])).await;
    expect_database_error(asked, id.map(|id| format!("order {id}")))
}

async fn order_items_all_or_none() -> Outcome {
    let database = Database::sample().await?;
    let asked = "add_new_order_for_customer: item 1, item 2222, which does not exist, and item 2";
    let id =
        add_new_order_for_customer(&engine(&database)?, 1, &items(&[(1, 1), (2222, 1), (2, 1)]))
            .await;
    expect_database_error(asked, id.map(|id| format!("order {id}")))?;
    expect_closed(&database, asked).await?;
    let stored: i64 = database
        .one("SELECT count(*) FROM order_items WHERE order_id > 3")
        .await?;
    equal(
        format!("{asked}, then the number of new rows in `order_items`"),
        0,
        stored,
    )
}

async fn order_over_http() -> Outcome {
    let (service, _database) = fresh().await?;
    let order = json!({"customer_id": 3, "items": [{"id": 2, "quantity": 4}]});
    let reply = service.post_json("/api/add_new_order", &order).await?;
    reply.expect_json(201, &json!({"order_id": 4}))?;
    equal(
        format!("{}: the header `location`", reply.asked()),
        Some("/api/order_total/4"),
        reply.header("location"),
    )?;
    service.get("/api/orders/3").await?.expect_json(
        200,
        &json!([
            {"name": "Kit Kat", "description": "a chocolate", "price": 1.0, "total": 2.0},
            {"name": "Onion", "description": "an onion", "price": 2.0, "total": 10.0},
            {"name": "Kit Kat", "description": "a chocolate", "price": 1.0, "total": 4.0},
        ]),
    )
}

// ---- 02.6 the handler of /api/order_total

async fn total_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::order_total_null_when_unknown(&service).await?;
    answers::order_total(&service, &database).await?;
    expect_closed(&database, "GET /api/order_total/…").await
}

async fn failure_over_http() -> Outcome {
    let database = Database::sample().await?;
    let asked = "GET /api/order_total/1, on purpose without the database's file";
    let engine = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let service = Service::start(server::app(engine));
    // Without these words, "unable to open database file" looks like a fault of
    // the machine.
    let say_so = |failure: Failure| Failure::new(asked, failure.expected(), failure.got());
    let reply = service.get("/api/order_total/1").await.map_err(say_so)?;
    answers::expect_problem(&reply, 500).map_err(say_so)
}

async fn orders_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_refusals_400(&service, &database).await?;
    expect_closed(&database, "POST /api/add_new_order").await
}

// ---- shared

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url()).or_fail("Engine::new")
}

/// A service over the sample data: those of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let service = Service::start(server::app(engine(&database)?));
    Ok((service, database))
}

/// The URL of a file that is not there.
fn nowhere(database: &Database) -> String {
    format!("{}-missing", database.url())
}

fn count_items() -> SqlQuery {
    sqlx::query("SELECT count(*) FROM item")
}

fn insert_address(flat_number: i64) -> SqlQuery {
    sqlx::query("INSERT INTO address (flat_number, post_code) VALUES ($1, 10009)").bind(flat_number)
}

fn insert_customer(address_id: i64) -> SqlQuery {
    sqlx::query("INSERT INTO customer (name, address_id) VALUES ('Dana', $1)").bind(address_id)
}

fn items(items: &[(i64, i64)]) -> Vec<NewOrderItem> {
    let item = |&(id, quantity)| NewOrderItem { id, quantity };
    items.iter().map(item).collect()
}

fn expect_database_error<T: std::fmt::Display>(asked: &str, got: Result<T, Error>) -> Outcome {
    let expected = "Err(Error::Database(…))";
    match got {
        Err(Error::Database(_)) => Ok(()),
        Err(other) => Err(Failure::new(asked, expected, format!("Err({other:?})"))),
        Ok(value) => Err(Failure::new(asked, expected, value)),
    }
}

/// SQLite keeps a file `-wal` beside the database exactly while a connection
/// that has used it is open.
fn is_open(database: &Database) -> bool {
    let mut wal = database.path().as_os_str().to_owned();
    wal.push("-wal");
    std::path::Path::new(&wal).exists()
}

async fn expect_closed(database: &Database, after: &str) -> Outcome {
    database.wait_until_closed().await.map_err(|failure| {
        Failure::new(
            format!("is a connection left open after {after}?"),
            failure.expected(),
            failure.got(),
        )
    })
}
