//! Databases of the market, and what is asked of one.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fastrand::Rng;
use hyper::StatusCode;
use serde_json::json;

use crate::error::Result;
use crate::http::Request;
use crate::load::{Answer, Workload};
use crate::{contender, program};

const SEED: &str = "marketsvc-seed";

/// Makes a database with so many customers and orders added to the sample; the same ones
/// each time.
///
/// # Errors
///
/// When it cannot be made.
pub fn seed(database: &Path, customers: u32, orders: u32) -> Result<()> {
    run_seed(contender::on(SEED, database)?, customers, orders)
}

/// As [`seed`], in an empty database of `PostgreSQL`.
///
/// # Errors
///
/// When the rows cannot be made.
pub fn seed_postgres(url: &str, customers: u32, orders: u32) -> Result<()> {
    run_seed(contender::at(SEED, url)?, customers, orders)
}

fn run_seed(mut seed: Command, customers: u32, orders: u32) -> Result<()> {
    seed.args(["--customers", &customers.to_string()])
        .args(["--orders", &orders.to_string()]);
    program::output(&mut seed).map(drop)
}

/// `count` times the total of a random order.
pub fn order_total(count: usize, orders: u32) -> Vec<Request> {
    random(count, orders)
        .map(|id| Request::get(&format!("/api/order_total/{id}")))
        .collect()
}

/// `count` times the totals of `each` random orders.
pub fn orders_total(count: usize, each: usize, orders: u32) -> Vec<Request> {
    let ids: Vec<_> = random(count * each, orders)
        .map(|id| id.to_string())
        .collect();
    ids.chunks(each)
        .map(|ids| Request::get(&format!("/api/orders_total?orders={}", ids.join(","))))
        .collect()
}

/// `count` times the orders of a random customer.
pub fn orders(count: usize, customers: u32) -> Vec<Request> {
    random(count, customers)
        .map(|id| Request::get(&format!("/api/orders/{id}")))
        .collect()
}

/// New orders of two items each.
pub fn new_orders(count: usize, customers: u32) -> Arc<Workload> {
    let orders = random(count, customers).map(|customer| {
        let order = json!({
            "customer_id": customer,
            "items": [
                { "id": 1 + customer % 2, "quantity": 1 + customer % 9 },
                { "id": 3 + customer % 2, "quantity": 1 + customer % 7 },
            ],
        });
        let created = Answer {
            status: StatusCode::CREATED,
            value: None,
        };
        (Request::post("/api/add_new_order", &order), created)
    });
    Arc::new(orders.collect())
}

/// `count` numbers from 1 to `most`; the same ones each time.
fn random(count: usize, most: u32) -> impl Iterator<Item = u32> {
    let mut random = Rng::with_seed(1);
    (0..count).map(move |_| random.u32(1..=most))
}
