//! Ten clients send the same calls to three services, one after another: a slow query
//! waits with a timer, blocks the thread of its handler, or blocks a thread for blocking
//! work. Which service answers how many requests in a minute? Then again with other
//! pools.
//!
//! `./run.sh run 12 load` takes seconds. `./run.sh run 12 load --seconds 5 --cycles 3`
//! has the slow queries of the published benchmark. `--help` lists all options.

use std::path::PathBuf;
use std::time::Duration;

use check::{Database, Failure, OrFail, timeline};
use clap::{Parser, ValueEnum};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use step12_solution::app;
use step12_solution::books::Slow;
use step12_solution::db::base::{Engine, EngineConfig};
use step12_solution::load::{self, CYCLE, Kind, Limits, Plan, Report, Stop, ceiling};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The threads on which each service runs its handlers.
pub const WORKERS: usize = 2;
/// The threads that each service has for blocking work. Tokio's default is 512.
pub const BLOCKING_THREADS: usize = 4;

/// Measures three services under the same load, and one of them with other pools, too.
#[derive(Parser)]
struct Options {
    /// How many clients there are
    #[arg(long, default_value_t = 10)]
    clients: usize,
    /// How many cycles of eleven calls each client makes
    #[arg(long, default_value_t = 3)]
    cycles: u64,
    /// For how many seconds the clients begin calls, instead of a number of cycles
    #[arg(long = "for", value_name = "SECONDS", conflicts_with = "cycles")]
    duration: Option<u64>,
    /// How many seconds a slow query takes
    #[arg(long, default_value_t = 0.05)]
    seconds: f64,
    /// How many connections the service's pool has
    #[arg(long, default_value_t = 10)]
    pool: u32,
    /// Measures only this service, with one pool
    #[arg(long)]
    only: Option<Variant>,
    /// Measures a service that runs elsewhere, such as <http://127.0.0.1:9090>
    #[arg(long, conflicts_with_all = ["only", "pool"])]
    url: Option<String>,
    /// Picks the books that clients ask for, and is part of the names of new books
    #[arg(long, default_value_t = fastrand::u32(..).into())]
    seed: u64,
    /// Draws the requests a minute into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Variant {
    Async,
    Blocking,
    SpawnBlocking,
}

/// The three services and their names.
pub const SERVICES: [(&str, Slow); 3] = [
    ("async", Slow::Async),
    ("blocking", Slow::Blocking),
    ("spawn_blocking", Slow::SpawnBlocking),
];

/// A service of this program. It has a runtime of its own, so that a handler that blocks
/// its threads does not block the clients.
pub struct Service {
    pub url: String,
    runtime: Option<Runtime>,
    _database: Database,
}

impl Service {
    /// Starts a service with a new database and a pool of so many connections.
    ///
    /// # Errors
    /// [`Failure`] if there is no database, runtime or port.
    pub async fn start(slow: Slow, connections: u32) -> Result<Self, Failure> {
        let database = Database::sample().await?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .or_fail("the runtime of the service")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
        let address = listener.local_addr().or_fail("a port")?;
        let listener = listener.into_std().or_fail("a port")?;
        let config = EngineConfig {
            max_connections: connections,
            // A request that waits for a connection is part of what is measured.
            acquire_timeout: Duration::from_mins(1),
            ..EngineConfig::default()
        };
        // The pool and the socket belong to the runtime in which they are made.
        let guard = runtime.enter();
        let engine = Engine::new(&database.url(), config).or_fail("the engine")?;
        let listener = TcpListener::from_std(listener).or_fail("a port")?;
        drop(guard);
        runtime.spawn(async move { axum::serve(listener, app::app_with(engine, slow)).await });
        Ok(Self {
            url: format!("http://{address}"),
            runtime: Some(runtime),
            _database: database,
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Waiting for threads that sleep is not allowed in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What was measured, and what was to be expected.
struct Row {
    name: String,
    /// The number of connections, and the ceiling; not known of a service elsewhere.
    expected: Option<(u32, f64)>,
    report: Report,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let plan = Plan {
        clients: options.clients,
        stop: match options.duration {
            Some(seconds) => Stop::After(Duration::from_secs(seconds)),
            None => Stop::Cycles(options.cycles),
        },
        seconds: options.seconds,
        seed: options.seed,
        timeout: Duration::from_mins(2),
    };
    let mut rows = Vec::new();
    if let Some(url) = &options.url {
        rows.push(Row {
            name: url.clone(),
            expected: None,
            report: drive(url, url, &plan).await?,
        });
    } else {
        let services = match options.only {
            Some(only) => &SERVICES[only as usize..=only as usize],
            None => &SERVICES[..],
        };
        for (name, slow) in services {
            rows.push(measure(name, *slow, options.pool, &plan).await?);
        }
        // `--pool` is measured above.
        let others = |pool: &u32| options.only.is_none() && *pool != options.pool;
        for pool in [2, 5, 10, 20].into_iter().filter(others) {
            rows.push(measure(&format!("async, pool {pool}"), Slow::Async, pool, &plan).await?);
        }
    }
    show(&rows);
    let bars: Vec<_> = rows.iter().map(bar).collect();
    let title = "step 12: requests a minute";
    println!("\n{}", timeline::bars_as_text(title, &bars));
    if let Some(file) = &options.svg {
        std::fs::write(file, timeline::bars_as_svg(title, &bars))
            .or_fail(file.display().to_string())?;
    }
    Ok(())
}

/// Starts a service and drives it.
async fn measure(name: &str, slow: Slow, pool: u32, plan: &Plan) -> Result<Row, Failure> {
    let service = Service::start(slow, pool).await?;
    let limits = Limits {
        clients: plan.clients,
        connections: usize::try_from(pool).unwrap_or(usize::MAX),
        workers: WORKERS,
        blocking_threads: BLOCKING_THREADS,
    };
    Ok(Row {
        name: name.to_owned(),
        expected: Some((pool, ceiling(limits.peak(slow), plan.seconds))),
        report: drive(name, &service.url, plan).await?,
    })
}

/// Runs the load against the service at `url`, and shows how far it is.
async fn drive(name: &str, url: &str, plan: &Plan) -> Result<Report, Failure> {
    let bar = match plan.stop {
        Stop::Cycles(cycles) => ProgressBar::new(cycles * plan.clients as u64 * CYCLE.len() as u64)
            .with_style(
                ProgressStyle::with_template("{msg:20} {bar:40} {pos}/{len} calls, {eta} left")
                    .or_fail("the progress bar")?,
            ),
        Stop::After(_) => ProgressBar::no_length().with_style(
            ProgressStyle::with_template("{msg:20} {pos} calls in {elapsed}")
                .or_fail("the progress bar")?,
        ),
    };
    bar.set_message(name.to_owned());
    let report = load::run(url, plan, |_| bar.inc(1)).await.or_fail(url)?;
    bar.finish_and_clear();
    Ok(report)
}

/// Prints what was measured.
fn show(rows: &[Row]) {
    let mut rates = Table::new();
    rates.load_style(presets::ASCII_MARKDOWN);
    rates.set_header([
        "service", "pool", "a minute", "ceiling", "share", "failures",
    ]);
    for row in rows {
        let measured = row.report.per_minute();
        let (pool, ceiling, share) = match row.expected {
            Some((pool, ceiling)) => (
                pool.to_string(),
                format!("{ceiling:.0}"),
                format!("{:.1} %", 100.0 * measured / ceiling),
            ),
            None => Default::default(),
        };
        let failures = row.report.failures().to_string();
        let measured = format!("{measured:.0}");
        rates.add_row([&row.name, &pool, &measured, &ceiling, &share, &failures]);
    }
    println!("{rates}\n");

    let mut times = Table::new();
    times.load_style(presets::ASCII_MARKDOWN);
    let kinds = Kind::ALL.map(|kind| format!("{} p50 p99 max", kind.name()));
    times.set_header([&["ms".to_owned()], &kinds[..]].concat());
    for row in rows {
        let cells = Kind::ALL.map(|kind| {
            let latency = &row.report.of(kind).latency;
            [
                latency.value_at_quantile(0.5),
                latency.value_at_quantile(0.99),
                latency.max(),
            ]
            .map(milliseconds)
            .join(" ")
        });
        times.add_row(std::iter::once(row.name.clone()).chain(cells));
    }
    println!("{times}");

    for row in rows {
        for kind in Kind::ALL {
            if let Some(failure) = &row.report.of(kind).first_failure {
                println!(
                    "{}: the first failure of {}: {failure}",
                    row.name,
                    kind.name()
                );
            }
        }
    }
}

/// Microseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // a number for a person
fn milliseconds(microseconds: u64) -> String {
    format!("{:.1}", microseconds as f64 / 1000.0)
}

fn bar(row: &Row) -> timeline::Amount {
    timeline::Amount {
        name: row.name.clone(),
        value: row.report.per_minute(),
        limit: row.expected.map(|(_, ceiling)| ceiling),
    }
}
