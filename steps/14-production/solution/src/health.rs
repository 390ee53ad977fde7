//! Endpoints for the programs that look after the service: the one that restarts it calls
//! `/healthz`, a load balancer calls `/readyz`, and a monitor calls `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time::timeout;

use crate::db::base::Engine;
use crate::error::Error;
use crate::metrics::Metrics;

/// How long the database may take to answer `/readyz`.
pub const PING_TIME: Duration = Duration::from_millis(500);

/// Knows whether the service can take requests. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Health {
    engine: Engine,
    metrics: Metrics,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// Creates the health of a service over `engine` that is not draining.
    pub fn new(engine: Engine, metrics: Metrics) -> Self {
        Self {
            engine,
            metrics,
            draining: Arc::default(),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Makes `/readyz` answer 503 from now on, so that load balancers send requests elsewhere.
    /// Requests that still come are answered as before.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the service can answer requests now.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it is draining, and if the database does not answer
    /// within half a second.
    async fn ready(&self) -> Result<(), Error> {
        // TODO(14.5): say no while the service drains, or the database does not answer in time
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::NotReady);
        }
        match timeout(PING_TIME, self.engine.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::NotReady),
        }
        // END TODO(14.5)
    }
}

/// The endpoints.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> Result<&'static str, Error> {
    health.ready().await?;
    Ok("ok")
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let text = health.metrics.text(health.engine.connections());
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], text)
}
