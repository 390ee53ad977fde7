//! Eight clients request all customers, read a little and then stop. The pool
//! has four connections. Which other requests are still answered?
//!
//! `./run.sh run 07 slow_readers`

use std::time::Duration;

use check::{Database, Failure, OrFail, Service};
use step07_solution::db::base::{Engine, EngineConfig};
use step07_solution::server;

const CLIENTS: usize = 8;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // This is far more than fits into the buffers between the service and a
    // client.
    let database = Database::sample().await?;
    database.add_customers(40_000).await?;
    let config = EngineConfig {
        max_connections: 4,
        acquire_timeout: Duration::from_millis(500),
        ..EngineConfig::default()
    };
    let engine = Engine::new(&database.url(), config).or_fail("the engine")?;
    let service = Service::start(server::app(engine));

    // Keeping a reply without reading it simulates a client that has stopped.
    let mut stopped = Vec::new();
    for client in 1..=CLIENTS {
        let mut reply = service.open("/api/customers").await?;
        let begun = reply.next_chunk().await;
        println!(
            "client {client}: GET /api/customers: status {}, {}",
            reply.status,
            if begun.is_some() && reply.status == 200 {
                "reads a little and stops"
            } else {
                "turned away"
            }
        );
        stopped.push(reply);
    }
    let reply = service.get("/api/order_total/1").await?;
    println!("GET /api/order_total/1: status {}", reply.status);
    Ok(())
}
