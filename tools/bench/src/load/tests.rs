use super::*;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;
use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A server on a thread of its own whose every answer is known.
struct Server {
    addr: SocketAddr,
    asked: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Answers {
    asked: Arc<AtomicU64>,
    /// The number of the request that is never answered.
    stalled: u64,
}

fn get_request(path: &str, answer: Value) -> (Request, Expected) {
    (Request::get(path), Expected::Json(answer))
}

/// What each test asks: `/double/0` to `/double/99`.
fn doubles() -> Arc<Workload> {
    Arc::new(
        (0..100)
            .map(|n| get_request(&format!("/double/{n}"), json!({ "double": 2 * n })))
            .collect(),
    )
}

const NEVER: u64 = u64::MAX;

impl Server {
    fn start(stalled: u64) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let answers = Answers {
            asked: Arc::clone(&asked),
            stalled,
        };
        let (found, addr) = std::sync::mpsc::channel();
        thread::spawn(move || {
            runtime().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                found.send(listener.local_addr().unwrap()).unwrap();
                let app = Router::new()
                    .route("/double/{n}", get(double))
                    .route("/order", post(order))
                    .with_state(answers);
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self {
            addr: addr.recv().unwrap(),
            asked,
        }
    }

    fn target(&self, workload: &Arc<Workload>) -> Arc<Target> {
        Arc::new(Target::new(self.addr, workload))
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn double(State(answers): State<Answers>, Path(n): Path<u64>) -> impl IntoResponse {
    let number = answers.asked.fetch_add(1, Ordering::SeqCst);
    if number == answers.stalled {
        future::pending::<()>().await;
    }
    let (status, answer) = match n {
        // Right, but written in another way the second time.
        13 if number.is_multiple_of(2) => (StatusCode::OK, r#"{"double": 26}"#.to_owned()),
        66 => (StatusCode::IM_A_TEAPOT, r#"{"double":132}"#.to_owned()),
        _ => (StatusCode::OK, format!(r#"{{"double":{}.0}}"#, 2 * n)),
    };
    (status, answer)
}

async fn order(State(answers): State<Answers>, body: String) -> impl IntoResponse {
    let number = answers.asked.fetch_add(1, Ordering::SeqCst);
    let answer = match body.as_str() {
        "1" => json!({ "order_id": number + 1 }),
        _ => Value::Null,
    };
    (StatusCode::CREATED, answer.to_string())
}

/// Only those that the server answers in one way.
fn plain() -> Arc<Workload> {
    Arc::new(
        (0..10)
            .map(|n| get_request(&format!("/double/{n}"), json!({ "double": 2 * n })))
            .collect(),
    )
}

fn load(connections: usize, millis: u64) -> Load {
    Load {
        connections,
        duration: Duration::from_millis(millis),
        patience: Duration::from_mins(1),
    }
}

#[test]
fn a_closed_loop_counts_what_the_server_counts() {
    let server = Server::start(NEVER);
    let outcome = closed(&server.target(&plain()), load(4, 200)).unwrap();
    assert_eq!(outcome.right, server.asked());
    assert_eq!(outcome.latency.len(), server.asked());
    assert_eq!(outcome.trouble(), None);
    assert!(outcome.right > 4);
}

#[test]
fn wrong_answers_are_counted_and_not_timed() {
    let server = Server::start(NEVER);
    let requests = vec![
        get_request("/double/1", json!({ "double": 2 })),
        get_request("/double/2", json!({ "double": 5 })),
        get_request("/double/66", json!({ "double": 132 })),
        get_request("/unknown", json!(null)),
    ];
    let outcome = closed(&server.target(&Arc::new(requests)), load(1, 50)).unwrap();
    let sent = outcome.right + outcome.wrong;
    assert_eq!(outcome.right, draws(sent, 4));
    assert!(outcome.right > 0 && outcome.wrong > 0);
    assert_eq!(outcome.latency.len(), outcome.right);
    let trouble = outcome.trouble().unwrap();
    assert!(
        trouble.contains(&format!("of {sent} requests")),
        "{trouble}"
    );
}

/// How often the first of `count` requests is drawn by the first connection.
fn draws(sent: u64, count: usize) -> u64 {
    let mut random = Rng::with_seed(1);
    let first = (0..sent).filter(|_| random.usize(..count) == 0);
    first.count() as u64
}

#[test]
fn an_answer_that_changes_is_wrong() {
    let server = Server::start(NEVER);
    let workload = vec![get_request("/double/13", json!({ "double": 26 }))];
    let target = server.target(&Arc::new(workload));
    let outcome = closed(&target, load(1, 50)).unwrap();
    assert!(outcome.right > 0 && outcome.wrong > 0);
    assert_eq!(outcome.right, server.asked().div_ceil(2));
}

#[test]
fn orders_are_acknowledged_by_their_number() {
    let server = Server::start(NEVER);
    let order = |body| (Request::post("/order", &json!(body)), Expected::Created);
    let workload = Arc::new(vec![order(1), order(2)]);
    let outcome = closed(&server.target(&workload), load(1, 50)).unwrap();
    let good = draws(server.asked(), 2);
    assert!(good > 0);
    assert_eq!(outcome.created, good);
    assert_eq!(outcome.wrong, server.asked() - good);
}

#[test]
fn what_is_compared_first_names_path_and_both_answers() {
    let server = Server::start(NEVER);
    server.target(&plain()).compare("it", 10).unwrap();
    assert_eq!(server.asked(), 10);
    let error = server.target(&doubles()).compare("it", 100).unwrap_err();
    let text = error.to_string();
    for part in ["it differs at GET /double/66", "418", r#"{"double":132}"#] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_server_that_never_answers_leaves_requests_unfinished() {
    let server = Server::start(3);
    let load = Load {
        patience: Duration::from_millis(100),
        ..load(1, 1_000)
    };
    let outcome = closed(&server.target(&plain()), load).unwrap();
    assert_eq!(outcome.right, 3);
    assert_eq!(outcome.unfinished, 1);
    assert_eq!(outcome.latency.len(), 4);
    assert!(outcome.latency.max() >= 100_000);
}
