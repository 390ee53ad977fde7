//! What is asked of a market, and what the answers have to be: read from the
//! database by plain statements, so that no contender is its own judge.

use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Statement};
use serde_json::{Value, json};

use crate::error::Result;
use crate::http::Request;
use crate::load::{Expected, Workload};

/// The statement that reads what an order costs, in cents, as the service has it.
const TOTAL: &str = "SELECT (SELECT sum(item.price_cents * order_items.quantity)
        FROM order_items
        JOIN item ON item.id = order_items.item_id
        WHERE order_items.order_id = orders.id)
 FROM orders
 WHERE orders.id = ?1";

const ORDERS: &str = "SELECT orders.id, customer.name, orders.order_time,
        item.name, item.price_cents, order_items.quantity
 FROM orders
 JOIN customer ON customer.id = orders.customer_id
 LEFT JOIN order_items ON order_items.order_id = orders.id
 LEFT JOIN item ON item.id = order_items.item_id
 WHERE orders.customer_id = ?1
 ORDER BY orders.id, order_items.rowid";

/// A database that questions are made from.
pub struct Market {
    connection: Connection,
    orders: u32,
    customers: u32,
}

impl Market {
    /// # Errors
    ///
    /// When that is no market's database.
    pub fn open(database: &Path) -> Result<Self> {
        let connection = open(database)?;
        let count = |table| {
            connection.query_row(&format!("SELECT max(id) FROM {table}"), [], |row| {
                row.get(0)
            })
        };
        Ok(Self {
            orders: count("orders")?,
            customers: count("customer")?,
            connection,
        })
    }

    /// `count` times the total of a random order.
    ///
    /// # Errors
    ///
    /// When the database cannot be read; as for all of these.
    pub fn order_total(&self, count: usize) -> Result<Arc<Workload>> {
        let mut total = self.connection.prepare(TOTAL)?;
        let requests = random(count, self.orders).map(|id| total_of(&mut total, id));
        requests.collect::<Result<_>>().map(Arc::new)
    }

    /// The requests of [`Self::order_total`] to a server that has one answer.
    pub fn hello(&self, count: usize) -> Arc<Workload> {
        let requests = random(count, self.orders).map(|id| {
            expect(
                &format!("/api/order_total/{id}"),
                json!({ "Order Total": 30 }),
            )
        });
        Arc::new(requests.collect())
    }

    /// `count` times the orders of a random customer.
    pub fn orders(&self, count: usize) -> Result<Arc<Workload>> {
        let mut lines = self.connection.prepare(ORDERS)?;
        let requests = random(count, self.customers).map(|id| {
            let answer = orders_of(&mut lines, id)?;
            Ok(expect(&format!("/api/orders/{id}"), answer))
        });
        requests.collect::<Result<_>>().map(Arc::new)
    }

    /// `count` times the totals of `each` random orders.
    pub fn orders_total(&self, count: usize, each: usize) -> Result<Arc<Workload>> {
        let mut total = self.connection.prepare(TOTAL)?;
        let ids: Vec<u32> = random(count * each, self.orders).collect();
        let requests = ids.chunks(each).map(|ids| {
            let totals: Result<Vec<_>> = ids.iter().map(|id| amount(&mut total, *id)).collect();
            let list: Vec<_> = ids.iter().map(u32::to_string).collect();
            let path = format!("/api/orders_total?orders={}", list.join(","));
            Ok(expect(&path, json!(totals?)))
        });
        requests.collect::<Result<_>>().map(Arc::new)
    }

    /// New orders of two items each.
    pub fn new_orders(&self, count: usize) -> Arc<Workload> {
        let numbers = random(count, self.orders);
        Arc::new(numbers.map(|number| self.new_order(number)).collect())
    }

    fn new_order(&self, number: u32) -> (Request, Expected) {
        let order = json!({
            "customer_id": 1 + number % self.customers,
            "items": [
                { "id": 1 + number % 2, "quantity": 1 + number % 9 },
                { "id": 3 + number % 2, "quantity": 1 + number % 7 },
            ],
        });
        let request = Request::post("/api/add_new_order", &order);
        (request, Expected::Created)
    }
}

fn expect(path: &str, answer: Value) -> (Request, Expected) {
    (Request::get(path), Expected::Json(answer))
}

fn total_of(total: &mut Statement<'_>, id: u32) -> Result<(Request, Expected)> {
    let answer = json!({ "Order Total": amount(total, id)? });
    Ok(expect(&format!("/api/order_total/{id}"), answer))
}

/// `count` numbers from 1 to `most`; the same ones each time.
fn random(count: usize, most: u32) -> impl Iterator<Item = u32> {
    let mut random = Rng::with_seed(1);
    (0..count).map(move |_| random.u32(1..=most))
}

/// Opens a database for reading.
///
/// # Errors
///
/// When it is not there.
pub fn open(database: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(database, flags)?)
}

/// As it is on the wire: not in cents; `null` for no such order or an empty one.
fn amount(total: &mut Statement<'_>, id: u32) -> Result<Value> {
    let cents = total.query_row([id], |row| row.get::<_, Option<i64>>(0));
    Ok(json!(cents.optional()?.flatten().map(money)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an order is cheaper than 2^52 cents"
)]
fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}

fn orders_of(lines: &mut Statement<'_>, customer: u32) -> Result<Value> {
    let mut rows = lines.query([customer])?;
    let mut orders: Vec<(i64, Value)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if orders.last().is_none_or(|(last, _)| *last != id) {
            let order = json!({
                "order_id": id,
                "customer": { "name": row.get::<_, String>(1)? },
                "order_time": row.get::<_, String>(2)?,
                "items": [],
            });
            orders.push((id, order));
        }
        let Some(name) = row.get::<_, Option<String>>(3)? else {
            continue;
        };
        let (price, quantity): (i64, i64) = (row.get(4)?, row.get(5)?);
        let item = json!({
            "name": name,
            "price": money(price),
            "quantity": quantity,
            "total": money(price * quantity),
        });
        if let Some((_, order)) = orders.last_mut() {
            order["items"]
                .as_array_mut()
                .expect("it was made so")
                .push(item);
        }
    }
    Ok(orders.into_iter().map(|(_, order)| order).collect())
}
