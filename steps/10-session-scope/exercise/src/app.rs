//! The application: puts the modules together and serves them.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::db::base::Engine;
use crate::{authors, books, catalog, customers, orders};

/// Builds the router: the endpoints of all modules, without a socket.
pub fn app(engine: Engine) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/app/info", get(info))
        .merge(customers::routes(engine.clone()))
        .merge(orders::routes(engine.clone()))
        .merge(authors::routes(engine.clone()))
        .merge(books::routes(engine.clone()))
        // TODO(10.2): add the layer of the session
        .merge(catalog::routes(engine))
    // END TODO(10.2)
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

async fn welcome() -> Json<&'static str> {
    Json("Welcome to Marketplace!")
}

/// Returns the name of the service and the version of the program that runs.
async fn info() -> Json<Value> {
    Json(json!({ "name": "marketsvc", "version": env!("CARGO_PKG_VERSION") }))
}
