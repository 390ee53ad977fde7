//! Contenders have to answer alike before they are compared.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::contender::Contender;
use crate::databases;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::settings::Settings;

/// For one answer; only turns a hang into an error.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is asked: `GET path`, or `POST path` with a body.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    path: String,
    body: Option<Value>,
    /// Whether times of orders are left out of the comparison: those that were
    /// placed a moment ago were not placed in the same second everywhere.
    undated: bool,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            None => write!(f, "GET {}", self.path),
            Some(body) => write!(f, "POST {} {body}", self.path),
        }
    }
}

fn get(path: impl Into<String>) -> Question {
    Question {
        path: path.into(),
        body: None,
        undated: false,
    }
}

/// Questions to which everybody who serves a seeded database of at least 100
/// customers and 100 orders has the same answer: all customers, orders, totals,
/// and customers and orders that do not exist.
fn reading() -> Vec<Question> {
    let mut questions = vec![get("/api/customers")];
    for id in (1..=100).step_by(7).chain([1_000_000_000]) {
        questions.push(get(format!("/api/orders/{id}")));
        questions.push(get(format!("/api/order_total/{id}")));
    }
    // 3 has no items, and one does not exist.
    questions.push(get("/api/orders_total?orders=3,1,2,1000000000,50,2,99"));
    questions
}

/// Questions that change the database, which each contender needs for itself.
fn writing() -> Vec<Question> {
    let order = |customer: i64, items: &[(i64, i64)]| Question {
        path: "/api/add_new_order".to_owned(),
        body: Some(json!({
            "customer_id": customer,
            "items": items
                .iter()
                .map(|(id, quantity)| json!({"id": id, "quantity": quantity}))
                .collect::<Value>(),
        })),
        undated: false,
    };
    let orders = |customer: i64| Question {
        undated: true,
        ..get(format!("/api/orders/{customer}"))
    };
    vec![
        order(1, &[(2, 4), (1, 6)]),
        order(2, &[(4, 1)]),
        orders(1),
        orders(2),
        // Refused, and nothing is left of them.
        order(1_000_000_000, &[(1, 1)]),
        order(2, &[(1, 1), (1_000_000_000, 1)]),
        order(2, &[(1, 0)]),
        order(2, &[(1, 1), (1, 1)]),
        order(2, &[]),
        orders(2),
    ]
}

/// A status and, of a success, what was said as JSON. How a failure is worded is
/// left to each.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    value: Value,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, shortened(&self.value))
    }
}

/// Starts everybody over a small market, a copy for each since it is written to,
/// and compares their answers.
///
/// # Errors
///
/// As [`compare`], and when one does not start.
pub fn agree(settings: &Settings, contenders: &[Contender]) -> Result<()> {
    eprintln!("comparing answers");
    let folder = settings.folder()?;
    let database = databases::seeded(2_500, 1_000)?;
    let mut programs = Vec::new();
    for (place, contender) in contenders.iter().enumerate() {
        let copy = folder.path().join(format!("market-{place}.sqlite"));
        databases::copy(&database, &copy)?;
        programs.push(contender.start(&copy)?);
    }
    let names = contenders.iter().map(|contender| contender.name.as_str());
    let asked: Vec<_> = names.zip(programs.iter().map(Program::addr)).collect();
    compare(&asked, &reading())?;
    compare(&asked, &writing())
}

/// Puts every question to everyone and compares the answers with those of the
/// first.
///
/// # Errors
///
/// [`Error::Differs`] at the first answer that is not the same, with the place in
/// it; [`Error::Environment`] when there is none.
fn compare(contenders: &[(&str, SocketAddr)], questions: &[Question]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))?;
    let Some(((model, model_addr), others)) = contenders.split_first() else {
        return Ok(());
    };
    for question in questions {
        let ask = |name: &str, addr: SocketAddr| {
            runtime
                .block_on(async { timeout(PATIENCE, ask(addr, question)).await? })
                .map_err(|error| Error::Environment(format!("{name}: {question}: {error}")))
        };
        let expected = ask(model, *model_addr)?;
        for (name, addr) in others {
            let found = ask(name, *addr)?;
            if let Some((place, found, expected)) = difference(&expected, &found) {
                return Err(Error::Differs {
                    contender: (*name).to_owned(),
                    request: format!("{question}{place}"),
                    found,
                    expected: format!("{expected}, as {model} answers"),
                });
            }
        }
    }
    Ok(())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Over a connection of its own.
async fn ask(addr: SocketAddr, question: &Question) -> std::result::Result<Answer, Failure> {
    let socket = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .uri(&question.path)
        .header(HOST, addr.to_string());
    let request = match &question.body {
        None => request.body(Full::new(Bytes::new()))?,
        Some(body) => request
            .method("POST")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.to_string().into()))?,
    };
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let mut value = Value::Null;
    if status.is_success() {
        value = serde_json::from_slice(&body)?;
        if question.undated {
            without_times(&mut value);
        }
    }
    Ok(Answer {
        status: status.as_u16(),
        value,
    })
}

fn without_times(orders: &mut Value) {
    for order in orders.as_array_mut().into_iter().flatten() {
        if let Some(order) = order.as_object_mut() {
            order.remove("order_time");
        }
    }
}

/// Where two answers differ, and both there.
fn difference(expected: &Answer, found: &Answer) -> Option<(String, String, String)> {
    if found.status != expected.status {
        return Some((String::new(), found.to_string(), expected.to_string()));
    }
    let (place, expected, found) = differing(&expected.value, &found.value, String::new())?;
    let place = match place.as_str() {
        "" => place,
        _ => format!(" at {place}"),
    };
    Some((place, shortened(found), shortened(expected)))
}

/// The first place where two values differ, as a JSON pointer, and both there;
/// numbers are compared by value, so that 30 is 30.0.
fn differing<'a>(
    a: &'a Value,
    b: &'a Value,
    place: String,
) -> Option<(String, &'a Value, &'a Value)> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) => {
            let mut pairs = x.iter().zip(y).enumerate();
            pairs
                .find_map(|(i, (x, y))| differing(x, y, format!("{place}/{i}")))
                .or_else(|| (x.len() != y.len()).then_some((place, a, b)))
        }
        (Value::Object(x), Value::Object(y)) => {
            let mut pairs = x.iter().map(|(key, x)| Some((key, x, y.get(key)?)));
            if x.len() != y.len() || pairs.clone().any(|pair| pair.is_none()) {
                return Some((place, a, b));
            }
            pairs
                .by_ref()
                .flatten()
                .find_map(|(key, x, y)| differing(x, y, format!("{place}/{key}")))
        }
        _ if a == b => None,
        _ => Some((place, a, b)),
    }
}

/// At most 200 characters of it, with the length of a list that is cut.
fn shortened(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
        if let Value::Array(list) = value {
            text = format!("{} values, {text}", list.len());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get as route;
    use axum::{Json, Router};

    use super::*;

    /// A server on a thread of its own that has one answer to everything.
    fn server(status: StatusCode, answer: &'static str) -> SocketAddr {
        let (found, addr) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                found.send(listener.local_addr().unwrap()).unwrap();
                let reply = move || async move { (status, answer).into_response() };
                let echo = |Json(body): Json<Value>| async move { Response::new(body.to_string()) };
                let app = Router::new().route("/{*path}", route(reply).post(echo));
                axum::serve(listener, app).await.unwrap();
            });
        });
        addr.recv().unwrap()
    }

    fn compared(first: SocketAddr, second: SocketAddr) -> std::result::Result<(), String> {
        compare(&[("one", first), ("two", second)], &[get("/api/x")])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_value_written_otherwise_is_the_same() {
        let one = server(StatusCode::OK, r#"{"a":30,"b":[null]}"#);
        let two = server(StatusCode::OK, "{ \"b\": [null], \"a\": 30.0 }");
        assert_eq!(compared(one, two), Ok(()));
    }

    #[test]
    fn a_difference_names_path_place_and_both_contenders_and_answers() {
        let one = server(StatusCode::OK, r#"[{"id":1},{"id":2,"name":"Blake"}]"#);
        for (answer, place, found) in [
            (r#"[{"id":1},{"id":2,"name":"Cam"}]"#, "/1/name", "\"Cam\""),
            (r#"[{"id":1}]"#, "/api/x", r#"[{"id":1}]"#),
            (r#"[{"id":1},{"id":2}]"#, "/1", r#"{"id":2}"#),
            (r#"[{"id":"1"},{"id":2,"name":"Blake"}]"#, "/0/id", "\"1\""),
        ] {
            let error = compared(one, server(StatusCode::OK, answer)).unwrap_err();
            for part in ["two", "GET /api/x", place, found, "as one answers"] {
                assert!(error.contains(part), "no {part} in {error}");
            }
        }
    }

    #[test]
    fn statuses_are_compared_and_the_wording_of_failures_is_not() {
        let one = server(StatusCode::NOT_FOUND, "no such order");
        let two = server(StatusCode::NOT_FOUND, r#"{"detail":"none"}"#);
        assert_eq!(compared(one, two), Ok(()));
        let three = server(StatusCode::OK, "null");
        let error = compared(one, three).unwrap_err();
        assert!(
            error.contains("200 null") && error.contains("404"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let one = server(StatusCode::OK, "null");
        let two = server(StatusCode::OK, "nothing");
        let error = compared(one, two).unwrap_err();
        assert!(error.starts_with("two: GET /api/x: "), "{error}");
    }

    #[test]
    fn bodies_are_sent_and_times_left_out_where_they_must_differ() {
        let echo = server(StatusCode::OK, "null");
        let answer = |undated| {
            let question = Question {
                path: "/api/y".to_owned(),
                body: Some(json!([{"order_time": "2999-01-01", "id": 1}])),
                undated,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(ask(echo, &question)).unwrap().value
        };
        assert_eq!(
            answer(false),
            json!([{"order_time": "2999-01-01", "id": 1}])
        );
        assert_eq!(answer(true), json!([{"id": 1}]));
    }
}
