//! How many statements does the service run to answer with a customer's orders?
//!
//! `cargo run -q -p step08-exercise --example statements`

use contract::statements::Recording;
use contract::{Database, Failure, OrFail, Service};
use step08::db::base::{Engine, EngineConfig};
use step08::server;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    for count in [1, 10, 100, 1000] {
        let database = Database::sample().await?;
        // `add_orders` assigns the orders to customers 1, 2 and 3. The update
        // then assigns all of them to customer 1.
        database
            .execute("DELETE FROM order_items; DELETE FROM orders;")
            .await?;
        database.add_orders(count, 2).await?;
        database
            .execute("UPDATE orders SET customer_id = 1")
            .await?;
        let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("the engine")?;
        let service = Service::start(server::app(engine));

        let recording = Recording::start();
        let reply = service.get("/api/orders/1").await?;
        println!(
            "GET /api/orders/1 with {count} orders: status {}, {} statements",
            reply.status,
            recording.statements().len()
        );
    }
    Ok(())
}
