//! New orders that are on disk when they are acknowledged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers;
use crate::contender::{Contender, MARKETSVC, ONE_BY_ONE};
use crate::databases;
use crate::driver::Workload;
use crate::error::{Error, Result};
use crate::market::{self, Market};
use crate::model::{Axis, Bench, Bound, Plot, Style, Unit};
use crate::python::Form;
use crate::rounds::{Progress, take_turns};
use crate::server::{Server, Times};
use crate::settings::Settings;

const CLIENTS: [usize; 3] = [1, 16, 64];

/// Orders in the table before.
const ORDERS: u32 = 10_000;

/// Items of each new order.
const ITEMS: u64 = 2;

/// What nobody can beat with one commit for each order and one at a time; the
/// second once the log has its size.
const DISK: [(&str, bool); 2] = [
    ("4 KiB at a file's end, fsync", true),
    ("4 KiB over old ones, fsync", false),
];

/// How long orders are placed while fsyncs are counted.
const COUNTED: Duration = Duration::from_millis(300);

/// Faster than any disk that keeps its promise: the folder is in memory.
const NO_DISK: f64 = 100_000.0;

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start or answers otherwise than expected, and when
/// an order was acknowledged that is not stored.
pub fn measure(settings: &Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "write",
        "New orders a second, each on disk before it is acknowledged.",
    );
    let mut contenders = Contender::with_python(&mut bench, &[(Form::Core, 1)]);
    contenders.insert(1, Contender::marketsvc_one_by_one());
    answers::agree(settings, &contenders)?;
    let times = Times::new(settings);
    let folder = settings.folder()?;
    let database = databases::seeded(ORDERS / 10, ORDERS)?;
    let workload = Market::open(&database)?.new_orders(20_000)?;
    let copy = |name: String| -> Result<PathBuf> {
        let path = folder.path().join(name);
        databases::copy(&database, &path)?;
        Ok(path)
    };

    let mut players = Vec::new();
    for (place, contender) in contenders.iter().enumerate() {
        let database = copy(format!("market-{place}.sqlite"))?;
        let server = Server::start(contender, &database, &workload)?;
        players.push(Player {
            before: Stored::count(&database)?,
            server,
        });
    }
    for clients in CLIENTS {
        let case = title(clients);
        let progress = Progress::new("write", players.len() * settings.rounds);
        progress.say(&case);
        take_turns(settings.rounds, &mut players, |player, _| {
            player.server.closed(&mut bench, &case, clients, times)?;
            progress.step();
            Ok(())
        })?;
    }
    let progress = Progress::new("write", DISK.len() * settings.rounds);
    progress.say("the disk itself");
    take_turns(settings.rounds, &mut DISK.clone(), |(name, grow), _| {
        let rate = blocks(folder.path(), *grow, times)?;
        bench.record(&title(1), name, "rate", Unit::PerSecond, rate);
        progress.step();
        Ok(())
    })?;
    drop(progress);
    if bench.median(&title(1), DISK[1].0, "rate") > Some(NO_DISK) {
        bench.notes.push(format!(
            "{} is in memory, where nothing has to reach a disk: choose a folder with --dir",
            folder.path().display()
        ));
    }

    let mut lost = None;
    for player in players {
        let name = player.server.name().to_owned();
        let missing = player.missing(&mut bench)?;
        if name == MARKETSVC {
            lost = Some(missing);
        }
    }
    bench.aim_in(
        Unit::Count,
        "acknowledged orders of marketsvc that are not stored",
        Bound::AtMost(0.0),
        lost,
    );
    // A count, which needs no long stretch.
    let times = Times {
        stretch: times.stretch.min(COUNTED),
        ..times
    };
    count_fsyncs(
        &mut bench,
        settings.rounds,
        &contenders,
        &workload,
        times,
        &copy,
    )?;
    aims(&mut bench);
    Ok(bench)
}

fn title(clients: usize) -> String {
    let plural = if clients == 1 { "" } else { "s" };
    format!("new orders, {clients} client{plural}")
}

fn aims(bench: &mut Bench) {
    let [alone, _, most] = CLIENTS;
    for (clients, bound) in [(most, 10.0), (alone, 0.9)] {
        let rate = |contender| bench.median(&title(clients), contender, "rate");
        let rates = rate(MARKETSVC).zip(rate(ONE_BY_ONE));
        bench.aim(
            format!("{}: rate against a commit for each order", title(clients)),
            Bound::AtLeast(bound),
            rates.map(|(together, each)| together / each),
        );
    }
    let titles = CLIENTS.map(title);
    let points: Vec<_> = CLIENTS
        .iter()
        .zip(&titles)
        .map(|(clients, title)| (as_f64(*clients as u64), title.as_str(), "rate"))
        .collect();
    let plot = Plot {
        title: "Durable new orders a second".to_owned(),
        x: Axis {
            label: "clients".to_owned(),
            log: true,
            unit: Some(Unit::Count),
        },
        y: Axis {
            label: "orders a second".to_owned(),
            log: true,
            unit: Some(Unit::PerSecond),
        },
        style: Style::Lines,
        categories: Vec::new(),
        series: bench.series(&points),
    };
    bench.plots.push(plot);
}

struct Player {
    server: Server,
    /// When its answers had been compared.
    before: Stored,
}

/// What is in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    orders: u64,
    items: u64,
}

impl Stored {
    fn count(database: &Path) -> Result<Self> {
        let connection = market::open(database)?;
        let count = |table| -> Result<u64> {
            let count = format!("SELECT count(*) FROM {table}");
            let rows: u32 = connection.query_row(&count, [], |row| row.get(0))?;
            Ok(rows.into())
        };
        Ok(Self {
            orders: count("orders")?,
            items: count("order_items")?,
        })
    }

    /// How many of the acknowledged orders are not in `self` on top of `before`.
    /// As many as `unknown` may be there or not.
    ///
    /// # Errors
    ///
    /// When there are more orders than were sent, or other than whole ones.
    fn missing(
        self,
        before: Self,
        acknowledged: u64,
        unknown: u64,
    ) -> std::result::Result<u64, String> {
        let orders = self.orders - before.orders;
        let items = self.items - before.items;
        if items != orders * ITEMS {
            return Err(format!(
                "{orders} new orders have {items} items, {ITEMS} each were sent"
            ));
        }
        if orders > acknowledged + unknown {
            return Err(format!(
                "{orders} orders were stored, {acknowledged} acknowledged"
            ));
        }
        Ok(acknowledged.saturating_sub(orders))
    }
}

impl Player {
    /// Stops the server and counts. How many acknowledged orders are not there.
    fn missing(self, bench: &mut Bench) -> Result<f64> {
        let Self { server, before } = self;
        let name = server.name().to_owned();
        let database = server.database().to_owned();
        let (acknowledged, unknown) = (server.acknowledged, server.unknown);
        drop(server);
        let after = Stored::count(&database)?;
        let case = "rows counted afterwards";
        let stored = as_f64(after.orders - before.orders);
        bench.record(
            case,
            &name,
            "acknowledged",
            Unit::Count,
            as_f64(acknowledged),
        );
        bench.record(case, &name, "stored", Unit::Count, stored);
        let missing = after
            .missing(before, acknowledged, unknown)
            .map_err(|why| Error::Environment(format!("{name}: {why}")))?;
        Ok(as_f64(missing))
    }
}

/// How many blocks of 4 KiB reach the disk in a second, one after the other:
/// at the end of a file that grows, or in the place of others, which is what
/// SQLite's log does once it has its size.
fn blocks(folder: &Path, grow: bool, times: Times) -> Result<f64> {
    const BLOCK: [u8; 4096] = [0x5a; 4096];
    const BLOCKS: usize = 1_000;
    let measure = || {
        let mut file = tempfile::tempfile_in(folder)?;
        if !grow {
            file.write_all(&BLOCK.repeat(BLOCKS))?;
            file.sync_all()?;
            file.rewind()?;
        }
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < times.stretch {
            if !grow && count % BLOCKS == 0 {
                file.rewind()?;
            }
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            count += 1;
        }
        Ok(as_f64(count as u64) / start.elapsed().as_secs_f64())
    };
    measure().map_err(Error::io(format!("write to {}", folder.display())))
}

/// How often a contender tells the disk to write, for each order. It runs under
/// strace for that, which slows it down: these stretches are not timed.
fn count_fsyncs(
    bench: &mut Bench,
    rounds: usize,
    contenders: &[Contender],
    workload: &Arc<Workload>,
    times: Times,
    copy: &dyn Fn(String) -> Result<PathBuf>,
) -> Result<()> {
    if let Err(why) = strace_works() {
        bench.skipped.push(format!("fsyncs for each order: {why}"));
        return Ok(());
    }
    let progress = Progress::new("write", rounds * contenders.len() * CLIENTS.len());
    progress.say("counting fsyncs");
    // What it writes down there is thrown away.
    let mut aside = Bench::new("", "");
    let mut contenders: Vec<_> = contenders.iter().enumerate().collect();
    take_turns(rounds, &mut contenders, |(place, contender), round| {
        let mut run = |name: &str, clients: Option<usize>| -> Result<(u64, u64)> {
            let database = copy(format!("strace-{round}-{place}-{name}.sqlite"))?;
            let log = database.with_extension("log");
            let mut server = Server::start(&under_strace(contender, &log), &database, workload)?;
            if let Some(clients) = clients {
                server.closed(&mut aside, "", clients, times)?;
            }
            let acknowledged = server.acknowledged;
            // strace writes when the program has ended.
            drop(server);
            let _ = fs::remove_file(&database);
            Ok((fsyncs(&log)?, acknowledged))
        };
        // Start, comparison of answers and end.
        let (around, _) = run("0", None)?;
        for clients in CLIENTS {
            let (all, orders) = run(&clients.to_string(), Some(clients))?;
            if orders > 0 {
                let each = as_f64(all.saturating_sub(around)) / as_f64(orders);
                bench.record(
                    &title(clients),
                    &contender.name,
                    "fsyncs an order",
                    Unit::Ratio,
                    each,
                );
            }
            progress.step();
        }
        Ok(())
    })
}

/// The contender with its fsyncs counted. The filter in the kernel stops it at
/// these calls only.
fn under_strace(contender: &Contender, log: &Path) -> Contender {
    contender.under(Path::new("strace"), strace_arguments(log))
}

fn strace_arguments(log: &Path) -> Vec<OsString> {
    let words = "-f --seccomp-bpf -qq -c -e trace=fsync,fdatasync -o";
    let words = words.split(' ').map(OsString::from);
    words.chain([log.as_os_str().to_owned()]).collect()
}

fn strace_works() -> std::result::Result<(), String> {
    let log = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let output = Command::new("strace")
        .args(strace_arguments(log.path()))
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .map_err(|_| "strace was not found (Debian: apt install strace; Linux only)".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().next().unwrap_or("no reason given");
    Err(format!("strace does not work here: {why}"))
}

fn fsyncs(log: &Path) -> Result<u64> {
    let text = fs::read_to_string(log).map_err(Error::io(format!("read {}", log.display())))?;
    let calls = calls(&text);
    Ok(calls.values().sum())
}

/// Calls by name in the table of `strace -c`:
///
/// ```text
/// % time     seconds  usecs/call     calls    errors syscall
///  99.9    0.012345         123       100           fdatasync
/// ```
fn calls(table: &str) -> BTreeMap<&str, u64> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let name = *fields.last()?;
            let calls = fields.get(3)?.parse().ok()?;
            (name != "total").then_some((name, calls))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_order_that_is_not_there_is_missed() {
        let stored = |orders, items| Stored { orders, items };
        let before = stored(10, 25);
        assert_eq!(stored(15, 35).missing(before, 5, 0), Ok(0));
        assert_eq!(stored(15, 35).missing(before, 4, 1), Ok(0));
        assert_eq!(stored(15, 35).missing(before, 7, 1), Ok(2));
        assert!(stored(15, 35).missing(before, 4, 0).is_err());
        assert!(stored(15, 34).missing(before, 5, 0).is_err());
    }

    #[test]
    fn the_table_of_strace_is_understood() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     99.45    0.003255          54        60           fdatasync\n  \
                     0.55    0.000018           9         2         1 fsync\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.003273          52        62         1 total\n";
        let calls = calls(table);
        assert_eq!(calls.get("fdatasync"), Some(&60));
        assert_eq!(calls.get("fsync"), Some(&2));
        assert_eq!(calls.len(), 2);
    }
}
