//! The real program, what it takes of the system, and what it logs.

// On other systems than Linux, a part of this has no user.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, Service, ensure, equal};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

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

/// What the program has logged.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// All but the lines of requests that were no fault of the service's: of
    /// these, ten minutes have gigabytes.
    pub text: String,
    /// How many requests have a line, whatever their status.
    pub requests: u64,
    /// How many lines the program says that it has lost.
    pub lost: u64,
    /// The last mark that came by; see [`Program::log`].
    mark: u64,
}

const MARK: &str = "mark-";

impl Log {
    fn add(&mut self, line: &str) {
        let lost = line.strip_suffix(" lines of the log were lost here\n");
        self.lost += lost.map_or(0, |count| count.parse().expect("a count"));
        let is_request = line.contains(" marketsvc::request: answered ");
        if is_request {
            self.requests += 1;
            let mark = line.split_once(&format!(" id=\"{MARK}"));
            if let Some((mark, _)) = mark.and_then(|(_, rest)| rest.split_once('"')) {
                self.mark = mark.parse().expect("a mark");
            }
        }
        if !is_request || !line.contains(" INFO ") {
            self.text.push_str(line);
        }
    }

    /// Reads `from` to its end.
    fn read(from: PipeReader, to: &watch::Sender<Self>) {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            to.send_modify(|log| log.add(&String::from_utf8_lossy(&line)));
            line.clear();
        }
    }
}

/// The real program over a database. It logs as it does by default, into a pipe
/// that is read.
pub struct Program {
    pub process: Process,
    pub database: Database,
    log: watch::Receiver<Log>,
    marks: AtomicU64,
}

impl Program {
    /// `prepare` is a line of bash that runs before the program replaces the
    /// shell, such as `ulimit -n 64`.
    pub async fn start(database: Database, prepare: &str) -> Result<Self, Failure> {
        let (reader, stderr) = pipe().or_fail("a pipe for the log")?;
        let (sender, log) = watch::channel(Log::default());
        // Ends with the program.
        thread::spawn(move || Log::read(reader, &sender));
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("{prepare}\nexec \"$0\""))
            .arg(env!("CARGO_BIN_EXE_marketsvc"))
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", database.url())
            .env("MARKETSVC_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        Ok(Self {
            process: Process::start(command).await?,
            database,
            log,
            marks: AtomicU64::new(0),
        })
    }

    pub fn service(&self) -> &Service {
        &self.process.service
    }

    /// All that it has logged until now. Lines are written some moments after
    /// they are made, so this waits for that of a request of its own; once the
    /// program has been waited for, it waits for the end of the log.
    pub async fn log(&self) -> Result<Log, Failure> {
        let mut log = self.log.clone();
        if self.process.child.id().is_some() {
            let mark = self.marks.fetch_add(1, Ordering::Relaxed) + 1;
            let id = format!("{MARK}{mark}");
            let reply = self
                .service()
                .get_with("/healthz", &[("x-request-id", &id)])
                .await?;
            reply.expect_status(200)?;
            let seen = log.wait_for(|log| log.mark >= mark);
            soon("the log has a line for each request", seen)
                .await
                .or_fail("the log goes on")?;
        } else {
            soon("the end of the log", async {
                while log.changed().await.is_ok() {}
            })
            .await;
        }
        Ok(log.borrow().clone())
    }

    /// Fails when a line of the log speaks of a panic.
    pub async fn expect_no_panic(&self) -> Outcome {
        let log = self.log().await?.text;
        ensure(!log.contains("panicked"), "the log", "no panic", log)
    }

    /// Fails unless the log has a line for each of `requests` at least, those
    /// counted that it says were lost.
    pub async fn expect_lines(&self, requests: u64) -> Outcome {
        let log = self.log().await?;
        ensure(
            log.requests + log.lost >= requests,
            "lines about requests in the log",
            format!("{requests} or more"),
            format!("{}, and {} lost", log.requests, log.lost),
        )
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
