//! What step 07 asks for: lists that are written while they are read, and that
//! hold no connection while they wait for their client.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use contract::memory::peak_during;
use contract::statements::Recording;
use contract::{
    Database, Failure, OrFail, Outcome, Service, StreamReply, Suite, answers, ensure, equal,
};
use contract::{equal_json, gate::Gate, parse_json};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use sqlx::Row;
use step07::body::{Format, json_array, ndjson, respond};
use step07::db::base::{Engine, EngineConfig, PAGE_ROWS, Rows, SqlQuery};
use step07::db_accessor::{get_customers, get_orders_between_dates, get_total_cost_of_an_order};
use step07::error::Error;
use step07::server;
use step07::types::UtcTime;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
fn main() -> ExitCode {
    Suite::new("07-streaming-responses", env!("CARGO_MANIFEST_DIR"))
        .check(
            "07.1",
            "the rows are one JSON array, however many there are",
            array_is_valid,
        )
        .paused_check(
            "07.1",
            "the array is handed on in pieces, while the rows are read",
            array_in_pieces,
        )
        .check(
            "07.1",
            "an error breaks the array off: it is not closed",
            array_breaks_off,
        )
        .check(
            "07.2",
            "each row is a line of its own, however many there are",
            lines_are_valid,
        )
        .paused_check(
            "07.2",
            "the lines are handed on in pieces, while the rows are read",
            lines_in_pieces,
        )
        .check("07.2", "an error breaks the lines off", lines_break_off)
        .check(
            "07.3",
            "the answer has the format that was asked for",
            respond_formats,
        )
        .check(
            "07.3",
            "the client has the first byte before the last row is read",
            first_byte_early,
        )
        .check(
            "07.3",
            "an error before the first row is a problem with its own status",
            early_error,
        )
        .check(
            "07.3",
            "an error midway breaks the body off and is logged",
            late_error,
        )
        .paused_check(
            "07.3",
            "rows are read no faster than the client reads",
            reads_on_demand,
        )
        .check(
            "07.3",
            "a client that goes away ends the reading",
            gone_client,
        )
        .check(
            "07.4",
            "every row comes once and in order, whatever the size of the last page",
            pages_are_complete,
        )
        .check(
            "07.4",
            "a page is read when its first row is asked for, and not before",
            pages_on_demand,
        )
        .check(
            "07.4",
            "no connection is held while the caller is busy with its rows",
            pages_hold_nothing,
        )
        .check(
            "07.4",
            "an error comes after the good rows, as the last item",
            pages_fail,
        )
        .check(
            "07.5",
            "the customers are complete at every page border",
            customers_are_complete,
        )
        .check(
            "07.5",
            "the list of customers holds no connection between its pages",
            customers_hold_nothing,
        )
        .check(
            "07.5",
            "customers who are removed meanwhile do not hide others",
            customers_are_not_skipped,
        )
        .check(
            "07.5",
            "clients that have stopped reading keep nobody else waiting",
            stopped_readers,
        )
        .check(
            "07.5",
            "ten times the customers take no more memory",
            flat_memory,
        )
        .check(
            "07.5",
            "a database that fails midway is seen by the client",
            customers_break_off,
        )
        .check(
            "07.6",
            "the orders between two dates are as before",
            orders_as_before,
        )
        .check(
            "07.6",
            "orders of the same time are complete at every page border",
            orders_are_complete,
        )
        .check(
            "07.6",
            "the list of orders holds no connection between its pages",
            orders_hold_nothing,
        )
        .check(
            "07.6",
            "orders that are removed meanwhile do not hide others",
            orders_are_not_skipped,
        )
        .check(
            "07.6",
            "ten times the orders take no more memory",
            orders_flat_memory,
        )
        .check("07.6", "all other answers are as before", other_answers)
        .run()
}

/// How long an answer that should come at once may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// More bytes than any list of the checks has.
const FAR_TOO_LONG: usize = 16 * 1024 * 1024;

// 07.1 and 07.2: the two formats

async fn array_is_valid() -> Outcome {
    for count in [0, 1, 2, 501, 1000] {
        let rows: Vec<Value> = (1..=count).map(row).collect();
        let body = whole(json_array(stream_of(rows.clone()))).await?;
        let asked = format!("json_array of {count} rows");
        let got = parse_json(&asked, &body)?;
        equal_json(asked, &Value::Array(rows), &got)?;
    }
    Ok(())
}

async fn lines_are_valid() -> Outcome {
    for count in [0, 1, 2, 501, 1000] {
        let rows: Vec<Value> = (1..=count).map(row).collect();
        let body = whole(ndjson(stream_of(rows.clone()))).await?;
        same_lines(&format!("ndjson of {count} rows"), &rows, &body)?;
    }
    Ok(())
}

async fn array_in_pieces() -> Outcome {
    in_pieces("json_array", json_array).await
}

async fn lines_in_pieces() -> Outcome {
    in_pieces("ndjson", ndjson).await
}

/// The first piece is there after few rows, and all of them together take
/// little memory.
async fn in_pieces(name: &str, write: fn(Rows<Value>) -> Rows<Bytes>) -> Outcome {
    let total = 20_000;
    let source = Source::new(total);
    let mut pieces = write(source.rows());
    equal(
        format!("{name} of {total} rows, and nobody asks for a piece; how many rows were read?"),
        0,
        source.read(),
    )?;
    let asked = format!("{name} of {total} rows, and its first piece is taken");
    pieces.next().await.or_fail(&asked)?.or_fail(&asked)?;
    let read = source.read();
    ensure(
        read <= 2_000,
        asked,
        "at most 2000 rows read",
        format!("{read} rows read"),
    )?;
    // The pieces are dropped as they come.
    let (rest, peak) = peak_during(pieces.count()).await;
    let asked = format!("{name} of {total} rows, one piece after another");
    small_memory(asked.clone(), peak)?;
    // Of `PIECE_BYTES` there would be about 110.
    ensure(
        rest < 2_000,
        asked,
        "rows put together until a piece has about PIECE_BYTES",
        format!("{} pieces", rest + 1),
    )
}

async fn array_breaks_off() -> Outcome {
    let pieces = json_array(broken_after(1000)).collect().await;
    let body = broken_off("json_array of 1000 rows and then an error", pieces)?;
    ensure(
        serde_json::from_slice::<Value>(&body).is_err(),
        "json_array of 1000 rows and then an error: the bytes before the error",
        "a text that is no JSON array, since `]` is missing",
        end_of(&body),
    )
}

async fn lines_break_off() -> Outcome {
    let pieces = ndjson(broken_after(1000)).collect().await;
    broken_off("ndjson of 1000 rows and then an error", pieces).map(drop)
}

/// The last of the pieces must be the error; gives the bytes before it.
fn broken_off(asked: &str, mut pieces: Vec<Result<Bytes, Error>>) -> Result<Vec<u8>, Failure> {
    let last = pieces.pop();
    let mut body = Vec::new();
    for piece in &pieces {
        match piece {
            Ok(piece) => body.extend_from_slice(piece),
            Err(_) => {
                return Err(Failure::new(
                    asked,
                    "nothing more after the error",
                    "more after the error",
                ));
            }
        }
    }
    let expected = "the error as the last item of the stream";
    match last {
        Some(Err(_)) => Ok(body),
        Some(Ok(piece)) => Err(Failure::new(asked, expected, end_of(&piece))),
        None => Err(Failure::new(asked, expected, "an empty stream")),
    }
}

// 07.3: the response

async fn respond_formats() -> Outcome {
    let service = serve(|| stream_of(vec![row(1), row(2)]));
    let reply = service.get("/").await?;
    reply.expect_json(200, &json!([row(1), row(2)]))?;
    equal(
        "respond(JsonArray, rows): Content-Type",
        Some("application/json"),
        reply.header("content-type"),
    )?;
    let reply = service.get_with("/", &[NDJSON]).await?;
    reply.expect_status(200)?;
    equal(
        "respond(NdJson, rows): Content-Type",
        Some("application/x-ndjson"),
        reply.header("content-type"),
    )?;
    same_lines(reply.asked(), &[row(1), row(2)], &reply.body)?;
    answers::format_by_accept(&service, "/").await?;

    let service = serve(|| stream_of(Vec::new()));
    service.get("/").await?.expect_json(200, &json!([]))?;
    let reply = service.get_with("/", &[NDJSON]).await?;
    reply.expect_status(200)?;
    same_lines(reply.asked(), &[], &reply.body)
}

async fn first_byte_early() -> Outcome {
    let total = 4_000;
    let gate = Gate::closed();
    let held = gate.clone();
    let service = serve(move || {
        let rest = (total / 2 + 1..=total).map(|id| Ok(row(id)));
        held_after(total / 2, &held, rest.collect())
    });
    let asked = format!("a list of {total} rows, of which the second half is not there yet");

    let mut reply = opened(&asked, &service).await?;
    let first = next(&asked, &mut reply).await?;
    gate.open();
    let mut body = first.to_vec();
    while let Some(chunk) = reply.next_chunk().await {
        body.extend_from_slice(&chunk?);
    }
    let all: Vec<Value> = (1..=total).map(row).collect();
    let got = parse_json(&asked, &body)?;
    equal_json(asked, &Value::Array(all), &got)
}

async fn early_error() -> Outcome {
    let errors: [(fn() -> Error, u16); 3] = [
        (|| REFUSED, 400),
        (|| Error::Database(sqlx::Error::PoolTimedOut), 503),
        (damaged, 500),
    ];
    for (error, status) in errors {
        let service = serve(move || stream::once(async move { Err(error()) }).boxed());
        for headers in [&[][..], &[NDJSON]] {
            let reply = service.get_with("/", headers).await;
            let asked = format!("a list whose first row is an error with status {status}");
            let expected = format!("status {status}, application/problem+json");
            let reply = reply.map_err(|failure| Failure::new(&asked, &expected, failure.got()))?;
            let content_type = reply.header("content-type").unwrap_or("none");
            ensure(
                reply.status == status && content_type == "application/problem+json",
                asked,
                expected,
                format!("status {}, {content_type}: {}", reply.status, reply.text()),
            )?;
        }
    }
    Ok(())
}

async fn late_error() -> Outcome {
    let recording = Recording::start();
    let gate = Gate::closed();
    let held = gate.clone();
    let service = serve(move || held_after(2_000, &held, vec![Err(damaged())]));
    let asked = "a list of 2000 rows and then an error";
    let mut reply = opened(asked, &service).await?;
    let first = next(asked, &mut reply).await?;
    gate.open();
    let body = read_until_broken(asked, &mut reply, first).await?;
    ensure(
        serde_json::from_slice::<Value>(&body).is_err(),
        asked,
        "a body that breaks off and is no JSON array",
        end_of(&body),
    )?;
    logged_with_cause(&recording, asked, "taken_by_the_check")
}

async fn reads_on_demand() -> Outcome {
    let total = 30_000;
    for format in [Format::JsonArray, Format::NdJson] {
        let source = Source::new(total);
        let rows = source.rows();
        let work = async {
            let asked = format!("respond({format:?}, {total} rows)");
            let response = respond(format, rows).await.or_fail(&asked)?;
            let mut pieces = response.into_body().into_data_stream();
            let asked = format!("{asked}, and the client takes one piece and stops");
            pieces.next().await.or_fail(&asked)?.or_fail(&asked)?;
            // The clock is paused: it moves on when no task has anything to do.
            sleep(Duration::from_hours(1)).await;
            let read = source.read();
            ensure(
                read <= 10_000,
                asked,
                "at most 10000 rows read",
                format!("{read} rows read"),
            )?;
            while let Some(piece) = pieces.next().await {
                piece.or_fail("the rest of the pieces")?;
            }
            Ok(())
        };
        let (outcome, peak) = peak_during(work).await;
        outcome?;
        small_memory(
            format!("respond({format:?}, {total} rows), piece by piece"),
            peak,
        )?;
    }
    Ok(())
}

async fn gone_client() -> Outcome {
    let total = 200_000;
    let source = Source::new(total);
    let served = source.clone();
    let (guard, dropped) = oneshot::channel::<()>();
    let guard = std::sync::Mutex::new(Some(guard));
    let service = serve(move || {
        let guard = guard.lock().ok().and_then(|mut guard| guard.take());
        let rows = served.rows();
        // Owned by the rows: it goes when they go.
        rows.inspect(move |_| _ = &guard).boxed()
    });
    let asked = format!("a list of {total} rows; the client reads a little and goes away");
    let mut reply = opened(&asked, &service).await?;
    next(&asked, &mut reply).await?;
    drop(reply);
    // The sender is dropped without a word, which is an error here.
    let ended = timeout(PATIENCE, dropped).await;
    ensure(
        ended.is_ok(),
        &asked,
        "the rows are dropped",
        "the rows are still held",
    )?;
    let read = source.read();
    ensure(
        read < total,
        asked,
        "the rest of the rows is not read",
        format!("all {read} rows were read"),
    )
}

// 07.4: pages

async fn pages_are_complete() -> Outcome {
    for (count, page) in [
        (0, 500),
        (1, 500),
        (499, 500),
        (500, 500),
        (501, 500),
        (1000, 500),
        (1001, 500),
        (7, 2),
        (7, 1),
    ] {
        let database = Database::empty().await?;
        database.add_customers(count).await?;
        let engine = engine(&database, EngineConfig::default())?;
        let ids = ids_in_pages(&engine, page);
        let asked = format!("stream_pages over {count} rows, in pages of {page}");
        // A key that does not move would give rows for ever.
        let ids: Vec<i64> = ids.take(3_000).try_collect().await.or_fail(&asked)?;
        let expected: Vec<i64> = (1..=i64::from(count)).collect();
        same_ids(asked, &expected, &ids)?;
    }
    Ok(())
}

async fn pages_on_demand() -> Outcome {
    let database = Database::empty().await?;
    database.add_customers(10).await?;
    let engine = engine(&database, EngineConfig::default())?;
    let recording = Recording::start();

    let mut ids = ids_in_pages(&engine, 4);
    let mut taken = 0;
    for (wanted, expected) in [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)] {
        let asked = format!("stream_pages over 10 rows, in pages of 4, and {wanted} rows taken");
        while taken < wanted {
            ids.next().await.or_fail(&asked)?.or_fail(&asked)?;
            taken += 1;
        }
        let read = recording.statements().len();
        ensure(
            read == expected,
            asked,
            format!("pages read: {expected}"),
            format!("pages read: {read}"),
        )?;
    }
    Ok(())
}

async fn pages_hold_nothing() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(20).await?;
    let engine = engine(&database, small())?;
    let mut ids = ids_in_pages(&engine, 4);
    for taken in 1..=6 {
        let asked = format!("row {taken} of stream_pages, with a pool of 1");
        ids.next().await.or_fail(&asked)?.or_fail(&asked)?;
        other_query(&engine, &format!("{asked}, then another query")).await?;
    }
    Ok(())
}

async fn pages_fail() -> Outcome {
    let database = Database::empty().await?;
    database.add_customers(6).await?;
    let engine = engine(&database, EngineConfig::default())?;
    // Of the 6 rows the fifth cannot be read.
    let ids = engine.stream_pages(i64::MIN, ids_after(2), |row| {
        let id = row.try_get("id")?;
        if id == 5 { Err(REFUSED) } else { Ok((id, id)) }
    });
    let items: Vec<Result<i64, Error>> = ids.take(100).collect().await;
    last_is_error("stream_pages whose `read` fails at row 5", &items, 4)?;

    // The second page cannot be read.
    let ids = engine.stream_pages(
        i64::MIN,
        |last| match *last {
            i64::MIN => ids_after(2)(last),
            _ => sqlx::query("SELECT id FROM no_such_table"),
        },
        |row| Ok((row.try_get("id")?, row.try_get("id")?)),
    );
    let items: Vec<Result<i64, Error>> = ids.take(100).collect().await;
    last_is_error("stream_pages whose second page is not valid SQL", &items, 2)
}

// 07.5: customers

async fn customers_are_complete() -> Outcome {
    for count in [0, 1, 499, 500, 501, 1000, 1001] {
        let database = Database::empty().await?;
        database.add_customers(count).await?;
        let formats = formats(count == 0 || count == 501);
        customers_as_stored(&database, &format!("{count} customers"), formats).await?;
    }
    let database = Database::sample().await?;
    database.add_customers(2_000).await?;
    // Ids with gaps, longer than a page too.
    let gaps = "DELETE FROM customer WHERE id > 3 AND id % 3 = 0;
                DELETE FROM customer WHERE id BETWEEN 500 AND 1200;";
    database.execute(gaps).await?;
    customers_as_stored(&database, "customers whose ids have gaps", formats(true)).await
}

async fn customers_as_stored(database: &Database, what: &str, formats: &[Format]) -> Outcome {
    let sql =
        "SELECT json_group_array(json_object('id', id, 'name', name, 'address_id', address_id))
               FROM (SELECT * FROM customer ORDER BY id)";
    let expected: String = database.one(sql).await?;
    let expected = serde_json::from_str(&expected).or_fail(what)?;
    let service = service(database, EngineConfig::default())?;
    same_list(&service, "/api/customers", what, &expected, formats).await
}

async fn customers_hold_nothing() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(2_000).await?;
    let engine = engine(&database, small())?;
    let customers = get_customers(&engine).map_ok(drop);
    held_by(&engine, "get_customers", customers.boxed()).await
}

async fn customers_are_not_skipped() -> Outcome {
    let database = Database::empty().await?;
    let page = u32::try_from(PAGE_ROWS).or_fail("PAGE_ROWS")?;
    database.add_customers(2 * page).await?;
    let engine = engine(&database, EngineConfig::default())?;
    let mut customers = get_customers(&engine).map_ok(|customer| customer.id);
    let asked = format!(
        "get_customers of {} customers; after the first one,\nDELETE FROM customer WHERE id <= 10",
        2 * page
    );
    customers.next().await.or_fail(&asked)?.or_fail(&asked)?;
    database
        .execute("DELETE FROM customer WHERE id <= 10")
        .await?;
    let ids: Vec<i64> = customers.take(10_000).try_collect().await.or_fail(&asked)?;
    let ids: Vec<i64> = ids.into_iter().filter(|id| *id > 10).collect();
    let expected: Vec<i64> = (11..=2 * PAGE_ROWS).collect();
    same_ids(
        format!("{asked}\nthe customers from 11 on"),
        &expected,
        &ids,
    )
}

async fn stopped_readers() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(3_000).await?;
    longer_names(&database, "customer").await?;
    let two = EngineConfig {
        max_connections: 2,
        ..small()
    };
    let service = service(&database, two)?;
    let mut stopped = Vec::new();
    for reader in 1..=6 {
        let asked = format!(
            "client {reader} of 6, with a pool of 2: GET /api/customers\n\
             (each client before it has read a little and stopped)"
        );
        // With more patience than elsewhere: this is not about the first byte.
        let mut reply = status_200(&asked, service.open("/api/customers").await?).await?;
        reply.next_chunk().await.or_fail(&asked)??;
        stopped.push(reply);
    }
    let reply = service.get("/api/order_total/1").await?;
    let asked = format!(
        "with a pool of 2 and 6 clients that have stopped reading /api/customers:\n{}",
        reply.asked()
    );
    ensure(
        reply.status == 200,
        asked,
        "status 200",
        format!("status {}: {}", reply.status, reply.text()),
    )
}

async fn flat_memory() -> Outcome {
    let mut peaks = Vec::new();
    for count in [600, 6_000] {
        let database = Database::empty().await?;
        database.add_customers(count).await?;
        longer_names(&database, "customer").await?;
        peaks.push(peak_of_list(&database, "/api/customers").await?);
    }
    same_memory(
        "GET /api/customers with 600 and with 6000 customers",
        &peaks,
    )
}

async fn customers_break_off() -> Outcome {
    let database = Database::empty().await?;
    database.add_customers(2_000).await?;
    // Text that is not UTF-8: the row is there, and cannot be read.
    let damage = "UPDATE customer SET name = CAST(x'ff' AS TEXT) WHERE id = 1800";
    database.execute(damage).await?;
    let recording = Recording::start();
    let service = service(&database, EngineConfig::default())?;
    let asked = "GET /api/customers of 2000, of which the one with id 1800 cannot be read";
    let mut reply = opened_at(asked, &service, "/api/customers").await?;
    let first = next(asked, &mut reply).await?;
    let body = read_until_broken(asked, &mut reply, first).await?;
    ensure(
        serde_json::from_slice::<Value>(&body).is_err(),
        asked,
        "a body that breaks off and is no JSON array",
        end_of(&body),
    )?;
    // `ColumnDecode` or "error occurred while decoding column".
    logged_with_cause(&recording, asked, "decod")
}

// 07.6: orders between two dates

async fn orders_as_before() -> Outcome {
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates_ndjson(&service, &database).await
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::customers_flat_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total_null_when_unknown(&service).await?;
    answers::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_refusals(&service, &database).await
}

async fn orders_are_complete() -> Outcome {
    for (count, items_each, times, what) in [
        (
            499,
            1,
            "'2024-04-01 00:00:00'",
            "499 orders of one item, all of the same time",
        ),
        (
            500,
            1,
            "'2024-04-01 00:00:00'",
            "500 orders of one item, all of the same time",
        ),
        (
            501,
            1,
            "'2024-04-01 00:00:00'",
            "501 orders of one item, all of the same time",
        ),
        (
            340,
            3,
            "'2024-04-01 00:00:00'",
            "340 orders of three items, all of the same time",
        ),
        (
            340,
            3,
            "datetime('2024-04-01', '-' || (id / 100) || ' days')",
            "340 orders of three items, a hundred of the same time, the last ones first",
        ),
        (
            260,
            4,
            "datetime('2024-04-01', '-' || id || ' minutes')",
            "260 orders of four items, the last ones first",
        ),
    ] {
        let database = Database::sample().await?;
        database.add_orders(count, items_each).await?;
        let sql = format!("UPDATE orders SET order_time = {times} WHERE id > 3");
        database.execute(&sql).await?;
        let sql = "SELECT json_group_array(json_object('customer', customer, 'name', name,
                       'price', price_cents / 100.0, 'total', price_cents * quantity / 100.0))
                   FROM (
                       SELECT customer.name AS customer, item.name AS name, price_cents, quantity
                       FROM orders
                       JOIN customer ON customer.id = orders.customer_id
                       JOIN order_items ON order_items.order_id = orders.id
                       JOIN item ON item.id = order_items.item_id
                       ORDER BY orders.order_time, orders.id, order_items.rowid
                   )";
        let expected: String = database.one(sql).await?;
        let expected = serde_json::from_str(&expected).or_fail(what)?;
        let service = service(&database, EngineConfig::default())?;
        let path = "/api/orders_between_dates/2025-01-01/2023-01-01";
        let formats = formats(count == 501 || items_each == 4);
        same_list(&service, path, what, &expected, formats).await?;
    }
    Ok(())
}

async fn orders_hold_nothing() -> Outcome {
    let database = Database::sample().await?;
    database.add_orders(600, 3).await?;
    let engine = engine(&database, small())?;
    let (after, before) = dates()?;
    let orders = get_orders_between_dates(&engine, &after, &before).map_ok(drop);
    held_by(&engine, "get_orders_between_dates", orders.boxed()).await
}

async fn orders_are_not_skipped() -> Outcome {
    let database = Database::sample().await?;
    let page = u32::try_from(PAGE_ROWS).or_fail("PAGE_ROWS")?;
    let count = 2 * page;
    // An item is shown without its order, so the total carries the order's id.
    let prepare = "DELETE FROM order_items; DELETE FROM orders;
                   UPDATE item SET price_cents = 1;";
    database.execute(prepare).await?;
    database.add_orders(count, 1).await?;
    let sql = "UPDATE order_items SET quantity = order_id";
    database.execute(sql).await?;
    let engine = engine(&database, EngineConfig::default())?;

    let (after, before) = dates()?;
    let orders = get_orders_between_dates(&engine, &after, &before);
    let mut orders = orders.map_ok(|item| item.total.0);
    let asked = format!(
        "get_orders_between_dates of {count} orders of one item; after the first one,\n\
         the orders 1 to 10 are removed"
    );
    orders.next().await.or_fail(&asked)?.or_fail(&asked)?;
    let remove = "DELETE FROM order_items WHERE order_id <= 10;
                  DELETE FROM orders WHERE id <= 10;";
    database.execute(remove).await?;
    let ids: Vec<i64> = orders.take(10_000).try_collect().await.or_fail(&asked)?;
    let ids: Vec<i64> = ids.into_iter().filter(|id| *id > 10).collect();
    let expected: Vec<i64> = (11..=i64::from(count)).collect();
    same_ids(format!("{asked}\nthe orders from 11 on"), &expected, &ids)
}

async fn orders_flat_memory() -> Outcome {
    let mut peaks = Vec::new();
    for count in [250, 2_500] {
        let database = Database::sample().await?;
        database.add_orders(count, 2).await?;
        longer_names(&database, "item").await?;
        let path = "/api/orders_between_dates/2025-01-01/2023-01-01";
        peaks.push(peak_of_list(&database, path).await?);
    }
    same_memory(
        "GET /api/orders_between_dates/… with 500 and with 5000 items in orders",
        &peaks,
    )
}

// What the checks have in common

const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

/// An error with a status of its own, so that it is told from others.
const REFUSED: Error = Error::BadRequest("refused by the check");

/// An error whose own text does not name its cause.
fn damaged() -> Error {
    Error::Database(sqlx::Error::ColumnNotFound("taken_by_the_check".to_owned()))
}

/// From and to, with all orders of the checks between them.
fn dates() -> Result<(UtcTime, UtcTime), Failure> {
    let (after, before) = ("2023-01-01".parse(), "2025-01-01".parse());
    Ok((after.or_fail("a date")?, before.or_fail("a date")?))
}

fn row(id: usize) -> Value {
    // A quote and a line break must not end the text or the line.
    json!({"id": id, "name": format!("Customer \"{id}\"\n")})
}

fn stream_of(rows: Vec<Value>) -> Rows<Value> {
    stream::iter(rows.into_iter().map(Ok)).boxed()
}

fn broken_after(rows: usize) -> Rows<Value> {
    let good = (1..=rows).map(|id| Ok(row(id)));
    stream::iter(good.chain([Err(REFUSED), Ok(row(0))])).boxed()
}

/// Rows that are made when they are asked for, and counted.
#[derive(Clone)]
struct Source {
    total: usize,
    read: Arc<AtomicUsize>,
}

impl Source {
    fn new(total: usize) -> Self {
        let read = Arc::default();
        Self { total, read }
    }

    fn rows(&self) -> Rows<Value> {
        let read = Arc::clone(&self.read);
        let rows = (1..=self.total).map(move |id| {
            read.fetch_add(1, Ordering::Relaxed);
            Ok(row(id))
        });
        stream::iter(rows).boxed()
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }
}

/// So many rows, and the rest when the gate is open.
fn held_after(rows: usize, gate: &Gate, rest: Vec<Result<Value, Error>>) -> Rows<Value> {
    let gate = gate.clone();
    let rest = stream::once(async move {
        gate.pass().await;
        stream::iter(rest)
    });
    stream::iter((1..=rows).map(|id| Ok(row(id))))
        .chain(rest.flatten())
        .boxed()
}

/// Serves the rows at `/`, through the step's `respond`.
fn serve(rows: impl Fn() -> Rows<Value> + Send + Sync + 'static) -> Service {
    let rows = Arc::new(rows);
    let answer = move |headers: HeaderMap| async move {
        let answer: Result<Response<Body>, Error> =
            respond(Format::accepted(&headers), rows()).await;
        answer
    };
    Service::start(Router::new().route("/", get(answer)))
}

/// The ids of the customers, by `stream_pages` with pages of that size.
fn ids_in_pages(engine: &Engine, page: i64) -> Rows<i64> {
    engine.stream_pages(i64::MIN, ids_after(page), |row| {
        Ok((row.try_get("id")?, row.try_get("id")?))
    })
}

fn ids_after(page: i64) -> impl Fn(&i64) -> SqlQuery + Send + 'static {
    move |last| {
        sqlx::query("SELECT id FROM customer WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(*last)
            .bind(page)
    }
}

fn engine(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

fn service(database: &Database, config: EngineConfig) -> Result<Service, Failure> {
    Ok(Service::start(server::app(engine(database, config)?)))
}

/// A service over a database of its own. The service goes first when they are
/// dropped.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database, EngineConfig::default())?, database))
}

/// Makes each name of a table some 400 bytes longer, so that few rows take much
/// memory and much of a socket's buffer: fewer rows are sooner written and read.
async fn longer_names(database: &Database, table: &str) -> Outcome {
    let sql = format!("UPDATE {table} SET name = name || hex(zeroblob(200))");
    database.execute(&sql).await
}

/// One connection, for which a query does not wait long.
fn small() -> EngineConfig {
    EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    }
}

/// A stream of which one row is taken leaves the only connection to others.
async fn held_by(engine: &Engine, name: &str, mut rows: Rows<()>) -> Outcome {
    let asked = format!("{name}, with a pool of 1, and its first row is taken");
    rows.next().await.or_fail(&asked)?.or_fail(&asked)?;
    other_query(engine, &format!("{asked}; then another query")).await?;
    // A key that does not move would give rows for ever.
    let (rest, good) = rows
        .take(10_000)
        .fold((0, 0), |(all, good), row| async move {
            (all + 1, good + usize::from(row.is_ok()))
        })
        .await;
    equal(format!("{name}: good rows among the rest"), rest, good)
}

async fn other_query(engine: &Engine, asked: &str) -> Outcome {
    let total = get_total_cost_of_an_order(engine, 1).await;
    total.map(drop).map_err(|error| {
        let got = format!("error: {error:?}");
        Failure::new(asked, "the other query has a connection", got)
    })
}

fn last_is_error(asked: &str, items: &[Result<i64, Error>], good: usize) -> Outcome {
    let shape: String = items
        .iter()
        .map(|item| match item {
            Ok(_) => "row ",
            Err(_) => "error ",
        })
        .collect();
    let expected = format!("{}error ", "row ".repeat(good));
    ensure(shape == expected, asked, expected.trim(), shape.trim())
}

/// Opens `/`; an answer that does not come at once is waiting for all rows.
async fn opened(asked: &str, service: &Service) -> Result<StreamReply, Failure> {
    opened_at(asked, service, "/").await
}

async fn opened_at(asked: &str, service: &Service, path: &str) -> Result<StreamReply, Failure> {
    let expected = "status 200, and the body begins at once";
    let nothing = |_| Failure::new(asked, expected, "no answer yet");
    let reply = timeout(PATIENCE, service.open(path)).await;
    status_200(asked, reply.map_err(nothing)??).await
}

async fn status_200(asked: &str, reply: StreamReply) -> Result<StreamReply, Failure> {
    let status = reply.status;
    if status == 200 {
        return Ok(reply);
    }
    let reply = reply.read_whole().await?;
    let got = format!("status {status}: {}", reply.text());
    Err(Failure::new(asked, "status 200", got))
}

/// The next bytes, which are expected to be there already.
async fn next(asked: &str, reply: &mut StreamReply) -> Result<Bytes, Failure> {
    let expected = "status 200, and the body begins at once";
    match timeout(PATIENCE, reply.next_chunk()).await {
        Ok(Some(chunk)) => chunk,
        Ok(None) => Err(Failure::new(asked, expected, "an empty body")),
        Err(_) => Err(Failure::new(asked, expected, "status 200, and no byte yet")),
    }
}

/// Reads on after `first`; the body must break off and not end.
async fn read_until_broken(
    asked: &str,
    reply: &mut StreamReply,
    first: Bytes,
) -> Result<Vec<u8>, Failure> {
    let expected = "a body that breaks off: the transfer has no proper end";
    let mut body = first.to_vec();
    loop {
        match timeout(PATIENCE, reply.next_chunk()).await {
            Ok(Some(Ok(_))) if body.len() > FAR_TOO_LONG => {
                return Err(Failure::new(asked, expected, "no end"));
            }
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            Ok(Some(Err(_))) => return Ok(body),
            Ok(None) => {
                let got = format!("a whole body: {}", end_of(&body));
                return Err(Failure::new(asked, expected, got));
            }
            Err(_) => return Err(Failure::new(asked, expected, "no end")),
        }
    }
}

/// Where pages end does not depend on the format, so not every list is asked for
/// in both.
fn formats(both: bool) -> &'static [Format] {
    const BOTH: [Format; 2] = [Format::JsonArray, Format::NdJson];
    if both { &BOTH } else { &BOTH[..1] }
}

/// The list at `path` is `expected`, in each of `formats`.
async fn same_list(
    service: &Service,
    path: &str,
    what: &str,
    expected: &Value,
    formats: &[Format],
) -> Outcome {
    for format in formats {
        let headers: &[_] = match format {
            Format::JsonArray => &[],
            Format::NdJson => &[NDJSON],
        };
        let reply = service.get_with(path, headers).await?;
        let asked = format!("{what}: {}", reply.asked());
        reply.expect_status(200)?;
        match format {
            Format::JsonArray => equal_json(&asked, expected, &reply.json()?)?,
            Format::NdJson => {
                let rows = expected.as_array().map_or(&[][..], Vec::as_slice);
                same_lines(&asked, rows, &reply.body)?;
            }
        }
    }
    Ok(())
}

/// One line of JSON for each row, each with a line feed at its end.
fn same_lines(asked: &str, rows: &[Value], body: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(body);
    ensure(
        text.is_empty() || text.ends_with('\n'),
        asked,
        "a line feed after the last row",
        end_of(body),
    )?;
    let mut got = Vec::new();
    for line in text.lines() {
        let line = serde_json::from_str(line).map_err(|error| {
            Failure::new(asked, "JSON in each line", format!("{error}: {line}"))
        })?;
        got.push(line);
    }
    equal_json(asked, &json!(rows), &Value::Array(got))
}

fn same_ids(asked: String, expected: &[i64], got: &[i64]) -> Outcome {
    let difference = expected.iter().zip(got).position(|(a, b)| a != b);
    let place = difference.unwrap_or(expected.len().min(got.len()));
    let show = |ids: &[i64]| match ids.get(place) {
        Some(id) => format!("{} rows, row {} has the id {id}", ids.len(), place + 1),
        None => format!("{} rows", ids.len()),
    };
    ensure(expected == got, asked, show(expected), show(got))
}

async fn whole(pieces: Rows<Bytes>) -> Result<Vec<u8>, Failure> {
    let pieces: Vec<Bytes> = pieces.try_collect().await.or_fail("the pieces of a list")?;
    Ok(pieces.concat())
}

/// The memory at its peak, in bytes, while a client reads the whole list.
async fn peak_of_list(database: &Database, path: &str) -> Result<usize, Failure> {
    let service = service(database, EngineConfig::default())?;
    // The first answer pays for what is allocated once.
    service.get("/api/order_total/1").await?;
    let (outcome, peak) = peak_during(async {
        let mut reply = service.open(path).await?;
        let mut bytes = 0;
        while let Some(chunk) = reply.next_chunk().await {
            bytes += chunk?.len();
            ensure(
                bytes < FAR_TOO_LONG,
                format!("GET {path}"),
                "a list that ends",
                format!("no end after {bytes} bytes"),
            )?;
        }
        Ok(())
    })
    .await;
    outcome.map(|()| peak)
}

/// `peaks` of a short and of a long list, in bytes.
fn same_memory(asked: &str, peaks: &[usize]) -> Outcome {
    let (few, many) = (peaks[0] / 1024, peaks[1] / 1024);
    ensure(
        many < few + 1024,
        format!("{asked}: memory at its peak"),
        "about the same, at most 1024 KiB more",
        format!("{few} KiB and {many} KiB"),
    )
}

/// Some line of level ERROR must hold `cause`, in lower case: in the writing of
/// `{}` or of `{:?}`.
fn logged_with_cause(recording: &Recording, asked: &str, cause: &str) -> Outcome {
    let logged = recording.logged(Level::ERROR);
    ensure(
        logged
            .iter()
            .any(|line| line.to_lowercase().contains(cause)),
        format!("{asked}: what stands in the log?"),
        "a line of level ERROR with the cause of the error, not only its own text",
        if logged.is_empty() {
            "nothing of level ERROR".to_owned()
        } else {
            logged.join("\n")
        },
    )
}

fn small_memory(asked: String, peak: usize) -> Outcome {
    ensure(
        peak < 1024 * 1024,
        asked,
        "less than 1024 KiB of memory at its peak",
        format!("{} KiB", peak / 1024),
    )
}

/// The last bytes of a body, as text.
fn end_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[body.len().saturating_sub(100)..]);
    format!("{} bytes that end with: {text}", body.len())
}
