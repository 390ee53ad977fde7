//! Contenders have to answer alike before they are compared.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::contender::Contender;
use crate::databases;
use crate::error::{Error, Result};
use crate::http::{Connection, Failure, Request, runtime, shown};
use crate::program::Folder;

/// For one answer; only turns a hang into an error.
const PATIENCE: Duration = Duration::from_mins(1);

/// Requests to which every program that serves a seeded database of at least 100
/// customers and 100 orders has the same answer: all customers, orders, totals,
/// and customers and orders that do not exist.
fn reading() -> Vec<Request> {
    let mut requests = vec![Request::get("/api/customers")];
    for id in (1..=100).step_by(7).chain([1_000_000_000]) {
        requests.push(Request::get(&format!("/api/orders/{id}")));
        requests.push(Request::get(&format!("/api/order_total/{id}")));
    }
    // 3 has no items, and one does not exist.
    let totals = "/api/orders_total?orders=3,1,2,1000000000,50,2,99";
    requests.push(Request::get(totals));
    requests
}

/// Requests that change the database, which each contender needs for itself.
fn writing() -> Vec<Request> {
    let order = |customer: i64, items: &[(i64, i64)]| {
        let items = items
            .iter()
            .map(|(id, n)| json!({ "id": id, "quantity": n }));
        let order = json!({ "customer_id": customer, "items": items.collect::<Value>() });
        Request::post("/api/add_new_order", &order)
    };
    vec![
        order(1, &[(2, 4), (1, 6)]),
        order(2, &[(4, 1)]),
        Request::get("/api/orders/1"),
        Request::get("/api/orders/2"),
        // Refused, and nothing is left of them.
        order(1_000_000_000, &[(1, 1)]),
        order(2, &[(1, 1), (1_000_000_000, 1)]),
        order(2, &[(1, 0)]),
        order(2, &[(1, 1), (1, 1)]),
        order(2, &[]),
        Request::get("/api/orders/2"),
    ]
}

/// Starts all of them over a small market, a copy for each since it is written to,
/// and compares their answers.
///
/// # Errors
///
/// As [`compare`], and when one does not start.
pub fn agree(contenders: &[Contender]) -> Result<()> {
    eprintln!("comparing answers");
    let folder = Folder::new()?;
    let database = databases::seeded(2_500, 1_000)?;
    let mut programs = Vec::new();
    for contender in contenders {
        let copy = folder.path().join(format!("{}.sqlite", contender.name()));
        databases::copy(&database, &copy)?;
        programs.push((contender.name(), contender.start(&copy)?));
    }
    let asked: Vec<_> = programs
        .iter()
        .map(|(name, program)| (*name, program.addr()))
        .collect();
    compare(&asked, &reading(), true)?;
    // Orders that were placed a moment ago were not placed in the same second everywhere.
    compare(&asked, &writing(), false)
}

/// Sends every request to every contender and compares the answers with those of the
/// first; with or without the times of orders.
///
/// # Errors
///
/// [`Error::Differs`] at the first answer that is not the same, with the place in
/// it; [`Error::Environment`] when there is none.
pub fn compare(contenders: &[(&str, SocketAddr)], requests: &[Request], dated: bool) -> Result<()> {
    let Some(((model, model_addr), others)) = contenders.split_first() else {
        return Ok(());
    };
    for request in requests {
        let expected = ask(model, *model_addr, request, dated)?;
        for (name, addr) in others {
            let found = ask(name, *addr, request, dated)?;
            if let Some((place, expected, found)) = difference(&expected, &found) {
                return Err(Error::Differs {
                    contender: (*name).to_owned(),
                    request: format!("{request} at {place}"),
                    found: shown(found.to_string()),
                    expected: format!("{}, as {model} answers", shown(expected.to_string())),
                });
            }
        }
    }
    Ok(())
}

/// The status and, of a success, the value. How a failure is worded is left to each.
fn ask(name: &str, addr: SocketAddr, request: &Request, dated: bool) -> Result<Value> {
    let ask = async {
        let mut connection = Connection::new(addr);
        let (status, body) = timeout(PATIENCE, connection.ask(request)).await??;
        let mut value = Value::Null;
        if status.is_success() {
            value = serde_json::from_slice(&body)?;
        }
        if !dated {
            for order in value.as_array_mut().into_iter().flatten() {
                order
                    .as_object_mut()
                    .map(|order| order.remove("order_time"));
            }
        }
        Ok(json!({ "status": status.as_u16(), "value": value }))
    };
    let answer = runtime()?.block_on(ask);
    answer.map_err(|error: Failure| Error::Environment(format!("{name}: {request}: {error}")))
}

/// The first place where two values differ, as a JSON pointer, and both there;
/// numbers are compared by value, so that 30 is 30.0.
pub fn difference<'a>(a: &'a Value, b: &'a Value) -> Option<(String, &'a Value, &'a Value)> {
    let within = |key: &dyn std::fmt::Display, a, b| {
        let (place, a, b) = difference(a, b)?;
        Some((format!("/{key}{place}"), a, b))
    };
    let here = || Some((String::new(), a, b));
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let mut pairs = x.iter().zip(y).enumerate();
            pairs.find_map(|(place, (x, y))| within(&place, x, y))
        }
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() => {
            x.iter().find_map(|(key, x)| match y.get(key) {
                Some(y) => within(key, x, y),
                None => here(),
            })
        }
        _ if a == b => None,
        _ => here(),
    }
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
        compare(
            &[("one", first), ("two", second)],
            &[Request::get("/api/x")],
            true,
        )
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
            (r#"[{"id":1}]"#, "/value", r#"[{"id":1}]"#),
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
            error.contains("200") && error.contains("404") && error.contains("/status"),
            "{error}"
        );
    }

    #[test]
    fn an_answer_that_is_not_json_is_an_error() {
        let one = server(StatusCode::OK, "null");
        let two = server(StatusCode::OK, "nothing");
        let error = compared(one, two).unwrap_err();
        assert!(error.starts_with("two: GET /api/x: "), "{error}");
    }

    #[test]
    fn bodies_are_sent_and_times_left_out_where_they_must_differ() {
        let echo = server(StatusCode::OK, "null");
        let order = json!([{"order_time": "2999-01-01", "id": 1}]);
        let request = Request::post("/api/y", &order);
        let answer = |dated| ask("", echo, &request, dated).unwrap()["value"].take();
        assert_eq!(answer(true), order);
        assert_eq!(answer(false), json!([{"id": 1}]));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let same = |a, b| difference(&a, &b).is_none();
        assert!(same(
            json!({ "a": [30, null] }),
            json!({ "a": [30.0, null] })
        ));
        assert!(!same(json!({ "a": 30 }), json!({ "a": 30.01 })));
        assert!(!same(json!({ "a": 30 }), json!({ "a": "30" })));
        assert!(!same(json!({ "a": 1 }), json!({ "a": 1, "b": 2 })));
        assert!(!same(json!([1]), json!([1, 2])));
        assert!(!same(json!(null), json!(0)));
    }
}
