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
use crate::db::base::Engine;
use crate::docs::{self, Document, Failures};
use crate::error::Error;
use crate::health::{self, Health};
use crate::metrics::Metrics;
use crate::{authors, books, catalog, customers, observe, orders, server, session};

/// Builds the router without a socket, for tests: the endpoints of all modules except the one
/// of `--demo`, with the default limits.
pub fn app(engine: Engine) -> Router {
    let health = Health::new(engine.clone(), Metrics::new());
    router(engine, health, &Limits::default())
}

/// Puts the endpoints together with the layers around them.
fn router(engine: Engine, health: Health, limits: &Limits) -> Router {
    let observed = from_fn_with_state(health.metrics(), observe::layer);
    let admitted = from_fn_with_state(Admission::new(limits), admission::layer);
    let api = api(engine, limits.demo)
        .fallback(|| async { Error::NotFound("there is no such path") })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed });
    // TODO(14.5): admit the requests of `api`, but not those of health::routes; observe all
    health::routes(health)
        .merge(api.layer(admitted))
        .layer(observed)
    // END TODO(14.5)
}

/// The endpoints that the API has, and the pages that describe it.
fn api(engine: Engine, demo: bool) -> Router {
    let api = OpenApiRouter::with_openapi(Document::openapi())
        .merge(docs::module(
            "app",
            OpenApiRouter::new()
                .routes(routes!(welcome))
                .routes(routes!(info)),
        ))
        .merge(customers::routes(engine.clone()))
        .merge(orders::routes(engine.clone()))
        .merge(authors::routes(engine.clone()))
        .merge(books::routes(engine.clone(), demo))
        .merge(catalog::routes(engine.clone()))
        .layer(from_fn_with_state(engine, session::layer));
    docs::with_pages(api)
}

/// Serves requests from `listener` until `shutdown` completes. Then, one after another:
/// `/readyz` says no; after the notice, no connection is accepted any more; the requests
/// that have begun have the grace period to end; the pool is closed.
///
/// # Cancel safety
/// Dropping the future closes all connections. What a dropped request writes is stored wholly
/// or not at all.
pub async fn run(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    engine: Engine,
    limits: Limits,
) {
    let metrics = Metrics::new();
    let health = Health::new(engine.clone(), metrics.clone());
    let router = router(engine.clone(), health.clone(), &limits);
    let stop = async {
        shutdown.await;
        // TODO(14.8): let /readyz say no, and wait until that has been noticed
        health.drain();
        sleep(limits.notice).await;
        // END TODO(14.8)
    };
    server::serve(listener, router, &limits, &metrics, stop).await;
    // TODO(14.8): close the pool; don't wait longer than the grace period
    if timeout(limits.grace, engine.close()).await.is_err() {
        tracing::warn!("connections to the database are still in use");
    }
    // END TODO(14.8)
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
