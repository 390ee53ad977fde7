//! The load of step 12 on its service, and on the same endpoints in Python.

use std::time::Duration;

use serde_json::json;
use step12_solution::db::init_db;
use step12_solution::load::{Kind, Plan, Report, Stop, ceiling, run};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::http::Request;
use crate::load::Target;
use crate::model::{Bench, Bound, Unit};
use crate::program::{self, Program};
use crate::{Settings, python, server, take_turns};

/// Each contender's pool has as many connections.
const CLIENTS: usize = 10;
/// How many seconds a slow query takes.
const SHORT: f64 = 0.05;
/// The same in the published benchmark.
const PUBLISHED: f64 = 5.0;

const OURS: &str = "step 12, async";
const ASYNC: &str = "FastAPI + SQLAlchemy, async";
const SYNC: &str = "FastAPI + SQLAlchemy, sync";
const RATE: &str = "requests a minute";
const CEILING: &str = "the ceiling";

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start, when two of them answer differently, and when a call
/// fails.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "load",
        "Ten clients of a bookstore. Two of the eleven calls of a cycle are slow queries.",
    );
    let runtime = Runtime::new().map_err(Error::io("make a runtime"))?;
    let mut contenders = vec![OURS];
    match python::prepare() {
        Ok(()) => contenders.extend([ASYNC, SYNC]),
        Err(why) => bench.skipped.push(why),
    }
    agree(&runtime, &contenders)?;
    let cycles = if settings.quick { 20 } else { 40 };
    let mut cases = vec![
        (0.0, cycles, settings.rounds),
        (SHORT, cycles, settings.rounds),
    ];
    if !settings.quick {
        cases.push((PUBLISHED, 3, 1));
    }
    for (seconds, cycles, rounds) in cases {
        let case = title(seconds);
        eprintln!("load: {case}");
        take_turns(rounds, &mut contenders, |name| {
            let report = turn(&runtime, name, seconds, cycles)?;
            record(&mut bench, &case, name, &report);
            Ok(())
        })?;
        // Every client can have a connection, so all slow queries can run at once.
        if seconds > 0.0 {
            let ceiling = ceiling(CLIENTS, seconds);
            bench.record(&case, CEILING, RATE, Unit::Count, ceiling);
        }
    }
    aims(&mut bench);
    bench.notes.push(format!(
        "{CLIENTS} clients, {CLIENTS} connections. Every call had the right answer. SQLite: \
         WAL, synchronous FULL, foreign keys on, for all."
    ));
    Ok(bench)
}

fn title(seconds: f64) -> String {
    format!("slow queries of {seconds} s")
}

/// Starts a contender on a new database, at a free port.
fn start(runtime: &Runtime, name: &str) -> Result<(Program, TempDir)> {
    let folder = program::temporary_folder()?;
    let database = folder.path().join("bookstore.sqlite");
    let url = format!("sqlite://{}", database.display());
    let created = runtime.block_on(init_db::create_or_migrate(&url));
    created.map_err(|error| Error::Environment(format!("create {url}: {error:?}")))?;
    let mut command = match name {
        OURS => program::command(program::beside("step12-solution")?),
        ASYNC => python::uvicorn("bookstore:async_app")?,
        _ => python::uvicorn("bookstore:sync_app")?,
    };
    command
        .env("DATABASE_URL", url)
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        // The peers do not write a line for each request either.
        .env("RUST_LOG", "warn")
        .env("DATABASE", database);
    Ok((Program::start(name, command)?, folder))
}

/// Compares the answers of all contenders to what the load calls, and to new books that
/// they must refuse.
fn agree(runtime: &Runtime, contenders: &[&str]) -> Result<()> {
    let add = |name: &str, author: i64| {
        let book = json!({ "book_name": name, "author_id": author, "price": 10.5 });
        Request::post("/book", &book)
    };
    let requests = || {
        vec![
            Request::get("/book"),
            Request::get("/book?after=1&limit=1"),
            Request::get("/book/1"),
            Request::get("/book/99"),
            Request::get("/book/extensive_query?seconds=0.01"),
            add("Emma", 1),
            // The name is taken, the author does not exist, the name is blank.
            add("Emma", 2),
            add("Persuasion", 99),
            add(" ", 1),
            Request::get("/book"),
        ]
    };
    let mut model = None;
    for name in contenders {
        let (program, _folder) = start(runtime, name)?;
        let addr = program.addr();
        match &model {
            None => model = Some(server::answers(name, addr, requests())?),
            Some(model) => runtime
                .block_on(Target::new(addr, model).compare(usize::MAX))
                .map_err(|error| Error::failed(name, error))?,
        }
    }
    Ok(())
}

/// One turn: a new process on a new database, and after a warm-up the load.
fn turn(runtime: &Runtime, name: &str, seconds: f64, cycles: u64) -> Result<Report> {
    let (program, _folder) = start(runtime, name)?;
    let url = format!("http://{}", program.addr());
    let plan = |seconds, cycles, seed| Plan {
        clients: CLIENTS,
        stop: Stop::Cycles(cycles),
        seconds,
        // It is part of the names of new books, which must not be taken.
        seed,
        timeout: Duration::from_mins(1),
    };
    drive(runtime, name, &url, &plan(SHORT, 2, 0))?;
    drive(runtime, name, &url, &plan(seconds, cycles, 1))
}

/// Runs the load. A call that fails makes it an error.
fn drive(runtime: &Runtime, name: &str, url: &str, plan: &Plan) -> Result<Report> {
    let mut first = None;
    let run = run(url, plan, |call| {
        if call.result.is_err() {
            first.get_or_insert(call.kind);
        }
    });
    let report = runtime.block_on(run);
    let report = report.map_err(|error| Error::failed(name, error))?;
    let Some(kind) = first else {
        return Ok(report);
    };
    let why = report.of(kind).first_failure.as_deref().unwrap_or("?");
    let (count, kind) = (report.failures(), kind.name());
    let reason = format!("{count} calls failed; the first, {kind}: {why}");
    Err(Error::failed(name, reason))
}

fn record(bench: &mut Bench, case: &str, name: &str, report: &Report) {
    bench.record(case, name, RATE, Unit::Count, report.per_minute());
    for kind in [Kind::List, Kind::One, Kind::Add] {
        let latency = report.of(kind).latency.value_at_quantile(0.99);
        let latency = Duration::from_micros(latency).as_secs_f64();
        let measure = format!("p99 of {}", kind.name());
        bench.record(case, name, &measure, Unit::Seconds, latency);
    }
}

fn aims(bench: &mut Bench) {
    for (seconds, bound) in [(0.0, 2.0), (SHORT, 1.25)] {
        let case = title(seconds);
        // With the better of the peers the ratio is lower.
        let ratios = [ASYNC, SYNC].into_iter();
        let ratios = ratios.filter_map(|peer| bench.ratio(&case, RATE, OURS, peer));
        let measured = ratios.reduce(f64::min);
        let text = format!("{case}: {RATE} against the best of FastAPI");
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(bound), measured);
    }
    let case = title(PUBLISHED);
    let measured = bench.ratio(&case, RATE, OURS, CEILING);
    let text = format!("{case}: {RATE} against the ceiling");
    bench.aim(Unit::Ratio, &text, Bound::AtLeast(0.99), measured);
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use step12_solution::app::app;
    use step12_solution::db::base::{Engine, EngineConfig};
    use tokio::net::TcpListener;

    use super::*;

    /// Two clients make a cycle each against a service of this process.
    fn driven(service: impl FnOnce(&str) -> Router) -> Result<Report> {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("db.sqlite").display());
        let url = runtime.block_on(async {
            init_db::create_or_migrate(&database).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let router = service(&database);
            tokio::spawn(async { axum::serve(listener, router).await });
            url
        });
        let plan = Plan {
            clients: 2,
            stop: Stop::Cycles(1),
            seconds: 0.0,
            seed: 1,
            timeout: Duration::from_mins(1),
        };
        drive(&runtime, "it", &url, &plan)
    }

    #[test]
    fn rate_and_latencies_of_a_load_are_recorded() {
        let service = |url: &str| app(Engine::new(url, EngineConfig::default()).unwrap());
        let report = driven(service).unwrap();
        assert_eq!(report.successes(), 22);
        let mut bench = Bench::new("load", "");
        record(&mut bench, "case", "it", &report);
        let rate = bench.median("case", "it", RATE);
        assert_eq!(rate, Some(report.per_minute()));
        let slowest = bench.median("case", "it", "p99 of add");
        assert!(slowest > Some(0.0), "{slowest:?}");
    }

    #[test]
    fn a_failure_ends_the_bench_and_is_named() {
        let broken = |_: &str| Router::new().fallback(|| async { StatusCode::BAD_GATEWAY });
        let error = driven(broken).unwrap_err().to_string();
        let expected = "it: 22 calls failed; the first, list: expected status 200 OK, \
                        got 502 Bad Gateway";
        assert_eq!(error, expected);
    }
}
