//! What every request leaves behind: an id, a line in the log, and a count. A request
//! whose handler panics leaves them, too.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;

use crate::error::Error;
use crate::metrics::Metrics;

/// The header with the id of a request, in the request and in its answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may choose, in bytes.
pub const LONGEST_ID: usize = 64;

/// The longest path that the log shows, in bytes.
const LONGEST_PATH: usize = 200;

/// The status in the log of a request that was dropped before it had an answer. It is
/// nginx's number for a client that has closed its connection; no client receives it.
const DROPPED: u16 = 499;

/// Observes a request: it gets an id, which its answer and all its lines in the log have,
/// and when its answer begins, the log gets a line and `metrics` a count. If the handler
/// panics, the client gets a 500.
///
/// # Cancel safety
/// A request that is dropped is logged and counted with status 499.
pub async fn layer(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
    let mut record = Record::start(&request, metrics);
    let mut response = async {
        let response = answer(next.run(request)).await;
        record.status = response.status().as_u16();
        // It is logged here, within the span.
        drop(record);
        response
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Returns the id that the client has sent, if it is one that a log can have: 1 to 64
/// ASCII letters, digits, `-`, `_` and `.`. Otherwise returns a new id, of 32 hexadecimal
/// digits.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|id| {
        let allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(*byte, b'-' | b'_' | b'.');
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    });
    sent.cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", fastrand::u128(..));
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Waits for the answer, and makes one if the handler panics.
async fn answer(response: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(response)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Error::Panicked.into_response())
}

/// A request that runs. Dropping the record logs and counts it, so a request that is
/// dropped before its answer is logged and counted, too.
struct Record {
    method: Method,
    path: String,
    route: Option<MatchedPath>,
    start: Instant,
    status: u16,
    metrics: Metrics,
}

impl Record {
    fn start(request: &Request, metrics: Metrics) -> Self {
        let path = request.uri().path();
        Self {
            method: request.method().clone(),
            path: path[..path.floor_char_boundary(LONGEST_PATH)].to_owned(),
            route: request.extensions().get().cloned(),
            start: Instant::now(),
            status: DROPPED,
            metrics,
        }
    }

    fn log(&self, duration: Duration) {
        tracing::info!(
            target: "marketsvc::requests",
            method = %self.method,
            path = self.path,
            status = self.status,
            ?duration,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.start.elapsed();
        self.log(duration);
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.metrics
            .observe(&self.method, route, self.status, duration);
    }
}
