//! Streamed answers: time, memory, and what stopped readers do to others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::service::{self, Result, Service};
use crate::settings::Settings;
use crate::table;

pub struct Args {
    /// How many customers; can be given several times.
    customers: Vec<u32>,
    /// How many orders.
    orders: u32,
    /// How often each long answer is read.
    runs: usize,
    /// How many clients stop reading.
    stopped: usize,
    /// Where the databases are made [default: the system's temporary folder].
    dir: Option<PathBuf>,
}

impl From<&Settings> for Args {
    fn from(settings: &Settings) -> Self {
        Self {
            customers: vec![if settings.quick { 10_000 } else { 1_000_000 }],
            orders: 100_000,
            runs: settings.rounds,
            stopped: 32,
            dir: settings.dir.clone(),
        }
    }
}

/// The same rows as the service's, by SQLite's own shell.
const JOIN: &str = "SELECT customer.id, name, flat_number, post_code FROM customer \
                    JOIN address ON address.id = customer.address_id ORDER BY customer.id";

const PATH: &str = "/api/customers";

/// One column of the table.
struct Figures {
    customers: u32,
    seed: Duration,
    file: u64,
    answer: u64,
    first_byte: Duration,
    total: Duration,
    shell: Option<Duration>,
    peak: Option<u64>,
    alone: [Duration; 2],
    beside: [Duration; 2],
    peak_beside: Option<u64>,
}

pub fn measure(args: &Args) -> Result<()> {
    let mut all = Vec::new();
    for &customers in &args.customers {
        all.push(figures(args, customers)?);
    }
    let row = |name: &str, aim: &str, cell: &dyn Fn(&Figures) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(all.iter().map(cell));
        row.push(aim.to_owned());
        row
    };
    let pair =
        |[median, slow]: [Duration; 2]| format!("{} / {}", table::time(median), table::time(slow));
    let peak = |peak: Option<u64>| peak.map_or("-".to_owned(), table::memory);
    table::print(&[
        row("customers", "aim", &|f| f.customers.to_string()),
        row("seed", "30 s a million", &|f| table::time(f.seed)),
        row("database", "", &|f| table::memory(f.file)),
        row("answer", "", &|f| table::memory(f.answer)),
        row("first byte", "50 ms", &|f| table::time(f.first_byte)),
        row("all customers", "", &|f| table::time(f.total)),
        row("sqlite3 -json", "", &|f| {
            f.shell.map_or("-".to_owned(), table::time)
        }),
        row("ratio", "1.5", &|f| {
            f.shell.map_or("-".to_owned(), |shell| {
                format!("{:.2}", f.total.as_secs_f64() / shell.as_secs_f64())
            })
        }),
        row("peak memory", "32 MiB", &|f| peak(f.peak)),
        row("order_total, median / p99", "", &|f| pair(f.alone)),
        row(
            &format!("... with {} stopped readers", args.stopped),
            "50 ms",
            &|f| pair(f.beside),
        ),
        row("peak memory then", "", &|f| peak(f.peak_beside)),
    ]);
    Ok(())
}

fn figures(args: &Args, customers: u32) -> Result<Figures> {
    let folder = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let database = folder.path().join("bench.sqlite");
    eprintln!("{customers} customers: seeding");
    let seed = seed(&database, customers, args.orders)?;
    let file = fs::metadata(&database)?.len();

    let service = Service::start(&database)?;
    let mut first_bytes = Vec::new();
    let mut totals = Vec::new();
    let mut shells = Vec::new();
    let mut answer = 0;
    for run in 1..=args.runs.max(1) {
        eprintln!("{customers} customers: run {run} of {}", args.runs.max(1));
        let reading = service.read_all(PATH)?;
        answer = reading.bytes;
        first_bytes.push(reading.first_byte);
        totals.push(reading.total);
        shells.extend(shell(&database)?);
    }
    let peak = service.peak_memory();

    eprintln!("{customers} customers: stopped readers");
    let alone = order_totals(&service)?;
    let stopped: Vec<_> = (0..args.stopped)
        .map(|_| service.stopped_reader(PATH))
        .collect::<Result<_>>()?;
    let beside = order_totals(&service)?;
    let peak_beside = service.peak_memory();
    drop(stopped);
    Ok(Figures {
        customers,
        seed,
        file,
        answer,
        first_byte: quantile(&mut first_bytes, 0.5),
        total: quantile(&mut totals, 0.5),
        shell: (!shells.is_empty()).then(|| quantile(&mut shells, 0.5)),
        peak,
        alone,
        beside,
        peak_beside,
    })
}

fn seed(database: &Path, customers: u32, orders: u32) -> Result<Duration> {
    let mut command = service::command(database)?;
    command
        .arg("seed")
        .args(["--customers", &customers.to_string()])
        .args(["--orders", &orders.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    if command.status()?.success() {
        Ok(start.elapsed())
    } else {
        Err("`marketsvc seed` failed".into())
    }
}

/// How long SQLite's shell takes, or `None` when there is none.
fn shell(database: &Path) -> Result<Option<Duration>> {
    let mut command = Command::new("sqlite3");
    command
        .args(["-readonly", "-json"])
        .arg(database)
        .arg(JOIN)
        .stdout(Stdio::null());
    let start = Instant::now();
    match command.status() {
        Ok(status) if status.success() => Ok(Some(start.elapsed())),
        Ok(status) => Err(format!("sqlite3 failed: {status}").into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Median and 99th percentile.
fn order_totals(service: &Service) -> Result<[Duration; 2]> {
    let mut times: Vec<_> = (0..200)
        .map(|_| service.time("/api/order_total/1"))
        .collect::<Result<_>>()?;
    Ok([quantile(&mut times, 0.5), quantile(&mut times, 0.99)])
}

/// The time that a share of `times` does not exceed; `times` is not empty.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few hundred times"
    )]
    let place = (share * (times.len() - 1) as f64).round() as usize;
    times[place]
}
