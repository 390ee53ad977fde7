//! What step 03 has to do: `./run.sh check 03`.
//!
//! The checks come in the order of the tasks: the first that fails belongs to
//! the task to do next.

use std::fmt::Debug;
use std::process::ExitCode;

use contract::statements::{Recording, equal_runs};
use contract::{Database, Failure, OrFail, Outcome, Service, Suite, answers, ensure, equal};
use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use sqlx::Row;
use step03::db::base::{Engine, Rows, SqlQuery};
use step03::db_accessor::{get_customers, get_orders_between_dates};
use step03::error::Error;
use step03::server;
use step03::types::UtcTime;

fn main() -> ExitCode {
    Suite::new("03-stream-queries", env!("CARGO_MANIFEST_DIR"))
        .check(
            "03.1",
            "a stream gives the rows one after another, then ends",
            stream_gives_rows,
        )
        .check(
            "03.1",
            "nothing happens before the first row is asked for",
            stream_is_lazy,
        )
        .check(
            "03.1",
            "one row taken of 10,000 reads few",
            stream_reads_few,
        )
        .check(
            "03.1",
            "a stream that is dropped midway closes its connection",
            dropped_stream_closes,
        )
        .check(
            "03.1",
            "a stream that was read to its end has closed its connection",
            ended_stream_closes,
        )
        .check(
            "03.1",
            "each stream has a connection of its own",
            streams_are_independent,
        )
        .check(
            "03.1",
            "an error midway comes as an item after the good rows",
            error_midway,
        )
        .check(
            "03.1",
            "a database that cannot be opened is an error in the stream",
            error_at_connecting,
        )
        .check(
            "03.2",
            "get_customers gives all customers, by id",
            customers_come,
        )
        .check(
            "03.2",
            "one customer taken of 10,000 reads few",
            customers_read_few,
        )
        .check(
            "03.2",
            "a failing query is an item of get_customers, not its end",
            customers_fail,
        )
        .check("03.2", "GET /api/customers answers", customers_over_http)
        .check(
            "03.2",
            "GET /api/customers answers 500 when the query fails",
            customers_fail_over_http,
        )
        .check(
            "03.3",
            "get_orders_between_dates gives the items of both dates and between",
            orders_come,
        )
        .check(
            "03.3",
            "one of 10,000 ordered items taken reads few",
            orders_read_few,
        )
        .check(
            "03.3",
            "a failing query is an item of get_orders_between_dates, not its end",
            orders_fail,
        )
        .check(
            "03.3",
            "every pair of dates is the same SQL with other values",
            orders_bind,
        )
        .check(
            "03.3",
            "GET /api/orders_between_dates answers",
            orders_over_http,
        )
        .check(
            "03.3",
            "GET /api/orders_between_dates answers 500 when the query fails",
            orders_fail_over_http,
        )
        .check(
            "03.3",
            "all other addresses answer as in step 02",
            the_rest_over_http,
        )
        .run()
}

/// sqlx reads about 50 rows ahead of the one that is asked for. Far more than
/// that, and far fewer than all, so that nothing hangs on the exact number.
const FEW: u64 = 1_000;

// ---- 03.1 stream_query

async fn stream_gives_rows() -> Outcome {
    let database = Database::sample().await?;
    let mut rows = engine(&database)?.stream_query(item_names());
    let asked = "stream_query(SELECT name FROM item ORDER BY id)";
    for expected in ["Milk", "Kit Kat", "Bread", "Onion"] {
        let row = rows.next().await.or_fail(format!("{asked}: {expected}"))?;
        let name: String = row.or_fail(asked)?.try_get("name").or_fail(asked)?;
        equal(asked, expected, name)?;
    }
    expect_end(asked, &mut rows).await
}

async fn stream_is_lazy() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let rows = engine.stream_query(item_names());
    let_others_work(&database).await?;
    let opened = recording.connections_opened();
    ensure(
        opened == 0,
        "stream_query(…), and then no row is asked for",
        "no connection opened",
        format!("{opened} opened"),
    )?;
    drop(rows);
    expect_closed(&database, "a stream that was never read").await
}

async fn stream_reads_few() -> Outcome {
    let database = many_customers().await?;
    let recording = Recording::start();
    let mut rows = engine(&database)?.stream_query(sqlx::query("SELECT name FROM customer"));
    let asked = "stream_query(SELECT name FROM customer), one row taken, a pause, then dropped";
    take_one(asked, &mut rows).await?;
    let_others_work(&database).await?;
    drop(rows);
    expect_few(asked, &database, &recording).await
}

async fn dropped_stream_closes() -> Outcome {
    let database = many_customers().await?;
    // Lives on: the engine must not hold on to the connection.
    let engine = engine(&database)?;
    let mut rows = engine.stream_query(sqlx::query("SELECT name FROM customer"));
    take_one("stream_query", &mut rows).await?;
    ensure(
        is_open(&database),
        "stream_query, one row taken of 10,000: is the database open?",
        "yes, the stream reads from it",
        "no",
    )?;
    drop(rows);
    expect_closed(&database, "a stream that was dropped midway").await
}

async fn ended_stream_closes() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let mut rows = engine.stream_query(item_names());
    while let Some(row) = rows.next().await {
        row.or_fail("stream_query")?;
    }
    expect_closed(&database, "a stream that was read to its end").await?;

    let mut rows = engine.stream_query(fails_at_third_row());
    while rows.next().await.is_some() {}
    expect_closed(&database, "a stream that ended with an error").await
}

async fn streams_are_independent() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let mut streams = [
        engine.stream_query(item_names()),
        engine.stream_query(item_names()),
    ];
    let asked = "two streams, read in turn";
    for expected in ["Milk", "Kit Kat", "Bread", "Onion"] {
        for rows in &mut streams {
            let row = rows.next().await.or_fail(asked)?.or_fail(asked)?;
            equal(asked, expected, row.get::<String, _>("name"))?;
        }
    }
    equal(
        format!("{asked}: connections opened"),
        2,
        recording.connections_opened(),
    )
}

async fn error_midway() -> Outcome {
    let database = Database::sample().await?;
    let mut rows = engine(&database)?.stream_query(fails_at_third_row());
    let asked = "stream_query with a query that fails at its third row";
    for id in [1, 2] {
        let row = rows.next().await.or_fail(asked)?;
        let row = row.or_fail(format!("{asked}: row {id}"))?;
        equal(asked, id, row.get::<i64, _>("id"))?;
    }
    let third = rows.next().await;
    expect_database_error(
        &format!("{asked}: the third item"),
        third.map(|row| row.map(|_| "a row")),
    )?;
    expect_end(asked, &mut rows).await
}

async fn error_at_connecting() -> Outcome {
    let database = Database::sample().await?;
    let asked = "stream_query over a database file that does not exist";
    let mut rows = nowhere(&database)?.stream_query(item_names());
    let first = rows.next().await;
    expect_database_error(
        &format!("{asked}: the first item"),
        first.map(|row| row.map(|_| "a row")),
    )?;
    expect_end(asked, &mut rows).await
}

// ---- 03.2 get_customers

async fn customers_come() -> Outcome {
    let database = Database::sample().await?;
    let asked = "get_customers";
    let customers: Vec<_> = get_customers(&engine(&database)?)
        .map_ok(|customer| (customer.id, customer.name, customer.address_id))
        .try_collect()
        .await
        .or_fail(asked)?;
    let expected = [(1, "Alex", 1), (2, "Blake", 2), (3, "Cam", 3)]
        .map(|(id, name, address)| (id, name.to_owned(), address));
    equal(asked, expected.to_vec(), customers)
}

async fn customers_read_few() -> Outcome {
    let database = many_customers().await?;
    let recording = Recording::start();
    let mut customers = get_customers(&engine(&database)?);
    let asked = "get_customers, one taken of 10,000, then dropped";
    take_one(asked, &mut customers).await?;
    drop(customers);
    expect_few(asked, &database, &recording).await
}

async fn customers_fail() -> Outcome {
    let database = Database::sample().await?;
    let asked = "get_customers over a database file that does not exist";
    let mut customers = get_customers(&nowhere(&database)?);
    let first = customers.next().await;
    expect_database_error(&format!("{asked}: the first item"), first)
}

async fn customers_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::customers_flat(&service, &database).await?;
    expect_closed(&database, "GET /api/customers").await
}

async fn customers_fail_over_http() -> Outcome {
    fails_over_http("/api/customers").await
}

// ---- 03.3 get_orders_between_dates

async fn orders_come() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    // Amounts as the service writes them, so that a failure shows only what is
    // really different.
    let row = |customer: &str, name: &str, price: f64, total: f64| json!({"customer": customer, "name": name, "price": price, "total": total});
    let alex = [
        row("Alex", "Kit Kat", 1.0, 4.0),
        row("Alex", "Bread", 10.5, 21.0),
        row("Alex", "Milk", 5.0, 5.0),
    ];
    let cam = [
        row("Cam", "Kit Kat", 1.0, 2.0),
        row("Cam", "Onion", 2.0, 10.0),
    ];
    let (first, second) = ("2024-03-18 10:30:00", "2024-03-20 11:00:00");
    for (after, before, expected) in [
        (first, second, [&alex[..], &cam].concat()),
        (first, first, alex.to_vec()),
        ("2024-03-18 10:30:01", second, cam.to_vec()),
        (first, "2024-03-20 10:59:59", alex.to_vec()),
        (second, first, Vec::new()),
    ] {
        let asked = format!("get_orders_between_dates(after {after}, before {before})");
        let rows: Vec<_> = get_orders_between_dates(&engine, &time(after)?, &time(before)?)
            .try_collect()
            .await
            .or_fail(&asked)?;
        let rows = serde_json::to_value(&rows).or_fail(&asked)?;
        contract::equal_json(asked, &Value::from(expected), &rows)?;
    }
    Ok(())
}

async fn orders_read_few() -> Outcome {
    let database = Database::sample().await?;
    database.add_orders(5_000, 2).await?;
    let recording = Recording::start();
    let (after, before) = (time("2024-04-01")?, time("2025-04-01")?);
    let mut rows = get_orders_between_dates(&engine(&database)?, &after, &before);
    let asked = "get_orders_between_dates, one row taken of 10,000, then dropped";
    take_one(asked, &mut rows).await?;
    drop(rows);
    expect_few(asked, &database, &recording).await
}

async fn orders_fail() -> Outcome {
    let database = Database::sample().await?;
    let (after, before) = (time("2024-03-17")?, time("2024-03-22")?);
    let asked = "get_orders_between_dates over a database file that does not exist";
    let mut rows = get_orders_between_dates(&nowhere(&database)?, &after, &before);
    let first = rows.next().await;
    expect_database_error(&format!("{asked}: the first item"), first)
}

async fn orders_bind() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let mut runs = Vec::new();
    for (label, after, before) in [
        ("the first pair of dates", "2024-03-17", "2024-03-22"),
        ("the second pair of dates", "2024-03-19", "2024-03-26"),
    ] {
        recording.clear();
        let rows = get_orders_between_dates(&engine, &time(after)?, &time(before)?);
        let rows: Result<Vec<_>, _> = rows.try_collect().await;
        rows.or_fail("get_orders_between_dates")?;
        runs.push((label, recording.statements()));
    }
    equal_runs(
        "the SQL that is run for two different pairs of dates",
        "the same text for both, with the dates bound to $1 and $2",
        &runs,
    )
}

async fn orders_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await?;
    expect_closed(&database, "GET /api/orders_between_dates/…").await
}

async fn orders_fail_over_http() -> Outcome {
    fails_over_http("/api/orders_between_dates/2024-03-22/2024-03-17").await
}

async fn the_rest_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total_null_when_unknown(&service).await?;
    answers::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_refusals_400(&service, &database).await
}

// ---- shared

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url()).or_fail("Engine::new")
}

/// An engine for a file that is not there.
fn nowhere(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&format!("{}-missing", database.url())).or_fail("Engine::new")
}

/// A service over the sample data: those of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let service = Service::start(server::app(engine(&database)?));
    Ok((service, database))
}

async fn fails_over_http(path: &str) -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(server::app(nowhere(&database)?));
    // Without these words, "unable to open database file" looks like a fault of
    // the machine.
    let asked = format!("GET {path}, on purpose without the database's file");
    let say_so = |failure: Failure| Failure::new(&asked, failure.expected(), failure.got());
    let reply = service.get(path).await.map_err(say_so)?;
    answers::expect_problem(&reply, 500).map_err(say_so)
}

async fn many_customers() -> Result<Database, Failure> {
    let database = Database::empty().await?;
    database.add_customers(10_000).await?;
    Ok(database)
}

fn time(text: &str) -> Result<UtcTime, Failure> {
    text.parse().or_fail(text)
}

fn item_names() -> SqlQuery {
    sqlx::query("SELECT name FROM item ORDER BY id")
}

/// An overflow that SQLite meets only when it gets to item 3.
fn fails_at_third_row() -> SqlQuery {
    sqlx::query(
        "SELECT id, CASE WHEN id < 3 THEN 0 ELSE abs(id * 0 - 9223372036854775807 - 1) END
         FROM item ORDER BY id",
    )
}

/// Gives a task that is at work behind the reader's back the time to show it:
/// each round opens and closes a connection of the check's.
async fn let_others_work(database: &Database) -> Outcome {
    for _ in 0..50 {
        database.one::<i64>("SELECT count(*) FROM item").await?;
    }
    Ok(())
}

async fn take_one<T>(asked: &str, rows: &mut Rows<T>) -> Outcome {
    match rows.next().await {
        Some(first) => first.or_fail(asked).map(drop),
        None => Err(Failure::new(asked, "a row", "the end of the stream")),
    }
}

async fn expect_end<T>(
    asked: &str,
    rows: &mut (impl Stream<Item = Result<T, Error>> + Unpin),
) -> Outcome {
    let got = match rows.next().await {
        None => return Ok(()),
        Some(Ok(_)) => "a further row".to_owned(),
        Some(Err(error)) => format!("a further error: {error:?}"),
    };
    Err(Failure::new(
        format!("{asked}: after the last item"),
        "the end of the stream",
        got,
    ))
}

/// The rows that SQLite has handed out, as sqlx reports them when the statement
/// is over: once the connection is closed, all have been reported.
async fn expect_few(asked: &str, database: &Database, recording: &Recording) -> Outcome {
    expect_closed(database, asked).await?;
    let statements = recording.statements();
    let read: u64 = statements.iter().map(|s| s.rows_returned).sum();
    ensure(
        (1..FEW).contains(&read),
        asked,
        "some 50 rows read from the database",
        format!("{read} rows read"),
    )
}

fn expect_database_error<T: Debug>(asked: &str, got: Option<Result<T, Error>>) -> Outcome {
    let got = match got {
        Some(Err(Error::Database(_))) => return Ok(()),
        None => "the end of the stream: the error is lost".to_owned(),
        Some(other) => format!("{other:?}"),
    };
    Err(Failure::new(asked, "Err(Error::Database(…))", got))
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
