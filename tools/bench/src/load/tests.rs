use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;

use super::*;
use crate::http::runtime;

/// A server on a thread of its own whose every answer is known.
struct Server {
    addr: SocketAddr,
    asked: Arc<AtomicU64>,
}

fn get_request(path: &str, value: Value) -> (Request, Answer) {
    let answer = Answer {
        status: StatusCode::OK,
        value: Some(value),
    };
    (Request::get(path), answer)
}

/// `/double/0` to the last one before `count`.
fn doubles(count: u64) -> Workload {
    let doubles =
        (0..count).map(|n| get_request(&format!("/double/{n}"), json!({ "double": 2 * n })));
    doubles.collect()
}

impl Server {
    fn start() -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let state = Arc::clone(&asked);
        let (found, addr) = std::sync::mpsc::channel();
        thread::spawn(move || {
            runtime().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                found.send(listener.local_addr().unwrap()).unwrap();
                let app = Router::new()
                    .route("/double/{n}", get(double))
                    .route("/order", post(order))
                    .with_state(state);
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self {
            addr: addr.recv().unwrap(),
            asked,
        }
    }

    fn target(&self, workload: Workload) -> Arc<Target> {
        Arc::new(Target::new(self.addr, &Arc::new(workload)))
    }

    fn closed(&self, workload: Workload, connections: usize) -> Outcome {
        let target = self.target(workload);
        let closed = target.closed(connections, Duration::from_millis(200));
        runtime().unwrap().block_on(closed).unwrap()
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn double(State(asked): State<Arc<AtomicU64>>, Path(n): Path<u64>) -> impl IntoResponse {
    let number = asked.fetch_add(1, Ordering::SeqCst);
    match n {
        // Right, but written in another way every second time.
        7 if number.is_multiple_of(2) => (StatusCode::OK, r#"{"double": 14}"#.to_owned()),
        // Wrong every second time.
        13 if number.is_multiple_of(2) => (StatusCode::OK, r#"{"double": 27}"#.to_owned()),
        66 => (StatusCode::IM_A_TEAPOT, r#"{"double":132}"#.to_owned()),
        _ => (StatusCode::OK, format!(r#"{{"double":{}.0}}"#, 2 * n)),
    }
}

async fn order(State(asked): State<Arc<AtomicU64>>, body: String) -> StatusCode {
    asked.fetch_add(1, Ordering::SeqCst);
    match body.as_str() {
        "1" => StatusCode::CREATED,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[test]
fn a_closed_loop_counts_what_the_server_counts() {
    let server = Server::start();
    let outcome = server.closed(doubles(10), 4);
    assert_eq!(outcome.right(), server.asked());
    assert_eq!(outcome.trouble(), None);
    assert!(outcome.right() >= 4 && outcome.rate() > 0.0);
}

/// How often the first of `count` requests is drawn by the first connection.
fn draws(sent: u64, count: usize) -> u64 {
    let mut random = Rng::with_seed(1);
    let first = (0..sent).filter(|_| random.usize(..count) == 0);
    first.count() as u64
}

#[test]
fn wrong_answers_are_counted_and_not_timed() {
    let server = Server::start();
    let outcome = server.closed(
        vec![
            get_request("/double/1", json!({ "double": 2 })),
            get_request("/double/2", json!({ "double": 5 })),
            get_request("/double/66", json!({ "double": 132 })),
            get_request("/unknown", json!(null)),
        ],
        1,
    );
    let sent = outcome.right() + outcome.wrong;
    assert_eq!(outcome.right(), draws(sent, 4));
    assert!(outcome.right() > 0 && outcome.wrong > 0);
    let trouble = outcome.trouble().unwrap();
    assert!(trouble.contains(&format!("of {sent} answers")), "{trouble}");
}

#[test]
fn an_answer_that_changes_is_wrong() {
    let server = Server::start();
    let outcome = server.closed(vec![get_request("/double/13", json!({ "double": 26 }))], 1);
    assert!(outcome.right() > 0 && outcome.wrong > 0);
    assert_eq!(outcome.right(), server.asked() / 2);
}

#[test]
fn orders_are_acknowledged_by_their_status() {
    let server = Server::start();
    let order = |body| {
        let created = Answer {
            status: StatusCode::CREATED,
            value: None,
        };
        (Request::post("/order", &json!(body)), created)
    };
    let outcome = server.closed(vec![order(1), order(2)], 1);
    let good = draws(server.asked(), 2);
    assert!(good > 0);
    assert_eq!(
        (outcome.right(), outcome.wrong),
        (good, server.asked() - good)
    );
}

#[test]
fn what_is_compared_first_names_path_and_both_answers() {
    let server = Server::start();
    let compare = |workload, count| {
        let target = server.target(workload);
        runtime().unwrap().block_on(target.compare(count))
    };
    compare(doubles(10), 10).unwrap();
    assert_eq!(server.asked(), 10);
    let error = compare(doubles(100).split_off(50), 50)
        .unwrap_err()
        .to_string();
    for part in ["GET /double/66: ", "418", r#"{"double":132}"#, "200"] {
        assert!(error.contains(part), "{error}");
    }
    let wrong = vec![get_request("/double/1", json!({ "double": 3 }))];
    let error = compare(wrong, 1).unwrap_err().to_string();
    assert_eq!(error, "GET /double/1 at /double: 2.0; expected is 3");
}

#[test]
fn a_latency_is_one_that_so_many_did_not_exceed() {
    let outcome = Outcome {
        latencies: (1..=200).map(Duration::from_secs).collect(),
        ..Outcome::default()
    };
    let latencies = [50, 99].map(|percent| outcome.latency(percent).to_string());
    assert_eq!(latencies, ["100", "198"]);
    assert_eq!(Outcome::default().latency(50).to_string(), "0");
}

#[test]
fn a_server_that_has_ended_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let target = Arc::new(Target::new(addr, &Arc::new(doubles(1))));
    let closed = target.closed(1, Duration::from_millis(10));
    assert!(runtime().unwrap().block_on(closed).is_err());
}
