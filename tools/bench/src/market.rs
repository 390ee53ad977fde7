//! What is asked of a market, and what the answers have to be: read from the
//! database by plain statements, so that no contender is its own judge.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Statement};
use serde_json::{Value, json};

use crate::driver::{Request, Workload, mix};
use crate::error::Result;

/// The statement that reads what an order costs, in cents, as the service has it.
pub const TOTAL: &str = "SELECT (SELECT sum(item.price_cents * order_items.quantity)
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
    pub fn order_total(&self, count: u32) -> Result<Arc<Workload>> {
        let mut total = self.connection.prepare(TOTAL)?;
        let requests = random(1, count, self.orders).map(|id| {
            let answer = json!({ "Order Total": amount(&mut total, id)? });
            Ok(Request::get(&format!("/api/order_total/{id}"), answer))
        });
        workload(requests)
    }

    /// The requests of [`Self::order_total`] to a server that has one answer.
    pub fn hello(&self, count: u32) -> Result<Arc<Workload>> {
        let requests = random(1, count, self.orders).map(|id| {
            let answer = json!({ "Order Total": 30 });
            Ok(Request::get(&format!("/api/order_total/{id}"), answer))
        });
        workload(requests)
    }

    /// `count` times the orders of a random customer.
    pub fn orders(&self, count: u32) -> Result<Arc<Workload>> {
        let mut lines = self.connection.prepare(ORDERS)?;
        let requests = random(2, count, self.customers).map(|id| {
            let answer = orders_of(&mut lines, id)?;
            Ok(Request::get(&format!("/api/orders/{id}"), answer))
        });
        workload(requests)
    }

    /// `count` times the totals of `ids` random orders.
    pub fn orders_total(&self, count: u32, ids: u32) -> Result<Arc<Workload>> {
        let mut total = self.connection.prepare(TOTAL)?;
        let requests = (0..count).map(|request| {
            let ids: Vec<u32> = random(3 + u64::from(request), ids, self.orders).collect();
            let totals: Result<Vec<_>> = ids.iter().map(|id| amount(&mut total, *id)).collect();
            let list: Vec<_> = ids.iter().map(u32::to_string).collect();
            let path = format!("/api/orders_total?orders={}", list.join(","));
            Ok(Request::get(&path, json!(totals?)))
        });
        workload(requests)
    }

    /// As [`Self::order_total`], but every tenth request is a new order.
    pub fn mixed(&self, count: u32) -> Result<Arc<Workload>> {
        let mut total = self.connection.prepare(TOTAL)?;
        let requests = random(1, count, self.orders)
            .zip(0_u32..)
            .map(|(id, place)| {
                if place % 10 == 9 {
                    return Ok(self.new_order(id));
                }
                let answer = json!({ "Order Total": amount(&mut total, id)? });
                Ok(Request::get(&format!("/api/order_total/{id}"), answer))
            });
        workload(requests)
    }

    /// New orders of two items each.
    pub fn new_orders(&self, count: u32) -> Result<Arc<Workload>> {
        let requests = random(4, count, self.orders);
        workload(requests.map(|number| Ok(self.new_order(number))))
    }

    fn new_order(&self, number: u32) -> Request {
        let order = json!({
            "customer_id": 1 + number % self.customers,
            "items": [
                { "id": 1 + number % 2, "quantity": 1 + number % 9 },
                { "id": 3 + number % 2, "quantity": 1 + number % 7 },
            ],
        });
        Request::create("/api/add_new_order", &order)
    }
}

/// `count` numbers from 1 to `most`; the same ones each time.
fn random(seed: u64, count: u32, most: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |n| random_id((seed << 32) + u64::from(n), most))
}

/// A number from 1 to `most` for each `place`.
pub fn random_id(place: u64, most: u32) -> u32 {
    u32::try_from(1 + mix(place) % u64::from(most)).unwrap_or(most)
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

fn workload(requests: impl Iterator<Item = Result<Request>>) -> Result<Arc<Workload>> {
    let requests: Result<Vec<_>> = requests.collect();
    Ok(Arc::new(Workload::new(requests?, 1)))
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
