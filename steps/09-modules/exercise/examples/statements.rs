//! How many statements does the service run to answer with a customer's orders,
//! and to store a new order? How long does a new order take?
//!
//! `./run.sh run 08 statements`

use std::time::Instant;

use check::statements::Recording;
use check::{Database, Failure, OrFail, Service};
use serde_json::json;
use step09::db::base::{Engine, EngineConfig};
use step09::server;

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
        let service = service(&database)?;

        let recording = Recording::start();
        let reply = service.get("/api/orders/1").await?;
        println!(
            "GET /api/orders/1 with {count} orders: status {}, {} statements",
            reply.status,
            recording.statements().len()
        );
    }
    for count in [1, 10, 100] {
        let database = Database::sample().await?;
        for id in 5..=count {
            database.add_item(id, "Salt", 100).await?;
        }
        let service = service(&database)?;
        let items: Vec<_> = (1..=count)
            .map(|id| json!({"id": id, "quantity": 1}))
            .collect();
        let order = json!({"customer_id": 1, "items": items});
        let recording = Recording::start();
        let mut reply = service.post_json("/api/add_new_order", &order).await?;
        let statements = recording.statements().len();
        drop(recording);

        let start = Instant::now();
        for _ in 0..50 {
            reply = service.post_json("/api/add_new_order", &order).await?;
        }
        println!(
            "POST /api/add_new_order with {count} items: status {}, {statements} statements, {:.1} ms",
            reply.status,
            start.elapsed().as_secs_f64() * 1000.0 / 50.0
        );
    }
    Ok(())
}

fn service(database: &Database) -> Result<Service, Failure> {
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("the engine")?;
    Ok(Service::start(server::app(engine)))
}
