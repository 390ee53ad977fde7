//! What step 03 has to do: `./run.sh check 03`.
//!
//! The checks follow the order of the tasks. Do the task of the first one that
//! fails.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fmt::{Debug, Display};
use std::process::ExitCode;
use std::time::Duration;

use check::statements::{Recording, equal_runs};
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal};
use futures::{FutureExt, StreamExt, TryStreamExt};
use sqlx::Row;
use step03::db::base::{Engine, Rows, SqlQuery};
use step03::db_accessor::{get_customers, get_orders_between_dates};
use step03::error::Error;
use step03::server;
use step03::types::{OrderedItemOfCustomer, UtcTime};

pub fn main() -> ExitCode {
    let suite = Suite::new("03-stream-queries", env!("CARGO_MANIFEST_DIR"));
    orders_between_dates(customers(stream_query(suite))).run()
}

fn stream_query(suite: Suite) -> Suite {
    suite
        .check(
            "03.1",
            "a stream yields the rows one after another, then ends",
            stream_yields_rows,
        )
        .check(
            "03.1",
            "nothing happens before the first row is asked for",
            stream_is_lazy,
        )
        .check(
            "03.1",
            "a stream that is dropped closes its connection",
            dropped_stream_closes,
        )
        .check(
            "03.1",
            "a stream that has ended has closed its connection",
            ended_stream_closes,
        )
        .check(
            "03.1",
            "taking one row of 10,000 reads only a few",
            stream_reads_few,
        )
        .check(
            "03.1",
            "a row is yielded while SQLite still looks for the next one",
            rows_come_at_once,
        )
        .check(
            "03.1",
            "each stream has a connection of its own",
            streams_are_independent,
        )
        .check(
            "03.1",
            "an error comes after the good rows, as an item",
            error_after_good_rows,
        )
        .check(
            "03.1",
            "a database that cannot be opened is an error in the stream",
            error_at_connecting,
        )
        .paused_check(
            "03.1",
            "a reader may pause for an hour between two rows",
            stream_waits_for_its_reader,
        )
}

fn customers(suite: Suite) -> Suite {
    suite
        .check(
            "03.2",
            "get_customers yields every customer, ordered by id",
            customers_come,
        )
        .check(
            "03.2",
            "get_customers does nothing before the first customer is asked for",
            customers_are_lazy,
        )
        .check(
            "03.2",
            "taking one customer of 10,000 reads only a few",
            customers_read_few,
        )
        .paused_check(
            "03.2",
            "get_customers is one statement over one connection",
            customers_are_one_statement,
        )
        .check(
            "03.2",
            "a customer that cannot be read is an error after the good ones",
            customers_undecodable,
        )
        .check(
            "03.2",
            "a failing query is an error in the stream of get_customers",
            customers_fail,
        )
        .check("03.2", "GET /api/customers answers", customers_over_http)
        .check(
            "03.2",
            "GET /api/customers answers 500 when a customer cannot be read",
            customers_fail_over_http,
        )
}

fn orders_between_dates(suite: Suite) -> Suite {
    suite
        .check(
            "03.3",
            "get_orders_between_dates yields the items of both dates and between",
            orders_come,
        )
        .check(
            "03.3",
            "get_orders_between_dates does nothing before the first item is asked for",
            orders_are_lazy,
        )
        .check(
            "03.3",
            "taking one of 10,000 ordered items reads only a few",
            orders_read_few,
        )
        .paused_check(
            "03.3",
            "get_orders_between_dates is one statement over one connection",
            orders_are_one_statement,
        )
        .check(
            "03.3",
            "every pair of dates is the same SQL with other values",
            orders_bind,
        )
        .check(
            "03.3",
            "an ordered item that cannot be read is an error after the good ones",
            orders_undecodable,
        )
        .check(
            "03.3",
            "a failing query is an error in the stream of get_orders_between_dates",
            orders_fail,
        )
        .check(
            "03.3",
            "GET /api/orders_between_dates answers",
            orders_over_http,
        )
        .check(
            "03.3",
            "GET /api/orders_between_dates answers 500 when an item cannot be read",
            orders_fail_over_http,
        )
        .check(
            "03.3",
            "all other endpoints answer as in step 02",
            the_rest_over_http,
        )
}

/// How many rows may have been read beyond those that the reader has taken. sqlx's
/// queue has about 50, and a bounded channel may have as many again.
const AHEAD: u64 = 128;

// ---- 03.1 stream_query

async fn stream_yields_rows() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    for (asked, query, expected) in [
        (
            "stream_query(SELECT name FROM item ORDER BY id)",
            item_names(),
            &["Milk", "Kit Kat", "Bread", "Onion"][..],
        ),
        (
            "stream_query(SELECT name FROM item WHERE id > $1 ORDER BY id DESC), 2 bound to $1",
            sqlx::query("SELECT name FROM item WHERE id > $1 ORDER BY id DESC").bind(2),
            &["Onion", "Bread"],
        ),
        (
            "stream_query(SELECT name FROM item WHERE id = 77)",
            sqlx::query("SELECT name FROM item WHERE id = 77"),
            &[],
        ),
    ] {
        let mut rows = engine.stream_query(query);
        for expected in expected {
            let row = rows.next().await.or_fail(format!("{asked}: {expected}"))?;
            let name: String = row.or_fail(asked)?.try_get("name").or_fail(asked)?;
            equal(asked, *expected, name.as_str())?;
        }
        expect_end(asked, &mut rows).await?;
    }

    let asked = "stream_query(…) over 10,000 rows";
    let rows = ids_of(engine.stream_query(numbers()));
    let all: Vec<_> = rows.try_collect().await.or_fail(asked)?;
    equal_lists(asked, &(1..=10_000).collect::<Vec<_>>(), &all)
}

async fn stream_is_lazy() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    expect_lazy("stream_query(…)", &database, || {
        engine.stream_query(item_names())
    })
    .await
}

async fn dropped_stream_closes() -> Outcome {
    let database = many_customers().await?;
    // The engine lives on: it must not keep the connection.
    let engine = engine(&database)?;
    let names = || engine.stream_query(sqlx::query("SELECT name FROM customer"));
    let mut rows = names();
    take_one("stream_query(…)", &mut rows).await?;
    ensure(
        is_open(&database),
        "stream_query(…), one row taken of 10,000: is the database open?",
        "yes, the stream reads from it",
        "no",
    )?;
    drop(rows);
    expect_closed(&database, "a stream that was dropped after its first row").await?;

    // Dropped after each of its first steps, most of them before the first row.
    for polls in 1..12 {
        let mut rows = names();
        for _ in 0..polls {
            if let Some(row) = rows.next().now_or_never() {
                row.or_fail("stream_query(…)")?.or_fail("stream_query(…)")?;
            }
            database.one::<i64>("SELECT 1").await?;
        }
    }
    expect_closed(
        &database,
        "streams that were dropped before their first row",
    )
    .await
}

async fn ended_stream_closes() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let mut rows = engine.stream_query(item_names());
    while let Some(row) = rows.next().await {
        row.or_fail("stream_query(…)")?;
    }
    // `rows` still exists, and so does the engine.
    expect_closed(&database, "a stream that was read to its end").await?;
    drop(rows);

    let mut rows = engine.stream_query(fails_at(3, 4));
    while let Some(Ok(_)) = rows.next().await {}
    drop(rows);
    expect_closed(&database, "a stream that was read to its first error").await
}

async fn stream_reads_few() -> Outcome {
    let database = many_customers().await?;
    let engine = engine(&database)?;
    expect_reads_few(
        1,
        "stream_query(SELECT name FROM customer)",
        &database,
        || engine.stream_query(sqlx::query("SELECT name FROM customer")),
    )
    .await
}

/// `BEGIN IMMEDIATE` waits for the write lock, so SQLite does not come to the
/// second `SELECT` as long as the check holds the lock.
async fn rows_come_at_once() -> Outcome {
    let database = Database::sample().await?;
    let lock = database.lock_exclusively().await?;
    let mut rows = engine(&database)?.stream_query(sqlx::query(
        "SELECT id FROM item WHERE id < 3 ORDER BY id;
         BEGIN IMMEDIATE; SELECT id FROM item WHERE id = 3; COMMIT",
    ));
    let asked = "stream_query(…): two rows while SQLite has to wait before it finds the third";
    for id in [1, 2] {
        // Only a watch: after 5 s SQLite gives the lock up, and its error would
        // hide the reason.
        let row = tokio::time::timeout(Duration::from_secs(4), rows.next())
            .await
            .map_err(|_| {
                Failure::new(
                    asked,
                    format!("row {id} at once"),
                    "nothing: a row that SQLite has found waits for later rows",
                )
            })?;
        let row = row.or_fail(asked)?.or_fail(asked)?;
        equal(asked, id, row.get::<i64, _>("id"))?;
    }
    lock.release().await?;
    let asked = "stream_query(…): the row that SQLite had to wait for";
    let row = rows.next().await.or_fail(asked)?.or_fail(asked)?;
    equal(asked, 3, row.get::<i64, _>("id"))?;
    expect_end(asked, &mut rows).await
}

async fn streams_are_independent() -> Outcome {
    const STREAMS: usize = 12;
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|_| engine.stream_query(item_names()))
        .collect();
    let asked = format!("{STREAMS} streams, one row of each, then the next row of each");
    for expected in ["Milk", "Kit Kat", "Bread", "Onion"] {
        for rows in &mut streams {
            let row = rows.next().await.or_fail(&asked)?.or_fail(&asked)?;
            equal(&asked, expected, row.get::<String, _>("name").as_str())?;
        }
    }
    equal(
        format!("{asked}: connections opened"),
        STREAMS,
        recording.connections_opened(),
    )
}

async fn error_after_good_rows() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    for (failing, count) in [(3, 4), (1, 1), (1, 500), (499, 500), (500, 500)] {
        let asked = format!("stream_query with a query that fails at row {failing} of {count}");
        let rows = engine.stream_query(fails_at(failing, count));
        let rows = rows.map(|row| Ok(row?.try_get::<i64, _>("id")?)).boxed();
        let good: Vec<i64> = (1..failing).collect();
        expect_then_error(&asked, "row", &good, rows).await?;
    }
    let asked = "stream_query(SELECT id FROM nowhere), a table that does not exist";
    let rows = engine.stream_query(sqlx::query("SELECT id FROM nowhere"));
    expect_then_error(asked, "row", &[], ids_of(rows)).await
}

async fn error_at_connecting() -> Outcome {
    let database = Database::sample().await?;
    let rows = nowhere(&database)?.stream_query(item_names());
    let asked = "stream_query over a database file that does not exist";
    expect_then_error(asked, "row", &[], ids_of(rows)).await
}

async fn stream_waits_for_its_reader() -> Outcome {
    tokio::time::resume();
    let database = Database::sample().await?;
    let rows = engine(&database)?.stream_query(numbers());
    let asked = "stream_query(…) over 10,000 rows: one, an hour's pause, then all others";
    let all = read_with_a_pause(asked, ids_of(rows), async { Ok(()) }).await?;
    equal_lists(asked, &(1..=10_000).collect::<Vec<_>>(), &all)
}

// ---- 03.2 get_customers

/// Id, name and address id, in the order in which they are inserted.
const CUSTOMERS: [(i64, &str, i64); 9] = [
    (40, "Blake", 2),
    (-7, "Zoë \"Z\" \\ O'Neil", 9),
    (3, "", 2),
    (41, "Alex", 2),
    (0, "ähm, 名前", -4),
    (9_007_199_254_740_993, "Blake", 2),
    (2, "Cam\n", 9),
    (-9_223_372_036_854_775_808, "Blake", -4),
    (12, " alex", 2),
];

async fn customers_of_all_kinds() -> Result<Database, Failure> {
    let database = Database::empty().await?;
    let mut sql = String::from("INSERT INTO address VALUES (2, 1, 1), (9, 1, 1), (-4, 1, 1);");
    for (id, name, address) in CUSTOMERS {
        let name = name.replace('\'', "''");
        _ = write!(
            sql,
            "INSERT INTO customer VALUES ({id}, '{name}', {address});"
        );
    }
    database.execute(&sql).await?;
    Ok(database)
}

async fn customers_come() -> Outcome {
    let mut of_all_kinds = CUSTOMERS.to_vec();
    of_all_kinds.sort_unstable();
    for (database, what, expected) in [
        (
            Database::sample().await?,
            "the sample data",
            vec![(1, "Alex", 1), (2, "Blake", 2), (3, "Cam", 3)],
        ),
        (
            customers_of_all_kinds().await?,
            "other customers",
            of_all_kinds,
        ),
    ] {
        let asked = format!("get_customers over {what}: id, name, address_id");
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(id, name, address)| (id, name.to_owned(), address))
            .collect();
        let got = customers_as_tuples(&engine(&database)?, &asked).await?;
        equal_lists(asked, &expected, &got)?;
    }

    let asked = "get_customers over 10,000 customers: the ids";
    let database = many_customers().await?;
    let all = customers_as_tuples(&engine(&database)?, asked).await?;
    let all: Vec<i64> = all.into_iter().map(|(id, ..)| id).collect();
    equal_lists(asked, &(1..=10_000).collect::<Vec<_>>(), &all)
}

async fn customers_as_tuples(
    engine: &Engine,
    asked: &str,
) -> Result<Vec<(i64, String, i64)>, Failure> {
    get_customers(engine)
        .map_ok(|customer| (customer.id, customer.name, customer.address_id))
        .try_collect()
        .await
        .or_fail(asked)
}

async fn customers_are_lazy() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    expect_lazy("get_customers(…)", &database, || get_customers(&engine)).await
}

async fn customers_read_few() -> Outcome {
    let database = many_customers().await?;
    let engine = engine(&database)?;
    // A buffer on top of sqlx's is filled by more than one.
    for taken in [1, 6] {
        let asked = "get_customers(…)";
        expect_reads_few(taken, asked, &database, || get_customers(&engine)).await?;
    }
    Ok(())
}

async fn customers_are_one_statement() -> Outcome {
    tokio::time::resume();
    let database = many_customers().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let asked = "get_customers over 10,000 customers: one, an hour's pause in which another \
                 customer is added, then all others";
    let customers = get_customers(&engine).map_ok(|customer| customer.id);
    let more = database.add_customer(20_000, "Late");
    let all = read_with_a_pause(asked, customers.boxed(), more).await?;
    expect_one_statement(asked, &database, &recording).await?;
    equal_lists(asked, &(1..=10_000).collect::<Vec<_>>(), &all)
}

async fn customers_undecodable() -> Outcome {
    for broken in [0, 4, 8] {
        let database = customers_of_all_kinds().await?;
        let mut by_id = CUSTOMERS.to_vec();
        by_id.sort_unstable();
        let (id, ..) = by_id[broken];
        spoil_customer(&database, id).await?;
        let good: Vec<i64> = by_id[..broken].iter().map(|(id, ..)| *id).collect();
        let asked = format!("get_customers, where the name of customer {id} is not UTF-8");
        let customers = get_customers(&engine(&database)?).map_ok(|customer| customer.id);
        expect_then_error(&asked, "customer", &good, customers.boxed()).await?;
    }
    Ok(())
}

/// STRICT tables do not check that a text is UTF-8.
async fn spoil_customer(database: &Database, id: i64) -> Outcome {
    database
        .execute(&format!(
            "UPDATE customer SET name = CAST(x'FF' AS TEXT) WHERE id = {id}"
        ))
        .await
}

async fn customers_fail() -> Outcome {
    let database = Database::sample().await?;
    let asked = "get_customers over a database file that does not exist";
    let customers = get_customers(&nowhere(&database)?).map_ok(|customer| customer.id);
    expect_then_error(asked, "customer", &[], customers.boxed()).await?;

    database
        .execute("ALTER TABLE customer RENAME TO gone")
        .await?;
    let asked = "get_customers over a database without the table `customer`";
    let customers = get_customers(&engine(&database)?).map_ok(|customer| customer.id);
    expect_then_error(asked, "customer", &[], customers.boxed()).await
}

async fn customers_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::customers_flat(&service, &database).await?;
    expect_closed(&database, "GET /api/customers").await
}

async fn customers_fail_over_http() -> Outcome {
    const PATH: &str = "/api/customers";
    let (service, database) = fresh().await?;
    spoil_customer(&database, 3).await?;
    let asked = format!("GET {PATH}, where the name of customer 3 is not UTF-8");
    fails_over_http(&service, PATH, &asked).await?;
    fails_without_a_file(PATH).await
}

// ---- 03.3 get_orders_between_dates

struct Order {
    id: i64,
    customer: i64,
    time: &'static str,
    /// Item and quantity.
    items: &'static [(i64, i64)],
}

/// In the order in which they are inserted: neither that of the ids nor that of
/// the times. Orders 8 and 20 are the same line of the same customer twice.
const ORDERS: [Order; 9] = [
    order(20, -3, "2024-02-29 23:59:59", &[(5, 2)]),
    order(
        7,
        0,
        "2024-02-29 23:59:59",
        &[(30, 1), (-2, 3), (5, 2), (6, 1)],
    ),
    order(-9, 11, "2024-03-01 00:00:00", &[(6, 7)]),
    order(8, -3, "2024-02-29 23:59:59", &[(5, 2), (-2, 1)]),
    order(1, 11, "2024-12-31 12:00:00", &[(-2, 1)]),
    order(
        0,
        0,
        "2024-03-01 00:00:01",
        &[(30, 9_007_199_254_740_993), (5, 1)],
    ),
    order(3, 11, "2023-12-31 23:59:59", &[(5, 12)]),
    order(33, -3, "2024-03-01 00:00:00", &[(6, 1), (5, 1)]),
    order(2, 0, "2024-03-01 00:00:00", &[]),
];
const CUSTOMERS_WITH_ORDERS: [(i64, &str); 3] = [(11, "Zoë \"Z\" O'Neil"), (-3, ""), (0, "Bread")];
/// Id, name and price in cents. Two of them differ in the id alone.
const ITEMS: [(i64, &str, i64); 4] = [
    (30, "ähm, 名前", 1),
    (-2, "Zoë \"Z\" O'Neil", 0),
    (6, "Bread", 1050),
    (5, "Bread", 1050),
];

const fn order(id: i64, customer: i64, time: &'static str, items: &'static [(i64, i64)]) -> Order {
    Order {
        id,
        customer,
        time,
        items,
    }
}

async fn orders_of_all_kinds() -> Result<Database, Failure> {
    let database = Database::empty().await?;
    database
        .execute("INSERT INTO address VALUES (1, 1, 1)")
        .await?;
    for (id, name) in CUSTOMERS_WITH_ORDERS {
        database.add_customer(id, name).await?;
    }
    for (id, name, price) in ITEMS {
        database.add_item(id, name, price).await?;
    }
    let mut sql = String::new();
    for order in &ORDERS {
        let (id, customer, time) = (order.id, order.customer, order.time);
        _ = write!(
            sql,
            "INSERT INTO orders (id, customer_id, order_time) VALUES ({id}, {customer}, '{time}');"
        );
    }
    // The second item of an order comes after the first items of all orders.
    for number in 0..4 {
        for order in &ORDERS {
            if let Some((item, quantity)) = order.items.get(number) {
                let id = order.id;
                _ = write!(
                    sql,
                    "INSERT INTO order_items VALUES ({id}, {item}, {quantity});"
                );
            }
        }
    }
    database.execute(&sql).await?;
    Ok(database)
}

/// Customer, item, price in cents, total in cents.
type Line = (String, String, i64, i64);

fn lines_between(after: &str, before: &str) -> Vec<Line> {
    let customers = HashMap::from(CUSTOMERS_WITH_ORDERS);
    let items = ITEMS.map(|(id, name, price)| (id, (name, price)));
    let items = HashMap::from(items);
    let mut orders: Vec<_> = ORDERS
        .iter()
        .filter(|order| after <= order.time && order.time <= before)
        .collect();
    orders.sort_by_key(|order| (order.time, order.id));
    let lines = orders.into_iter().flat_map(|order| {
        let customer = customers[&order.customer];
        let items = &items;
        order.items.iter().map(move |(item, quantity)| {
            let (name, price) = items[item];
            (
                customer.to_owned(),
                name.to_owned(),
                price,
                price * quantity,
            )
        })
    });
    lines.collect()
}

fn line(row: OrderedItemOfCustomer) -> Line {
    (row.customer, row.name, row.price.0, row.total.0)
}

async fn orders_come() -> Outcome {
    let line_of = |customer: &str, item: &str, price, total| -> Line {
        (customer.to_owned(), item.to_owned(), price, total)
    };
    let database = Database::sample().await?;
    let (after, before) = ("2024-03-18 10:30:00", "2024-03-20 11:00:00");
    let expected = [
        line_of("Alex", "Kit Kat", 100, 400),
        line_of("Alex", "Bread", 1050, 2100),
        line_of("Alex", "Milk", 500, 500),
        line_of("Cam", "Kit Kat", 100, 200),
        line_of("Cam", "Onion", 200, 1000),
    ];
    expect_lines(&database, "the sample data", after, before, &expected).await?;

    let database = orders_of_all_kinds().await?;
    for (after, before) in [
        ("2024-02-29 23:59:59", "2024-03-01 00:00:00"),
        ("0000-01-01 00:00:00", "9999-12-31 23:59:59"),
        ("2024-02-29 23:59:59", "2024-02-29 23:59:59"),
        ("2024-03-01 00:00:00", "2024-03-01 00:00:00"),
        ("2024-03-01 00:00:01", "2024-12-31 11:59:59"),
        ("2024-01-01 00:00:00", "2024-02-29 23:59:58"),
        ("2024-03-01 00:00:00", "2024-02-29 23:59:59"),
    ] {
        let expected = lines_between(after, before);
        expect_lines(&database, "other orders", after, before, &expected).await?;
    }
    Ok(())
}

async fn expect_lines(
    database: &Database,
    what: &str,
    after: &str,
    before: &str,
    expected: &[Line],
) -> Outcome {
    let asked = format!(
        "get_orders_between_dates(after {after}, before {before}) over {what}: customer, name, \
         price and total in cents"
    );
    let lines: Vec<_> = get_orders_between_dates(&engine(database)?, &time(after)?, &time(before)?)
        .map_ok(line)
        .try_collect()
        .await
        .or_fail(&asked)?;
    equal_lists(asked, expected, &lines)
}

async fn orders_are_lazy() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let (after, before) = year()?;
    expect_lazy("get_orders_between_dates(…)", &database, || {
        get_orders_between_dates(&engine, &after, &before)
    })
    .await
}

async fn orders_read_few() -> Outcome {
    let database = many_orders().await?;
    let engine = engine(&database)?;
    let (after, before) = year()?;
    expect_reads_few(1, "get_orders_between_dates(…)", &database, || {
        get_orders_between_dates(&engine, &after, &before)
    })
    .await
}

async fn orders_are_one_statement() -> Outcome {
    tokio::time::resume();
    let database = many_orders().await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let asked = "get_orders_between_dates over 5,000 orders of two items: one item, an hour's \
                 pause in which another order is placed, then all others";
    let (after, before) = year()?;
    let items = get_orders_between_dates(&engine, &after, &before).map_ok(|_| ());
    let more = database.add_order(20_000, 1, &[(1, 1)]);
    let all = read_with_a_pause(asked, items.boxed(), more).await?;
    expect_one_statement(asked, &database, &recording).await?;
    equal(format!("{asked}: how many"), 10_000, all.len())
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
        rows.or_fail("get_orders_between_dates(…)")?;
        runs.push((label, recording.statements()));
    }
    equal_runs(
        "the SQL that is run for two different pairs of dates",
        "the same text for both, with the dates bound to $1 and $2",
        &runs,
    )
}

async fn orders_undecodable() -> Outcome {
    let (after, before) = ("2024-02-29 23:59:59", "2024-03-01 00:00:00");
    let all = lines_between(after, before);
    // Each of these spoils one line of one order; the place says which.
    for (what, sql, place) in [
        (
            "the quantity in the first line is 9223372036854775807, so the total has no i64",
            "UPDATE order_items SET quantity = 9223372036854775807
             WHERE order_id = 7 AND item_id = 30; UPDATE item SET price_cents = 2 WHERE id = 30",
            0,
        ),
        (
            "the name of a customer is not UTF-8",
            "UPDATE customer SET name = CAST(x'FF' AS TEXT) WHERE id = -3",
            4,
        ),
        (
            "the quantity in the last line is 9223372036854775807, so the total has no i64",
            "UPDATE order_items SET quantity = 9223372036854775807
             WHERE order_id = 33 AND item_id = 5",
            all.len() - 1,
        ),
        (
            "the name of an item is not UTF-8",
            "UPDATE item SET name = CAST(x'FF' AS TEXT) WHERE id = 6",
            3,
        ),
    ] {
        let database = orders_of_all_kinds().await?;
        database.execute(sql).await?;
        let asked = format!("get_orders_between_dates, where {what}");
        let engine = engine(&database)?;
        let items = get_orders_between_dates(&engine, &time(after)?, &time(before)?);
        expect_then_error(&asked, "item", &all[..place], items.map_ok(line).boxed()).await?;
    }
    Ok(())
}

async fn orders_fail() -> Outcome {
    let database = Database::sample().await?;
    let (after, before) = year()?;
    let asked = "get_orders_between_dates over a database file that does not exist";
    let items = get_orders_between_dates(&nowhere(&database)?, &after, &before);
    expect_then_error(asked, "item", &[], items.map_ok(line).boxed()).await?;

    database
        .execute("ALTER TABLE order_items RENAME TO gone")
        .await?;
    let asked = "get_orders_between_dates over a database without the table `order_items`";
    let items = get_orders_between_dates(&engine(&database)?, &after, &before);
    expect_then_error(asked, "item", &[], items.map_ok(line).boxed()).await
}

async fn orders_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    expect_closed(&database, "GET /api/orders_between_dates/…").await
}

async fn orders_fail_over_http() -> Outcome {
    const PATH: &str = "/api/orders_between_dates/2024-03-22/2024-03-17";
    let (service, database) = fresh().await?;
    database
        .execute("UPDATE order_items SET quantity = 9223372036854775807 WHERE item_id = 4")
        .await?;
    let asked = format!("GET {PATH}, where the last total has no i64");
    fails_over_http(&service, PATH, &asked).await?;
    fails_without_a_file(PATH).await
}

async fn the_rest_over_http() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_refusals_400(&service, &database).await
}

// ---- shared

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url()).or_fail("Engine::new")
}

/// An engine for a file that does not exist.
fn nowhere(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&format!("{}-missing", database.url())).or_fail("Engine::new")
}

/// A service over the sample data. The checks of `answers` add rows of their own.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let service = Service::start(server::app(engine(&database)?));
    Ok((service, database))
}

/// `asked` says that the failure is on purpose: without it, "unable to open
/// database file" would look like a fault of the machine.
async fn fails_over_http(service: &Service, path: &str, asked: &str) -> Outcome {
    let say_so = |failure: Failure| Failure::new(asked, failure.expected(), failure.got());
    let reply = service.get(path).await.map_err(say_so)?;
    contract::expect_problem(&reply, 500).map_err(say_so)
}

async fn fails_without_a_file(path: &str) -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(server::app(nowhere(&database)?));
    let asked = format!("GET {path}, on purpose without the database's file");
    fails_over_http(&service, path, &asked).await
}

async fn many_customers() -> Result<Database, Failure> {
    let database = Database::empty().await?;
    database.add_customers(10_000).await?;
    Ok(database)
}

/// 5,000 orders of two items each, in [`year`].
async fn many_orders() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    database.add_orders(5_000, 2).await?;
    Ok(database)
}

/// A range that has all orders of [`many_orders`] and not those of the sample.
fn year() -> Result<(UtcTime, UtcTime), Failure> {
    Ok((time("2024-04-01")?, time("2025-04-01")?))
}

fn time(text: &str) -> Result<UtcTime, Failure> {
    text.parse().or_fail(text)
}

fn item_names() -> SqlQuery {
    sqlx::query("SELECT name FROM item ORDER BY id")
}

fn numbers() -> SqlQuery {
    sqlx::query(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 10000)
         SELECT id FROM n",
    )
}

/// Ids from 1 to `count`, with an overflow that SQLite meets only when it comes to
/// the row `failing`.
fn fails_at(failing: i64, count: i64) -> SqlQuery {
    sqlx::query(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $2)
         SELECT id, CASE WHEN id <> $1 THEN 0 ELSE abs(id * 0 - 9223372036854775807 - 1) END
         FROM n",
    )
    .bind(failing)
    .bind(count)
}

fn ids_of(rows: Rows<sqlx::sqlite::SqliteRow>) -> Rows<i64> {
    rows.map(|row| Ok(row?.try_get("id")?)).boxed()
}

/// Gives code that works behind the reader's back the time to show it: each round
/// opens and closes a connection of the check's.
async fn let_others_work(database: &Database) -> Outcome {
    for _ in 0..40 {
        database.one::<i64>("SELECT count(*) FROM item").await?;
    }
    Ok(())
}

async fn take_one<T>(asked: &str, rows: &mut Rows<T>) -> Result<T, Failure> {
    match rows.next().await {
        Some(first) => first.or_fail(asked),
        None => Err(Failure::new(asked, "a row", "the end of the stream")),
    }
}

async fn expect_end<T>(asked: &str, rows: &mut Rows<T>) -> Outcome {
    let got = match rows.next().await {
        None => return Ok(()),
        Some(Ok(_)) => "a further row".to_owned(),
        Some(Err(error)) => format!("an error: {error:?}"),
    };
    Err(Failure::new(
        format!("{asked}: after the last row"),
        "the end of the stream",
        got,
    ))
}

async fn expect_lazy<T>(
    asked: &str,
    database: &Database,
    call: impl FnOnce() -> Rows<T>,
) -> Outcome {
    let recording = Recording::start();
    let rows = call();
    let_others_work(database).await?;
    let opened = recording.connections_opened();
    let asked = format!("{asked}, and then the stream is not polled");
    ensure(
        opened == 0 && !is_open(database),
        &asked,
        "no connection opened",
        format!("connections opened: {opened}"),
    )?;
    drop(rows);
    expect_closed(database, "a stream that was never polled").await
}

/// The rows that SQLite has returned, as sqlx reports them when the statement is
/// over: once the connection is closed, all have been reported.
async fn expect_reads_few<T>(
    taken: u64,
    asked: &str,
    database: &Database,
    call: impl FnOnce() -> Rows<T>,
) -> Outcome {
    let recording = Recording::start();
    let mut rows = call();
    let asked = match taken {
        1 => format!("{asked}, one row taken of 10,000, a pause, then dropped"),
        _ => format!("{asked}, {taken} rows taken of 10,000, a pause after each, then dropped"),
    };
    for _ in 0..taken {
        take_one(&asked, &mut rows).await?;
        let_others_work(database).await?;
    }
    drop(rows);
    expect_closed(database, &asked).await?;
    let statements = recording.statements();
    let read: u64 = statements.iter().map(|s| s.rows_returned).sum();
    ensure(
        (taken..=taken + AHEAD).contains(&read),
        asked,
        format!("at most {AHEAD} more rows read from the database"),
        format!("{read} rows read"),
    )
}

/// Reads one item, lets an hour pass and `meanwhile` happen, and reads the rest.
/// tokio's clock runs, except for the moment in which it jumps.
async fn read_with_a_pause<T>(
    asked: &str,
    mut rows: Rows<T>,
    meanwhile: impl Future<Output = Outcome>,
) -> Result<Vec<T>, Failure> {
    let mut all = vec![take_one(asked, &mut rows).await?];
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(1)).await;
    tokio::time::resume();
    meanwhile.await?;
    while let Some(row) = rows.next().await {
        all.push(row.or_fail(asked)?);
    }
    Ok(all)
}

async fn expect_one_statement(asked: &str, database: &Database, recording: &Recording) -> Outcome {
    expect_closed(database, asked).await?;
    let (statements, connections) = (recording.statements().len(), recording.connections_opened());
    ensure(
        (statements, connections) == (1, 1),
        asked,
        "one statement over one connection",
        format!("statements: {statements}, connections opened: {connections}"),
    )
}

/// Shows the first difference alone, since the lists are long.
fn equal_lists<T: Debug + PartialEq>(asked: impl Display, expected: &[T], got: &[T]) -> Outcome {
    let pairs = expected.iter().zip(got);
    let same = pairs.take_while(|(expected, got)| expected == got).count();
    let shown = |list: &[T]| match list.get(same) {
        Some(item) => format!("{item:?} as number {} of {}", same + 1, list.len()),
        None => format!("the end after number {same}"),
    };
    ensure(expected == got, asked, shown(expected), shown(got))
}

/// Fails unless the items are `good`, followed by an error of the database. What
/// comes after the error does not matter.
async fn expect_then_error<T: Debug + PartialEq>(
    asked: &str,
    item: &str,
    good: &[T],
    mut rows: Rows<T>,
) -> Outcome {
    let mut got = Vec::new();
    let end = loop {
        match rows.next().await {
            Some(Ok(row)) => got.push(row),
            Some(Err(Error::Database(_))) => break None,
            Some(Err(other)) => break Some(format!("another error: {other:?}")),
            None => break Some("the end of the stream: the error is lost".to_owned()),
        }
        // A stream that goes on without end would do so here.
        if got.len() > good.len() {
            break Some(format!("{:?} in place of the error", got[good.len()]));
        }
    };
    let expected = "Err(Error::Database(…))";
    let asked = match good.len() {
        0 => format!("{asked}: the first item"),
        before => format!("{asked}: {before} good {item}s, then the next item"),
    };
    if let Some(end) = end {
        return Err(Failure::new(asked, expected, end));
    }
    ensure(
        got == good,
        &asked,
        format!("{good:?}, then {expected}"),
        format!("{got:?}, then {expected}"),
    )
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
