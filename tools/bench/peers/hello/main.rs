//! The limit of the bench: axum without a database. Whatever is asked below
//! `/api/order_total/` is answered with the same total, so what it reaches is what
//! the web framework, the sockets and the load generator leave to everyone else.

use std::error::Error;
use std::io::{Write, stdout};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(stdout(), "listening on http://{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app()).await?;
    Ok(())
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
