//! HTTP: routes, what goes over the wire, and nothing about SQL.

pub mod customers;
pub mod extract;
pub mod orders;
pub mod stream;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt;
use tokio::time;

use crate::db::Db;
use crate::{Error, Limits};

/// What every handler can reach. Clones share the database's connections.
#[derive(Debug, Clone)]
pub struct AppState {
    pub db: Db,
    pub limits: Limits,
}

/// The whole service as a router, without a socket.
pub fn app(state: AppState) -> Router {
    Router::new()
        .route("/", get(welcome))
        .merge(customers::routes())
        .merge(orders::routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(state.limits.body_bytes))
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

async fn welcome() -> axum::Json<&'static str> {
    axum::Json("Welcome to Marketplace!")
}

async fn no_such_path() -> Error {
    Error::NotFound("there is nothing at this path".to_owned())
}

async fn no_such_method() -> Error {
    Error::MethodNotAllowed
}

/// Around every request: a handler that takes too long or panics is answered
/// for. Without this a panic would only drop the connection.
///
/// What a handler streams after its status line is not part of this.
async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let answer = AssertUnwindSafe(time::timeout(state.limits.request, next.run(request)))
        .catch_unwind()
        .await;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Error::TooSlow.into_response(),
        Err(_) => Error::Panicked.into_response(),
    };
    tracing::debug!(
        %method,
        path,
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}
