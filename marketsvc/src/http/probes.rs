//! `/healthz`, `/readyz` and `/metrics`: for those who run the service. None
//! of them is turned away when the service has too much to do.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time;

use super::{AppState, PathAndHandlers};
use crate::Error;

pub(super) fn routes() -> [PathAndHandlers; 3] {
    [
        ("/healthz", |guard| get(guard.around(alive))),
        ("/readyz", |guard| get(guard.around(ready))),
        ("/metrics", |guard| get(guard.around(metrics))),
    ]
}

/// `GET /healthz`: `"alive"` as long as the program answers at all, whatever
/// the database does. One that does not should be started anew.
async fn alive() -> axum::Json<&'static str> {
    axum::Json("alive")
}

/// `GET /readyz`: `"ready"` when the database can be read. 503 when it does
/// not answer within [`Limits::probe`](crate::Limits::probe), and from the
/// moment at which the service is told to stop: it should be sent nothing new.
async fn ready(State(state): State<AppState>) -> Result<axum::Json<&'static str>, Error> {
    if state.is_stopping() {
        return Err(Error::NotReady("the service is stopping"));
    }
    match time::timeout(state.limits.probe, state.db.reach()).await {
        Ok(Ok(())) => Ok(axum::Json("ready")),
        Ok(Err(error)) => {
            // The cause is for the log.
            error.log();
            Err(Error::NotReady("the database cannot be read"))
        }
        Err(_) => Err(Error::NotReady("the database does not answer in time")),
    }
}

/// `GET /metrics`: see [`crate::metrics`].
async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let text = state.metrics.text(state.admission.in_flight(), &state.db);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}
