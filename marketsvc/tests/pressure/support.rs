//! The real program, and what the tests ask of it.

// On other systems than Linux, a part of this is not used.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, Service, ensure, equal};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::{Process, add_order, soon};

/// Whether to run as long and as often as the promises say.
pub fn full() -> bool {
    env::var("MARKETSVC_PRESSURE").is_ok_and(|value| value == "full")
}

/// Tests that measure run alone; the others share the machine.
static MACHINE: RwLock<()> = RwLock::const_new(());

pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// The real program over a database. Its log is in a file.
pub struct Program {
    pub process: Process,
    pub database: Database,
    log: PathBuf,
}

impl Program {
    /// Starts the program with `flags`. `prepare` is a line of bash that runs first, such as
    /// `ulimit -n 64`.
    pub async fn start(database: Database, prepare: &str, flags: &[&str]) -> Result<Self, Failure> {
        let log = database.path().with_file_name("log");
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("{prepare}\nexec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_marketsvc"))
            .args(flags)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", database.url())
            .env("MARKETSVC_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).or_fail("a file for the log")?)
            .kill_on_drop(true);
        Ok(Self {
            process: Process::start(command).await?,
            database,
            log,
        })
    }

    pub fn service(&self) -> &Service {
        &self.process.service
    }

    /// What the program has logged. The line of a request is in the file before the client
    /// has the answer.
    pub fn log(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.log).or_fail("the log")
    }

    /// Fails if a line of the log is about a panic.
    pub fn expect_no_panic(&self) -> Outcome {
        let log = self.log()?;
        let panic = log.lines().find(|line| line.contains("panicked"));
        equal("a panic in the log", None, panic)
    }

    /// Waits for the end of the program, which was told to stop.
    pub async fn expect_end(&mut self) -> Outcome {
        let end = soon("the end of the program", self.process.child.wait()).await;
        let status = end.or_fail("the end of the program")?;
        equal("the exit code after SIGTERM", Some(0), status.code())?;
        self.expect_no_panic()
    }

    fn proc(&self, name: &str) -> Result<PathBuf, Failure> {
        let pid = self.process.child.id().or_fail("a running program")?;
        Ok(PathBuf::from(format!("/proc/{pid}/{name}")))
    }

    /// How many files the program has open.
    pub fn files(&self) -> Result<usize, Failure> {
        let files = fs::read_dir(self.proc("fd")?).or_fail("the open files")?;
        Ok(files.count())
    }

    /// Waits until the program has at most this many files open.
    pub async fn expect_files(&self, most: usize) -> Outcome {
        soon(&format!("at most {most} files are open"), async {
            while self.files()? > most {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await
    }

    /// The resident memory of the program in KiB.
    pub fn memory(&self) -> Result<u64, Failure> {
        fs::read_to_string(self.proc("status")?)
            .or_fail("the status")?
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .or_fail("the resident memory")
    }
}

/// Fails unless the total of an order is answered.
pub async fn expect_total(service: &Service) -> Outcome {
    let total = service.get("/api/order_total/1").await?;
    total.expect_json(200, &json!({"Order Total": 30}))
}

/// Fails unless requests of several kinds are answered: all kinds but lists.
pub async fn ordinary(service: &Service) -> Outcome {
    expect_total(service).await?;
    for path in ["/", "/api/orders_total?orders=1,2,9999999", "/book/1"] {
        service.get(path).await?.expect_status(200)?;
    }
    let unknown = service.get("/api/order_total/9999999").await?;
    unknown.expect_status(404)?;
    add_order(service).await.map(drop)
}

/// Fails unless every acknowledged order is stored, each stored order has all of its items,
/// and SQLite finds no fault in the file. Returns the ids that are stored, in their order.
pub async fn expect_stored(database: &Database, acknowledged: &[i64]) -> Result<Vec<i64>, Failure> {
    let mut connection = database.connect().await?;
    // The sample data has the first three.
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT orders.id, count(order_items.item_id) FROM orders
         LEFT JOIN order_items ON order_items.order_id = orders.id
         WHERE orders.id > 3 GROUP BY orders.id ORDER BY orders.id",
    )
    .fetch_all(&mut connection)
    .await
    .or_fail("the stored orders")?;
    let stored: Vec<i64> = rows.iter().map(|(order, _)| *order).collect();
    let is_lost = |order: &&i64| stored.binary_search(order).is_err();
    let lost: Vec<_> = acknowledged.iter().filter(is_lost).collect();
    ensure(
        lost.is_empty(),
        "acknowledged orders",
        "stored",
        format!("lost: {lost:?}"),
    )?;
    let halves: Vec<_> = rows.iter().filter(|(_, items)| *items != 2).collect();
    ensure(
        halves.is_empty(),
        "stored orders",
        "two items",
        format!("{halves:?}"),
    )?;
    let mut unique = acknowledged.to_vec();
    unique.sort_unstable();
    unique.dedup();
    equal("different ids", acknowledged.len(), unique.len())?;
    let check: String = database.one("PRAGMA integrity_check").await?;
    equal("PRAGMA integrity_check", "ok", &check)?;
    Ok(stored)
}
