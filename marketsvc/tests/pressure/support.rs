//! The real program, what it takes of the system, and what it logs.

// On other systems than Linux, a part of this has no user.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use contract::{Database, Failure, OrFail, Outcome, Service, ensure, equal};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::{Process, add_order, soon};

/// Whether to run as long and as often as the promises say.
pub fn full() -> bool {
    env::var("MARKETSVC_PRESSURE").is_ok_and(|value| value == "full")
}

/// What compares times runs alone; the rest share the machine.
static MACHINE: RwLock<()> = RwLock::const_new(());

pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Makes sure that this process may have `files` open. Where it may not, the
/// test named `test` is run in a process that may, and this returns false: it
/// is done.
pub async fn with_files(files: u64, test: &str) -> Result<bool, Failure> {
    let limits = fs::read_to_string("/proc/self/limits").or_fail("the limits of this process")?;
    let allowed = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .or_fail("the limit of open files")?;
    if files <= allowed {
        return Ok(true);
    }
    let status = Command::new("bash")
        .arg("-c")
        .arg(format!("ulimit -S -n {files} && exec \"$0\" \"$@\""))
        .arg(env::current_exe().or_fail("the path of this test")?)
        .args(["--exact", test, "--nocapture"])
        .status()
        .await
        .or_fail("this test in a process of its own")?;
    ensure(status.success(), test, "passed", status)?;
    Ok(false)
}

/// The real program over a database, with its log in a file.
pub struct Program {
    pub process: Process,
    pub database: Database,
    log: PathBuf,
}

impl Program {
    /// `prepare` is a line of bash that runs before the program replaces the
    /// shell, such as `ulimit -n 64`.
    pub async fn start(database: Database, prepare: &str) -> Result<Self, Failure> {
        let log = database.path().with_extension("log");
        let stderr = File::create(&log).or_fail("a file for the log")?;
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("{prepare}\nexec \"$0\""))
            .arg(env!("CARGO_BIN_EXE_marketsvc"))
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", database.url())
            .env("MARKETSVC_ADDR", "127.0.0.1:0")
            // Of the requests of ten minutes, the log would be gigabytes.
            .env("RUST_LOG", "info,marketsvc::request=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
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

    /// All that it has logged.
    pub fn log(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.log).or_fail("the log")
    }

    /// Fails when a line of the log speaks of a panic.
    pub fn expect_no_panic(&self) -> Outcome {
        let log = self.log()?;
        ensure(!log.contains("panicked"), "the log", "no panic", log)
    }

    fn proc(&self, name: &str) -> Result<PathBuf, Failure> {
        let pid = self.process.child.id().or_fail("a running program")?;
        Ok(PathBuf::from(format!("/proc/{pid}/{name}")))
    }

    /// Open file descriptors.
    pub fn files(&self) -> Result<usize, Failure> {
        Ok(fs::read_dir(self.proc("fd")?)
            .or_fail("its open files")?
            .count())
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> Result<u64, Failure> {
        fs::read_to_string(self.proc("status")?)
            .or_fail("its status")?
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .or_fail("its memory")
    }

    /// Waits until no more than `most` file descriptors are open.
    pub async fn expect_files(&self, most: usize) -> Outcome {
        soon(&format!("at most {most} files are open"), async {
            while self.files()? > most {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await
    }
}

/// What any client may ask; each has to be answered as ever.
pub async fn ordinary(service: &Service) -> Outcome {
    service
        .get("/api/order_total/1")
        .await?
        .expect_json(200, &json!({"Order Total": 30}))?;
    service
        .get("/api/orders_total?orders=1,2,9999999")
        .await?
        .expect_status(200)?;
    service.get("/api/orders/2").await?.expect_status(200)?;
    service
        .get("/api/order_total/9999999")
        .await?
        .expect_status(404)?;
    add_order(service).await.map(drop)
}

/// Fails unless every acknowledged order is stored, each stored one is whole,
/// and SQLite finds nothing wrong. Returns the numbers that are stored.
pub async fn expect_stored(database: &Database, acknowledged: &[i64]) -> Result<Vec<i64>, Failure> {
    let mut connection = database.connect().await?;
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT orders.id, count(order_items.item_id) FROM orders
         LEFT JOIN order_items ON order_items.order_id = orders.id
         WHERE orders.id > 3 GROUP BY orders.id ORDER BY orders.id",
    )
    .fetch_all(&mut connection)
    .await
    .or_fail("the stored orders")?;
    let stored: Vec<i64> = rows.iter().map(|(order, _)| *order).collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|order| stored.binary_search(order).is_err())
        .collect();
    equal(
        "acknowledged orders that are lost",
        Vec::<&i64>::new(),
        lost,
    )?;
    let halves: Vec<_> = rows.iter().filter(|(_, items)| *items != 2).collect();
    equal(
        "orders without all their items",
        Vec::<&(i64, i64)>::new(),
        halves,
    )?;
    let mut unique = acknowledged.to_vec();
    unique.sort_unstable();
    unique.dedup();
    equal("numbers given out", acknowledged.len(), unique.len())?;
    let check: String = database.one("PRAGMA integrity_check").await?;
    equal("SQLite's own check", "ok", &check)?;
    Ok(stored)
}
