//! Keeps the answers of a router.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// An answer of the service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub method: Method,
    /// The path, without the part after `?`.
    pub path: String,
    pub status: u16,
    /// The type of the body without parameters; `None` if the body is empty.
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
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (head, body) = next.run(request).await.into_parts();
    // A body that breaks off is not one that a document describes.
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // HEAD is GET without its body, and no document names 405.
    if method != Method::HEAD && head.status != StatusCode::METHOD_NOT_ALLOWED {
        let media = head.headers.get(header::CONTENT_TYPE);
        let media = media.and_then(|media| media.to_str().ok()?.split(';').next());
        let media = media.map(|media| media.trim().to_lowercase());
        recorder.lock().push(Answer {
            method,
            path,
            status: head.status.as_u16(),
            media: media.filter(|_| !body.is_empty()),
            headers: head.headers.clone(),
            body: body.clone(),
        });
    }
    Response::from_parts(head, Body::from(body))
}
