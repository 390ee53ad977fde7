//! Requests that a schema allows, almost allows, or never would. The answer is
//! never a fault of the service's, always well-formed, and the next client is
//! served as ever.
//!
//! The same requests each time; with `MARKETSVC_PRESSURE=full`, more and others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use axum::http::Uri;
use check::Database;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::support::{Program, full, shared};
use crate::wire::{Answer, Client, get};

/// For one answer.
const HANG: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
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
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"Connection: close\r\n");
        if self.chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(1000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            if !self.body.is_empty() {
                let length = format!("Content-Length: {}\r\n", self.body.len());
                bytes.extend_from_slice(length.as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A number, or what somebody might take for one.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..6_i64).prop_map(|n| n.to_string()),
        2 => any::<i64>().prop_map(|n| n.to_string()),
        1 => any::<f64>().prop_map(|n| n.to_string()),
        3 => select(vec![
            "-1", "-0", "+1", "00", "01", "1.0", "1e3", "1e999", "0x1", "9223372036854775807",
            "9223372036854775808", "-9223372036854775809", "340282366920938463463374607431768211456",
            "NaN", "Infinity", "", "null", "1 ", "%31", "%D9%A1", "1%00",
        ]).prop_map(str::to_owned),
        1 => (1..2000_usize).prop_map(|length| "9".repeat(length)),
    ]
}

/// A date, or what somebody might take for one.
fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (1..=9999_u16, 1..=12_u8, 1..=31_u8)
            .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}")),
        2 => (0..30_u8, 0..70_u8, 0..70_u8)
            .prop_map(|(h, m, s)| format!("2024-03-18%20{h:02}:{m:02}:{s:02}")),
        2 => select(vec![
            "2024-02-30", "2023-02-29", "0000-01-01", "10000-01-01", "-0001-01-01", "2024-3-1",
            "2024-03-18T10:30:00", "2024-03-18+10:30:00", "2024-03-18%2010:30:00.5",
            "2024-03-18%2010:30:00Z", "20240318", "now", "%27%20OR%201=1", "2024-03-18%2024:00:00",
        ]).prop_map(str::to_owned),
        1 => number(),
    ]
}

/// A part of a path: printable bytes, some of them escaped, some escapes wrong.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_.~!$&'()*+,;=:@-]{0,20}",
        "(%[0-9A-Fa-f]{2}|[a-z]){0,12}",
        "(%[0-9A-Za-z]?|%%|[a-z\"<>^`{|}]){0,8}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let ids = vec(number(), 0..8).prop_map(|ids| ids.join(","));
    let path = prop_oneof![
        Just("/".to_owned()),
        Just("/api/customers".to_owned()),
        Just("/api/add_new_order".to_owned()),
        number().prop_map(|id| format!("/api/orders/{id}")),
        number().prop_map(|id| format!("/api/order_total/{id}")),
        (date(), date()).prop_map(|(b, a)| format!("/api/orders_between_dates/{b}/{a}")),
        ids.prop_map(|ids| format!("/api/orders_total?orders={ids}")),
        (990..1010_usize)
            .prop_map(|n| format!("/api/orders_total?orders={}", vec!["1"; n].join(","))),
        select(vec!["/healthz", "/readyz", "/metrics"]).prop_map(str::to_owned),
        vec(segment(), 0..5).prop_map(|parts| format!("/{}", parts.join("/"))),
        segment().prop_map(|part| format!("/api/orders/{part}")),
    ];
    let query = prop_oneof![
        8 => Just(String::new()),
        1 => number().prop_map(|n| format!("orders={n}")),
        1 => (segment(), segment()).prop_map(|(name, value)| format!("{name}={value}")),
        1 => Just("orders=1&orders=2".to_owned()),
        1 => Just("&&=&".to_owned()),
    ];
    (path, query).prop_map(
        |(path, query)| match (query.is_empty(), path.contains('?')) {
            (true, _) => path,
            (false, true) => format!("{path}&{query}"),
            (false, false) => format!("{path}?{query}"),
        },
    )
}

/// Any JSON value, also a deep one.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof![
            select(vec!["customer_id", "items", "id", "quantity", "orders"])
                .prop_map(str::to_owned),
            "\\PC{0,8}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// An order in which some values may be wrong.
fn order() -> impl Strategy<Value = Value> {
    let or_any = |good: BoxedStrategy<Value>| prop_oneof![9 => good, 1 => any_json()];
    let id = || (0..6_i64).prop_map(Value::from).boxed();
    let quantity = prop_oneof![
        5 => (0..10_i64).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => select(vec![json!(1.0), json!(0.5), json!(1e300), json!("1")]),
    ];
    let line = (or_any(id()), or_any(quantity.boxed()))
        .prop_map(|(id, quantity)| json!({"id": id, "quantity": quantity}));
    let items = vec(or_any(line.boxed()), 0..6).prop_map(Value::from);
    (or_any(id()), or_any(items.boxed()))
        .prop_map(|(customer, items)| json!({"customer_id": customer, "items": items}))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        6 => order().prop_map(|order| order.to_string()),
        2 => vec(any::<i64>(), 0..20).prop_map(|ids| json!({"orders": ids}).to_string()),
        2 => any_json().prop_map(|value| value.to_string()),
        2 => select(vec![
            "", " ", "null", "[]", "{}", "{", "\u{feff}{}", "{\"orders\":[1e999]}", "NaN", "'x'",
            "{\"customer_id\":1,\"customer_id\":2,\"items\":[{\"id\":1,\"quantity\":1}]}",
            "{\"customer_id\":1,\"items\":[{\"id\":1,\"id\":2,\"quantity\":1}]}",
            "{\"customer_id\":\"\\ud800\"}", "{\"orders\":[1,2]} x", "{\"orders\":[1,]}",
            "{\"customer_id\":1,\"items\":[{\"id\":1,\"quantity\":99999999999999999999}]}",
        ]).prop_map(str::to_owned),
        1 => (1..3000_usize).prop_map(|deep| "[".repeat(deep)),
        1 => (1..3000_usize).prop_map(|deep| format!("{}{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        1 => (900..1100_usize).prop_map(|n| {
            let items: Vec<_> = (0..n).map(|id| json!({"id": id, "quantity": 1})).collect();
            json!({"customer_id": 1, "items": items}).to_string()
        }),
        1 => (250_000..270_000_usize).prop_map(|length| format!("{{}}{}", " ".repeat(length))),
    ];
    prop_oneof![
        12 => text.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let value = "[ -~]{0,40}";
    let header = prop_oneof![
        (
            Just("Accept"),
            select(vec![
                "application/x-ndjson",
                "*/*",
                "application/json;q=0",
                "text/html,,;q=x",
            ])
            .prop_map(str::to_owned)
        ),
        (Just("Accept"), value.prop_map(|v| v)),
        (Just("Content-Encoding"), Just("gzip".to_owned())),
        (Just("Expect"), Just("100-continue".to_owned())),
        (Just("Range"), Just("bytes=0-1".to_owned())),
        (Just("If-None-Match"), Just("*".to_owned())),
        (Just("X-Request-Id"), value.prop_map(|v| v)),
        (Just("X-Request-Id"), "\\PC{1,20}".prop_map(|v| v)),
        (
            Just("Cookie"),
            (0..8000_usize).prop_map(|length| "c".repeat(length))
        ),
    ];
    vec(header, 0..4)
}

fn request() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![
        10 => Just("GET"),
        6 => Just("POST"),
        3 => select(vec!["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"]),
    ];
    let kind = prop_oneof![
        8 => Just("application/json".to_owned()),
        1 => Just("application/json; charset=utf-16".to_owned()),
        1 => Just("text/plain".to_owned()),
        1 => "[ -~]{0,30}",
    ];
    let any_request = (
        method,
        target(),
        headers(),
        kind,
        body(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(method, target, mut headers, kind, body, with_body, chunked)| {
                let body = if with_body { body } else { Vec::new() };
                headers.push(("Content-Type", kind));
                Asked {
                    method,
                    target,
                    headers,
                    chunked: chunked && with_body,
                    body,
                }
            },
        );
    let an_order = (order(), any::<bool>()).prop_map(|(order, chunked)| Asked {
        method: "POST",
        target: "/api/add_new_order".to_owned(),
        headers: vec![("Content-Type", "application/json".to_owned())],
        body: order.to_string().into_bytes(),
        chunked,
    });
    prop_oneof![3 => any_request, 1 => an_order]
}

/// All bytes that come back, until the service closes.
async fn exchange(program: &Program, bytes: &[u8], half_close: bool) -> Vec<u8> {
    let socket = TcpStream::connect(program.service().addr()).await;
    let (mut from, mut to) = socket.expect("a connection").into_split();
    let mut answer = Vec::new();
    let write = async {
        // The service may answer and close before it has read everything.
        let _ = to.write_all(bytes).await;
        if half_close {
            let _ = to.shutdown().await;
        }
    };
    let read = async {
        // A reset after the answer is one of what was not read.
        let _ = from.read_to_end(&mut answer).await;
    };
    let both = futures::future::join(write, read);
    let done = tokio::time::timeout(HANG, both).await;
    assert!(done.is_ok(), "no end within {HANG:?}");
    answer
}

/// That the answer is one, and none of the service's faults; gives its status.
fn expect_well_formed(asked: &Asked, bytes: &[u8]) -> Result<u16, TestCaseError> {
    let parsed = Answer::parse(bytes, asked.method == "HEAD", true);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    let Ok(Some((answer, length))) = parsed else {
        return Err(TestCaseError::fail(format!(
            "no whole answer: {parsed:?}\n{text}"
        )));
    };
    prop_assert_eq!(length, bytes.len(), "more than one answer: {}", text);
    prop_assert!((200..500).contains(&answer.status), "{}", text);
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    if asked.target.parse::<Uri>().is_err() {
        // The HTTP library's own answer, to what no route can be asked with.
        prop_assert_eq!(answer.status, 400, "{}", text);
        return Ok(answer.status);
    }
    if answer.status >= 400 {
        prop_assert_eq!(kind, "application/problem+json", "{}", text);
        if asked.method == "HEAD" {
            return Ok(answer.status);
        }
        let problem: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(
            problem["status"].as_u64(),
            Some(answer.status.into()),
            "{}",
            text
        );
        prop_assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{}",
            text
        );
        if answer.status == 405 {
            prop_assert!(answer.header("allow").is_some(), "{}", text);
        }
    } else if asked.method != "HEAD" && kind == "application/json" {
        let value: Result<Value, _> = serde_json::from_slice(&answer.body);
        prop_assert!(value.is_ok(), "{}", text);
    } else if asked.method != "HEAD" && kind == "application/x-ndjson" {
        for line in answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            prop_assert!(serde_json::from_slice::<Value>(line).is_ok(), "{}", text);
        }
    }
    Ok(answer.status)
}

/// That the next client is served.
async fn expect_served(next: &mut Client) -> Result<(), TestCaseError> {
    let answer = tokio::time::timeout(HANG, next.ask(&get("/api/order_total/1"))).await;
    let answer = answer.map_err(|_| TestCaseError::fail("the next client is not answered"))?;
    let answer = answer.map_err(|failure| TestCaseError::fail(format!("{failure:?}")))?;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    prop_assert_eq!(answer.status, 200);
    prop_assert_eq!(body, Some(json!({"Order Total": 30.0})));
    Ok(())
}

/// Runs `test` on requests of `strategy` against one program.
fn fuzz<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: &impl AsyncFn(&Program, S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases: if full() { cases * 50 } else { cases },
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = if full() {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(config, rng)
    };
    let runtime = Runtime::new().expect("a runtime");
    let (program, _machine) = runtime.block_on(async {
        let machine = shared().await;
        let database = Database::sample().await.expect("a database");
        let program = Program::start(database, "").await.expect("the program");
        (program, machine)
    });
    // One case runs at a time; a closure that may be called again has to be
    // told so.
    let next = Mutex::new(Client::of(program.service().addr()));
    let result = runner.run(strategy, |value| {
        runtime.block_on(async {
            test(&program, value).await?;
            expect_served(&mut *next.lock().await).await
        })
    });
    let log = runtime.block_on(program.log()).expect("the log").text;
    if let Err(error) = result {
        panic!("{error}\nthe log:\n{log}");
    }
    for word in ["panicked", "ERROR"] {
        assert!(!log.contains(word), "{log}");
    }
}

#[test]
fn every_request_that_is_http_has_a_proper_answer() {
    let seen = RefCell::new(BTreeMap::<u16, u32>::new());
    fuzz(1_500, &request(), &async |program, asked: Asked| {
        let bytes = exchange(program, &asked.bytes(), false).await;
        let status = expect_well_formed(&asked, &bytes)?;
        *seen.borrow_mut().entry(status).or_default() += 1;
        Ok(())
    });
    // Every kind of answer that does not take a fault or a wait was among them.
    let seen = seen.into_inner();
    println!("{seen:?}");
    for status in [200, 201, 400, 404, 405, 413, 415, 422] {
        assert!(seen.contains_key(&status), "no {status} among {seen:?}");
    }
}

/// Bytes that were a request before some of them changed.
#[test]
fn what_is_no_http_hurts_nobody() {
    let change = (any::<Index>(), any::<u8>(), 0..4_u8);
    let strategy = (request(), vec(change, 1..6), any::<bool>());
    fuzz(500, &strategy, &async |program, (asked, changes, cut)| {
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
        // The end of what is sent: without it, both would wait for the other.
        let answer = exchange(program, &bytes, true).await;
        if answer.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        for line in text.lines().filter(|line| line.starts_with("HTTP/1.1 ")) {
            prop_assert!(!line.starts_with("HTTP/1.1 5"), "{}", text);
        }
        prop_assert!(text.starts_with("HTTP/1."), "{}", text);
        Ok(())
    });
}
