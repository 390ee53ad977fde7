//! The checks of step 07: lists are written while they are being read, and they do
//! not hold a connection while they wait for their client.

use std::fmt::Display;
use std::future::ready;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use check::memory::peak_during;
use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, Service, StreamReply, Suite, ensure, equal};
use check::{equal_json, gate::Gate, parse_json};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sqlx::Row;
use step07::body::{Format, json_array, ndjson, respond};
use step07::db::base::{Engine, EngineConfig, PAGE_ROWS, Rows, SqlQuery};
use step07::db_accessor::{get_customers, get_orders_between_dates, get_total_cost_of_an_order};
use step07::error::Error;
use step07::server;
use step07::types::UtcTime;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("07-streaming-responses", env!("CARGO_MANIFEST_DIR"))
        .check(
            "07.1",
            "the rows are one JSON array, however many there are and however long they are",
            array_is_valid,
        )
        .paused_check(
            "07.1",
            "the array is yielded in pieces, while the rows are read",
            array_in_pieces,
        )
        .check(
            "07.1",
            "an error of the rows ends the array: nothing follows it, not even `]`",
            array_breaks_off,
        )
        .check(
            "07.1",
            "a row that cannot be written as JSON is an error and is not left out",
            array_of_unwritable,
        )
        .check(
            "07.2",
            "each row is a line of its own, however many there are and however long they are",
            lines_are_valid,
        )
        .paused_check(
            "07.2",
            "the lines are yielded in pieces, while the rows are read",
            lines_in_pieces,
        )
        .check(
            "07.2",
            "an error of the rows ends the lines",
            lines_break_off,
        )
        .check(
            "07.2",
            "a row that cannot be written as a line is an error and is not left out",
            lines_of_unwritable,
        )
        .check(
            "07.3",
            "the response has the format that the client asked for",
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
            "an error that has become a status is not logged as a body that broke off",
            early_error_logged,
        )
        .check(
            "07.3",
            "a later error breaks the body off and is logged with its cause",
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
            "no connection is held while the caller handles the rows",
            pages_hold_nothing,
        )
        .check(
            "07.4",
            "a page is read when its first row is asked for, and not before",
            pages_on_demand,
        )
        .check(
            "07.4",
            "an error comes after all good rows before it, and is the last item",
            pages_fail,
        )
        .check(
            "07.5",
            "all customers come in the order of their ids, also with negative and very large ids",
            customers_are_complete,
        )
        .check(
            "07.5",
            "the list of customers is read in pages, on demand, without holding a connection",
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
            "a customer who cannot be read is an error that the client sees",
            customers_break_off,
        )
        .check(
            "07.6",
            "the orders between two dates are as before",
            orders_as_before,
        )
        .check(
            "07.6",
            "the orders are complete and sorted at every page border",
            orders_are_complete,
        )
        .check(
            "07.6",
            "the list of orders is read in pages, on demand, without holding a connection",
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
        .check(
            "07.6",
            "an order that cannot be read is an error after the orders before it",
            orders_break_off,
        )
        .check(
            "07.6",
            "all other endpoints answer as before",
            other_answers,
        )
        .run()
}

/// How long something that should happen at once may take, on a machine that is not busy:
/// a watch for answers that hang.
const SOON: Duration = Duration::from_millis(1500);

/// More bytes than any list of the checks has.
const FAR_TOO_LONG: usize = 16 * 1024 * 1024;

/// How much memory a list may take, however long it is. A hundred pieces between
/// the rows and the client fit into it.
const LIST_BYTES: usize = 2 * 1024 * 1024;

// 07.1 and 07.2: the two formats

/// Lists of different lengths, with short and with long rows. A long row is longer
/// than `PIECE_BYTES`, so a piece may end after it and leave nothing for the next.
fn lists() -> Vec<(String, Vec<Value>)> {
    let mut lists = Vec::new();
    for (count, name_bytes) in [
        (0, 0),
        (1, 0),
        (2, 0),
        (501, 0),
        (1000, 0),
        (1, 10_000),
        (3, 10_000),
        (4, 5_000),
    ] {
        let rows: Vec<Value> = (1..=count).map(|id| long_row(id, name_bytes)).collect();
        let long = match name_bytes {
            0 => String::new(),
            _ => format!(" of {name_bytes} bytes"),
        };
        lists.push((format!("{count} rows{long}"), rows));
    }
    let odd = [
        "",
        "\"",
        "\\",
        "\r\n\t\u{1}",
        "é 日本 🛒 \u{2028}",
        "], [",
        "null",
    ];
    let odd = odd.iter().map(|name| json!({ "name": name })).collect();
    lists.push(("rows with unusual names".to_owned(), odd));
    lists
}

async fn array_is_valid() -> Outcome {
    for (what, rows) in lists() {
        let body = whole(json_array(stream_of(rows.clone()))).await?;
        let asked = format!("json_array of {what}");
        let got = parse_json(&asked, &body)?;
        equal_json(asked, &Value::Array(rows), &got)?;
    }
    Ok(())
}

async fn lines_are_valid() -> Outcome {
    for (what, rows) in lists() {
        let body = whole(ndjson(stream_of(rows.clone()))).await?;
        same_lines(&format!("ndjson of {what}"), &rows, &body)?;
    }
    Ok(())
}

async fn array_in_pieces() -> Outcome {
    in_pieces("json_array", json_array).await
}

async fn lines_in_pieces() -> Outcome {
    in_pieces("ndjson", ndjson).await
}

/// The first piece is there after few rows, and all of them together take little
/// memory, whether the rows are short or long.
async fn in_pieces(name: &str, write: fn(Rows<Value>) -> Rows<Bytes>) -> Outcome {
    let total = 10_000;
    let source = Source::new(total);
    let mut pieces = write(source.rows());
    // The clock is paused: it moves on when no task has anything to do.
    sleep(Duration::from_hours(1)).await;
    equal(
        format!("{name} of {total} rows, before its first piece is asked for: rows read"),
        0,
        source.read(),
    )?;
    let asked = format!("{name} of {total} rows, and its first piece is taken");
    pieces.next().await.or_fail(&asked)?.or_fail(&asked)?;
    let read = source.read();
    ensure(
        read <= 1_000,
        asked,
        "at most 1000 rows read",
        format!("{read} rows read"),
    )?;
    // The pieces are dropped as they come.
    let (rest, peak) = peak_during(pieces.count()).await;
    let asked = format!("{name} of {total} rows, one piece after another");
    small_memory(asked.clone(), peak)?;
    // Of `PIECE_BYTES` there would be about 55.
    ensure(
        rest < 1_000,
        asked,
        "rows put together until a piece has about PIECE_BYTES",
        format!("{} pieces", rest + 1),
    )?;

    let (total, bytes) = (40, 100_000);
    let pieces = write(Source::of(total, bytes).rows());
    let (_, peak) = peak_during(pieces.count()).await;
    small_memory(
        format!("{name} of {total} rows of {bytes} bytes, one piece after another"),
        peak,
    )
}

async fn array_breaks_off() -> Outcome {
    for count in [0, 1, 1000] {
        let asked = format!("json_array of {count} rows and then an error");
        let pieces = json_array(broken_after(count)).collect().await;
        let (body, error) = broken_off(&asked, count, pieces)?;
        same_error(&asked, &error)?;
        unclosed(asked, &body)?;
    }
    Ok(())
}

/// The bytes before an error must not look like a whole array.
fn unclosed(asked: impl Display, body: &[u8]) -> Outcome {
    ensure(
        serde_json::from_slice::<Value>(body).is_err(),
        format!("{asked}: the bytes before the error"),
        "an array without its `]`",
        end_of(body),
    )
}

async fn array_of_unwritable() -> Outcome {
    for count in [0, 1, 1000] {
        let asked = format!("json_array of {count} rows and then one that cannot be written");
        let pieces = json_array(unwritable_after(count)).collect().await;
        let (body, error) = broken_off(&asked, count, pieces)?;
        json_error(&asked, &error)?;
        unclosed(asked, &body)?;
    }
    Ok(())
}

async fn lines_break_off() -> Outcome {
    for count in [0, 1, 1000] {
        let asked = format!("ndjson of {count} rows and then an error");
        let pieces = ndjson(broken_after(count)).collect().await;
        let (_, error) = broken_off(&asked, count, pieces)?;
        same_error(&asked, &error)?;
    }
    Ok(())
}

async fn lines_of_unwritable() -> Outcome {
    for count in [0, 1, 1000] {
        let asked = format!("ndjson of {count} rows and then one that cannot be written");
        let pieces = ndjson(unwritable_after(count)).collect().await;
        let (_, error) = broken_off(&asked, count, pieces)?;
        json_error(&asked, &error)?;
    }
    Ok(())
}

fn same_error(asked: &str, error: &Error) -> Outcome {
    ensure(
        matches!(error, Error::BadRequest(_)),
        asked,
        "the error that the rows had",
        format!("error: {error:?}"),
    )
}

fn json_error(asked: &str, error: &Error) -> Outcome {
    ensure(
        matches!(error, Error::Json(_)),
        asked,
        "Error::Json",
        format!("error: {error:?}"),
    )
}

/// The last of the pieces must be the error; returns the bytes before it and the
/// error. Without a row before the error, it must be the first piece, too.
fn broken_off(
    asked: &str,
    rows: usize,
    mut pieces: Vec<Result<Bytes, Error>>,
) -> Result<(Vec<u8>, Error), Failure> {
    let last = pieces.pop();
    let mut body = Vec::new();
    for piece in &pieces {
        match piece {
            Ok(piece) => body.extend_from_slice(piece),
            Err(_) => {
                return Err(Failure::new(
                    asked,
                    "the error as the last item of the stream",
                    "more items after the error",
                ));
            }
        }
    }
    let expected = "the error as the last item of the stream";
    match last {
        Some(Err(_)) if rows == 0 && !pieces.is_empty() => Err(Failure::new(
            asked,
            "the error as the first item: `respond` looks at the first piece only",
            format!(
                "a piece before the error: `{}`",
                String::from_utf8_lossy(&body)
            ),
        )),
        Some(Err(error)) => Ok((body, error)),
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
    contract::format_by_accept(&service, "/").await?;

    let service = serve(|| stream_of(Vec::new()));
    service.get("/").await?.expect_json(200, &json!([]))?;
    let reply = service.get_with("/", &[NDJSON]).await?;
    reply.expect_status(200)?;
    same_lines(reply.asked(), &[], &reply.body)
}

async fn first_byte_early() -> Outcome {
    for (format, headers) in FORMATS {
        let total = 2_000;
        let gate = Gate::closed();
        let held = gate.clone();
        let service = serve(move || {
            let rest = (total / 2 + 1..=total).map(|id| Ok(row(id)));
            held_after(total / 2, &held, rest.collect())
        });
        let asked =
            format!("respond({format:?}, {total} rows, of which the second half is not read yet)");

        let mut reply = opened_with(&asked, &service, "/", headers).await?;
        let first = next(&asked, &mut reply).await?;
        gate.open();
        let mut body = first.to_vec();
        while let Some(chunk) = reply.next_chunk().await {
            body.extend_from_slice(&chunk?);
        }
        let all: Vec<Value> = (1..=total).map(row).collect();
        same_rows(&asked, *format, &all, &body)?;
    }
    Ok(())
}

/// An error that the service can answer with a status, this status, and how often
/// error.rs logs it.
type Early = (fn() -> Error, u16, usize);
const EARLY: [Early; 3] = [
    (|| REFUSED, 400, 0),
    (|| Error::Database(sqlx::Error::PoolTimedOut), 503, 1),
    (damaged, 500, 1),
];

async fn early_error() -> Outcome {
    for (error, status, _) in EARLY {
        let service = serve(move || stream::once(async move { Err(error()) }).boxed());
        for (format, headers) in FORMATS {
            let reply = service.get_with("/", headers).await;
            let asked = format!("respond({format:?}, rows that begin with an error {status})");
            let expected = format!("status {status}, application/problem+json");
            let reply = reply.map_err(|failure| {
                let got = format!(
                    "status 200 was sent before the first row was known, and then the body \
                     broke off ({})",
                    failure.got()
                );
                Failure::new(&asked, &expected, got)
            })?;
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

async fn early_error_logged() -> Outcome {
    for (error, status, times) in EARLY {
        let recording = Recording::start();
        let service = serve(move || stream::once(async move { Err(error()) }).boxed());
        service.get("/").await?;
        let logged = recording.logged(Level::ERROR);
        ensure(
            logged.len() == times,
            format!("rows that begin with an error {status}: lines of level ERROR in the log"),
            match times {
                0 => "none: the client has been told what is wrong".to_owned(),
                _ => format!("{times}, which `Error::into_response` writes"),
            },
            match logged.len() {
                0 => "none".to_owned(),
                lines => format!("{lines}:\n{}", logged.join("\n")),
            },
        )?;
    }
    Ok(())
}

async fn late_error() -> Outcome {
    for (format, headers) in FORMATS {
        let recording = Recording::start();
        let gate = Gate::closed();
        let held = gate.clone();
        let service = serve(move || held_after(2_000, &held, vec![Err(damaged())]));
        let asked = format!("respond({format:?}, 2000 rows and then an error)");
        let mut reply = opened_with(&asked, &service, "/", headers).await?;
        let first = next(&asked, &mut reply).await?;
        gate.open();
        let body = read_until_broken(&asked, &mut reply, first).await?;
        unclosed(&asked, &body)?;
        logged_with_cause(&recording, &asked, "taken_by_the_check")?;
    }
    Ok(())
}

async fn reads_on_demand() -> Outcome {
    // A piece has some 20 of these rows.
    let (total, bytes) = (8_000, 400);
    for (format, _) in FORMATS {
        let source = Source::of(total, bytes);
        let rows = source.rows();
        let work = async {
            let asked = format!("respond({format:?}, {total} rows of {bytes} bytes)");
            let response = respond(*format, rows).await.or_fail(&asked)?;
            let mut pieces = response.into_body().into_data_stream();
            let asked = format!("{asked}, and the client takes one piece and stops");
            pieces.next().await.or_fail(&asked)?.or_fail(&asked)?;
            // The clock is paused: it moves on when no task has anything to do.
            sleep(Duration::from_hours(1)).await;
            let read = source.read();
            ensure(
                read <= 4_000,
                asked,
                "at most 4000 rows read (a channel of 100 pieces holds about 2000)",
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
            format!("respond({format:?}, {total} rows of {bytes} bytes), piece by piece"),
            peak,
        )?;
    }
    Ok(())
}

async fn gone_client() -> Outcome {
    let total = 100_000;
    let source = Source::of(total, 400);
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
    let ended = check::within(SOON, dropped).await;
    ensure(
        ended.is_some(),
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
    let engine = engine(&database, small())?;
    let recording = Recording::start();

    let mut ids = ids_in_pages(&engine, 4);
    let mut taken = 0;
    for (wanted, expected) in [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)] {
        let asked = format!("stream_pages over 10 rows, in pages of 4, and {wanted} rows taken");
        while taken < wanted {
            ids.next().await.or_fail(&asked)?.or_fail(&asked)?;
            taken += 1;
        }
        pages_read(&engine, &recording, &asked, expected).await?;
    }
    ids.next()
        .await
        .or_fail("row 10 of 10")?
        .or_fail("row 10 of 10")?;
    drop(ids);
    let asked = "stream_pages over 10 rows, in pages of 4, dropped after row 10";
    pages_read(&engine, &recording, asked, 3).await
}

/// Compares the number of pages that were read. A task that reads ahead would have
/// had the time to do so: the pool has one connection, which a waiting task gets
/// before later queries.
async fn pages_read(
    engine: &Engine,
    recording: &Recording,
    asked: &str,
    expected: usize,
) -> Outcome {
    for _ in 0..3 {
        other_query(engine, &format!("{asked}; then another query")).await?;
    }
    let statements = recording.statements();
    let read = statements
        .iter()
        .filter(|statement| statement.sql.contains("FROM customer"))
        .count();
    ensure(
        read == expected,
        asked,
        format!("pages read: {expected}"),
        format!("pages read: {read}"),
    )
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
    for bad in 1..=6 {
        let ids = engine.stream_pages(i64::MIN, ids_after(2), move |row| {
            let id: i64 = row.try_get("id")?;
            if id == bad {
                Err(REFUSED)
            } else {
                Ok((id, id))
            }
        });
        let items: Vec<Result<i64, Error>> = ids.take(100).collect().await;
        let asked =
            format!("stream_pages over 6 rows, in pages of 2, whose `read` fails at row {bad}");
        last_is_error(&asked, &items, bad - 1)?;
    }

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
    let asked = "stream_pages in pages of 2, whose second query is not valid SQL";
    last_is_error(asked, &items, 2)
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
    customers_as_stored(&database, "customers whose ids have gaps", formats(true)).await?;

    let database = Database::empty().await?;
    database.add_customers(1_100).await?;
    // As if at random, and the smallest ones and the largest one that there can be.
    let ids = "CREATE TABLE other AS
                   SELECT id * 7919 % 10007 - 5000 AS id, name, address_id FROM customer;
               UPDATE other SET id = 9223372036854775807 WHERE rowid = 1;
               UPDATE other SET id = -9223372036854775807 WHERE rowid = 2;
               UPDATE other SET id = 0 WHERE rowid = 3 AND 0 NOT IN (SELECT id FROM other);
               DELETE FROM customer;
               INSERT INTO customer SELECT id, name, address_id FROM other;";
    database.execute(ids).await?;
    let what = "customers with negative and very large ids";
    customers_as_stored(&database, what, formats(false)).await?;

    // Without `ORDER BY`, these come as the view has them.
    let view = "ALTER TABLE customer RENAME TO stored;
                CREATE VIEW customer AS
                    SELECT * FROM stored WHERE id % 2 = 0
                    UNION ALL SELECT * FROM stored WHERE id % 2 <> 0;";
    database.execute(view).await?;
    let what = "customers that SQLite does not find in the order of their ids";
    customers_as_stored(&database, what, formats(false)).await
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
    held_by(&engine, "get_customers", || {
        get_customers(&engine).map_ok(drop).boxed()
    })
    .await
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
    let engine = engine(&database, EngineConfig::default())?;
    // Of the last page, of the first one, of its last row, and of its first row.
    for id in [1800, 502, 501, 500, 1] {
        // Text that is not UTF-8: the row is there, and cannot be read.
        let damage = format!("UPDATE customer SET name = CAST(x'ff' AS TEXT) WHERE id = {id}");
        database.execute(&damage).await?;
        let customers = get_customers(&engine).map_ok(drop);
        let asked = format!("get_customers of 2000 customers; the one with id {id} is damaged");
        good_before_error(&asked, customers.boxed(), id - 1).await?;
    }
    let service = service(&database, EngineConfig::default())?;
    let reply = service.get("/api/customers").await?;
    ensure(
        reply.status == 500,
        "GET /api/customers; the first customer is damaged",
        "status 500",
        format!("status {}", reply.status),
    )?;

    let restore = "UPDATE customer SET name = 'restored' WHERE id < 1800";
    database.execute(restore).await?;
    let recording = Recording::start();
    let asked = "GET /api/customers of 2000 customers; the one with id 1800 is damaged";
    let mut reply = opened_with(asked, &service, "/api/customers", &[]).await?;
    let first = next(asked, &mut reply).await?;
    let body = read_until_broken(asked, &mut reply, first).await?;
    unclosed(asked, &body)?;
    // `ColumnDecode` or "error occurred while decoding column".
    logged_with_cause(&recording, asked, "decod")
}

/// So many good rows, and then an error.
async fn good_before_error(asked: &str, rows: Rows<()>, expected: usize) -> Outcome {
    let good = AtomicUsize::new(0);
    let error = rows
        .inspect_ok(|()| _ = good.fetch_add(1, Ordering::Relaxed))
        .take(10_000)
        .filter_map(|row| ready(row.err()))
        .boxed()
        .next()
        .await;
    let good = good.into_inner();
    ensure(
        error.is_some() && good == expected,
        asked,
        format!("{expected} rows and then an error"),
        match error {
            Some(_) => format!("{good} rows and then an error"),
            None => format!("{good} rows and no error"),
        },
    )
}

// 07.6: orders between two dates

async fn orders_as_before() -> Outcome {
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates_ndjson(&service, &database).await
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::customers_flat_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_refusals(&service, &database).await
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
        let formats = formats(count == 501 || items_each == 4);
        let path = "/api/orders_between_dates/2025-01-01/2023-01-01";
        orders_as_stored(&database, what, path, formats).await?;
    }

    let database = Database::sample().await?;
    // Ids and lines as if at random, negative ones too, and most orders at one of the
    // two ends of the time.
    let scramble = "DELETE FROM order_items;
                    DELETE FROM orders;
                    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 620)
                    INSERT INTO orders (id, customer_id, order_time)
                    SELECT i * 7919 % 1009 - 500, 1 + i % 2, CASE i % 7
                        WHEN 0 THEN '2024-05-01 11:59:59'
                        WHEN 1 THEN '2024-05-02 12:00:01'
                        WHEN 2 THEN '2024-05-02 09:00:00'
                        WHEN 3 THEN '2024-05-02 12:00:00'
                        ELSE '2024-05-01 12:00:00' END
                    FROM n;
                    INSERT INTO order_items (rowid, order_id, item_id, quantity)
                    SELECT (4 * orders.id + item.id) * 7919 % 10007, orders.id, item.id,
                           1 + abs(orders.id + item.id) % 5
                    FROM orders, item WHERE item.id <= 3;";
    database.execute(scramble).await?;
    let what = "orders with negative ids, most of them at one of the two times asked for";
    let path = "/api/orders_between_dates/2024-05-02%2012:00:00/2024-05-01%2012:00:00";
    orders_as_stored(&database, what, path, formats(false)).await
}

/// The list at `path` has all orders that are stored, but for those that are a
/// second before or after the time asked for.
async fn orders_as_stored(
    database: &Database,
    what: &str,
    path: &str,
    formats: &[Format],
) -> Outcome {
    let sql = "SELECT json_group_array(json_object('customer', customer, 'name', name,
                       'price', price_cents / 100.0, 'total', price_cents * quantity / 100.0))
                   FROM (
                       SELECT customer.name AS customer, item.name AS name, price_cents, quantity
                       FROM orders
                       JOIN customer ON customer.id = orders.customer_id
                       JOIN order_items ON order_items.order_id = orders.id
                       JOIN item ON item.id = order_items.item_id
                       WHERE orders.order_time
                           NOT IN ('2024-05-01 11:59:59', '2024-05-02 12:00:01')
                       ORDER BY orders.order_time, orders.id, order_items.rowid
                   )";
    let expected: String = database.one(sql).await?;
    let expected = serde_json::from_str(&expected).or_fail(what)?;
    let service = service(database, EngineConfig::default())?;
    same_list(&service, path, what, &expected, formats).await
}

async fn orders_hold_nothing() -> Outcome {
    let database = Database::sample().await?;
    database.add_orders(600, 3).await?;
    let engine = engine(&database, small())?;
    let (after, before) = dates()?;
    held_by(&engine, "get_orders_between_dates", || {
        get_orders_between_dates(&engine, &after, &before)
            .map_ok(drop)
            .boxed()
    })
    .await
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

async fn orders_break_off() -> Outcome {
    let database = Database::sample().await?;
    database.add_orders(700, 2).await?;
    let engine = engine(&database, EngineConfig::default())?;
    let (after, before) = ("2024-04-01".parse(), "2025-01-01".parse());
    let (after, before) = (after.or_fail("a date")?, before.or_fail("a date")?);
    // These begin at 4, and each has two lines.
    database
        .execute("UPDATE orders SET customer_id = 1 WHERE customer_id = 2")
        .await?;
    let damage = "UPDATE customer SET name = CAST(x'ff' AS TEXT) WHERE id = 2";
    database.execute(damage).await?;
    for order in [600, 254, 253, 4] {
        let sql = format!("UPDATE orders SET customer_id = 2 WHERE id = {order}");
        database.execute(&sql).await?;
        let asked = format!(
            "get_orders_between_dates of 700 orders of two items; the customer of the order \
             with id {order} is damaged"
        );
        let orders = get_orders_between_dates(&engine, &after, &before).map_ok(drop);
        good_before_error(&asked, orders.boxed(), 2 * (order - 4)).await?;
    }
    Ok(())
}

// What the checks have in common

const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

/// Each format, and the headers with which a client asks for it.
const FORMATS: &[(Format, &[(&str, &str)])] =
    &[(Format::JsonArray, &[]), (Format::NdJson, &[NDJSON])];

/// An error with a status of its own, so that it is told from others.
const REFUSED: Error = Error::BadRequest("refused by the check");

/// An error whose own text does not name its cause.
fn damaged() -> Error {
    Error::Database(sqlx::Error::ColumnNotFound("taken_by_the_check".to_owned()))
}

/// After and before, with all orders of the checks between them.
fn dates() -> Result<(UtcTime, UtcTime), Failure> {
    let (after, before) = ("2023-01-01".parse(), "2025-01-01".parse());
    Ok((after.or_fail("a date")?, before.or_fail("a date")?))
}

fn row(id: usize) -> Value {
    // A quote and a line break must not end the text or the line.
    json!({"id": id, "name": format!("Customer \"{id}\"\n")})
}

/// A row with a name that is so many bytes longer.
fn long_row(id: usize, bytes: usize) -> Value {
    json!({"id": id, "name": format!("Customer \"{id}\"\n{}", "x".repeat(bytes))})
}

fn stream_of(rows: Vec<Value>) -> Rows<Value> {
    stream::iter(rows.into_iter().map(Ok)).boxed()
}

fn broken_after(rows: usize) -> Rows<Value> {
    let good = (1..=rows).map(|id| Ok(row(id)));
    stream::iter(good.chain([Err(REFUSED), Ok(row(0))])).boxed()
}

/// A row that serde cannot write, or can.
enum Written {
    Well(Value),
    Not,
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Well(row) => row.serialize(serializer),
            Self::Not => Err(S::Error::custom("refused by the check")),
        }
    }
}

fn unwritable_after(rows: usize) -> Rows<Written> {
    let good = (1..=rows).map(|id| Written::Well(row(id)));
    let all = good.chain([Written::Not, Written::Well(row(0))]);
    stream::iter(all.map(Ok)).boxed()
}

/// Rows that are made when they are asked for, and counted.
#[derive(Clone)]
struct Source {
    total: usize,
    bytes: usize,
    read: Arc<AtomicUsize>,
}

impl Source {
    fn new(total: usize) -> Self {
        Self::of(total, 0)
    }

    /// Rows with names that are so many bytes longer.
    fn of(total: usize, bytes: usize) -> Self {
        let read = Arc::default();
        Self { total, bytes, read }
    }

    fn rows(&self) -> Rows<Value> {
        let (read, bytes) = (Arc::clone(&self.read), self.bytes);
        let rows = (1..=self.total).map(move |id| {
            read.fetch_add(1, Ordering::Relaxed);
            Ok(long_row(id, bytes))
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

/// Makes each name of a table some 600 bytes longer, so that few rows take much
/// memory and much of a socket's buffer: fewer rows are sooner written and read.
async fn longer_names(database: &Database, table: &str) -> Outcome {
    let sql = format!("UPDATE {table} SET name = name || hex(zeroblob(300))");
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

/// The stream reads nothing before its first row is asked for, others have the only
/// connection while one of its rows is handled, and a query reads a whole page.
async fn held_by(engine: &Engine, name: &str, rows: impl Fn() -> Rows<()>) -> Outcome {
    let recording = Recording::start();
    let mut rows = rows();
    let asked = format!("{name}, with a pool of 1, before its first row is asked for");
    // A task that has begun would get the connection between these.
    let mut others = 3;
    for _ in 0..others {
        other_query(engine, &format!("{asked}; then another query")).await?;
    }
    let reads = recording.statements().len().saturating_sub(others);
    ensure(
        reads == 0,
        &asked,
        "no query of the list yet",
        format!("queries of the list: {reads}"),
    )?;
    // The last of a page, the first of the next one, and one in the middle.
    let page = usize::try_from(PAGE_ROWS).or_fail("PAGE_ROWS")?;
    let mut taken = 0;
    for row in [1, page, page + 1, page + page / 2] {
        let asked = format!("{name}, with a pool of 1, and its row {row} is taken");
        while taken < row {
            rows.next().await.or_fail(&asked)?.or_fail(&asked)?;
            taken += 1;
        }
        other_query(engine, &format!("{asked}; then another query")).await?;
        others += 1;
    }
    // A key that does not move would give rows for ever.
    let (rest, good) = rows
        .take(10_000)
        .fold((0, 0), |(all, good), row| async move {
            (all + 1, good + usize::from(row.is_ok()))
        })
        .await;
    equal(format!("{name}: good rows among the rest"), rest, good)?;
    let all = taken + rest;
    let statements = recording.statements();
    let most = statements
        .iter()
        .map(|statement| statement.rows_returned)
        .max();
    ensure(
        most <= u64::try_from(PAGE_ROWS).ok(),
        format!("{name} of {all} rows: the most rows that a query has read"),
        format!("at most PAGE_ROWS, {page}"),
        most.map_or_else(|| "no query".to_owned(), |most| most.to_string()),
    )?;
    let reads = statements.len().saturating_sub(others);
    // The last page may be empty.
    let most = all.div_ceil(page) + 1;
    ensure(
        reads <= most,
        format!("{name} of {all} rows: queries until its end"),
        format!("at most {most}, one for each page"),
        format!("{reads}"),
    )
}

async fn other_query(engine: &Engine, asked: &str) -> Outcome {
    let total = get_total_cost_of_an_order(engine, 1).await;
    total.map(drop).map_err(|error| {
        let got = format!("error: {error:?}");
        Failure::new(asked, "the other query has a connection", got)
    })
}

fn last_is_error(asked: &str, items: &[Result<i64, Error>], good: i64) -> Outcome {
    let shape: Vec<String> = items
        .iter()
        .map(|item| match item {
            Ok(id) => format!("row {id}"),
            Err(_) => "error".to_owned(),
        })
        .collect();
    let mut expected: Vec<String> = (1..=good).map(|id| format!("row {id}")).collect();
    expected.push("error".to_owned());
    ensure(
        shape == expected,
        asked,
        expected.join(", "),
        if shape.is_empty() {
            "an empty stream".to_owned()
        } else {
            shape.join(", ")
        },
    )
}

/// Opens `/`; an answer that does not come at once is waiting for all rows.
async fn opened(asked: &str, service: &Service) -> Result<StreamReply, Failure> {
    opened_with(asked, service, "/", &[]).await
}

async fn opened_with(
    asked: &str,
    service: &Service,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<StreamReply, Failure> {
    let expected = "status 200, and the body begins at once";
    let nothing = || Failure::new(asked, expected, "no answer yet");
    let reply = check::within(SOON, service.open_with(path, headers)).await;
    status_200(asked, reply.ok_or_else(nothing)??).await
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
    match check::within(SOON, reply.next_chunk()).await {
        Some(Some(chunk)) => chunk,
        Some(None) => Err(Failure::new(asked, expected, "an empty body")),
        None => Err(Failure::new(asked, expected, "status 200, and no byte yet")),
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
        match check::within(SOON, reply.next_chunk()).await {
            Some(Some(Ok(_))) if body.len() > FAR_TOO_LONG => {
                return Err(Failure::new(asked, expected, "no end"));
            }
            Some(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            Some(Some(Err(_))) => return Ok(body),
            Some(None) => {
                let got = format!("a whole body: {}", end_of(&body));
                return Err(Failure::new(asked, expected, got));
            }
            None => return Err(Failure::new(asked, expected, "no end")),
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

/// The whole body has these rows, in this format.
fn same_rows(asked: &str, format: Format, rows: &[Value], body: &[u8]) -> Outcome {
    match format {
        Format::JsonArray => equal_json(asked, &json!(rows), &parse_json(asked, body)?),
        Format::NdJson => same_lines(asked, rows, body),
    }
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
        many < few + LIST_BYTES / 1024,
        format!("{asked}: memory at its peak"),
        format!("about the same, at most {} KiB more", LIST_BYTES / 1024),
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
        peak < LIST_BYTES,
        asked,
        format!("less than {} KiB of memory at its peak", LIST_BYTES / 1024),
        format!("{} KiB", peak / 1024),
    )
}

/// The last bytes of a body, as text.
fn end_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[body.len().saturating_sub(100)..]);
    format!("{} bytes that end with: {text}", body.len())
}
