//! The contract of the service's HTTP interface, as checks that hold for every
//! step that has the endpoint and for `marketsvc`.
//!
//! Each check takes a service over a fresh [`Database::sample`] of its own and
//! may add rows to it, so that an answer that was only written down for the
//! sample data is found out. The service must already run over that database.
//!
//! Where the contract grew with the steps there is a check for each form:
//! - `_flat` until step 07, `_nested` from step 08 on and in `marketsvc`;
//! - [`new_order_refusals_400`] until step 05, [`new_order_refusals`] from
//!   step 06 on and in `marketsvc`;
//! - [`order_total_null_when_unknown`] and [`orders_of_unknown_customer_empty`] until
//!   step 09, [`order_total_404_when_unknown`] and [`orders_of_unknown_customer_404`]
//!   from step 10 on and in `marketsvc`.
//!
//! The checks of authors, books and the catalog take only the service. Each needs the authors and
//! books of a fresh sample, and changes them.
//!
//! Prices and totals are JSON numbers and are compared exactly. The [`Failure`] of a
//! check says what was not as it should be.
#![allow(clippy::missing_errors_doc)] // the sentence above is true of each

mod books;
pub mod bookstore;
mod catalog;
mod customers;
mod hostile;
mod orders;
mod totals;

use check::{Failure, OrFail, Outcome, Reply, Service, ensure, equal_json, parse_json};
use serde_json::{Value, json};

pub use self::books::*;
pub use self::catalog::*;
pub use self::customers::*;
use self::hostile::expect_no_leak;
pub use self::hostile::hostile_input;
pub use self::orders::*;
pub use self::totals::*;

/// `GET /` greets.
pub async fn welcome(service: &Service) -> Outcome {
    let reply = service.get("/").await?;
    reply.expect_json(200, &json!("Welcome to Marketplace!"))?;
    expect_content_type(&reply, "application/json")
}

/// In the problem for a number such as 2.0 or 1e2.
const WHOLE_NUMBER: &str = "without a point or exponent";

/// Sends `METHOD /path` with this body as JSON.
async fn ask(service: &Service, request: &str, body: impl AsRef<[u8]>) -> Result<Reply, Failure> {
    let body = body.as_ref().to_vec();
    let (method, path) = request.split_once(' ').unwrap_or_default();
    let json = [("content-type", "application/json")];
    let without_body = body.is_empty() && ["GET", "DELETE"].contains(&method);
    let headers = if without_body { &[][..] } else { &json };
    let method = method.parse().or_fail(request)?;
    service.send(method, path, headers, body).await
}

/// Bodies that a client gets wrong without meaning to: `good` cut off or in encodings
/// that are not UTF-8 alone, without its content type, and each of `wrong`. The answer to
/// these is a 400 or 422 that says why: it has the words that stand beside the body, or
/// "once" for a key that is given twice.
async fn misread(
    service: &Service,
    request: &str,
    good: &str,
    wrong: &[(impl AsRef<str>, &str)],
) -> Outcome {
    for body in ["", "no JSON", &good[..good.len() - 1], &format!("{good}}}")] {
        expect_problem(&ask(service, request, body).await?, 400)?;
    }
    let mut bodies: Vec<(Vec<u8>, &str)> = wrong
        .iter()
        .map(|(body, words)| (body.as_ref().as_bytes().to_vec(), *words))
        .collect();
    let marked = format!("\u{feff}{good}");
    bodies.push((marked.clone().into_bytes(), "byte order mark"));
    for text in [good, &marked] {
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            bodies.push((text.encode_utf16().flat_map(bytes).collect(), "UTF-8"));
        }
    }
    for (body, words) in bodies {
        let reply = ask(service, request, body).await?;
        expect_400_or(422, &reply, words)?;
    }
    let (method, path) = request.split_once(' ').unwrap_or_default();
    // A service may read the body of a GET without its type.
    if method == "GET" {
        return Ok(());
    }
    let text = [("content-type", "text/plain")];
    let method = method.parse().or_fail(request)?;
    let reply = service.send(method, path, &text, good.to_owned()).await?;
    expect_400_or(415, &reply, "application/json")
}

/// Fails unless the answer is a problem with status 400 or the other one, which has
/// these words.
fn expect_400_or(other: u16, reply: &Reply, words: &str) -> Outcome {
    expect_problem(reply, if reply.status == other { other } else { 400 })?;
    let text = reply.text();
    let once = words.starts_with('`') && text.contains("once");
    ensure(
        text.contains(words) || once,
        reply.asked(),
        format_args!("a problem that says why, with the words: {words}"),
        text,
    )
}

/// Fails unless each body of this list is a problem with status 400.
async fn bodies_400(service: &Service, request: &str, bodies: Value) -> Outcome {
    for body in bodies.as_array().into_iter().flatten() {
        expect_problem(&ask(service, request, body.to_string()).await?, 400)?;
    }
    Ok(())
}

/// Fails unless `GET` is a problem with status 400 for each of these words in `path`,
/// where `{}` is.
async fn paths_400(service: &Service, path: &str, words: &str) -> Outcome {
    for word in words.split_whitespace() {
        expect_problem(&service.get(&path.replace("{}", word)).await?, 400)?;
    }
    Ok(())
}

/// Fails unless `Location` is this path.
fn expect_location(reply: &Reply, path: &str) -> Outcome {
    let location = reply.header("location").unwrap_or("none");
    ensure(
        location == path,
        reply.asked(),
        format_args!("the header Location: {path}"),
        format_args!("Location: {location}, with the body {}", reply.text()),
    )
}

/// Fails unless the answer is a problem document (RFC 9457) with this status,
/// whose text gives nothing of the service's inside away.
pub fn expect_problem(reply: &Reply, status: u16) -> Outcome {
    reply.expect_status(status)?;
    expect_content_type(reply, "application/problem+json")?;
    let problem = reply.json()?;
    let well_formed = problem["type"].is_string()
        && problem["title"].is_string()
        && problem["detail"].is_string()
        && problem["status"] == status;
    ensure(
        well_formed,
        reply.asked(),
        format_args!("a problem: texts type, title and detail, and status {status}"),
        &problem,
    )?;
    expect_no_leak(reply.asked(), &reply.text(), "")
}

/// Fails unless the answer is a problem with this status that blames this one field.
pub fn expect_field(reply: &Reply, status: u16, field: &str) -> Outcome {
    expect_problem(reply, status)?;
    let problem = reply.json()?;
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let fields: Vec<_> = errors.iter().map(|error| &error["field"]).collect();
    ensure(
        fields == [field] && errors[0]["detail"].is_string(),
        reply.asked(),
        format_args!("\"errors\": [{{\"field\": \"{field}\", \"detail\": \"…\"}}]"),
        &problem,
    )
}

fn expect_content_type(reply: &Reply, expected: &str) -> Outcome {
    let got = reply.header("content-type").unwrap_or("none");
    // Parameters such as a charset may follow.
    let media = got.split(';').next().unwrap_or_default().trim();
    ensure(
        media.eq_ignore_ascii_case(expected),
        reply.asked(),
        format_args!("content type {expected}"),
        format_args!("content type {got}"),
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Array,
    Lines,
}

/// Fails unless `GET path` answers these rows, in this order and this format.
async fn expect_list(service: &Service, path: &str, format: Format, expected: &[Value]) -> Outcome {
    if format == Format::Array {
        let reply = service.get(path).await?;
        reply.expect_json(200, &json!(expected))?;
        return expect_content_type(&reply, "application/json");
    }
    let lines = "application/x-ndjson";
    let reply = service.get_with(path, &[("accept", lines)]).await?;
    reply.expect_status(200)?;
    expect_content_type(&reply, lines)?;
    let (asked, text) = (reply.asked(), reply.text());
    let mut rows = Vec::new();
    for line in text.split_terminator('\n') {
        let asked = format!("{asked}\nthe line {line:?}");
        rows.push(parse_json(asked, line.as_bytes())?);
    }
    equal_json(asked, &json!(expected), &json!(rows))?;
    ensure(
        text.is_empty() || text.ends_with('\n'),
        asked,
        "a line feed after each line, the last one too",
        format_args!("{text:?}"),
    )
}

/// `GET path` has the format that `Accept` prefers (RFC 9110, 12.5.1):
/// lines for a client that wants them more than an array, else an array, also
/// for one that accepts neither. Names are case-insensitive, a range with a
/// malformed weight counts for nothing, and of the ranges that cover a format the
/// most specific one says its weight.
pub async fn format_by_accept(service: &Service, path: &str) -> Outcome {
    let lines = [
        &["application/x-ndjson"][..],
        &["Application/X-NDJSON; Q=0.5"],
        &["text/html, application/x-ndjson"],
        &["text/html", "application/x-ndjson"],
        &["text/html;x=\"a,b\", application/x-ndjson"],
        &["application/json;q=0.5, application/x-ndjson"],
        &["application/json;Q=0.5", "application/x-ndjson;q=0.501"],
        &["application/x-ndjson, */*;q=0.5"],
        &["*/*;q=0.5, application/*;q=0.2, application/x-ndjson;q=0.3"],
        // All else is as welcome as the lines, yet they are named.
        &["application/x-ndjson, */*"],
        &["*/*, application/json;q=0"],
        &["application/x-ndjson;q=0.1, application/json;q=1.5"],
        &["no range, application/x-ndjson"],
    ];
    let array = [
        &[][..],
        &[""],
        &["*/*"],
        &["application/*"],
        &["application/json"],
        &["text/html"],
        &["text/html;x=\", application/x-ndjson\""],
        &["application/json, application/x-ndjson"],
        &["application/x-ndjson, application/json"],
        &["application/x-ndjson;q=0"],
        &["application/x-ndjson;Q=0"],
        &["application/x-ndjson ; Q=0.000"],
        &["*/*, application/x-ndjson;q=0"],
        &["application/x-ndjson;q=1.5"],
        &["application/x-ndjson;q=inf"],
        &["application/x-ndjson;q=NaN"],
        &["application/x-ndjson;q=-1"],
        &["application/x-ndjson;q=much"],
        &["application/x-ndjson;q="],
        &["application/x-ndjson;q=0.1, application/json;q=0.2"],
        &["application/x-ndjson;q=0.5, */*"],
        &["application/*;q=0.9, application/x-ndjson;q=0.5"],
        &["application/x-ndjsonx"],
        &["application/x-ndjson+json"],
        &[",;q="],
    ];
    let expected = [
        ("application/x-ndjson", &lines[..]),
        ("application/json", &array),
    ];
    for (expected, accept) in expected {
        for values in accept {
            let headers: Vec<_> = values.iter().map(|value| ("accept", *value)).collect();
            let reply = service.get_with(path, &headers).await?;
            reply.expect_status(200)?;
            expect_content_type(&reply, expected)?;
        }
    }
    Ok(())
}

/// Items whose totals and order show mistakes: one without a description, two
/// whose prices do not add up as floats.
const MORE_ITEMS: &str = "INSERT INTO item (id, name, price_cents, description) VALUES
    (11, 'Salt', 10, NULL), (12, 'Mint', 20, 'a leaf of mint'), (13, 'Clove', 1, 'a clove');";

/// After a path, not a whole number of 64 bits.
const MALFORMED_IDS: &str = "abc 1.5 1x 9223372036854775808 -9223372036854775809";
