//! A peer for the bench: what somebody who knows Rust would write without an
//! async database driver. axum, rusqlite's blocking calls on tokio's threads for
//! blocking work, and r2d2 as the pool.
//!
//! It answers the routes that the bench asks for with the same JSON as
//! `marketsvc`, over the same database file, DATABASE, at a free port.
//!
//! Where the documentation of its parts leaves a choice, the faster one is taken:
//! statements are prepared once for each connection, the pool does not test
//! connections that cannot have gone, writers queue for one connection instead of
//! polling for SQLite's lock, and many totals are read in one turn on one thread.

use std::env;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path as Tail, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use futures::stream;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

type Pool = r2d2::Pool<SqliteConnectionManager>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = env::var_os("DATABASE").ok_or("DATABASE must name a market's database")?;
    let market = Market::open(Path::new(&database))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(stdout(), "listening on http://{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app(market)).await?;
    Ok(())
}

fn app(market: Market) -> Router {
    Router::new()
        .route("/api/customers", get(customers))
        .route("/api/orders/{customer}", get(orders))
        .route("/api/order_total/{order}", get(order_total))
        .route("/api/orders_total", get(orders_total))
        .route("/api/add_new_order", post(add_new_order))
        .with_state(market)
}

/// The database. One connection writes, since SQLite has one writer at a time.
#[derive(Clone)]
struct Market {
    readers: Pool,
    writer: Pool,
}

impl Market {
    fn open(path: &Path) -> Result<Self, r2d2::Error> {
        let manager = || {
            SqliteConnectionManager::file(path).with_init(|connection| {
                connection.busy_timeout(Duration::from_secs(5))?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                // A new order that was acknowledged survives a power cut.
                connection.pragma_update(None, "synchronous", "FULL")?;
                connection.pragma_update(None, "foreign_keys", true)
            })
        };
        // There is no server that could have hung up.
        let pool = || r2d2::Pool::builder().test_on_check_out(false);
        Ok(Self {
            // First, since it puts the file into WAL mode.
            writer: pool().max_size(1).build(manager())?,
            // As many as r2d2 opens when nobody says a number: 10.
            readers: pool().build(manager())?,
        })
    }
}

/// Runs `work` with a connection of `pool` on a thread where it may block.
async fn with_connection<T: Send + 'static>(
    pool: Pool,
    work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(move || work(&mut *pool.get()?))
        .await
        .map_err(Error::internal)?
}

// ---- customers

#[derive(Serialize)]
struct Customer<'a> {
    id: i64,
    name: &'a str,
    address: Address,
}

#[derive(Serialize)]
struct Address {
    flat_number: i64,
    post_code: i64,
}

/// How much is written before it is sent, in bytes.
const CHUNK: usize = 64 * 1024;

/// Every customer, streamed: a blocking thread writes JSON and sends it through a
/// channel to the body. Collecting all rows would need memory for all of them, and
/// `spawn_blocking` gives a result only at its end, so a channel is how such a
/// program streams. Its price: a client that stops reading keeps a connection
/// and a thread.
async fn customers(State(market): State<Market>) -> Response {
    let (sender, receiver) = mpsc::channel(2);
    spawn_blocking(move || {
        if let Err(error) = send_customers(&market.readers, &sender) {
            // Breaks the body off, by which the client knows that it is not whole.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let chunks = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, Body::from_stream(chunks)).into_response()
}

fn send_customers(pool: &Pool, sender: &mpsc::Sender<Result<Bytes, Error>>) -> Result<(), Error> {
    let connection = pool.get()?;
    let mut statement = connection.prepare_cached(
        "SELECT customer.id, customer.name, address.flat_number, address.post_code
         FROM customer JOIN address ON address.id = customer.address_id
         ORDER BY customer.id",
    )?;
    let mut rows = statement.query([])?;
    let mut text = Vec::with_capacity(CHUNK + 1024);
    let mut separator = b'[';
    while let Some(row) = rows.next()? {
        text.push(separator);
        separator = b',';
        let customer = Customer {
            id: row.get(0)?,
            // Borrowed from SQLite until the next row.
            name: row.get_ref(1)?.as_str().map_err(Error::internal)?,
            address: Address {
                flat_number: row.get(2)?,
                post_code: row.get(3)?,
            },
        };
        serde_json::to_writer(&mut text, &customer).map_err(Error::internal)?;
        if text.len() >= CHUNK {
            let chunk = std::mem::replace(&mut text, Vec::with_capacity(CHUNK + 1024));
            if sender.blocking_send(Ok(chunk.into())).is_err() {
                // The client is gone.
                return Ok(());
            }
        }
    }
    if separator == b'[' {
        text.push(b'[');
    }
    text.push(b']');
    let _ = sender.blocking_send(Ok(text.into()));
    Ok(())
}

// ---- orders

#[derive(Serialize)]
struct Order {
    #[serde(rename = "order_id")]
    id: i64,
    customer: Name,
    #[serde(rename = "order_time")]
    time: String,
    items: Vec<Item>,
}

#[derive(Serialize, Clone)]
struct Name {
    name: String,
}

#[derive(Serialize)]
struct Item {
    name: String,
    price: f64,
    quantity: i64,
    total: f64,
}

/// Cents as a number of whole units.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^52 cents")]
fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}

async fn orders(
    State(market): State<Market>,
    Tail(customer): Tail<i64>,
) -> Result<Json<Vec<Order>>, Error> {
    let orders = with_connection(market.readers, move |connection| {
        Ok(orders_of(connection, customer)?)
    });
    Ok(Json(orders.await?))
}

fn orders_of(connection: &Connection, customer: i64) -> rusqlite::Result<Vec<Order>> {
    let name: String = connection
        .prepare_cached("SELECT name FROM customer WHERE id = ?1")?
        .query_row([customer], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(
        "SELECT orders.id, orders.order_time, item.name, item.price_cents, order_items.quantity
         FROM orders
         LEFT JOIN order_items ON order_items.order_id = orders.id
         LEFT JOIN item ON item.id = order_items.item_id
         WHERE orders.customer_id = ?1
         ORDER BY orders.id, order_items.rowid",
    )?;
    let mut rows = statement.query([customer])?;
    let mut orders: Vec<Order> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if orders.last().is_none_or(|order| order.id != id) {
            orders.push(Order {
                id,
                customer: Name { name: name.clone() },
                time: row.get(1)?,
                items: Vec::new(),
            });
        }
        // An order without items is one row without an item.
        if let (Some(name), Some(order)) = (row.get(2)?, orders.last_mut()) {
            let (price, quantity): (i64, i64) = (row.get(3)?, row.get(4)?);
            order.items.push(Item {
                name,
                price: money(price),
                quantity,
                total: money(price * quantity),
            });
        }
    }
    Ok(orders)
}

// ---- totals

/// What the order costs, `None` without items.
fn total(connection: &Connection, order: i64) -> rusqlite::Result<Option<f64>> {
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT sum(item.price_cents * order_items.quantity)
                 FROM order_items
                 JOIN item ON item.id = order_items.item_id
                 WHERE order_items.order_id = orders.id)
         FROM orders
         WHERE orders.id = ?1",
    )?;
    let cents: Option<i64> = statement.query_row([order], |row| row.get(0))?;
    Ok(cents.map(money))
}

async fn order_total(
    State(market): State<Market>,
    Tail(order): Tail<i64>,
) -> Result<Json<Value>, Error> {
    let total = with_connection(market.readers, move |connection| {
        Ok(total(connection, order)?)
    });
    Ok(Json(json!({ "Order Total": total.await? })))
}

#[derive(Deserialize)]
struct Totals {
    orders: String,
}

/// One turn on a blocking thread for all of them: a query takes less time than
/// handing it to another thread.
async fn orders_total(
    State(market): State<Market>,
    Query(Totals { orders }): Query<Totals>,
) -> Result<Json<Vec<Option<f64>>>, Error> {
    let ids: Vec<i64> = orders
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| Error(StatusCode::BAD_REQUEST, Box::new(error)))?;
    let totals = with_connection(market.readers, move |connection| {
        ids.into_iter()
            .map(|order| Ok(total(connection, order).optional()?.flatten()))
            .collect()
    });
    Ok(Json(totals.await?))
}

// ---- a new order

#[derive(Deserialize)]
struct NewOrder {
    customer_id: i64,
    items: Vec<NewItem>,
}

#[derive(Deserialize)]
struct NewItem {
    id: i64,
    quantity: i64,
}

async fn add_new_order(
    State(market): State<Market>,
    Json(order): Json<NewOrder>,
) -> Result<Response, Error> {
    if order.items.is_empty() {
        let empty = "an order has at least one item";
        return Err(Error(StatusCode::UNPROCESSABLE_ENTITY, empty.into()));
    }
    let id = with_connection(market.writer, move |connection| store(connection, &order)).await?;
    let location = [(header::LOCATION, format!("/api/order_total/{id}"))];
    let created = Json(json!({ "order_id": id }));
    Ok((StatusCode::CREATED, location, created).into_response())
}

/// The schema refuses what an order may not be: unknown customers and items,
/// quantities below 1 and items named twice break a constraint.
fn store(connection: &mut Connection, order: &NewOrder) -> Result<i64, Error> {
    // Takes the lock at once; a reader that turns into a writer may fail halfway.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction
        .prepare_cached(
            "INSERT INTO orders (customer_id, order_time) VALUES (?1, datetime('now'))",
        )?
        .execute([order.customer_id])?;
    let id = transaction.last_insert_rowid();
    let mut insert = transaction.prepare_cached(
        "INSERT INTO order_items (order_id, item_id, quantity) VALUES (?1, ?2, ?3)",
    )?;
    for item in &order.items {
        insert.execute([id, item.id, item.quantity])?;
    }
    drop(insert);
    transaction.commit()?;
    Ok(id)
}

// ---- errors

/// The status of a failure, and what it says.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Error(StatusCode, Box<dyn std::error::Error + Send + Sync>);

impl Error {
    fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.into())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let status = match (&error, error.sqlite_error_code()) {
            (rusqlite::Error::QueryReturnedNoRows, _) => StatusCode::NOT_FOUND,
            (_, Some(ErrorCode::ConstraintViolation)) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.into())
    }
}

impl From<r2d2::Error> for Error {
    fn from(error: r2d2::Error) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.0.is_server_error() {
            eprintln!("{self}");
        }
        let problem = json!({ "status": self.0.as_u16(), "detail": self.to_string() });
        (self.0, Json(problem)).into_response()
    }
}

#[cfg(test)]
mod tests;
