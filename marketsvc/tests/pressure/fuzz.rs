//! Generated requests: valid ones, almost valid ones, and bytes that are not HTTP. The
//! answers are well-formed and never the service's fault, and the next client is served.
//!
//! The requests are the same each time. With `MARKETSVC_PRESSURE=full`, they are others, and
//! fifty times as many.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Response, Uri};
use check::{Database, Failure, OrFail, Outcome, Then, ensure, equal};
use futures::future::join3;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::support::{Program, expect_total, full, shared};

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Asked {
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("Connection: close\r\n");
        let mut bytes = Vec::new();
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
            for chunk in self.body.chunks(1000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else if !self.body.is_empty() {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
            bytes.extend_from_slice(&self.body);
        }
        head.push_str("\r\n");
        [head.into_bytes(), bytes].concat()
    }

    fn is_order(&self) -> bool {
        self.method == "POST" && self.target.split('?').next() == Some("/api/add_new_order")
    }
}

/// A number, or something like one.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..6_i64).prop_map(|n| n.to_string()),
        2 => any::<i64>().prop_map(|n| n.to_string()),
        3 => select(vec![
            "-1", "-0", "+1", "01", "1.0", "1e3", "0x1", "9223372036854775808",
            "340282366920938463463374607431768211456", "NaN", "", "1 ", "%31", "%D9%A1", "1%00",
        ]).prop_map(str::to_owned),
        1 => (1..2000_usize).prop_map(|length| "9".repeat(length)),
    ]
    .prop_map(|number| number.replace(' ', "%20"))
}

/// A date, or something like one.
fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (1..=9999_u16, 1..=12_u8, 1..=31_u8)
            .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}")),
        2 => (0..30_u8, 0..70_u8, 0..70_u8)
            .prop_map(|(h, m, s)| format!("2024-03-18%20{h:02}:{m:02}:{s:02}")),
        2 => select(vec![
            "2023-02-29", "0000-01-01", "10000-01-01", "-0001-01-01", "2024-3-1",
            "2024-03-18T10:30:00", "2024-03-18%2010:30:00.5", "now", "%27%20OR%201=1",
        ]).prop_map(str::to_owned),
        1 => number(),
    ]
}

/// A part of a path. Some bytes are escaped, and some escapes are wrong.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_.~!$&'()*+,;=:@-]{0,20}",
        "(%[0-9A-Fa-f]{2}|[a-z]){0,12}",
        "(%[0-9A-Za-z]?|%%|[a-z\"<>^`{|}]){0,8}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let ids = vec(number(), 0..8).prop_map(|ids| ids.join(","));
    let fixed = "/ /app/info /api/customers /api/add_new_order /book /author /catalog /docs/ \
                 /api-docs/openapi.json /healthz /readyz /metrics";
    let fixed: Vec<_> = fixed.split(' ').collect();
    let path = prop_oneof![
        4 => select(fixed).prop_map(str::to_owned),
        4 => (select(vec!["api/orders", "api/order_total", "book", "author"]), number())
            .prop_map(|(path, id)| format!("/{path}/{id}")),
        1 => (date(), date()).prop_map(|(b, a)| format!("/api/orders_between_dates/{b}/{a}")),
        1 => ids.prop_map(|ids| format!("/api/orders_total?orders={ids}")),
        1 => (990..1010_usize)
            .prop_map(|n| format!("/api/orders_total?orders={}", vec!["1"; n].join(","))),
        2 => vec(segment(), 0..5).prop_map(|parts| format!("/{}", parts.join("/"))),
        1 => segment().prop_map(|part| format!("/api/orders/{part}")),
    ];
    let query = prop_oneof![
        8 => Just(String::new()),
        2 => (select(vec!["orders", "after", "limit"]), number())
            .prop_map(|(name, value)| format!("{name}={value}")),
        1 => (segment(), segment()).prop_map(|(name, value)| format!("{name}={value}")),
        1 => select(vec!["orders=1&orders=2", "&&=&"]).prop_map(str::to_owned),
    ];
    (path, query).prop_map(|(path, query)| match (query.as_str(), path.contains('?')) {
        ("", _) => path,
        (_, true) => format!("{path}&{query}"),
        (_, false) => format!("{path}?{query}"),
    })
}

/// Any JSON value.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let known = select(vec!["customer_id", "items", "id", "quantity", "orders"]);
        let key = prop_oneof![known.prop_map(str::to_owned), "\\PC{0,8}"];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A value of `good` kind, or rarely any other.
fn mostly<T: Into<Value> + Debug + 'static>(
    good: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Value> {
    prop_oneof![15 => good.prop_map(Into::into), 1 => any_json()].boxed()
}

/// The id of a row that may exist.
fn id() -> BoxedStrategy<Value> {
    mostly(prop_oneof![8 => 1..4_i64, 1 => any::<i64>()])
}

/// An order. Some of its values may be wrong.
fn order() -> impl Strategy<Value = Value> {
    let line = (id(), mostly(1..10_i64))
        .prop_map(|(id, quantity)| json!({"id": id, "quantity": quantity}));
    let items = mostly(vec(mostly(line), 1..4));
    (id(), items).prop_map(|(customer, items)| json!({"customer_id": customer, "items": items}))
}

/// A book. Some of its values may be wrong.
fn book() -> impl Strategy<Value = Value> {
    let name = || mostly("[a-d]");
    (name(), id(), mostly(0.0..2e6), name(), mostly(1..9_000_i64)).prop_map(
        |(name, author, price, genre, year)| {
            json!({
                "book_name": name, "author_id": author, "price": price, "genre": genre,
                "year_of_publication": year,
            })
        },
    )
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        6 => order().prop_map(|order| order.to_string()),
        2 => vec(any::<i64>(), 0..20).prop_map(|ids| json!({"orders": ids}).to_string()),
        2 => any_json().prop_map(|value| value.to_string()),
        2 => book().prop_map(|book| book.to_string()),
        2 => select(vec![
            "", "null", "[]", "{}", "{", "\u{feff}{}", "{\"orders\":[1e999]}", "NaN",
            "{\"customer_id\":1,\"customer_id\":2,\"items\":[{\"id\":1,\"quantity\":1}]}",
            "{\"customer_id\":\"\\ud800\"}", "{\"orders\":[1,2]} x", "{\"orders\":[1,]}",
            "{\"customer_id\":1,\"items\":[{\"id\":1,\"quantity\":99999999999999999999}]}",
        ]).prop_map(str::to_owned),
        1 => (1..3000_usize).prop_map(|deep| "[".repeat(deep)),
        1 => (1..3000_usize).prop_map(|deep| format!("{}{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        1 => (65_000..66_000_usize).prop_map(|length| format!("{{}}{}", " ".repeat(length))),
    ];
    prop_oneof![12 => text.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..200)]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let accept = vec![
        "application/x-ndjson",
        "*/*",
        "application/json;q=0",
        "text/html,,;q=x",
    ];
    let fixed = vec![
        ("Content-Encoding", "gzip"),
        ("Expect", "100-continue"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "*"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/json; charset=utf-16"),
    ];
    let header = prop_oneof![
        2 => (Just("Accept"), select(accept).prop_map(str::to_owned)),
        2 => select(fixed).prop_map(|(name, value)| (name, value.to_owned())),
        1 => (select(vec!["Accept", "X-Request-Id", "Content-Type"]), "[ -~]{0,40}"),
        1 => (Just("X-Request-Id"), "\\PC{1,20}"),
        1 => (Just("Cookie"), (0..8000_usize).prop_map(|length| "c".repeat(length))),
    ];
    (vec(header, 0..3), any::<bool>()).prop_map(|(mut headers, json)| {
        if json {
            headers.push(("Content-Type", "application/json".to_owned()));
        }
        headers
    })
}

fn request() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![
        10 => Just("GET"),
        8 => Just("POST"),
        4 => select(vec!["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"]),
    ];
    let body = prop_oneof![body(), Just(Vec::new())];
    let any_request = (method, target(), headers(), body, any::<bool>());
    let author = mostly("[a-d]").prop_map(|name| json!({"name": name}));
    let write = prop_oneof![
        3 => (Just("POST"), Just("/api/add_new_order".to_owned()), order()),
        1 => (Just("POST"), Just("/author".to_owned()), author),
        1 => (Just("POST"), Just("/book".to_owned()), book()),
        1 => (
            select(vec!["PUT", "PATCH", "DELETE"]),
            (1..6).prop_map(|id| format!("/book/{id}")),
            book()
        ),
    ];
    let json = vec![("Content-Type", "application/json".to_owned())];
    let write = (write, any::<bool>()).prop_map(move |((method, target, body), chunked)| {
        let body = body.to_string().into_bytes();
        (method, target, json.clone(), body, chunked)
    });
    prop_oneof![2 => any_request, 1 => write].prop_map(
        |(method, target, headers, body, chunked)| Asked {
            method,
            target,
            headers,
            body,
            chunked,
        },
    )
}

/// Returns generated values.
fn values<S: Strategy>(count: usize, strategy: S) -> impl Iterator<Item = S::Value> {
    let (mut runner, times) = if full() {
        (TestRunner::default(), 50)
    } else {
        (TestRunner::deterministic(), 1)
    };
    let value = move |_| strategy.new_tree(&mut runner).expect("a value").current();
    (0..count * times).map(value)
}

/// Parses an answer as hyper's client does, which is strict.
async fn parse(method: &str, bytes: &[u8]) -> Result<Response<Bytes>, hyper::Error> {
    let (near, mut far) = duplex(64 * 1024);
    let (mut sender, connection) = handshake(TokioIo::new(near)).await?;
    let request = axum::http::Request::builder()
        .method(method)
        .body(Empty::<Bytes>::new());
    let answer = async {
        let answer = sender.send_request(request.expect("a request")).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        Ok(Response::from_parts(head, body))
    };
    let server = async {
        // The client takes bytes only after its request for an answer.
        let _ = far.read(&mut [0; 1024]).await;
        let _ = far.write_all(bytes).await;
        let _ = far.shutdown().await;
    };
    let (_, answer, ()) = join3(connection, answer, server).await;
    answer
}

/// Fails unless the answer is well-formed and not the service's fault. Returns its status.
async fn expect_proper(asked: &Asked, bytes: &[u8]) -> Result<u16, Failure> {
    let text = || String::from_utf8_lossy(&asked.bytes()).into_owned();
    let answer = parse(asked.method, bytes).await.or_fail(text())?;
    let status = answer.status().as_u16();
    let proper = |is: bool, expected: &str| ensure(is, text(), expected, format!("{answer:?}"));
    proper((200..500).contains(&status), "a status from 200 to 499")?;
    let header = |name| {
        answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let kind = header("content-type").unwrap_or_default();
    if asked.target.parse::<Uri>().is_err() {
        // hyper answers itself.
        proper(status == 400, "400 for a malformed path")?;
        return Ok(status);
    }
    proper(header("x-request-id").is_some(), "the id of the request")?;
    if status == 405 {
        proper(header("allow").is_some(), "Allow")?;
    }
    if status >= 400 {
        proper(kind == "application/problem+json", "a problem")?;
    }
    if asked.method == "HEAD" {
        return Ok(status);
    }
    if status >= 400 {
        let problem: Value = serde_json::from_slice(&answer.body()[..]).or_fail(text())?;
        proper(problem["status"] == status, "the status in the problem")?;
        let texts = problem["title"].is_string() && problem["detail"].is_string();
        proper(texts, "title and detail")?;
    } else if kind == "application/json" {
        serde_json::from_slice::<Value>(answer.body()).or_fail(text())?;
    } else if kind == "application/x-ndjson" {
        for line in answer.body().split(|byte| *byte == b'\n') {
            let is_json = serde_json::from_slice::<Value>(line).is_ok();
            proper(line.is_empty() || is_json, "JSON in each line")?;
        }
    }
    Ok(status)
}

/// Fails if the log has an error.
fn expect_no_error(program: &Program) -> Outcome {
    let log = program.log()?;
    let error = log.lines().find(|line| line.contains(" ERROR "));
    equal("an error in the log", None, error)?;
    program.expect_no_panic()
}

/// How long the service may take for one answer.
const HANG: Then = Then::ReadFor(Duration::from_secs(20));

#[tokio::test]
async fn every_request_that_is_http_has_a_proper_answer() -> Outcome {
    let _machine = shared().await;
    let program = Program::start(Database::sample().await?, "", &[]).await?;
    let mut seen = BTreeMap::<u16, u32>::new();
    let mut orders = 3;
    for asked in values(1_500, request()) {
        let reply = program.service().raw(asked.bytes(), HANG).await?;
        let status = expect_proper(&asked, &reply.bytes).await?;
        *seen.entry(status).or_default() += 1;
        orders += i64::from(asked.is_order() && status == 201);
        expect_total(program.service()).await?;
    }
    println!("{seen:?}");
    for status in [200, 201, 204, 400, 404, 405, 409, 413, 422] {
        ensure(
            seen.contains_key(&status),
            "statuses",
            status,
            format!("{seen:?}"),
        )?;
    }
    let stored: i64 = program.database.one("SELECT count(*) FROM orders").await?;
    equal("stored orders, and 201s", stored, orders)?;
    expect_no_error(&program)
}

/// The bytes were a request before some of them were changed.
#[tokio::test]
async fn what_is_no_http_hurts_nobody() -> Outcome {
    let _machine = shared().await;
    let program = Program::start(Database::sample().await?, "", &[]).await?;
    let change = (any::<Index>(), any::<u8>(), 0..4_u8);
    let changed = (request(), vec(change, 1..6), any::<bool>());
    for (asked, changes, cut) in values(500, changed) {
        let mut bytes = asked.bytes();
        for (index, byte, how) in &changes {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = *byte,
                1 => bytes.insert(at, *byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b'\n'),
            }
        }
        if cut {
            bytes.truncate(changes[0].0.index(bytes.len()));
        }
        let text = String::from_utf8_lossy(&bytes);
        // Without the end of what is sent, both would wait for each other.
        let reply = program.service().raw(&bytes, Then::CloseWriting).await?;
        let answer = reply.text();
        ensure(reply.closed, &text, "a closed connection", &answer)?;
        let fault = answer.lines().find(|line| line.starts_with("HTTP/1.1 5"));
        equal(&text, None, fault)?;
        let is_http = answer.is_empty() || answer.starts_with("HTTP/1.");
        ensure(is_http, &text, "an answer that is HTTP, or none", &answer)?;
        expect_total(program.service()).await?;
    }
    expect_no_error(&program)
}
