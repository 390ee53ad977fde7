//! What step 02 must do: `./run.sh check 02`.
//!
//! The checks come in the order of the tasks: the first that fails belongs to
//! the task to do next.

use std::fmt::Debug;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use axum::response::IntoResponse;
use check::statements::{Recording, equal_runs};
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal};
use futures::future::{Either, join_all, select};
use futures::poll;
use serde_json::json;
use sqlx::Row;
use step02::db::base::{Engine, SqlQuery};
use step02::db_accessor::{add_new_order_for_customer, get_total_cost_of_an_order};
use step02::error::Error;
use step02::server;
use step02::types::{Money, NewOrderItem};
use tokio::runtime::Handle;
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("02-raw-queries", env!("CARGO_MANIFEST_DIR"))
        .check(
            "02.1",
            "a query returns all of its rows",
            query_returns_rows,
        )
        .check(
            "02.1",
            "a value is bound to its placeholder in the SQL",
            query_binds,
        )
        .check("02.1", "a query that fails returns its error", query_fails)
        .check(
            "02.1",
            "each query has a connection of its own",
            query_has_own_connection,
        )
        .check(
            "02.1",
            "a query does not wait for other queries",
            query_does_not_wait,
        )
        .check(
            "02.1",
            "after a query its connection is closed, also when the query failed",
            query_closes,
        )
        .check(
            "02.1",
            "dropping the call gives the query up and closes its connection",
            dropped_query_closes,
        )
        .check(
            "02.1",
            "GET /api/customers, /api/orders and /api/orders_between_dates answer",
            lists_over_http,
        )
        .check(
            "02.2",
            "an INSERT returns the id of its row, and the row is stored",
            insert_returns_id,
        )
        .check(
            "02.2",
            "an INSERT that is refused returns its error and closes its connection",
            insert_refused,
        )
        .check(
            "02.2",
            "dropping the call closes the connection of the INSERT",
            dropped_insert_closes,
        )
        .check(
            "02.3",
            "many INSERTs are all stored, in their order",
            inserts_stored,
        )
        .check(
            "02.3",
            "of many INSERTs none is stored when one is refused",
            inserts_all_or_none,
        )
        .check(
            "02.3",
            "a commit that is refused is an error, and nothing is stored",
            inserts_commit_refused,
        )
        .check(
            "02.3",
            "many INSERTs share one connection, which is closed in the end",
            inserts_share_connection,
        )
        .check(
            "02.3",
            "dropping the call leaves nothing stored",
            dropped_inserts_roll_back,
        )
        .check("02.4", "an order's total is the sum over its items", total)
        .check(
            "02.4",
            "the total of an order without items is None, not 0",
            total_is_none,
        )
        .check(
            "02.4",
            "the total of an order whose items are free is 0, not None",
            total_is_zero,
        )
        .check(
            "02.4",
            "a total that cannot be read is an error, not None",
            total_fails,
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
            "a new order's id is that of its own row, whatever other orders exist",
            order_id_is_its_own,
        )
        .check(
            "02.5",
            "the values of a new order are bound, not written into the SQL",
            order_binds,
        )
        .check("02.5", ORDER_TIME_IS_UTC, order_time_is_utc)
        .check(
            "02.5",
            "an order that the database does not accept is an error",
            order_refused,
        )
        .check(
            "02.5",
            "of a new order's items none is stored when one is refused",
            order_items_all_or_none,
        )
        .check(
            "02.5",
            "dropping the call ends all of its work",
            dropped_order_ends,
        )
        .check(
            "02.5",
            "POST /api/add_new_order refuses bad orders with 400 and a problem",
            refusals_over_http,
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
            "an id that is not a whole number is refused before a connection is opened",
            bad_id_over_http,
        )
        .check(
            "02.6",
            "a database that fails is logged and answered with 500 and a problem, no SQL",
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

async fn query_returns_rows() -> Outcome {
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
    )?;

    let asked = "the number of rows of a query with 3000 rows";
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                SELECT i FROM n";
    let rows = engine(&database)?.execute_query(sqlx::query(many)).await;
    equal(asked, 3000, rows.or_fail(asked)?.len())
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

    // Item 3 comes after two rows and before one, item 4 is the last: rows that
    // were read before an error are not the answer.
    for item in [3, 4] {
        let asked = format!("execute_query with a query that fails at row {item} of 4");
        let query = "SELECT abs(iif(id = $1, -9223372036854775807 - 1, id)) FROM item ORDER BY id";
        let rows = engine(&database)?
            .execute_query(sqlx::query(query).bind(item))
            .await;
        expect_database_error(&asked, rows.map(|rows| format!("{} rows", rows.len())))?;
    }

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

/// How long a query may take that has nothing to wait for.
const NO_WAIT: Duration = Duration::from_secs(4);

async fn query_does_not_wait() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let lock = database.lock_exclusively().await?;
    // SQLite lets readers go on while a writer waits for the lock.
    let insert = "INSERT INTO address (flat_number, post_code) VALUES (1, 10009) RETURNING id";
    let mut writers = pin!(join_all(
        (0..12).map(|_| engine.execute_query(sqlx::query(insert)))
    ));
    let begun = poll!(&mut writers);
    let asked = "execute_query(SELECT count(*) FROM item) while 12 other calls of execute_query \
                 wait for a lock";
    let expected = "one row, at once";
    ensure(begun.is_pending(), asked, expected, "the other calls ended")?;
    let reader = pin!(engine.execute_query(count_items()));
    let writers = match tokio::time::timeout(NO_WAIT, select(reader, writers)).await {
        Err(_) => {
            return Err(Failure::new(
                asked,
                expected,
                format!(
                    "nothing within {} s: it waits for the other calls",
                    NO_WAIT.as_secs()
                ),
            ));
        }
        Ok(Either::Left((rows, writers))) => {
            equal(asked, 1, rows.or_fail(asked)?.len())?;
            writers
        }
        Ok(Either::Right((others, _))) => {
            let got = format!("the other calls ended first: {} of them", others.len());
            return Err(Failure::new(asked, expected, got));
        }
    };
    lock.release().await?;
    // Their statements must not appear in a later check's recording.
    writers.await;
    expect_closed(&database, asked).await
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
    let asked = "execute_query with a query that never ends, dropped while it runs";
    drop_while_open(&database, asked, engine.execute_query(endless())).await
}

/// A query that never ends. Each row takes a moment, so that few are kept.
fn endless() -> SqlQuery {
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
         SELECT (WITH RECURSIVE m(j) AS (SELECT n.i UNION ALL SELECT j + 1 FROM m WHERE j < n.i + 5000)
                 SELECT count(*) FROM m)
         FROM n",
    )
}

async fn drop_while_open<T>(
    database: &Database,
    asked: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Outcome {
    tokio::select! {
        done = call => {
            let got = done.map_or_else(|error| format!("Err({error:?})"), |_| "Ok(…)".to_owned());
            return Err(Failure::new(asked, "a call that goes on until it is dropped", got));
        }
        () = async {
            // Only now is the query running.
            while !is_open(database) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    expect_closed(database, asked).await
}

async fn lists_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::customers_flat(&service, &database).await?;
    expect_closed(&database, "GET /api/customers").await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await
}

// ---- 02.2 execute_insert_query

async fn insert_returns_id() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    // The sample has three addresses; one inserted row is not id 1, nor is the
    // number of rows.
    for id in [4, 5] {
        let asked = "the id that execute_insert_query returns for a new row of the table `address`";
        let insert = insert_address(100 + id);
        let returned = engine.execute_insert_query(insert).await.or_fail(asked)?;
        equal(asked, id, returned)?;
        expect_address(&database, id, 100 + id).await?;
    }
    // The id is neither the highest one nor below 2³².
    for id in [-7, 5_000_000_000] {
        let asked = format!("the id that execute_insert_query returns for a new address {id}");
        let insert = "INSERT INTO address (id, flat_number, post_code) VALUES ($1, 1, 10009)";
        let insert = sqlx::query(insert).bind(id);
        let returned = engine.execute_insert_query(insert).await.or_fail(&asked)?;
        equal(asked, id, returned)?;
        expect_address(&database, id, 1).await?;
    }
    expect_closed(&database, "an INSERT").await
}

async fn expect_address(database: &Database, id: i64, flat_number: i64) -> Outcome {
    let stored: Option<i64> = database
        .one(&format!(
            "SELECT sum(flat_number) FROM address WHERE id = {id}"
        ))
        .await?;
    equal(
        format!("the flat_number of the new address {id}"),
        Some(flat_number),
        stored,
    )
}

async fn insert_refused() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let before = database.snapshot().await?;
    let asked = "execute_insert_query: a customer at address 77, which does not exist";
    let id = engine.execute_insert_query(insert_customer(77)).await;
    expect_database_error(asked, id.map(|id| format!("id {id}")))?;
    database.expect_unchanged(asked, &before).await?;
    expect_closed(&database, "an INSERT that was refused").await?;

    let asked = "execute_insert_query over a database file that does not exist";
    let nowhere = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let id = nowhere.execute_insert_query(insert_address(1)).await;
    expect_database_error(asked, id.map(|id| format!("id {id}")))?;

    // No constraint is violated, and yet it fails.
    database.refuse("INSERT ON address").await?;
    let asked = "execute_insert_query: an address that a trigger refuses";
    let id = engine.execute_insert_query(insert_address(1)).await;
    expect_database_error(asked, id.map(|id| format!("id {id}")))
}

async fn dropped_insert_closes() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let asked = "execute_insert_query with a statement that never ends, dropped while it runs";
    drop_while_open(&database, asked, engine.execute_insert_query(endless())).await
}

// ---- 02.3 execute_insert_queries

async fn inserts_stored() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let asked = "execute_insert_queries: new addresses with the flat_numbers 12, 11 and 13";
    engine
        .execute_insert_queries([12, 11, 13].map(insert_address).into())
        .await
        .or_fail(asked)?;
    let stored: Option<String> = database
        .one("SELECT group_concat(flat_number, ', ' ORDER BY id) FROM address WHERE id > 3")
        .await?;
    equal(
        format!("{asked}, then the new addresses in the order of their ids"),
        "12, 11, 13",
        stored.unwrap_or_else(|| "none".to_owned()),
    )?;

    let asked = "execute_insert_queries without any query";
    engine
        .execute_insert_queries(Vec::new())
        .await
        .or_fail(asked)
}

async fn inserts_all_or_none() -> Outcome {
    for (which, refused) in [("the 2nd", 1), ("the 1st", 0), ("the last", 39)] {
        let database = Database::sample().await?;
        let before = database.snapshot().await?;
        let asked = format!(
            "execute_insert_queries: 40 customers, of which {which} is at address 77, which does \
             not exist"
        );
        let address = |i: i64| if i == refused { 77 } else { 1 + i % 3 };
        let inserts = (0..40).map(|i| insert_customer(address(i))).collect();
        let done = engine(&database)?.execute_insert_queries(inserts).await;
        expect_database_error(&asked, done.map(|()| "Ok(())"))?;
        // Closed means that nothing is left that could still be rolled back.
        expect_closed(&database, "INSERTs of which one was refused").await?;
        database.expect_unchanged(&asked, &before).await?;
    }

    // No constraint is violated, and yet it fails.
    let database = Database::sample().await?;
    let change = "INSERT ON address WHEN new.flat_number = 2";
    database.refuse(change).await?;
    let before = database.snapshot().await?;
    let asked =
        "execute_insert_queries: 3 × INSERT INTO address, of which a trigger refuses the 2nd";
    let inserts = (1..=3).map(insert_address).collect();
    let done = engine(&database)?.execute_insert_queries(inserts).await;
    expect_database_error(asked, done.map(|()| "Ok(())"))?;
    expect_closed(&database, asked).await?;
    database.expect_unchanged(asked, &before).await?;

    let asked = "execute_insert_queries over a database file that does not exist";
    let nowhere = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let done = nowhere
        .execute_insert_queries(vec![insert_address(1)])
        .await;
    expect_database_error(asked, done.map(|()| "Ok(())"))
}

async fn inserts_commit_refused() -> Outcome {
    let database = Database::sample().await?;
    database
        .execute(
            "CREATE TABLE visit (
                 customer_id INTEGER REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED
             )",
        )
        .await?;
    let before = database.snapshot().await?;
    let asked = "execute_insert_queries: a new address, and a row whose foreign key SQLite checks \
                 only at COMMIT and then refuses";
    let insert = "INSERT INTO visit (customer_id) VALUES (77)";
    let done = engine(&database)?
        .execute_insert_queries(vec![insert_address(1), sqlx::query(insert)])
        .await;
    expect_database_error(asked, done.map(|()| "Ok(())"))?;
    expect_closed(&database, "a COMMIT that was refused").await?;
    database.expect_unchanged(asked, &before).await
}

async fn dropped_inserts_roll_back() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let before = database.snapshot().await?;
    let asked = "execute_insert_queries: 3 × INSERT INTO address, dropped before the commit";
    let inserts = (1..=3).map(insert_address).collect();
    drop_while_locked(&database, asked, engine.execute_insert_queries(inserts)).await?;
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
    // One Milk costs as much as five Kit Kat, and both lines count.
    database.add_order(-5, 2, &[(2, 5), (1, 1)]).await?;
    expect_total(&engine, -5, Some(Money(1000))).await?;
    // 2⁵³ + 1, which an f64 does not hold.
    let much = 9_007_199_254_740_993;
    database.add_item(-9, "Gold", much - 1).await?;
    database.add_item(70, "Mint", 1).await?;
    database
        .add_order(3_000_000_000, 1, &[(-9, 1), (70, 1)])
        .await?;
    expect_total(&engine, 3_000_000_000, Some(Money(much))).await
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

async fn total_is_zero() -> Outcome {
    let database = Database::sample().await?;
    database.add_item(9, "Leaflet", 0).await?;
    database.add_order(8, 1, &[(9, 3)]).await?;
    expect_total(&engine(&database)?, 8, Some(Money(0))).await
}

async fn total_fails() -> Outcome {
    let database = Database::sample().await?;
    let asked = "get_total_cost_of_an_order(1) over a database file that does not exist";
    let nowhere = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let total = get_total_cost_of_an_order(&nowhere, 1).await;
    expect_database_error(asked, total.map(|total| format!("Ok({total:?})")))?;

    // The product of one line, and the sum of two lines.
    let half = i64::MAX / 2 + 1;
    database.add_item(10, "Ore", half).await?;
    database.add_item(11, "Oil", half).await?;
    database.add_order(20, 1, &[(10, 3)]).await?;
    database.add_order(21, 1, &[(10, 1), (11, 1)]).await?;
    let engine = engine(&database)?;
    for order in [20, 21] {
        let asked =
            format!("get_total_cost_of_an_order({order}), whose total is too large for an i64");
        if let Ok(total) = get_total_cost_of_an_order(&engine, order).await {
            return Err(Failure::new(
                asked,
                "an Err, and no panic",
                format!("Ok({total:?})"),
            ));
        }
    }

    database.execute("ALTER TABLE item RENAME TO gone").await?;
    let asked = "get_total_cost_of_an_order(1) without the table `item`";
    let total = get_total_cost_of_an_order(&engine, 1).await;
    expect_database_error(asked, total.map(|total| format!("Ok({total:?})")))?;
    // The statement of a query that failed may be recorded only when its connection
    // closes, and the next check records.
    expect_closed(&database, asked).await
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
        equal(
            format!("connections opened for the total of {label}"),
            1,
            recording.connections_opened(),
        )?;
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
    let engine = engine(&database)?;
    let asked = "add_new_order_for_customer: customer 2, 4 of item 3, 6 of item 2";
    let id = add_new_order_for_customer(&engine, 2, &items(&[(3, 4), (2, 6)]))
        .await
        .or_fail(asked)?;
    equal(format!("{asked}: the id"), 4, id)?;
    expect_order(&database, asked, id, 2, "item 3 × 4, item 2 × 6").await?;

    database.add_customer(-40, "O'Neil").await?;
    database.add_item(6_000_000_000, "Salt", 10).await?;
    database.add_item(-8, "Mint", 20).await?;
    let asked = "add_new_order_for_customer: customer -40, with the items 2, -8 and 6000000000";
    let of_items = items(&[(2, 7), (6_000_000_000, 1), (-8, 4_294_967_297)]);
    let id = add_new_order_for_customer(&engine, -40, &of_items)
        .await
        .or_fail(asked)?;
    let stored = "item 2 × 7, item 6000000000 × 1, item -8 × 4294967297";
    expect_order(&database, asked, id, -40, stored).await?;

    let asked = "add_new_order_for_customer: customer 3, without items";
    let id = add_new_order_for_customer(&engine, 3, &[])
        .await
        .or_fail(asked)?;
    expect_order(&database, asked, id, 3, "none").await?;
    expect_closed(&database, asked).await
}

/// Fails unless order `id` is one of `customer` and has these items, in the order
/// in which they were inserted.
async fn expect_order(
    database: &Database,
    asked: &str,
    id: i64,
    customer: i64,
    expected: &str,
) -> Outcome {
    let stored: Option<i64> = database
        .one(&format!(
            "SELECT max(customer_id) FROM orders WHERE id = {id}"
        ))
        .await?;
    equal(
        format!("{asked}: customer_id of the order"),
        Some(customer),
        stored,
    )?;
    let stored: Option<String> = database
        .one(&format!(
            "SELECT group_concat('item ' || item_id || ' × ' || quantity, ', ' ORDER BY rowid)
             FROM order_items WHERE order_id = {id}"
        ))
        .await?;
    equal(
        format!("{asked}: the rows of order {id} in `order_items`"),
        expected,
        stored.unwrap_or_else(|| "none".to_owned()),
    )
}

async fn order_id_is_its_own() -> Outcome {
    // As if somebody else stored an order for the same customer at that moment.
    let database = Database::sample().await?;
    database
        .execute(
            "CREATE TRIGGER another AFTER INSERT ON orders WHEN new.id < 1000
             BEGIN INSERT INTO orders (id, customer_id, order_time) VALUES (new.id + 1000, new.customer_id, new.order_time); END",
        )
        .await?;
    let asked = "add_new_order_for_customer while another order with a higher id is stored";
    let id = add_new_order_for_customer(&engine(&database)?, 2, &items(&[(3, 4)]))
        .await
        .or_fail(asked)?;
    equal(format!("{asked}: the id"), 4, id)?;
    expect_order(&database, asked, 4, 2, "item 3 × 4").await?;

    // SQLite then chooses a free id by itself; the highest one plus 1 is not one.
    let database = Database::sample().await?;
    database.add_order(9, 1, &[]).await?;
    database
        .execute("UPDATE orders SET id = 9223372036854775807 WHERE id = 9")
        .await?;
    let asked = "add_new_order_for_customer after an order with the highest id that there can be";
    let id = add_new_order_for_customer(&engine(&database)?, 2, &items(&[(3, 4)]))
        .await
        .or_fail(asked)?;
    expect_order(&database, asked, id, 2, "item 3 × 4").await
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
        let opened = recording.connections_opened();
        ensure(
            opened <= 2,
            format!("connections opened for {label}"),
            "2, one for the order and one for its items",
            opened,
        )?;
    }
    equal_runs(
        "the SQL that is run for two new orders, each with two items",
        "the same texts for both, with the values bound to $1, $2, …",
        &runs,
    )
}

const ORDER_TIME_IS_UTC: &str = "the time of a new order is now, in UTC, wherever the machine is";

async fn order_time_is_utc() -> Outcome {
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

async fn order_refused() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    for (what, customer, of_items) in [
        ("customer 77, who does not exist", 77, vec![(1, 1)]),
        ("customer 77, who does not exist, without items", 77, vec![]),
        (
            "item 1 and item 2222, which does not exist",
            1,
            vec![(1, 1), (2222, 1)],
        ),
        ("item 2 twice", 1, vec![(2, 4), (2, 4)]),
        (
            "item 2 twice with different quantities",
            1,
            vec![(2, 4), (1, 1), (2, 5)],
        ),
        ("quantity 0 of item 1", 1, vec![(1, 0)]),
        ("quantity -4 of item 1", 1, vec![(2, 1), (1, -4)]),
    ] {
        let asked = format!("add_new_order_for_customer: {what}");
        let id = add_new_order_for_customer(&engine, customer, &items(&of_items)).await;
        expect_error_status(&asked, 400, id)?;
    }
    for table in ["orders", "order_items"] {
        database.refuse(&format!("INSERT ON {table}")).await?;
        let asked = format!("add_new_order_for_customer while INSERTs into `{table}` fail");
        let id = add_new_order_for_customer(&engine, 1, &items(&[(1, 1)])).await;
        expect_error_status(&asked, 500, id)?;
        database.allow().await?;
    }
    Ok(())
}

/// Fails unless there is an error, and the client will see it with this status.
fn expect_error_status(asked: &str, status: u16, id: Result<i64, Error>) -> Outcome {
    let expected = format!("an Err that is answered with status {status}");
    match id {
        Ok(id) => Err(Failure::new(asked, expected, format!("Ok({id})"))),
        Err(error) => {
            let shown = format!("Err({error:?})");
            let got = error.into_response().status().as_u16();
            let shown = format!("{shown}, which is answered with status {got}");
            ensure(got == status, asked, expected, shown)
        }
    }
}

async fn order_items_all_or_none() -> Outcome {
    expect_nothing_of_a_long_order().await?;
    let database = Database::sample().await?;
    let asked = "add_new_order_for_customer: item 1, item 2222, which does not exist, and item 2";
    let id =
        add_new_order_for_customer(&engine(&database)?, 1, &items(&[(1, 1), (2222, 1), (2, 1)]))
            .await;
    expect_error_status(asked, 400, id)?;
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

/// 250 items that exist, and then one that does not.
async fn expect_nothing_of_a_long_order() -> Outcome {
    let database = Database::sample().await?;
    let mut lines = Vec::new();
    for id in 1000..1250 {
        database.add_item(id, "Sweet", 5).await?;
        lines.push((id, 1));
    }
    lines.push((2222, 1));
    let asked = "add_new_order_for_customer: 250 items, then item 2222, which does not exist";
    let id = add_new_order_for_customer(&engine(&database)?, 1, &items(&lines)).await;
    expect_error_status(asked, 400, id)?;
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

async fn refusals_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_order_refusals_400(&service, &database).await?;
    expect_closed(&database, "POST /api/add_new_order").await
}

async fn dropped_order_ends() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let asked = "add_new_order_for_customer, dropped before its first INSERT is done";
    let of_items = items(&[(3, 4), (2, 6)]);
    let call = add_new_order_for_customer(&engine, 2, &of_items);
    drop_while_locked(&database, asked, call).await?;
    // Whether the order is stored, nobody can tell. Its items were not begun.
    let stored: i64 = database
        .one("SELECT count(*) FROM order_items WHERE order_id > 3")
        .await?;
    equal(
        format!("{asked}: the number of new rows in `order_items`"),
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
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    database.add_item(9, "Leaflet", 0).await?;
    database.add_order(80, 1, &[(9, 2)]).await?;
    let reply = service.get("/api/order_total/80").await?;
    reply.expect_json(200, &json!({"Order Total": 0.0}))?;
    // Any whole number may be an id.
    for id in [0, -1, i64::MIN] {
        let reply = service.get(&format!("/api/order_total/{id}")).await?;
        reply.expect_json(200, &json!({"Order Total": null}))?;
    }
    expect_closed(&database, "GET /api/order_total/…").await
}

async fn bad_id_over_http() -> Outcome {
    let (service, _database) = fresh().await?;
    let recording = Recording::start();
    let reply = service.get("/api/order_total/one").await?;
    contract::expect_problem(&reply, 400)?;
    equal(
        format!("connections opened for {}", reply.asked()),
        0,
        recording.connections_opened(),
    )?;
    let reply = service.get("/api/order_total/1").await?;
    reply.expect_json(200, &json!({"Order Total": 30.0}))?;
    equal(
        format!("connections opened for {}", reply.asked()),
        1,
        recording.connections_opened(),
    )
}

async fn failure_over_http() -> Outcome {
    let (_, database) = fresh().await?;
    let asked = "GET /api/order_total/1, on purpose without the database's file";
    let engine = Engine::new(&nowhere(&database)).or_fail(asked)?;
    let service = Service::start(server::app(engine));
    // Without these words, "unable to open database file" looks like a fault of
    // the machine.
    let say_so = |failure: Failure| Failure::new(asked, failure.expected(), failure.got());
    let recording = Recording::start();
    let reply = service.get("/api/order_total/1").await.map_err(say_so)?;
    contract::expect_problem(&reply, 500).map_err(say_so)?;
    recording.expect_logged(asked, Level::ERROR, "Database(")
}

async fn orders_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
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

/// Polls `call` until it has a connection, drops it there, and returns when nothing
/// of it goes on. Another writer has the lock until then, so nothing that the call
/// writes can have been committed before the drop.
async fn drop_while_locked<T: Debug>(
    database: &Database,
    asked: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Outcome {
    let recording = Recording::start();
    let lock = database.lock_exclusively().await?;
    let tasks = Handle::current().metrics().num_alive_tasks();
    tokio::select! {
        done = call => {
            return Err(Failure::new(asked, "a call that waits for the lock", format!("{done:?}")));
        }
        () = async {
            while recording.connections_opened() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    lock.release().await?;
    // A task that the call has left behind has the time to do its harm.
    while Handle::current().metrics().num_alive_tasks() > tasks {
        tokio::task::yield_now().await;
    }
    expect_closed(database, asked).await
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
