//! Measures the three paths of this step, each beside the way that step 14 goes, in one
//! run: `./run.sh run 15 measure`. The ratios count: the rates are those of your machine.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use step15::customers::{Customer, CustomerService};
use step15::db::base::{Engine, EngineConfig, PAGE_ROWS};
use step15::db::init_db;
use step15::orders::{NewOrder, NewOrderItem, OrderService, totals, writer};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long each way of a path is measured, in each of the rounds.
const TIME: Duration = Duration::from_millis(500);

/// The ways take turns, so that both see the same state of the machine.
const ROUNDS: usize = 3;

const CUSTOMERS: i64 = 20_000;
const ORDERS: i64 = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}/market.sqlite", folder.path().display());
    init_db::create_or_migrate(&url).await?;
    let engine = Engine::new(&url, EngineConfig::default())?;
    fill(&engine).await?;
    let (totals, _) = totals::start(engine.clone());
    let (writer, _) = writer::start(engine.clone());
    let market = Arc::new(Market {
        orders: OrderService::new(engine.clone(), totals, writer),
        customers: CustomerService::new(engine.clone()),
        engine,
    });

    println!("                                  step 14  this step  ratio");
    let way = |way| (Arc::clone(&market), way);
    compare(
        "totals a second, 64 clients",
        64,
        way(Way::Total),
        way(Way::TotalAlone),
    )
    .await?;
    compare(
        "orders a second, 64 clients",
        64,
        way(Way::Order),
        way(Way::OrderAlone),
    )
    .await?;
    compare(
        "orders a second, 1 client",
        1,
        way(Way::Order),
        way(Way::OrderAlone),
    )
    .await?;
    compare(
        "lists of 20,000 a second",
        1,
        way(Way::Pages),
        way(Way::Rows),
    )
    .await?;
    Ok(())
}

/// Prints the rates of two ways: the second one is that of step 14.
async fn compare(
    what: &str,
    clients: usize,
    new: (Arc<Market>, Way),
    old: (Arc<Market>, Way),
) -> Result<()> {
    let (mut best_new, mut best_old) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        best_old = best_old.max(rate(clients, &old).await?);
        best_new = best_new.max(rate(clients, &new).await?);
    }
    let ratio = best_new / best_old;
    println!("{what:<30} {best_old:>10.0} {best_new:>10.0} {ratio:>6.1}");
    Ok(())
}

/// Returns how many calls a second so many clients get done.
async fn rate(clients: usize, (market, way): &(Arc<Market>, Way)) -> Result<f64> {
    let mut tasks: JoinSet<Result<u32>> = JoinSet::new();
    let began = Instant::now();
    for _ in 0..clients {
        let (market, way) = (Arc::clone(market), *way);
        tasks.spawn(async move {
            let mut calls = 0;
            // A call that has begun ends, so each client makes one at least.
            while began.elapsed() < TIME {
                market.call(way).await?;
                calls += 1;
            }
            Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(ended) = tasks.join_next().await {
        calls += ended??;
    }
    Ok(f64::from(calls) / began.elapsed().as_secs_f64())
}

#[derive(Clone, Copy)]
enum Way {
    Total,
    TotalAlone,
    Order,
    OrderAlone,
    Pages,
    Rows,
}

struct Market {
    engine: Engine,
    orders: OrderService,
    customers: CustomerService,
}

impl Market {
    async fn call(&self, way: Way) -> Result<()> {
        let id = fastrand::i64(1..=ORDERS);
        match way {
            Way::Total => drop(self.orders.total(id).await?),
            Way::TotalAlone => self.total_alone(id).await?,
            Way::Order => drop(self.orders.place(order(id)).await?),
            Way::OrderAlone => self.order_alone(&order(id)).await?,
            Way::Pages => {
                let mut pages = self.customers.list(",");
                while pages.try_next().await?.is_some() {}
            }
            Way::Rows => self.rows().await?,
        }
        Ok(())
    }

    /// A statement for each total.
    async fn total_alone(&self, id: i64) -> Result<()> {
        let query = sqlx::query(
            "SELECT SUM(item.price_cents * order_items.quantity)
             FROM orders
             LEFT JOIN order_items ON order_items.order_id = orders.id
             LEFT JOIN item ON item.id = order_items.item_id
             WHERE orders.id = $1 GROUP BY orders.id",
        );
        query.bind(id).fetch_all(self.engine.pool()).await?;
        Ok(())
    }

    /// A transaction for each order.
    async fn order_alone(&self, order: &NewOrder) -> Result<()> {
        let mut transaction = self.engine.begin().await?;
        sqlx::query("SELECT id FROM customer WHERE id = $1")
            .bind(order.customer_id)
            .fetch_optional(&mut *transaction)
            .await?;
        let id = sqlx::query(
            "INSERT INTO orders (customer_id, order_time) VALUES ($1, datetime('now'))",
        )
        .bind(order.customer_id)
        .execute(&mut *transaction)
        .await?
        .last_insert_rowid();
        sqlx::query(
            "INSERT INTO order_items (order_id, item_id, quantity)
             SELECT $1, value ->> 'id', value ->> 'quantity' FROM json_each($2) ORDER BY key",
        )
        .bind(id)
        .bind(serde_json::to_string(&order.items)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// A row of the driver for each customer, written as JSON by serde.
    async fn rows(&self) -> Result<()> {
        let (mut last_id, mut json) = (i64::MIN, Vec::new());
        loop {
            let customers: Vec<Customer> = sqlx::query_as(
                "SELECT customer.id, customer.name, address.flat_number, address.post_code
                 FROM customer
                 JOIN address ON address.id = customer.address_id
                 WHERE customer.id > $1 ORDER BY customer.id LIMIT $2",
            )
            .bind(last_id)
            .bind(PAGE_ROWS)
            .fetch_all(self.engine.pool())
            .await?;
            let Some(last) = customers.last() else {
                return Ok(());
            };
            last_id = last.id;
            json.clear();
            for customer in &customers {
                serde_json::to_writer(&mut json, customer)?;
            }
        }
    }
}

fn order(id: i64) -> NewOrder {
    let item = |id, quantity| NewOrderItem { id, quantity };
    NewOrder {
        customer_id: id,
        items: vec![item(1, 2), item(2, 1)],
    }
}

/// Adds customers, and orders of two items each.
async fn fill(engine: &Engine) -> Result<()> {
    let mut transaction = engine.begin().await?;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < $1)";
    for (rows, count) in [
        (
            "INSERT INTO customer SELECT i, 'Customer ' || i, 1 + i % 3 FROM n",
            CUSTOMERS,
        ),
        (
            "INSERT INTO orders (id, customer_id, order_time) SELECT i, i, '2024-04-01 00:00:00' FROM n",
            ORDERS,
        ),
        ("INSERT INTO order_items SELECT i, 1, 2 FROM n", ORDERS),
        ("INSERT INTO order_items SELECT i, 2, 1 FROM n", ORDERS),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!("{numbers} {rows}")))
            .bind(count)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
