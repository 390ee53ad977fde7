//! Streamed answers: the list of all customers, its first byte, its last one, and
//! the memory that it takes; and what clients that stop reading do to others.

mod client;
mod stopped;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::answers;
use crate::contender::{Contender, Language, MARKETSVC};
use crate::databases;
use crate::error::{Error, Result};
use crate::model::{Axis, Bench, Bound, Plot, Series, Style, Unit};
use crate::program;
use crate::python::{self, Customers, Form};
use crate::report::thousands;
use crate::rounds::{Progress, take_turns};
use crate::settings::Settings;

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

/// For a small answer while warming up; only turns a hang into an error.
const HANG: Duration = Duration::from_mins(1);

/// Between two looks at a server's memory: some per mille of a core.
const WATCH: Duration = Duration::from_millis(20);

/// Points of one line in the plot of memory.
const POINTS: usize = 400;

/// The workshop's last step but one.
fn workshop() -> Contender {
    Contender::python(Form::Core, 1, Customers::Collected)
}

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start, or answers something else than the others.
pub fn measure(settings: &Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "stream",
        "The list of all customers: first byte, last byte, and the memory of the server.",
    );
    let mut servers = vec![Contender::marketsvc(), Contender::axum_rusqlite()];
    match python::prepare() {
        Ok(()) => {
            for form in [Form::Core, Form::Orm] {
                for customers in [Customers::Collected, Customers::Streamed] {
                    servers.push(Contender::python(form, 1, customers));
                }
            }
        }
        Err(why) => bench.skipped.push(why),
    }
    let shell = has_shell();
    if !shell {
        bench
            .skipped
            .push("sqlite3 -json: there is no sqlite3 (Debian: apt install sqlite3)".to_owned());
    }
    answers::agree(settings, &servers)?;

    let sizes: &[u32] = if settings.quick {
        &[10_000, 100_000]
    } else {
        &[10_000, MILLION, 10_000_000]
    };
    for &rows in sizes {
        let mut players: Vec<Player> = servers
            .iter()
            .filter(|server| rows <= MILLION || server.language == Language::Rust)
            .map(|server| Player::new(Some(server.clone())))
            .collect();
        if shell {
            players.push(Player::new(None));
        }
        size(settings, &mut bench, rows, &mut players)?;
    }
    if !settings.quick && servers.len() > 2 {
        bench.notes.push(
            "The peers in Python take minutes for 10,000,000 rows and are measured up to 1,000,000."
                .to_owned(),
        );
    }
    aims(&mut bench);
    stopped::measure(settings, &mut bench, servers.len() > 2)?;
    bars(&mut bench, sizes);
    bench.notes.push(format!(
        "Each turn is a process of its own, so its peak memory is that of one request: for \
         {SHELL}, which is no server, it is not measured. The file is in the system's cache."
    ));
    Ok(bench)
}

/// Whose turn it can be.
struct Player {
    /// `None`: SQLite's shell.
    server: Option<Contender>,
    name: String,
}

impl Player {
    fn new(server: Option<Contender>) -> Self {
        let name = server.as_ref().map_or(SHELL, |server| &server.name);
        Self {
            name: name.to_owned(),
            server,
        }
    }
}

fn case(rows: u32) -> String {
    format!("{} customers", thousands(rows))
}

/// Everybody who can takes turns over a database with so many customers.
fn size(settings: &Settings, bench: &mut Bench, rows: u32, players: &mut [Player]) -> Result<()> {
    let database = databases::seeded(rows - SAMPLE, ORDERS)?;
    databases::warm(&database)?;
    let case = case(rows);
    let progress = Progress::new("stream", players.len() * settings.rounds);
    let mut memory: Vec<Series> = Vec::new();
    take_turns(settings.rounds, players, |player, round| {
        progress.say(&format!("{case}: {}", player.name));
        match &player.server {
            None => {
                let total = shell(&database)?;
                bench.record(&case, SHELL, "total", Unit::Seconds, total.as_secs_f64());
            }
            Some(server) => {
                let turn = turn(server, &database, rows)?;
                let mut record = |measure, unit, sample| {
                    bench.record(&case, &player.name, measure, unit, sample);
                };
                let reading = &turn.reading;
                record(
                    "first byte",
                    Unit::Seconds,
                    reading.first_byte.as_secs_f64(),
                );
                record("total", Unit::Seconds, reading.total.as_secs_f64());
                if let Some(peak) = turn.peak {
                    record("peak memory", Unit::Bytes, float(peak));
                }
                if round == 0 && !turn.memory.is_empty() {
                    memory.push(Series {
                        name: player.name.clone(),
                        points: thinned(&turn.memory),
                    });
                }
            }
        }
        progress.step();
        Ok(())
    })?;
    // Smaller lists are over before there is anything to see.
    if !memory.is_empty() && rows >= 100_000 {
        bench.plots.push(Plot {
            title: format!("Memory of the server while it sends {case}"),
            x: axis("time since the request", Unit::Seconds),
            y: axis("resident memory", Unit::Bytes),
            style: Style::Lines,
            categories: Vec::new(),
            series: memory,
        });
    }
    Ok(())
}

struct Turn {
    reading: client::Reading,
    peak: Option<u64>,
    /// Seconds since the request, and bytes.
    memory: Vec<(f64, u64)>,
}

/// One whole list from a process that has done nothing before but warm up.
fn turn(server: &Contender, database: &Path, rows: u32) -> Result<Turn> {
    let program = server.start(database)?;
    // Opens connections and prepares what is prepared once.
    for _ in 0..20 {
        client::time(program.addr(), "/api/order_total/1", HANG)?;
    }
    let watch = program.watch_memory(WATCH);
    let reading = client::read_all(program.addr(), PATH)
        .map_err(|why| Error::Environment(format!("{}: GET {PATH}: {why}", server.name)))?;
    let memory = watch.finish();
    let peak = program.peak_memory();
    // Two objects for each customer, and no braces in the names.
    if reading.braces != u64::from(rows) * 2 {
        return Err(Error::Differs {
            contender: server.name.clone(),
            request: format!("GET {PATH}"),
            found: format!("{} objects", reading.braces),
            expected: format!(
                "{} objects: a customer and its address {rows} times",
                rows * 2
            ),
        });
    }
    Ok(Turn {
        reading,
        peak,
        memory,
    })
}

fn aims(bench: &mut Bench) {
    let million = case(MILLION);
    let workshop = workshop().name;
    let median = |who: &str, measure| bench.median(&million, who, measure);
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let sooner = ratio(
        median(&workshop, "first byte"),
        median(MARKETSVC, "first byte"),
    );
    let smaller = ratio(
        median(&workshop, "peak memory"),
        median(MARKETSVC, "peak memory"),
    );
    let slower = ratio(median(MARKETSVC, "total"), median(SHELL, "total"));
    let first_byte = median(MARKETSVC, "first byte");
    let ten_million = bench.median(&case(10_000_000), MARKETSVC, "peak memory");

    let of = "of 1,000,000 customers";
    bench.aim(
        format!("first byte {of}: so many times sooner than {workshop}"),
        Bound::AtLeast(1_000.0),
        sooner,
    );
    bench.aim(
        format!("peak memory {of}: so many times less than {workshop}"),
        Bound::AtLeast(20.0),
        smaller,
    );
    bench.aim(
        format!("total time {of}: so many times that of {SHELL}"),
        Bound::AtMost(1.5),
        slower,
    );
    bench.aim_in(
        Unit::Seconds,
        format!("first byte {of}"),
        Bound::AtMost(0.05),
        first_byte,
    );
    bench.aim_in(
        Unit::Bytes,
        "peak memory of 10,000,000 customers",
        Bound::AtMost(f64::from(32 << 20)),
        ten_million,
    );
}

/// How time and memory grow with the table.
fn bars(bench: &mut Bench, sizes: &[u32]) {
    for (measure, unit) in [
        ("first byte", Unit::Seconds),
        ("total", Unit::Seconds),
        ("peak memory", Unit::Bytes),
    ] {
        let mut series: Vec<Series> = Vec::new();
        for (place, rows) in (0_u32..).zip(sizes) {
            let case = case(*rows);
            for figure in &bench.figures {
                if figure.case != case || figure.measure != measure {
                    continue;
                }
                let point = (f64::from(place), figure.median());
                match series.iter_mut().find(|one| one.name == figure.contender) {
                    Some(one) => one.points.push(point),
                    None => series.push(Series {
                        name: figure.contender.clone(),
                        points: vec![point],
                    }),
                }
            }
        }
        if series.is_empty() {
            continue;
        }
        bench.plots.push(Plot {
            title: format!("All customers: {measure}"),
            x: Axis {
                label: "customers".to_owned(),
                log: false,
                unit: None,
            },
            y: axis(measure, unit),
            style: Style::Bars,
            categories: sizes.iter().map(|rows| thousands(*rows)).collect(),
            series,
        });
    }
}

/// A logarithmic one: contenders are thousands of times apart.
fn axis(label: &str, unit: Unit) -> Axis {
    Axis {
        label: label.to_owned(),
        log: true,
        unit: Some(unit),
    }
}

// ---- SQLite's shell

fn has_shell() -> bool {
    let mut version = Command::new("sqlite3");
    version.arg("--version").stdout(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// How long the shell takes for the same rows, its output thrown away.
fn shell(database: &Path) -> Result<Duration> {
    let mut command = Command::new("sqlite3");
    command.args(["-readonly", "-json"]).arg(database).arg(JOIN);
    let start = Instant::now();
    let output = program::output_to(Stdio::null(), "sqlite3", &mut command)?;
    let took = start.elapsed();
    if output.status.success() {
        Ok(took)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Environment(format!("sqlite3 failed: {said}")))
    }
}

// ---- numbers

/// At most [`POINTS`] of them, the highest of each stretch of time, so that no
/// peak is lost. The first one is at 1 ms, since a logarithmic axis has no 0.
fn thinned(points: &[(f64, u64)]) -> Vec<(f64, f64)> {
    points
        .chunks(points.len().div_ceil(POINTS).max(1))
        .filter_map(|some| some.iter().max_by_key(|(_, bytes)| *bytes))
        .map(|(seconds, bytes)| (seconds.max(0.001), float(*bytes)))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "no memory has 2^52 bytes")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_peak() {
        let points: Vec<_> = (0..10_000_u32)
            .map(|n| (f64::from(n) / 100.0, u64::from(n == 4_321) * 7 + 1))
            .collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS && thin.len() > POINTS / 2);
        assert!(thin.iter().any(|(_, bytes)| *bytes > 7.0));
        assert!(thin.iter().all(|(seconds, _)| *seconds > 0.0));
        assert!(thinned(&[]).is_empty());
    }

    #[test]
    fn digits_are_in_groups() {
        for (number, text) in [(7, "7"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), text);
        }
    }
}
