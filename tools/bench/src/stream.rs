//! Streamed answers: the list of all customers, its first byte, its last one, and
//! the memory that it takes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use tokio::time::timeout;

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::http::{self, Connection, Reading, Request};
use crate::model::{Bench, Bound, Unit};
use crate::{Settings, answers, market, program, take_turns};

/// What is asked for.
const PATH: &str = "/api/customers";

/// The same rows by SQLite's own shell, without a server.
const JOIN: &str = "SELECT customer.id, name, flat_number, post_code FROM customer \
                    JOIN address ON address.id = customer.address_id ORDER BY customer.id";

const SHELL: &str = "sqlite3 -json";

/// Orders in every database.
const ORDERS: u32 = 100_000;

/// Customers of the sample market, which are there before any are added.
const SAMPLE: u32 = 3;

/// The table that the aims are about.
const MILLION: u32 = 1_000_000;

/// For one list; only turns a hang into an error.
const PATIENCE: Duration = Duration::from_mins(10);

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start, or answers something else than the others.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "stream",
        "The list of all customers: how soon, how fast and in how much memory it is sent.",
    );
    let servers = Contender::with_python(&mut bench);
    // `None` is SQLite's shell.
    let mut players: Vec<_> = servers.iter().copied().map(Some).collect();
    match program::output(program::command("sqlite3").arg("--version")) {
        Ok(_) => players.push(None),
        Err(why) => bench
            .skipped
            .push(format!("{SHELL} (Debian: apt install sqlite3): {why}")),
    }
    answers::agree(&servers)?;
    let sizes: &[u32] = if settings.quick {
        &[10_000, 100_000]
    } else {
        &[10_000, MILLION, 10_000_000]
    };
    for &rows in sizes {
        // Python takes minutes for ten million rows.
        players.retain(|player| rows <= MILLION || *player != Some(Contender::FastApi));
        size(settings, &mut bench, rows, &mut players)?;
    }
    aims(&mut bench);
    bench.notes.push(format!(
        "Each turn is a process of its own, so its peak memory is that of one request: for \
         {SHELL}, which is not a server, it is not measured. The file is in the system's cache."
    ));
    Ok(bench)
}

fn case(rows: u32) -> String {
    format!("{} customers", HumanCount(rows.into()))
}

/// All take turns over a database with so many customers.
fn size(
    settings: Settings,
    bench: &mut Bench,
    rows: u32,
    players: &mut [Option<Contender>],
) -> Result<()> {
    let case = case(rows);
    eprintln!("stream: {case}");
    let folder = program::temporary_folder()?;
    let database = folder.path().join("market.sqlite");
    market::seed(&database, rows - SAMPLE, ORDERS)?;
    take_turns(settings.rounds, players, |player| {
        let Some(server) = *player else {
            let mut command = program::command("sqlite3");
            command
                .args(["-readonly", "-json"])
                .arg(&database)
                .arg(JOIN);
            let start = Instant::now();
            program::output(command.stdout(Stdio::null()))?;
            let total = start.elapsed().as_secs_f64();
            bench.record(&case, SHELL, "total", Unit::Seconds, total);
            return Ok(());
        };
        let (reading, peak) = list(server, &database, rows)?;
        for (measure, unit, sample) in [
            ("total", Unit::Seconds, Some(reading.total.as_secs_f64())),
            (
                "first byte",
                Unit::Seconds,
                Some(reading.first_byte.as_secs_f64()),
            ),
            ("peak memory", Unit::Bytes, peak),
        ] {
            if let Some(sample) = sample {
                bench.record(&case, server.name(), measure, unit, sample);
            }
        }
        Ok(())
    })
}

/// One whole list from a process that has done nothing before but warm up, and its peak
/// memory.
fn list(server: Contender, database: &Path, rows: u32) -> Result<(Reading, Option<f64>)> {
    let program = server.start(database)?;
    let reading = http::runtime()?.block_on(async {
        let mut connection = Connection::open(program.addr()).await?;
        // Opens connections and prepares what is prepared once.
        for _ in 0..20 {
            connection.ask(&Request::get("/api/order_total/1")).await?;
        }
        timeout(
            PATIENCE,
            http::read_all(&mut connection, &Request::get(PATH)),
        )
        .await?
    });
    let reading = reading.map_err(|why| Error::failed(server.name(), format!("{PATH}: {why}")))?;
    // Two objects for each customer, and no braces in the names.
    if reading.braces != u64::from(rows) * 2 {
        let reason = format!("{PATH} has {} objects for {rows} rows", reading.braces);
        return Err(Error::failed(server.name(), reason));
    }
    Ok((reading, program.peak_memory()))
}

fn aims(bench: &mut Bench) {
    let million = case(MILLION);
    let ours = Contender::Marketsvc.name();
    bench.aim(
        Unit::Ratio,
        &format!("total time of {million}: against {SHELL}"),
        Bound::AtMost(1.5),
        bench.ratio(&million, "total", ours, SHELL),
    );
    for (rows, unit, measure, most) in [
        (MILLION, Unit::Seconds, "first byte", 0.05),
        (MILLION, Unit::Bytes, "peak memory", f64::from(32 << 20)),
        (10_000_000, Unit::Bytes, "peak memory", f64::from(32 << 20)),
    ] {
        let case = case(rows);
        let measured = bench.median(&case, ours, measure);
        let text = format!("{measure} of {case}");
        bench.aim(unit, &text, Bound::AtMost(most), measured);
    }
}
