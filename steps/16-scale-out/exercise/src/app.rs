//! The application: puts the modules together and serves them.

use axum::middleware::from_fn_with_state;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admission::{self, Admission};
use crate::config::Limits;
use crate::db::Db;
use crate::docs::{self, Document, Failures};
use crate::error::Error;
use crate::health::{self, Health};
use crate::metrics::Metrics;
use crate::{authors, books, catalog, customers, observe, orders, server};

/// Builds the router without a socket, for tests: the endpoints of all modules except the one
/// of `--demo`, with the default limits.
pub fn app(db: Db) -> Router {
    let health = Health::new(db.clone(), Metrics::new());
    router(db, health, &Limits::default())
}

/// Puts the endpoints together with the layers around them.
fn router(db: Db, health: Health, limits: &Limits) -> Router {
    let observed = from_fn_with_state(health.metrics(), observe::layer);
    let admitted = from_fn_with_state(Admission::new(limits), admission::layer);
    let not_allowed = || async { Error::MethodNotAllowed };
    let api = api(db, limits.demo)
        .fallback(|| async { Error::NotFound("there is no such path") })
        .method_not_allowed_fallback(not_allowed);
    health::routes(health)
        .method_not_allowed_fallback(not_allowed)
        .merge(api.layer(admitted))
        .layer(observed)
}

/// The endpoints that the API has, and the pages that describe it.
fn api(db: Db, demo: bool) -> Router {
    let api = OpenApiRouter::with_openapi(Document::openapi())
        .merge(docs::module(
            "app",
            OpenApiRouter::new()
                .routes(routes!(welcome))
                .routes(routes!(info)),
        ))
        .merge(customers::routes(db.clone()))
        .merge(orders::routes(db.clone()))
        .merge(authors::routes(db.clone()))
        .merge(books::routes(db.clone(), demo))
        .merge(catalog::routes(db));
    docs::with_pages(api)
}

/// Serves requests from `listener` until `shutdown` completes. Then, one after another:
/// `/readyz` says no; after the notice, no connection is accepted any more; the requests
/// that have begun have the grace period to end; the database is closed.
///
/// # Cancel safety
/// Dropping the future closes all connections. What a dropped request writes is stored wholly
/// or not at all.
pub async fn run(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    db: Db,
    limits: Limits,
) {
    let metrics = Metrics::new();
    let health = Health::new(db.clone(), metrics.clone());
    let router = router(db.clone(), health.clone(), &limits);
    let stop = async move {
        shutdown.await;
        health.drain();
        sleep(limits.notice).await;
    };
    server::serve(listener, router, &limits, &metrics, stop).await;
    if timeout(limits.grace, db.close()).await.is_err() {
        tracing::warn!("connections to the database are still in use");
    }
}

/// A greeting.
#[utoipa::path(get, path = "/", responses((status = 200, description = "The greeting", body = str, content_type = "application/json"), Failures))]
async fn welcome() -> Json<&'static str> {
    Json("Welcome to Marketplace!")
}

/// The name of the service, and the version of the program that runs.
#[utoipa::path(get, path = "/app/info", responses((status = 200, description = "Name and version", body = Info), Failures))]
async fn info() -> Json<Info> {
    Json(Info {
        name: "marketsvc",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The answer of `GET /app/info`.
#[derive(Serialize, ToSchema)]
struct Info {
    name: &'static str,
    version: &'static str,
}
