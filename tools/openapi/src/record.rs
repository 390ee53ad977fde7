//! Keeps the answers of a router.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::Document;

/// An answer of the service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub method: Method,
    /// The path, without the part after `?`.
    pub path: String,
    pub status: u16,
    /// The type of the body without parameters; `None` if the body is empty and not a list of
    /// lines.
    pub media: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (method, path, status) = (&self.method, &self.path, self.status);
        write!(formatter, "{method} {path} with {status}")?;
        match &self.media {
            Some(media) => write!(formatter, " and a body of type {media}"),
            None => write!(formatter, " without a body"),
        }
    }
}

/// The type of a list with a JSON value in each line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// Keeps each answer of the routers that [`Recorder::around`] wraps.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Recorder {
    /// Returns the router, with each answer of its endpoints recorded.
    pub fn around(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), record))
    }

    /// Returns the answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn record(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    let (answer, response) = run(request, next).await;
    recorder.lock().extend(answer);
    response
}

/// Returns the router with a check of each answer: one of an endpoint that is in the document,
/// but not as the document describes it, becomes a 500 whose text says what is wrong.
pub fn expect_described(router: Router, document: Document) -> Router {
    router.layer(from_fn_with_state(Arc::new(document), compare))
}

async fn compare(State(document): State<Arc<Document>>, request: Request, next: Next) -> Response {
    let (answer, response) = run(request, next).await;
    let is_known = |answer: &Answer| document.operation(&answer.method, &answer.path).is_ok();
    match answer
        .filter(is_known)
        .map(|answer| document.expect_answer(&answer))
    {
        Some(Err(failure)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()).into_response()
        }
        _ => response,
    }
}

/// Returns the response, and what a document can say of it.
async fn run(request: Request, next: Next) -> (Option<Answer>, Response) {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (head, body) = next.run(request).await.into_parts();
    // A body that breaks off is not one that a document describes.
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return (None, StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    // HEAD is GET without its body, and no document names 405.
    let is_described = method != Method::HEAD && head.status != StatusCode::METHOD_NOT_ALLOWED;
    let answer = is_described.then(|| {
        let media = head.headers.get(header::CONTENT_TYPE);
        let media = media.and_then(|media| media.to_str().ok()?.split(';').next());
        let media = media.map(|media| media.trim().to_lowercase());
        Answer {
            method,
            path,
            status: head.status.as_u16(),
            // A list of lines can be empty.
            media: media.filter(|media| media == LINES || !body.is_empty()),
            headers: head.headers.clone(),
            body: body.clone(),
        }
    });
    (answer, Response::from_parts(head, Body::from(body)))
}
