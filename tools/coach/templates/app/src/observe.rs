//! What is around every request: an id, a line in the log, a time limit. A request whose
//! handler panics is answered and logged, too.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::timeout;
use tracing::Instrument;

use crate::error::Error;

/// The header with the id of a request, in the request and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status in the log of a request that was dropped before it had an answer, because its
/// client has gone. No client receives it.
const DROPPED: u16 = 499;

/// Gives a request an id, which its answer and all its lines in the log have; answers 503
/// if its handler takes longer than `limit`, and 500 if it panics; logs one line.
///
/// # Cancel safety
/// A request that is dropped is logged with status 499.
pub async fn layer(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
    let mut line = Line {
        method: request.method().clone(),
        uri: request.uri().clone(),
        start: Instant::now(),
        status: DROPPED,
    };
    let mut response = async {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
        let response = match timeout(limit, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Error::Panicked.into_response(),
            Err(_) => Error::TimedOut.into_response(),
        };
        line.status = response.status().as_u16();
        // It is logged here, within the span.
        drop(line);
        response
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Returns the id that the client has sent, if it is one that a log can have: 1 to 64
/// ASCII letters, digits, `-`, `_` and `.`. Otherwise returns a new id.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|id| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    });
    sent.cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", fastrand::u128(..));
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// What is logged of a request when it is dropped, with or without an answer.
struct Line {
    method: Method,
    uri: Uri,
    start: Instant,
    status: u16,
}

impl Drop for Line {
    fn drop(&mut self) {
        // The query is left out: it can hold what must not be in a log.
        tracing::info!(
            method = %self.method,
            path = self.uri.path(),
            status = self.status,
            duration = ?self.start.elapsed(),
        );
    }
}
