//! What cannot be seen from outside: the statements that each endpoint executes, how the
//! database finds the rows of each, and how many there are. This test binary has one test, since it
//! records what the whole process does.

mod common;

use check::statements::{Recording, Statement, equal_runs};
use check::{Database, Failure, OrFail, Outcome, Service, ensure};
use common::{ENDPOINTS, Endpoint, serve};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

/// Requests whose refusal takes other statements than success.
#[rustfmt::skip] // a line for each
static REFUSED: [Endpoint; 4] = [
    Endpoint::new("GET /api/orders/{cust_id}", "/api/orders/7777", "", 404, "orders_of_a_customer"),
    Endpoint::new("POST /api/add_new_order", "/api/add_new_order", OF_NOBODY, 422, "new_orders"),
    Endpoint::new("POST /api/add_new_order", "/api/add_new_order", OF_NOTHING, 422, "new_orders"),
    Endpoint::new("DELETE /author/{id}", "/author/1", "", 409, "authors_removed"),
];

const OF_NOBODY: &str = r#"{"customer_id":7777,"items":[{"id":1,"quantity":1}]}"#;
const OF_NOTHING: &str = r#"{"customer_id":1,"items":[{"id":7777,"quantity":1}]}"#;

/// What `/readyz` executes, and nothing else does.
const READY: &str = "SELECT id FROM item LIMIT 1";

/// The statements that a request executes.
struct Run {
    endpoint: &'static Endpoint,
    statements: Vec<Statement>,
}

/// Sends all requests to a service over a fresh sample, or one with more rows.
async fn send_all(service: &Service) -> Result<Vec<Run>, Failure> {
    let recording = Recording::start();
    let mut runs = Vec::new();
    for endpoint in ENDPOINTS.iter().chain(&REFUSED) {
        recording.clear();
        endpoint.send(service).await?;
        // SQLite's thread reports a statement that has failed after it has answered. This
        // one comes after that.
        service.get("/readyz").await?.expect_status(200)?;
        let mut statements = recording.statements();
        statements.retain(|statement| statement.sql != READY);
        runs.push(Run {
            endpoint,
            statements,
        });
    }
    Ok(runs)
}

/// The lines of `EXPLAIN QUERY PLAN`.
async fn plan(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<String>, Failure> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(explain).fetch_all(connection).await;
    Ok(rows
        .or_fail(sql)?
        .iter()
        .map(|row| row.get("detail"))
        .collect())
}

/// The endpoints that list a table page by page, by a key that an index has:
/// `WHERE id > $1 ORDER BY id LIMIT $2`.
const LISTS: &[(&str, &str)] = &[
    ("GET /api/customers", "customer"),
    ("GET /api/orders_between_dates/{before}/{after}", "orders"),
    ("GET /author", "author"),
    ("GET /book", "book"),
];

/// The first step of a plan that reads a table from its beginning to its end, or from a key
/// on if it is not the one that is `listed`.
fn whole_table<'a>(sql: &str, plan: &'a [String], listed: Option<&str>) -> Option<&'a str> {
    // A query within the query, whose own steps are in the plan, too.
    let is_inner = |name: &str| {
        let inner = [format!("CO-ROUTINE {name}"), format!("MATERIALIZE {name}")];
        plan.iter().any(|step| inner.contains(step))
    };
    let reads_all = |step: &&String| {
        let (verb, rest) = step.split_once(' ').unwrap_or_default();
        let name = rest.split(' ').next().unwrap_or_default();
        match verb {
            "SCAN" => !step.contains("VIRTUAL TABLE") && !is_inner(name),
            // SQLite makes an automatic index for this one statement, from all rows.
            "SEARCH" if step.contains("AUTOMATIC") => true,
            "SEARCH" if step.contains("=?") || !step.contains('>') => false,
            "SEARCH" => listed != Some(name) || !sql.contains("LIMIT"),
            _ => false,
        }
    };
    plan.iter().find(reads_all).map(String::as_str)
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn expect_no_scan(database: &Database, runs: &[Run]) -> Outcome {
    let mut connection = database.connect().await?;
    for Run {
        endpoint,
        statements,
        ..
    } in runs
    {
        let operation = endpoint.operation;
        let listed = LISTS.iter().find(|(list, _)| *list == operation);
        for Statement { sql, .. } in statements {
            let plan = plan(&mut connection, sql).await?;
            let Some(step) = whole_table(sql, &plan, listed.map(|(_, table)| *table)) else {
                continue;
            };
            let table = step.split(' ').nth(1).unwrap_or_default();
            return Err(Failure::new(
                format!("{operation} executes {}", one_line(sql)),
                "no statement that can read a whole table",
                format!(
                    "{step}: this can read the whole table {table}.\nAdd an index to data/migrations. If the statement joins \
                     this table by a key that has an index already, write CROSS JOIN before it: SQLite then \
                     reads first what comes before these words. If the endpoint lists this table, let \
                     it read pages, `WHERE id > $1 ORDER BY id LIMIT $2`, and add \
                     (\"{operation}\", \"{table}\") to LISTS in marketsvc/tests/plans.rs."
                ),
            ));
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_statement_scans_and_their_number_does_not_grow() -> Outcome {
    let small = Database::sample().await?;
    let few = send_all(&serve(&small)?).await?;
    expect_no_scan(&small, &few).await?;

    // Less than a page for each customer, so that no list needs a second page. SQLite may
    // plan otherwise when it knows how many rows there are.
    let large = Database::sample().await?;
    large.add_customers(100).await?;
    large.add_orders(400, 1).await?;
    large.execute("ANALYZE").await?;
    let many = send_all(&serve(&large)?).await?;
    expect_no_scan(&large, &many).await?;
    for (few, many) in few.into_iter().zip(many) {
        let runs = [
            ("with 3 customers and 3 orders", few.statements),
            ("with a hundred times as many", many.statements),
        ];
        equal_runs(few.endpoint.operation, "the same statements", &runs)?;
    }

    a_missing_index_is_noticed().await?;
    whole_tables_are_noticed().await?;
    #[cfg(feature = "postgres")]
    postgres::no_statement_scans().await?;
    Ok(())
}

/// The first of [`ENDPOINTS`] that needs each index. SQLite looks for the books of a new
/// author, too.
const INDEXES: [(&str, &str); 3] = [
    ("orders_by_customer", "GET /api/orders/{cust_id}"),
    (
        "orders_by_time",
        "GET /api/orders_between_dates/{before}/{after}",
    ),
    ("book_by_author", "POST /author"),
];

async fn a_missing_index_is_noticed() -> Outcome {
    for (index, operation) in INDEXES {
        let database = Database::sample().await?;
        database.execute(&format!("DROP INDEX {index}")).await?;
        let runs = send_all(&serve(&database)?).await?;
        let failure = expect_no_scan(&database, &runs).await.err();
        let failure = failure.or_fail(format_args!("a failure without {index}"))?;
        ensure(
            failure.asked().starts_with(operation),
            format_args!("without {index}"),
            format_args!("a failure of {operation}"),
            &failure,
        )?;
    }
    Ok(())
}

async fn whole_tables_are_noticed() -> Outcome {
    let database = Database::sample().await?;
    let mut connection = database.connect().await?;
    for sql in [
        "SELECT id, name FROM item",
        "SELECT name FROM item ORDER BY id LIMIT 10 OFFSET 20",
        "SELECT id FROM orders WHERE customer_id + 0 = 1 AND id > 1",
        "SELECT count(*) FROM orders AS o WHERE o.customer_id + 0 = $1",
        "SELECT customer_id FROM orders WHERE id IN (SELECT order_id FROM order_items)",
        "SELECT 1 FROM item AS a JOIN item AS b ON b.name = a.name WHERE a.id = 1",
    ] {
        let plan = plan(&mut connection, sql).await?;
        let found = whole_table(sql, &plan, Some("item")).is_some();
        ensure(found, sql, "a whole table", plan.join("; "))?;
    }
    Ok(())
}

#[cfg(feature = "postgres")]
mod postgres {
    use check::statements::Statement;
    use check::{Failure, OrFail, Outcome, Service, ensure};
    use marketsvc::app;
    use marketsvc::db::{self, Settings};
    use sqlx::{AssertSqlSafe, Executor};
    use sqlx_postgres::PgConnection;

    use super::{one_line, send_all};
    use crate::common::postgres::{connect, execute, new_database, server};

    const MANY: [&str; 5] = [
        "INSERT INTO item (id, name, price_cents)
         SELECT id, 'Item', 1 FROM generate_series(20001, 30000) AS id",
        "INSERT INTO customer (id, name, address_id)
         SELECT id, 'Customer', 1 FROM generate_series(20001, 30000) AS id",
        "INSERT INTO orders (id, customer_id) SELECT id, id FROM generate_series(20001, 30000) AS id",
        "INSERT INTO order_items (order_id, item_id, quantity)
         SELECT id, id, 1 FROM generate_series(20001, 30000) AS id",
        "ANALYZE",
    ];

    /// PostgreSQL reads a small table from its beginning to its end in any case. So it is told
    /// to do so only where no index helps, and there are many items, customers and orders. How
    /// it reads that many rows by itself is not looked at.
    pub async fn no_statement_scans() -> Outcome {
        let Some(server) = server() else {
            return Ok(());
        };
        let url = new_database(server).await?;
        let db = db::open(&url, Settings::default()).await.or_fail(&url)?;
        for sql in MANY {
            execute(&url, sql).await?;
        }
        let runs = send_all(&Service::start(app::app(db))).await?;
        let mut connection = connect(&url).await?;
        for run in runs {
            for Statement { sql, .. } in run.statements {
                if ["BEGIN", "COMMIT", "ROLLBACK"].contains(&sql.trim()) {
                    continue;
                }
                let plan = plan(&mut connection, &sql).await?;
                ensure(
                    !scans(&plan),
                    format!("{} executes {}", run.endpoint.operation, one_line(&sql)),
                    "no statement that can read a whole table",
                    plan,
                )?;
            }
        }
        for sql in [
            "SELECT 1 FROM orders WHERE customer_id + 0 = $1",
            "SELECT count(*) FROM book",
        ] {
            let plan = plan(&mut connection, sql).await?;
            ensure(scans(&plan), sql, "a whole table", plan)?;
        }
        Ok(())
    }

    /// Whether a table is read from its beginning to its end, or an index.
    fn scans(plan: &str) -> bool {
        let lines: Vec<_> = plan.lines().collect();
        let is_scan = |(number, line): (usize, &&str)| {
            let next = lines.get(number + 1).copied().unwrap_or_default();
            let by_index = line.contains("Index Scan") || line.contains("Index Only Scan");
            line.contains("Seq Scan on") || (by_index && !next.contains("Index Cond"))
        };
        lines.iter().enumerate().any(is_scan)
    }

    /// The lines of `EXPLAIN`, whatever the parameters are.
    async fn plan(connection: &mut PgConnection, sql: &str) -> Result<String, Failure> {
        let most = (1..10)
            .rev()
            .find(|number| sql.contains(&format!("${number}")));
        let nulls = vec!["NULL"; most.unwrap_or_default()].join(", ");
        let nulls = if nulls.is_empty() {
            nulls
        } else {
            format!("({nulls})")
        };
        let setup = format!(
            "SET enable_seqscan = off; SET enable_bitmapscan = off;
             SET enable_mergejoin = off; SET enable_hashjoin = off;
             SET plan_cache_mode = force_generic_plan;
             DEALLOCATE ALL; PREPARE asked AS {sql}"
        );
        connection
            .execute(AssertSqlSafe(setup))
            .await
            .or_fail(sql)?;
        let lines = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN EXECUTE asked{nulls}")))
            .persistent(false)
            .fetch_all(connection);
        let lines: Vec<String> = lines.await.or_fail(sql)?;
        Ok(lines.join("\n"))
    }
}
