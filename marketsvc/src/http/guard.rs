//! Around every request: whether it is taken, for how long, and what is
//! written down about it.
//!
//! A request has an `id`: that of its header `x-request-id`, or one that is made
//! for it. Its answer has the same header, and so do all lines that the log has
//! about it. One of these says how it ended, under `marketsvc::request`:
//!
//! - `method`, `route` (as in the router, not the path) and `status`;
//! - `duration_ms`, from the request's head to its answer's;
//! - `statements`, of SQL, that were begun before the answer's head, the page that
//!   a long list reads ahead among them; see [`crate::trace`].
//!
//! It is a WARN for a fault of ours and an INFO for all else. It takes some 15 %
//! of what a small request takes in all; in a span of its own, as other lines
//! have, it would take a fifth.
//!
//! What is streamed after an answer's head is not in that line. The end of a
//! streamed answer has a line of its own, a DEBUG.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time;
use tracing::{Instrument, Level, Span, enabled, event};

use super::AppState;
use crate::Error;
use crate::metrics::Route;
use crate::trace::Trace;

/// Where the lines about requests are found in the log.
const TARGET: &str = "marketsvc::request";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is around the requests to one route.
pub(super) struct Guard {
    route: Route,
    /// Whether some are turned away when there are too many.
    sheds: bool,
}

/// A handler with its guard; see the module.
///
/// Not a layer of middleware: one around an axum route copies the route and puts
/// each part of what is awaited into a box, for each request anew.
#[derive(Clone)]
pub(super) struct Guarded<H> {
    guard: Arc<Guard>,
    handler: H,
}

impl Guard {
    pub(super) fn new(state: &AppState, route: &'static str, sheds: bool) -> Arc<Self> {
        let route = state.metrics.route(route);
        Arc::new(Self { route, sheds })
    }

    pub(super) fn around<H>(self: &Arc<Self>, handler: H) -> Guarded<H> {
        let guard = Arc::clone(self);
        Guarded { guard, handler }
    }
}

/// Writes the line about a request, at a level that has to be a constant.
macro_rules! line {
    ($level:expr, $method:ident, $route:ident, $status:ident, $elapsed:ident, $trace:ident) => {
        if enabled!(target: TARGET, $level) {
            event!(
                target: TARGET,
                $level,
                id = $trace.id(),
                method = %$method,
                route = $route.name,
                status = $status.as_u16(),
                duration_ms = milliseconds($elapsed),
                statements = $trace.statements(),
                "answered"
            );
        }
    };
}

impl<H: Handler<T, AppState>, T> Handler<T, AppState> for Guarded<H> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, mut request: Request, state: AppState) -> Self::Future {
        let start = Instant::now();
        let Self { guard, handler } = self;
        let method = request.method().clone();
        let trace = Trace::new(request_id(request.headers()));

        // Only reading: new orders have a queue of their own, so that readers are
        // served while orders wait for a disk or a lock.
        let reads = method.is_safe();
        let place = if reads && guard.sheds {
            state.admission.admit(&mut request).map(Some)
        } else {
            Some(None)
        };
        // Does nothing yet. What waits for it is smaller than the request.
        let work = place.map(|place| (place, handler.call(request, state.clone())));
        Box::pin(async move {
            let route = &guard.route;
            let mut response = if let Some((_place, work)) = work {
                let limit = reads.then_some(state.limits.request);
                let answer = answer(work, limit).instrument(span(&trace));
                let response = trace.of(answer).await;
                let (status, elapsed) = (response.status(), start.elapsed());
                state.metrics.answered(&method, route, status, elapsed);
                if status.is_server_error() {
                    line!(Level::WARN, method, route, status, elapsed, trace);
                } else {
                    line!(Level::INFO, method, route, status, elapsed, trace);
                }
                response
            } else {
                let response = state.admission.refusal().await.into_response();
                state.metrics.turned_away(&method, route);
                let (status, elapsed) = (response.status(), start.elapsed());
                line!(Level::INFO, method, route, status, elapsed, trace);
                response
            };
            response.headers_mut().insert(REQUEST_ID, trace.into_id());
            response
        })
    }
}

/// The span of a request whose SQL is in the log. It costs more than all else
/// here; what else is written about a request gets one when it is.
fn span(trace: &Trace) -> Span {
    if enabled!(target: "sqlx::query", Level::DEBUG) {
        trace.span()
    } else {
        Span::none()
    }
}

/// A handler that takes too long or panics is answered for. Without this a
/// panic would only drop the connection.
///
/// Only reading is given up. An order that is being stored is waited for:
/// "too slow" would leave its sender not knowing whether to place it again.
/// What comes before its commit has limits of its own (the body, a free
/// connection, the lock).
///
/// What a handler streams after its status line is not part of this.
async fn answer(work: impl Future<Output = Response>, limit: Option<Duration>) -> Response {
    let work = async {
        match limit {
            Some(limit) => time::timeout(limit, work).await,
            None => Ok(work.await),
        }
    };
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Error::TooSlow.into_response(),
        Err(_) => Error::Panicked.into_response(),
    }
}

/// The id that the request came with, if it can be put into a log as it is:
/// up to 64 letters, digits, `-`, `_` and `.`. Else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let well_formed = |id: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    match headers.get(REQUEST_ID).filter(well_formed) {
        Some(id) => id.clone(),
        None => new_id(),
    }
}

/// Different from all others of this process, and very probably from those of
/// others.
fn new_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()) >> 24);
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 32];
    let mut rest = &mut text[..];
    write!(rest, "{:010x}-{count}", *PROCESS).expect("at most 31 characters");
    let length = 32 - rest.len();
    HeaderValue::from_bytes(&text[..length]).expect("digits and letters")
}

/// With three decimals.
pub(super) fn milliseconds(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use crate::{Limits, app};
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{StatusCode, header};
    use axum::routing::get;
    use futures::future::join_all;
    use std::time::Duration;
    use tower::ServiceExt;

    async fn state(folder: &tempfile::TempDir, limits: Limits) -> AppState {
        let path = folder.path().join("market.sqlite");
        let db = Db::open(&path, &limits).await.unwrap();
        AppState::new(db, limits)
    }

    async fn ask(app: &Router, path: &str) -> (StatusCode, Response) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        (response.status(), response)
    }

    #[tokio::test]
    async fn without_a_free_connection_it_is_503_and_says_when_to_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            // Opening the database has to fit in as well.
            acquire: Duration::from_secs(2),
            ..Limits::default()
        };
        let state = state(&folder, limits).await;
        let app = app(state.clone());
        let held = state.db.hold_readers().await;
        let paths = [
            "/api/customers",
            "/api/orders/1",
            "/api/order_total/1",
            "/api/orders_total?orders=1,2,3",
            "/api/orders_between_dates/2025-01-01/2024-01-01",
        ];
        for (status, response) in join_all(paths.map(|path| ask(&app, path))).await {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
        // What needs no connection is answered.
        assert_eq!(ask(&app, "/").await.0, StatusCode::OK);
        drop(held);
        assert_eq!(ask(&app, "/api/order_total/1").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn reading_that_takes_too_long_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            request: Duration::from_millis(100),
            acquire: Duration::from_mins(1),
            ..Limits::default()
        };
        let state = state(&folder, limits).await;
        let app = app(state.clone());
        let _held = state.db.hold_readers().await;
        let (status, response) = ask(&app, "/api/order_total/1").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    /// Lets others run until `in_flight` requests have a place.
    async fn until_in_flight(state: &AppState, in_flight: usize) {
        while state.admission.in_flight() != in_flight {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn beyond_the_bound_reading_is_turned_away_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            in_flight: 2,
            probe: Duration::from_millis(10),
            ..Limits::default()
        };
        let state = state(&folder, limits).await;
        let app = app(state.clone());
        let held = state.db.hold_readers().await;
        let waiting = ["/api/order_total/1", "/api/customers"].map(|path| {
            let app = app.clone();
            tokio::spawn(async move { ask(&app, path).await.0 })
        });
        until_in_flight(&state, 2).await;
        for path in ["/api/order_total/1", "/api/customers", "/", "/nowhere"] {
            let (status, response) = ask(&app, path).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "application/problem+json"
            );
            assert!(response.headers().contains_key(REQUEST_ID));
        }
        assert_eq!(state.admission.in_flight(), 2);
        // Orders have a bound of their own, and whoever asks how we are is told.
        let order = Request::post("/api/add_new_order")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(
                r#"{"customer_id": 1, "items": [{"id": 1, "quantity": 1}]}"#,
            ))
            .unwrap();
        let response = app.clone().oneshot(order).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(ask(&app, "/healthz").await.0, StatusCode::OK);
        let (status, response) = ask(&app, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        let text = to_bytes(response.into_body(), 1_000_000).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        for line in ["http_requests_shed_total 4", "http_requests_in_flight 2"] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
        // Truly not ready: nothing can be read.
        assert_eq!(
            ask(&app, "/readyz").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );

        drop(held);
        for status in waiting {
            assert_eq!(status.await.unwrap(), StatusCode::OK);
        }
        assert_eq!(state.admission.in_flight(), 0);
        assert_eq!(ask(&app, "/api/order_total/1").await.0, StatusCode::OK);
        assert_eq!(ask(&app, "/readyz").await.0, StatusCode::OK);
    }

    /// Of a request's body, one after the other.
    type Pieces = tokio::sync::mpsc::Sender<&'static str>;

    /// Asks for totals with a body that is sent by hand.
    fn ask_slowly(app: &Router) -> (Pieces, tokio::task::JoinHandle<StatusCode>) {
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let pieces = futures::stream::unfold(pieces, async |mut pieces| {
            let piece: &'static str = pieces.recv().await?;
            Some((Ok::<_, Error>(piece), pieces))
        });
        let request = Request::get("/api/orders_total")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from_stream(pieces))
            .unwrap();
        let response = app.clone().oneshot(request);
        let status = tokio::spawn(async { response.await.unwrap().status() });
        (sender, status)
    }

    async fn one_place(folder: &tempfile::TempDir) -> (AppState, Router) {
        let limits = Limits {
            in_flight: 1,
            ..Limits::default()
        };
        let state = state(folder, limits).await;
        (state.clone(), app(state))
    }

    /// A sender may take as long as it likes, and nobody waits for it.
    #[tokio::test]
    async fn a_body_on_its_way_has_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let (state, app) = one_place(&folder).await;
        let (body, status) = ask_slowly(&app);
        body.send("{\"orders\"").await.unwrap();
        // It has been read from, so the request is past the door.
        body.reserve().await.unwrap();
        until_in_flight(&state, 0).await;
        assert_eq!(ask(&app, "/api/order_total/1").await.0, StatusCode::OK);
        body.send(":[1]}").await.unwrap();
        drop(body);
        assert_eq!(status.await.unwrap(), StatusCode::OK);
        assert_eq!(state.admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_body_that_is_complete_needs_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let (state, app) = one_place(&folder).await;
        let (body, status) = ask_slowly(&app);
        body.send("{\"orders\":[1]}").await.unwrap();
        body.reserve().await.unwrap();
        until_in_flight(&state, 0).await;
        let held = state.db.hold_readers().await;
        let other = app.clone();
        let other = tokio::spawn(async move { ask(&other, "/api/customers").await.0 });
        until_in_flight(&state, 1).await;
        drop(body);
        assert_eq!(status.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
        drop(held);
        assert_eq!(other.await.unwrap(), StatusCode::OK);
        assert_eq!(state.admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_read_is_not_ready_but_alive() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder, Limits::default()).await;
        let app = app(state.clone());
        assert_eq!(ask(&app, "/readyz").await.0, StatusCode::OK);
        state.db.close().await;
        let (status, response) = ask(&app, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(ask(&app, "/healthz").await.0, StatusCode::OK);
        assert_eq!(ask(&app, "/metrics").await.0, StatusCode::OK);
    }

    #[test]
    fn only_an_id_that_fits_into_a_log_is_taken_over() {
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers)
        };
        let longest = "x".repeat(64);
        for good in ["1", "a.B-c_9", &longest] {
            assert_eq!(of(good.as_bytes()), good);
        }
        let too_long = "x".repeat(65);
        for bad in [b"" as &[u8], b"a b", b"a=1", b"\xff", too_long.as_bytes()] {
            let id = of(bad);
            assert_ne!(id.as_bytes(), bad);
            assert_ne!(id, of(bad), "a new one each time");
        }
    }

    async fn panics() {
        panic!("secret");
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder, Limits::default()).await;
        let app = Router::new()
            .route(
                "/panic",
                get(Guard::new(&state, "/panic", true).around(panics)),
            )
            .with_state(state);
        let (status, response) = ask(&app, "/panic").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(
            !text.contains("secret") && text.contains("our side"),
            "{text}"
        );
    }
}
