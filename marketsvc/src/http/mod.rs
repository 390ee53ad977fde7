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
/// Only reading is given up. An order that is being stored is waited for:
/// "too slow" would leave its sender not knowing whether to place it again.
/// What comes before its commit has limits of its own (the body, a free
/// connection, the lock).
///
/// What a handler streams after its status line is not part of this.
async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let limit = method.is_safe().then_some(state.limits.request);
    let handler = async {
        match limit {
            Some(limit) => time::timeout(limit, next.run(request)).await,
            None => Ok(next.run(request).await),
        }
    };
    let answer = AssertUnwindSafe(handler).catch_unwind().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{StatusCode, header};
    use futures::future::join_all;
    use std::time::Duration;
    use tower::ServiceExt;

    async fn state(folder: &tempfile::TempDir, limits: Limits) -> AppState {
        let path = folder.path().join("market.sqlite");
        let db = Db::open(&path, &limits).await.unwrap();
        AppState { db, limits }
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

    async fn panics() {
        panic!("secret");
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder, Limits::default()).await;
        let app = Router::new()
            .route("/panic", get(panics))
            .layer(middleware::from_fn_with_state(state.clone(), guard))
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
