//! Streamed answers: the list of all customers, its first byte, its last one, and
//! the memory that it takes; and what clients that stop reading do to others.

mod stopped;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::amount::thousands;
use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Unit};
use crate::{Settings, answers, databases, http, program, take_turns};

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

/// For one answer; only turns a hang into an error.
const HANG: Duration = Duration::from_mins(10);

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
    let shell = program::output(program::command("sqlite3").arg("--version")).is_ok();
    if !shell {
        let missing = format!("{SHELL}: there is no sqlite3 (Debian: apt install sqlite3)");
        bench.skipped.push(missing);
    }
    answers::agree(&servers)?;
    let sizes: &[u32] = if settings.quick {
        &[10_000, 100_000]
    } else {
        &[10_000, MILLION, 10_000_000]
    };
    for &rows in sizes {
        // Python takes minutes for ten million rows.
        let servers = servers.iter().copied();
        let servers = servers.filter(|server| rows <= MILLION || *server != Contender::FastApi);
        let mut players: Vec<_> = servers.map(Some).collect();
        players.extend(shell.then_some(None));
        size(settings, &mut bench, rows, &mut players)?;
    }
    aims(&mut bench);
    stopped::measure(settings, &mut bench)?;
    bench.notes.push(format!(
        "Each turn is a process of its own, so its peak memory is that of one request: for \
         {SHELL}, which is not a server, it is not measured. The file is in the system's cache."
    ));
    Ok(bench)
}

fn case(rows: u32) -> String {
    format!("{} customers", thousands(rows))
}

/// All that can take turns over a database with so many customers; `None` is SQLite's
/// shell.
fn size(
    settings: Settings,
    bench: &mut Bench,
    rows: u32,
    players: &mut [Option<Contender>],
) -> Result<()> {
    let database = databases::seeded(rows - SAMPLE, ORDERS)?;
    databases::warm(&database)?;
    let case = case(rows);
    eprintln!("stream: {case}");
    take_turns(settings.rounds, players, |player, _| {
        let Some(server) = *player else {
            let total = shell(&database)?.as_secs_f64();
            bench.record(&case, SHELL, "total", Unit::Seconds, total);
            return Ok(());
        };
        let (reading, peak) = answer(server, &database, rows)?;
        let mut record = |measure, unit, sample| {
            bench.record(&case, server.name(), measure, unit, sample);
        };
        record("total", Unit::Seconds, reading.total.as_secs_f64());
        let first = reading.first_byte.as_secs_f64();
        record("first byte", Unit::Seconds, first);
        if let Some(peak) = peak {
            record("peak memory", Unit::Bytes, peak);
        }
        Ok(())
    })
}

/// One whole list from a process that has done nothing before but warm up, and its peak
/// memory.
fn answer(server: Contender, database: &Path, rows: u32) -> Result<(http::Reading, Option<f64>)> {
    let program = server.start(database)?;
    // Opens connections and prepares what is prepared once.
    for _ in 0..20 {
        http::time(program.addr(), "/api/order_total/1", HANG)?;
    }
    let reading = http::read_all(program.addr(), PATH, HANG)
        .map_err(|why| Error::Environment(format!("{}: GET {PATH}: {why}", server.name())))?;
    // Two objects for each customer, and no braces in the names.
    if reading.braces != u64::from(rows) * 2 {
        return Err(Error::Differs {
            contender: server.name().to_owned(),
            request: format!("GET {PATH}"),
            found: format!("{} objects", reading.braces),
            expected: format!("{} objects: a customer and an address each", rows * 2),
        });
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
        bench.aim(
            unit,
            &format!("{measure} of {case}"),
            Bound::AtMost(most),
            measured,
        );
    }
}

/// How long the shell takes for the same rows, its output thrown away.
fn shell(database: &Path) -> Result<Duration> {
    let mut command = program::command("sqlite3");
    command.args(["-readonly", "-json"]).arg(database).arg(JOIN);
    let start = Instant::now();
    program::output_to(Stdio::null(), &mut command)?;
    Ok(start.elapsed())
}
