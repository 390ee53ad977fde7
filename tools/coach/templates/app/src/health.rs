//! Endpoints for the programs that look after the service: the one that restarts it calls
//! `/healthz`, a load balancer calls `/readyz`.

use std::time::Duration;

use axum::extract::State;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::Pool;
use crate::error::Error;
use crate::openapi::{self, Failures};

/// How long the database may take to answer `/readyz`.
const PING_TIME: Duration = Duration::from_secs(1);

/// The endpoints of this module.
pub fn routes(pool: &Pool) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .with_state(pool.clone());
    openapi::module("health", router)
}

/// Whether the service runs.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It runs", body = str)))]
async fn healthz() -> &'static str {
    "ok"
}

/// Whether the service can answer requests: its database answers.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "It can", body = str), Failures))]
async fn readyz(State(pool): State<Pool>) -> Result<&'static str, Error> {
    let ping = sqlx::query("SELECT 1").execute(&pool);
    match timeout(PING_TIME, ping).await {
        Ok(result) => result.map(|_| "ok").map_err(Error::from),
        Err(_) => Err(Error::TimedOut),
    }
}
