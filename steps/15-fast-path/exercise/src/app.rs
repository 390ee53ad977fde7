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
use crate::orders::{Totals, Writer, totals, writer};
use crate::{authors, books, catalog, customers, observe, orders, server, session};

/// Builds the router without a socket, for tests: the endpoints of all modules except the one
/// of `--demo`, with the default limits.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn app(engine: Engine) -> Router {
    let health = Health::new(engine.clone(), Metrics::new());
    let (totals, _) = totals::start(engine.clone());
    let (writer, _) = writer::start(engine.clone());
    router(engine, health, &Limits::default(), totals, writer)
}

/// Puts the endpoints together with the layers around them.
fn router(
    engine: Engine,
    health: Health,
    limits: &Limits,
    totals: Totals,
    writer: Writer,
) -> Router {
    let observed = from_fn_with_state(health.metrics(), observe::layer);
    let admitted = from_fn_with_state(Admission::new(limits), admission::layer);
    let not_allowed = || async { Error::MethodNotAllowed };
    let api = api(engine, limits.demo, totals, writer)
        .fallback(|| async { Error::NotFound("there is no such path") })
        .method_not_allowed_fallback(not_allowed);
    health::routes(health)
        .method_not_allowed_fallback(not_allowed)
        .merge(api.layer(admitted))
        .layer(observed)
}

/// The endpoints that the API has, and the pages that describe it.
fn api(engine: Engine, demo: bool, totals: Totals, writer: Writer) -> Router {
    let api = OpenApiRouter::with_openapi(Document::openapi())
        .merge(docs::module(
            "app",
            OpenApiRouter::new()
                .routes(routes!(welcome))
                .routes(routes!(info)),
        ))
        .merge(customers::routes(engine.clone()))
        .merge(orders::routes(engine.clone(), totals, writer))
        .merge(authors::routes(engine.clone()))
        .merge(books::routes(engine.clone(), demo))
        .merge(catalog::routes(engine.clone()))
        .layer(from_fn_with_state(engine, session::layer));
    docs::with_pages(api)
}

/// Serves requests from `listener` until `shutdown` completes. Then, one after another:
/// `/readyz` says no; after the notice, no connection is accepted any more; the requests
/// that have begun have the grace period to end; the tasks of the batches end and the pool is
/// closed.
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
    let (totals, loading) = totals::start(engine.clone());
    let (writer, writing) = writer::start(engine.clone());
    let router = router(engine.clone(), health.clone(), &limits, totals, writer);
    let stop = async {
        shutdown.await;
        health.drain();
        sleep(limits.notice).await;
    };
    server::serve(listener, router, &limits, &metrics, stop).await;
    let closed = timeout(limits.grace, async {
        // The last clones of the writer and of the totals are gone, so their tasks end. An
        // error would mean that one panicked, and its connection is closed then, too.
        let _ = writing.await;
        let _ = loading.await;
        engine.close().await;
    });
    if closed.await.is_err() {
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
