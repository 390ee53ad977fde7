//! The application: puts the modules together and serves them.

use axum::middleware::from_fn_with_state;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::books::Slow;
use crate::db::base::Engine;
use crate::docs::{self, Document};
use crate::{authors, books, catalog, customers, orders, session};

/// Builds the router: the endpoints of all modules, without a socket.
pub fn app(engine: Engine) -> Router {
    app_with(engine, Slow::default())
}

/// As [`app`], with slow queries that wait as `slow` says. Only the programs that
/// measure the other two ways use this.
pub fn app_with(engine: Engine, slow: Slow) -> Router {
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
        .merge(books::routes(engine.clone(), slow))
        .merge(catalog::routes(engine.clone()))
        .layer(from_fn_with_state(engine, session::layer));
    docs::with_pages(api)
}

/// Serves requests from `listener` until `shutdown` completes, and then waits
/// until the running requests are finished.
///
/// # Errors
/// Returns the error that the listener's socket reports.
pub async fn run(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    engine: Engine,
) -> std::io::Result<()> {
    axum::serve(listener, app(engine))
        .with_graceful_shutdown(shutdown)
        .await
}

/// A greeting.
#[utoipa::path(get, path = "/", responses((status = 200, description = "The greeting", body = str, content_type = "application/json")))]
async fn welcome() -> Json<&'static str> {
    Json("Welcome to Marketplace!")
}

/// The name of the service, and the version of the program that runs.
#[utoipa::path(get, path = "/app/info", responses((status = 200, description = "Name and version", body = Info)))]
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
