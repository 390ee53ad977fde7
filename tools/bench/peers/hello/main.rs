//! The limit of the bench: axum without a database. Whatever is asked below
//! `/api/order_total/` is answered with the same total, so what it reaches is what
//! the web framework, the sockets and the load generator leave to everyone else. With
//! the argument `layers` each request passes what it passes in the service as well: a
//! permit for those that compute, a number, and a line of the log that is filtered out.

use std::env;
use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(stdout(), "listening on http://{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    let mut app = app();
    if env::args().nth(1).as_deref() == Some("layers") {
        app = app
            .layer(from_fn_with_state(Arc::new(Semaphore::new(1_536)), admit))
            .layer(from_fn(log));
    }
    axum::serve(listener, app).await?;
    Ok(())
}

/// At most so many requests at a time; the others are refused.
async fn admit(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let _permit = permits
        .try_acquire()
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(next.run(request).await)
}

/// Numbers the request, and would log it.
async fn log(request: Request, next: Next) -> Response {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (start, path) = (Instant::now(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    tracing::info!(number, path, status, ?took, "answered");
    let headers = response.headers_mut();
    headers.insert("x-request-id", HeaderValue::from(number));
    response
}

fn app() -> Router {
    Router::new().route(
        "/api/order_total/{*order}",
        get(|| async {
            (
                [(CONTENT_TYPE, "application/json")],
                r#"{"Order Total":30.0}"#,
            )
        }),
    )
}

#[cfg(test)]
mod tests {
    use check::{Outcome, Service};
    use serde_json::json;

    #[tokio::test]
    async fn every_order_has_the_same_total() -> Outcome {
        let service = Service::start(super::app());
        for order in ["1", "77", "1/2"] {
            let reply = service.get(&format!("/api/order_total/{order}")).await?;
            reply.expect_json(200, &json!({"Order Total": 30}))?;
        }
        service.get("/api/customers").await?.expect_status(404)?;
        Ok(())
    }
}
