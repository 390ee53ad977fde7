//! A copy of the database that is made while the service runs and takes orders.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use check::{Database, Failure, OrFail, Outcome, Service, ensure, equal};
use common::{Process, add_order, binary, soon};
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 8;

/// Clients that place one order after another. They fail at the first that is refused.
struct Clients {
    acknowledged: watch::Receiver<Vec<i64>>,
    tasks: JoinSet<Outcome>,
}

impl Clients {
    fn start(service: &Service) -> Self {
        let (orders, acknowledged) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (service, orders) = (Service::at(service.addr()), orders.clone());
            tasks.spawn(async move {
                // Until the test is over and wants to know no more.
                while orders.receiver_count() > 0 {
                    let order = add_order(&service).await?;
                    orders.send_modify(|orders| orders.push(order));
                }
                Ok(())
            });
        }
        Self {
            acknowledged,
            tasks,
        }
    }

    /// Waits for so many orders more, and returns all that are acknowledged then.
    async fn more(&mut self, count: usize) -> Result<Vec<i64>, Failure> {
        let enough = self.acknowledged.borrow().len() + count;
        let reached = self.acknowledged.wait_for(|orders| orders.len() >= enough);
        let orders = soon("orders are acknowledged", reached).await;
        Ok(orders.or_fail("clients that place orders")?.clone())
    }

    /// Lets each client end. Fails if one of them was refused an order.
    async fn end(self) -> Outcome {
        drop(self.acknowledged);
        let ended = soon("each client ends", self.tasks.join_all()).await;
        ended.into_iter().collect()
    }
}

async fn vacuum(from: &Path, to: &Path) -> Outcome {
    let sql = format!("VACUUM INTO '{}'", to.display());
    let mut connection = open(from).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(&*sql)).execute(&mut connection);
    soon(&sql, done).await.or_fail(&sql)?;
    connection.close().await.or_fail(&sql)
}

async fn sqlite3(from: &Path, to: &Path) -> Outcome {
    let asked = format!("sqlite3 .backup {}", to.display());
    let output = Command::new("sqlite3")
        .args(["-bail", "-cmd", ".timeout 5000"])
        .arg(from)
        .arg(format!(".backup '{}'", to.display()))
        .output();
    let output = soon(&asked, output).await.or_fail(&asked)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.success(), asked, "no error", message)
}

async fn open(path: &Path) -> Result<SqliteConnection, Failure> {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.or_fail(path.display())
}

/// Makes copies with `backup` while orders are placed, until one was acknowledged meanwhile.
/// Each copy must have what was acknowledged before, and the last one must do for a start.
async fn backup_under_load(backup: impl AsyncFn(&Path, &Path) -> Outcome) -> Outcome {
    let database = Database::sample().await?;
    // Few enough that sqlite3 copies them in one step. Between two steps it lets the service
    // write, and then it begins anew.
    database.add_orders(2_000, 2).await?;
    let first = 2_000 + 3;
    let folder = tempfile::tempdir().or_fail("a folder for the copies")?;
    let mut process = Process::quiet(&database.url()).await?;
    let mut clients = Clients::start(&process.service);
    let (copy, known) = loop {
        let known = clients.more(CLIENTS).await?;
        let copy = folder.path().join(format!("{}.sqlite", known.len()));
        backup(database.path(), &copy).await?;
        let meanwhile = clients.acknowledged.borrow().len() - known.len();
        expect_whole(&copy, first, &known).await?;
        if meanwhile > 0 {
            break (copy, known);
        }
    };
    // They go on after it.
    clients.more(CLIENTS).await?;
    clients.end().await?;
    let killed = soon("the end of the service", process.child.kill()).await;
    killed.or_fail("the end of the service")?;
    serves(copy, &known).await
}

/// Fails unless the copy is without a fault, and has the orders that are known, and each of
/// those after `first` with both of its items.
async fn expect_whole(copy: &Path, first: i64, known: &[i64]) -> Outcome {
    let sql = "SELECT json_array(
        (SELECT group_concat(integrity_check) FROM pragma_integrity_check),
        (SELECT count(*) FROM pragma_foreign_key_check),
        (SELECT count(*) FROM json_each($1) WHERE value NOT IN (SELECT id FROM orders)),
        (SELECT count(*) FROM orders WHERE id > $2
         AND (SELECT count(*) FROM order_items WHERE order_id = orders.id) <> 2))";
    let mut connection = open(copy).await?;
    let found: String = sqlx::query_scalar(sql)
        .bind(json!(known).to_string())
        .bind(first)
        .fetch_one(&mut connection)
        .await
        .or_fail(sql)?;
    connection.close().await.or_fail(sql)?;
    equal(
        "integrity, wrong references, orders that are missing, and halves of orders",
        json!(["ok", 0, 0, 0]).to_string(),
        found,
    )
}

/// Fails unless the service starts with the copy as its database, has the orders that are
/// known, and takes new ones.
async fn serves(copy: PathBuf, known: &[i64]) -> Outcome {
    let mut command = binary(&std::env::temp_dir());
    command.env("DATABASE_URL", format!("sqlite://{}", copy.display()));
    let process = Process::start(command).await?;
    let last = known.iter().max().or_fail("an order")?;
    let path = format!("/api/order_total/{last}");
    let reply = process.service.get(&path).await?;
    reply.expect_json(200, &json!({"Order Total": 4}))?;
    let new = add_order(&process.service).await?;
    ensure(new > *last, "a new order", "a new number", new)
}

#[tokio::test]
async fn a_copy_by_vacuum_has_every_acknowledged_order() -> Outcome {
    backup_under_load(vacuum).await
}

#[tokio::test]
async fn a_copy_by_sqlite3_has_every_acknowledged_order() -> Outcome {
    let mut version = Command::new("sqlite3");
    version.arg("--version").stdout(Stdio::null());
    if soon("sqlite3", version.status()).await.is_err() {
        println!("skipped: there is no sqlite3 here");
        return Ok(());
    }
    backup_under_load(sqlite3).await
}
