//! What cannot be seen from outside: how SQLite finds the rows, for every
//! statement that an endpoint executes; how many statements there are; what is
//! logged. In a test binary of its own with a single test, since it records
//! what the whole process does.

mod common;

use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use common::Market;
use marketsvc::Limits;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use tracing::Level;

/// The tables that grow with use.
const GROWING: [&str; 4] = ["customer", "address", "orders", "order_items"];

/// The lines of `EXPLAIN QUERY PLAN`.
async fn plan(database: &Database, sql: &str) -> Result<Vec<String>, Failure> {
    let mut connection = database.connect().await?;
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(&mut connection)
        .await
        .or_fail(sql)?;
    Ok(rows.iter().map(|row| row.get("detail")).collect())
}

/// Whether a step of a plan reads rows for which it has a key, and not one
/// after the other: `SEARCH customer USING INTEGER PRIMARY KEY (rowid=?)`.
fn is_narrow(sql: &str, step: &str) -> bool {
    let mut words = step.split(' ');
    let (verb, table) = (words.next(), words.next());
    if !matches!(verb, Some("SCAN" | "SEARCH")) || !table.is_some_and(|t| GROWING.contains(&t)) {
        return true;
    }
    // The list of all customers, and orders by time: those between two times,
    // and all of them are wanted. The largest id is at the end of its tree,
    // and SQLite looks nowhere else.
    let wanted = (sql.contains("json_object") && step.starts_with("SEARCH customer"))
        || step.contains("orders_by_time (order_time>? AND order_time<?)")
        || (sql.contains("SELECT max(id) FROM orders") && step == "SEARCH orders");
    verb == Some("SEARCH") && (step.contains("=?") || wanted)
}

/// Asks every endpoint, and each in every way that takes other SQL.
async fn ask_everything(market: &Market) -> Outcome {
    let service = &market.service;
    let items = |id: i64| json!({"customer_id": 1, "items": [{"id": id, "quantity": 1}]});
    for (status, reply) in [
        (200, service.get("/").await?),
        (200, service.get("/api/customers").await?),
        (200, service.get("/api/orders/1").await?),
        (404, service.get("/api/orders/99999999").await?),
        (
            200,
            service
                .get("/api/orders_between_dates/2025-01-01/2024-01-01")
                .await?,
        ),
        (200, service.get("/api/order_total/1").await?),
        (200, service.get("/api/orders_total?orders=1,2,3").await?),
        (
            201,
            service.post_json("/api/add_new_order", &items(1)).await?,
        ),
        (
            422,
            service
                .post_json("/api/add_new_order", &items(99_999_999))
                .await?,
        ),
    ] {
        reply.expect_status(status)?;
    }
    Ok(())
}

async fn no_statement_scans(database: Database) -> Result<Database, Failure> {
    let recording = Recording::start();
    // Small pages, so that statements run for a first page and a later one.
    let limits = Limits {
        page_rows: 2,
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    market.service.get("/").await?.expect_status(200)?;
    // What opening executes (migrations) is not an endpoint's.
    recording.clear();
    ask_everything(&market).await?;

    // Some texts hold several statements.
    let mut statements: Vec<String> = recording
        .statements()
        .iter()
        .flat_map(|statement| statement.sql.split(';'))
        .map(|sql| sql.trim().to_owned())
        .collect();
    statements.sort();
    statements.dedup();
    // customers, name, orders of a customer, between, total, and for new
    // orders: begin, what is unknown, the orders, their items, commit.
    equal(
        "different statements of all endpoints",
        10,
        statements.len(),
    )?;
    for sql in &statements {
        for step in plan(&market.database, sql).await? {
            ensure(
                is_narrow(sql, &step),
                sql,
                "no way through a whole table",
                &step,
            )?;
        }
    }
    market.stop().done().await
}

#[tokio::test]
async fn statements_and_logs() -> Outcome {
    let database = Database::sample().await?;
    let database = no_statement_scans(database).await?;
    // SQLite may decide otherwise when it knows how many rows there are.
    database.add_customers(300).await?;
    database.add_orders(500, 3).await?;
    database.execute("ANALYZE").await?;
    no_statement_scans(database).await?;

    // The test can fail.
    let database = Database::sample().await?;
    for sql in [
        "SELECT count(*) FROM orders WHERE customer_id + 0 = 1",
        "SELECT id FROM orders WHERE customer_id + 0 = 1 AND id > 1",
        "SELECT id FROM orders ORDER BY order_time",
        "SELECT customer_id FROM orders",
    ] {
        let steps = plan(&database, sql).await?;
        let narrow = steps.iter().all(|step| is_narrow(sql, step));
        ensure(!narrow, sql, "the plan of a scan", format!("{steps:?}"))?;
    }

    the_number_of_statements_does_not_grow().await?;
    faults_are_logged_once_and_refusals_are_not().await
}

/// As many statements for fifty orders as for one: no query for each row.
async fn the_number_of_statements_does_not_grow() -> Outcome {
    let recording = Recording::start();
    let database = Database::sample().await?;
    database.add_orders(300, 3).await?;
    let market = Market::over(database, Limits::default()).await?;
    market.service.get("/").await?.expect_status(200)?;
    for (path, most) in [
        ("/api/orders/1", 1),
        ("/api/orders_between_dates/2025-01-01/2024-01-01", 1),
        ("/api/customers", 1),
    ] {
        recording.clear();
        let reply = market.service.get(path).await?;
        let rows = reply.json()?.as_array().map_or(0, Vec::len);
        ensure(rows >= 3, path, "rows", rows)?;
        let statements = recording.statements();
        equal(
            format!("{path}: statements for {rows} rows"),
            most,
            statements.len(),
        )?;
    }
    Ok(())
}

/// The cause of a fault is in the log, once and in one line.
async fn faults_are_logged_once_and_refusals_are_not() -> Outcome {
    let recording = Recording::start();
    let database = Database::sample().await?;
    database.add_customers(200_000).await?;
    let market = Market::over(database, Limits::default()).await?;
    for path in ["/nowhere", "/api/order_total/99", "/api/orders/x"] {
        let status = market.service.get(path).await?.status;
        ensure((400..500).contains(&status), path, "4xx", status)?;
    }
    let none = Vec::<String>::new();
    equal(
        "errors logged for refusals",
        none.clone(),
        recording.logged(Level::ERROR),
    )?;
    equal(
        "warnings logged for refusals",
        none.clone(),
        recording.logged(Level::WARN),
    )?;

    let broken = market.service.open("/api/customers").await?;
    market
        .database
        .execute("ALTER TABLE address RENAME TO addresses_lost")
        .await?;
    let error = broken.read_whole().await.err().or_fail("a broken answer")?;
    one_error(
        &recording,
        "the failure midway",
        &["cut off", "no such table"],
    )?;
    // Below it the failure shows the service's log, which the client does not see.
    let (received, _) = error
        .got()
        .split_once("the service's log")
        .or_fail("the log of the broken answer")?;
    ensure(!received.contains("table"), "the client", "no cause", error)?;

    recording.clear();
    market
        .service
        .get("/api/customers")
        .await?
        .expect_status(500)?;
    one_error(
        &recording,
        "the failure at once",
        &["the database failed", "no such table"],
    )
}

fn one_error(recording: &Recording, asked: &str, words: &[&str]) -> Outcome {
    let logged = recording.logged(Level::ERROR);
    equal(
        format!("{asked}: errors logged: {logged:?}"),
        1,
        logged.len(),
    )?;
    for word in words {
        let line = logged[0].contains(word) && !logged[0].contains('\n');
        ensure(line, asked, format!("one line with `{word}`"), &logged[0])?;
    }
    Ok(())
}
