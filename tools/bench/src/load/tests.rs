use super::*;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// A server on a thread of its own whose every answer is known.
struct Server {
    addr: SocketAddr,
    asked: Arc<AtomicU64>,
    /// Opens the gate at which the request with number `stalled` waits.
    gate: watch::Sender<bool>,
}

#[derive(Clone)]
struct Answers {
    asked: Arc<AtomicU64>,
    gate: watch::Receiver<bool>,
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
        let (gate, closed) = watch::channel(false);
        let asked = Arc::new(AtomicU64::new(0));
        let answers = Answers {
            asked: Arc::clone(&asked),
            gate: closed,
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
            gate,
        }
    }

    fn target(&self, workload: &Arc<Workload>) -> Arc<Target> {
        Arc::new(Target::new(self.addr, workload))
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn double(State(mut answers): State<Answers>, Path(n): Path<u64>) -> impl IntoResponse {
    let number = answers.asked.fetch_add(1, Ordering::SeqCst);
    if number == answers.stalled {
        let _ = answers.gate.wait_for(|open| *open).await;
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
fn an_open_loop_sends_what_its_schedule_says() {
    let server = Server::start(NEVER);
    let outcome = open(&server.target(&plain()), load(4, 200), 1_000.0).unwrap();
    assert_eq!(outcome.right, 200);
    assert_eq!(server.asked(), 200);
    assert_eq!(outcome.latency.len(), 200);
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
    let outcome = open(&server.target(&Arc::new(requests)), load(2, 100), 2_000.0).unwrap();
    // The sequence is known before anything is sent.
    let right = draws(0, 4).filter(|place| *place == 0).count() as u64;
    assert!(right > 0);
    assert_eq!(outcome.right, right);
    assert_eq!(outcome.wrong, 200 - right);
    assert_eq!(outcome.latency.len(), right);
    assert!(outcome.trouble().unwrap().contains("of 200 requests"));
}

/// What 200 requests draw of so many.
fn draws(seed: u64, count: usize) -> impl Iterator<Item = usize> {
    let mut random = Rng::with_seed(seed);
    (0..200).map(move |_| random.usize(..count))
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
    let outcome = open(&server.target(&workload), load(2, 100), 2_000.0).unwrap();
    let good = draws(0, 2).filter(|place| *place == 0).count() as u64;
    assert_eq!(outcome.created, good);
    assert_eq!(outcome.wrong, 200 - good);
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

/// One request waits for 150 ms after it was sent. Those behind it are late, and an
/// open loop says so.
#[test]
fn an_open_loop_shows_a_stall() {
    let server = Server::start(50);
    let gate = server.gate.clone();
    let asked = Arc::clone(&server.asked);
    thread::spawn(move || {
        while asked.load(Ordering::SeqCst) <= 50 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(150));
        gate.send_replace(true);
    });
    let outcome = open(&server.target(&plain()), load(1, 200), 1_000.0).unwrap();
    assert_eq!(outcome.right, 200);
    // Request 50 + n is due n ms after that one, and is sent when that one is answered.
    assert!(outcome.latency.max() >= 150_000);
    assert!(outcome.latency.value_at_quantile(0.8) >= 50_000);
    assert!(total(&outcome) > 150 * 150_000 / 2);
}

/// The same stall in a closed loop: what is not sent is not late, so that
/// all latencies together are no longer than the test.
#[test]
fn a_closed_loop_hides_a_stall() {
    let server = Server::start(5);
    let gate = server.gate.clone();
    let start = Instant::now();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(150));
        gate.send_replace(true);
    });
    let outcome = closed(&server.target(&plain()), load(1, 200)).unwrap();
    assert!(outcome.right > 5);
    assert!(total(&outcome) <= u64::try_from(start.elapsed().as_micros()).unwrap());
}

/// All latencies added up, in µs, each at least as the histogram's low end.
fn total(outcome: &Outcome) -> u64 {
    let recorded = outcome.latency.iter_recorded();
    recorded
        .map(|step| {
            let value = outcome.latency.lowest_equivalent(step.value_iterated_to());
            value * step.count_at_value()
        })
        .sum()
}

#[test]
fn a_server_that_never_answers_leaves_requests_unfinished() {
    let server = Server::start(3);
    let load = Load {
        patience: Duration::from_millis(100),
        ..load(1, 10)
    };
    let outcome = open(&server.target(&plain()), load, 1_000.0).unwrap();
    assert_eq!(outcome.right, 3);
    // The one that hangs, and six that never found a connection.
    assert_eq!(outcome.unfinished, 7);
    assert_eq!(outcome.latency.len(), 10);
    assert!(outcome.latency.max() >= 100_000);
}
