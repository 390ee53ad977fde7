//! Requests a second and their latency, over one table and over larger ones.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::answers;
use crate::contender::{AXUM_RUSQLITE, Contender, HELLO, Language, MARKETSVC};
use crate::databases;
use crate::driver::Workload;
use crate::error::Result;
use crate::market::{self, Market};
use crate::model::{Axis, Bench, Bound, Plot, Series, Style, Unit};
use crate::python::Form;
use crate::report::thousands;
use crate::rounds::{Progress, take_turns};
use crate::server::{SHARES, Server, Times};
use crate::settings::Settings;

/// Orders in the table over which all contenders do everything.
const ORDERS: u32 = 100_000;

/// Orders in the tables that show whether cost grows.
const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;

const TABLES: [u32; 3] = [FEW, ORDERS, MANY];

/// Connections of the case that the aims are about.
const USUAL: usize = 32;

const CONNECTIONS: [usize; 3] = [1, USUAL, 256];

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start, or answers something else than the others.
pub fn measure(settings: &Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "serve",
        "Requests a second and their latency: reading totals and orders, and placing some.",
    );
    let python = [
        (Form::Core, 1),
        (Form::Core, 2),
        (Form::Orm, 1),
        (Form::Orm, 2),
    ];
    let run = Run {
        settings,
        times: Times::new(settings),
        contenders: Contender::with_python(&mut bench, &python),
    };
    answers::agree(settings, &run.contenders)?;
    for orders in TABLES {
        run.table(&mut bench, orders)?;
    }
    run.aims(&mut bench);
    plots(&mut bench);
    Ok(bench)
}

struct Run<'a> {
    settings: &'a Settings,
    times: Times,
    /// Those that serve a database; the ones in Rust first.
    contenders: Vec<Contender>,
}

const TOTAL: &str = "order_total";
const OF_CUSTOMER: &str = "orders of a customer";
const TOTAL_10: &str = "orders_total of 10";
const TOTAL_100: &str = "orders_total of 100";
const MIXED: &str = "90 % order_total, 10 % new orders";
const KINDS: [&str; 5] = [TOTAL, OF_CUSTOMER, TOTAL_10, TOTAL_100, MIXED];

/// Over how many connections something is measured.
fn connections(orders: u32) -> &'static [usize] {
    if orders == ORDERS {
        &CONNECTIONS
    } else {
        &CONNECTIONS[1..2]
    }
}

/// Whether a contender takes part. Left out is what would take the peers in Python
/// long and show nothing new.
fn takes_part(contender: &Contender, kind: &str, connections: usize, orders: u32) -> bool {
    if contender.language == Language::Rust {
        return true;
    }
    // Whether cost grows with the table is seen at one kind.
    let table = kind == TOTAL || orders == ORDERS;
    // 256 at once would be half a minute of work.
    let bearable = kind != TOTAL_100 || connections <= USUAL;
    // That there are more workers is seen at the usual number of connections.
    let workers = contender.workers == 1 || (connections, orders) == (USUAL, ORDERS);
    table && bearable && workers
}

/// Somebody whose turn it can be.
enum Player {
    Server(Box<Server>),
    /// A server that is always asked the same.
    Hello(Box<Server>),
    /// rusqlite in this process, on so many threads.
    Loop(usize),
}

impl Player {
    fn takes_part(&self, kind: &str, connections: usize, orders: u32) -> bool {
        match self {
            Self::Server(server) => takes_part(server.contender(), kind, connections, orders),
            // The limits are known for one kind.
            Self::Hello(_) | Self::Loop(_) => kind == TOTAL && connections == USUAL,
        }
    }
}

/// Those who take part.
fn playing<'a>(
    players: &'a mut [Player],
    kind: &str,
    connections: usize,
    orders: u32,
) -> Vec<&'a mut Player> {
    let players = players.iter_mut();
    players
        .filter(|player| player.takes_part(kind, connections, orders))
        .collect()
}

impl Run<'_> {
    /// Everything that is measured over a table of so many orders.
    fn table(&self, bench: &mut Bench, orders: u32) -> Result<()> {
        let database = databases::seeded(orders / 10, orders)?;
        databases::warm(&database)?;
        let market = Market::open(&database)?;
        let totals = market.order_total(20_000)?;
        let cases = [
            (TOTAL, Arc::clone(&totals)),
            (OF_CUSTOMER, market.orders(2_000)?),
            (TOTAL_10, market.orders_total(2_000, 10)?),
            (TOTAL_100, market.orders_total(500, 100)?),
        ];

        let mut players = Vec::new();
        for contender in &self.contenders {
            if takes_part(contender, TOTAL, USUAL, orders) {
                let server = Server::start(contender, &database, &totals)?;
                players.push(Player::Server(Box::new(server)));
            }
        }
        // Whoever has no table is the same beside all of them.
        if orders == ORDERS {
            let hello = Server::start(&Contender::hello(), &database, &market.hello(20_000)?)?;
            players.push(Player::Hello(Box::new(hello)));
        }
        players.push(Player::Loop(1));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        if cores > 1 {
            players.push(Player::Loop(cores));
        }
        for (kind, workload) in &cases {
            // Those who ever take part do so over that many.
            let mut asked = playing(&mut players, kind, USUAL, orders);
            ask(&mut asked, workload)?;
            for &connections in connections(orders) {
                let mut players = playing(&mut players, kind, connections, orders);
                let title = title(kind, connections, orders);
                self.closed(bench, &title, connections, &database, &mut players)?;
            }
        }
        if orders == ORDERS {
            // At a rate that one worker can carry.
            let single = players.iter_mut().filter(|player| match player {
                Player::Server(server) => server.contender().workers == 1,
                Player::Hello(_) | Player::Loop(_) => false,
            });
            let mut players: Vec<_> = single.collect();
            ask(&mut players, &totals)?;
            self.open(bench, &mut players)?;
        }
        drop(players);
        self.mixed(bench, &market, &database, orders)
    }

    /// Reading and writing, each contender in a database of its own.
    fn mixed(
        &self,
        bench: &mut Bench,
        market: &Market,
        database: &Path,
        orders: u32,
    ) -> Result<()> {
        let folder = self.settings.folder()?;
        let workload = market.mixed(20_000)?;
        let mut players = Vec::new();
        for (place, contender) in self.contenders.iter().enumerate() {
            if takes_part(contender, MIXED, USUAL, orders) {
                let copy = folder.path().join(format!("market-{place}.sqlite"));
                databases::copy(database, &copy)?;
                let server = Server::start(contender, &copy, &workload)?;
                players.push(Player::Server(Box::new(server)));
            }
        }
        for &connections in connections(orders) {
            let mut players = playing(&mut players, MIXED, connections, orders);
            let title = title(MIXED, connections, orders);
            self.closed(bench, &title, connections, database, &mut players)?;
        }
        Ok(())
    }

    /// As much as each can do with so many connections.
    fn closed(
        &self,
        bench: &mut Bench,
        title: &str,
        connections: usize,
        database: &Path,
        players: &mut [&mut Player],
    ) -> Result<()> {
        let rounds = self.settings.rounds;
        let progress = Progress::new("serve", players.len() * rounds);
        progress.say(title);
        take_turns(rounds, players, |player, _| {
            match player {
                Player::Server(server) | Player::Hello(server) => {
                    server.closed(bench, title, connections, self.times)?;
                }
                Player::Loop(threads) => {
                    let rate = read_totals(database, *threads, self.times.stretch)?;
                    let plural = if *threads == 1 { "" } else { "s" };
                    let name = format!("rusqlite loop, {threads} thread{plural}");
                    bench.record(title, &name, "rate", Unit::PerSecond, rate);
                }
            }
            progress.step();
            Ok(())
        })
    }

    /// Latency at rates that the contenders can carry: all of them, and once
    /// more those that can carry much.
    fn open(&self, bench: &mut Bench, players: &mut [&mut Player]) -> Result<()> {
        let fast = self.contenders.iter();
        let fast = fast
            .filter(|contender| contender.language == Language::Rust)
            .count();
        let lowest = |bench: &Bench, contenders: &[Contender]| {
            let case = title(TOTAL, USUAL, ORDERS);
            let rates = contenders
                .iter()
                .map(|contender| bench.median(&case, &contender.name, "rate"));
            rates.flatten().fold(f64::INFINITY, f64::min)
        };
        if fast < self.contenders.len() {
            let rate = lowest(bench, &self.contenders) / 2.0;
            self.open_at(bench, rate, players)?;
        }
        let rate = lowest(bench, &self.contenders[..fast]) * 0.7;
        self.open_at(bench, rate, &mut players[..fast])
    }

    fn open_at(&self, bench: &mut Bench, rate: f64, players: &mut [&mut Player]) -> Result<()> {
        let rate = two_digits(rate);
        let title = format!(
            "order_total, {} requests/s, {} orders",
            thousands(rate),
            thousands(ORDERS)
        );
        let progress = Progress::new("serve", players.len() * self.settings.rounds);
        progress.say(&title);
        take_turns(self.settings.rounds, players, |player, _| {
            if let Player::Server(server) = player {
                server.open(bench, &title, USUAL, rate.into(), self.times)?;
            }
            progress.step();
            Ok(())
        })?;
        let places = (0_u32..).map(f64::from).zip(SHARES);
        let points: Vec<_> = places
            .map(|(x, (measure, _))| (x, title.as_str(), measure))
            .collect();
        let series = bench.series(&points);
        bench.plots.push(Plot {
            title: format!("Latency of {title}"),
            x: Axis {
                label: "share of the requests".to_owned(),
                log: false,
                unit: None,
            },
            y: Axis {
                label: "not slower than".to_owned(),
                log: true,
                unit: Some(Unit::Seconds),
            },
            style: Style::Bars,
            categories: SHARES.map(|(name, _)| name.to_owned()).to_vec(),
            series,
        });
        Ok(())
    }

    fn aims(&self, bench: &mut Bench) {
        let python: Vec<&Contender> = self
            .contenders
            .iter()
            .filter(|contender| contender.language == Language::Python)
            .collect();
        for name in [TOTAL, TOTAL_10] {
            let case = title(name, USUAL, ORDERS);
            let of = |contender: &str, measure| bench.median(&case, contender, measure);
            let ours = of(MARKETSVC, "rate");
            let than_fastest = |most_workers: u32| {
                let peers = python.iter().filter(|peer| peer.workers <= most_workers);
                let rates = peers.filter_map(|peer| of(&peer.name, "rate"));
                divide(ours, rates.reduce(f64::max))
            };
            // The workshop runs one process.
            let (faster, than_all) = (than_fastest(1), than_fastest(u32::MAX));
            let theirs = python.iter().filter_map(|peer| of(&peer.name, "p99"));
            let p99 = divide(of(MARKETSVC, "p99"), theirs.reduce(f64::min));
            let beside = divide(ours, of(AXUM_RUSQLITE, "rate"));
            let here = format!("{name}, {USUAL} connections");
            bench.aim(
                format!("{here}: rate against the fastest FastAPI in one process"),
                Bound::AtLeast(40.0),
                faster,
            );
            if let Some(ratio) = than_all {
                bench.notes.push(format!(
                    "{here}: {ratio:.1} times the rate of the fastest FastAPI with any number of workers."
                ));
            }
            bench.aim(
                format!("{here}: p99 against the lowest of FastAPI"),
                Bound::AtMost(1.0),
                p99,
            );
            bench.aim(
                format!("{here}: rate against {AXUM_RUSQLITE}"),
                Bound::AtLeast(0.9),
                beside,
            );
        }
        let rate =
            |orders, contender| bench.median(&title(TOTAL, USUAL, orders), contender, "rate");
        let limit = divide(rate(ORDERS, MARKETSVC), rate(ORDERS, HELLO));
        bench.aim(
            format!("order_total, {USUAL} connections: rate against {HELLO}"),
            Bound::AtLeast(0.5),
            limit,
        );
        // Not of new orders, with which the small table grows.
        for kind in KINDS.into_iter().filter(|kind| *kind != MIXED) {
            let rate = |orders| bench.median(&title(kind, USUAL, orders), MARKETSVC, "rate");
            let growth = divide(rate(FEW), rate(MANY));
            bench.aim(
                format!(
                    "{kind}: rate with {} orders against {}",
                    thousands(FEW),
                    thousands(MANY)
                ),
                Bound::AtMost(1.5),
                growth,
            );
        }
    }
}

fn plots(bench: &mut Bench) {
    let rates = Axis {
        label: "requests a second".to_owned(),
        log: true,
        unit: Some(Unit::PerSecond),
    };
    let lines = |title: String, label: &str, series: Vec<Series>| Plot {
        title,
        x: Axis {
            label: label.to_owned(),
            log: true,
            unit: Some(Unit::Count),
        },
        y: rates.clone(),
        style: Style::Lines,
        categories: Vec::new(),
        // A point is no line.
        series: series
            .into_iter()
            .filter(|series| series.points.len() > 1)
            .collect(),
    };
    let bars: Vec<_> = (0_u32..)
        .map(f64::from)
        .zip(KINDS.map(|kind| title(kind, USUAL, ORDERS)))
        .collect();
    let by_connections =
        CONNECTIONS.map(|count| (as_f64(count as u64), title(TOTAL, count, ORDERS)));
    let by_size = TABLES.map(|orders| (f64::from(orders), title(TOTAL, USUAL, orders)));
    let of_kind = |kind: &str| Series {
        name: kind.to_owned(),
        points: TABLES
            .iter()
            .filter_map(|orders| {
                let rate = bench.median(&title(kind, USUAL, *orders), MARKETSVC, "rate")?;
                Some((f64::from(*orders), rate))
            })
            .collect(),
    };
    let plots = [
        Plot {
            title: format!("Requests a second, {USUAL} connections"),
            x: Axis {
                label: String::new(),
                log: false,
                unit: None,
            },
            y: rates.clone(),
            style: Style::Bars,
            categories: KINDS.map(str::to_owned).to_vec(),
            series: rates_of(bench, &bars),
        },
        lines(
            "order_total by connections".to_owned(),
            "connections",
            rates_of(bench, &by_connections),
        ),
        lines(
            format!("order_total by size of the table, {USUAL} connections"),
            "orders in the table",
            rates_of(bench, &by_size),
        ),
        lines(
            format!("{MARKETSVC} by size of the table, {USUAL} connections"),
            "orders in the table",
            KINDS.map(of_kind).to_vec(),
        ),
    ];
    // Those of the open loops are there already.
    bench.plots.splice(0..0, plots);
}

/// What the players are asked from now on.
fn ask(players: &mut [&mut Player], workload: &Arc<Workload>) -> Result<()> {
    for player in players {
        if let Player::Server(server) = &mut **player {
            server.ask(workload)?;
        }
    }
    Ok(())
}

fn rates_of(bench: &Bench, cases: &[(f64, String)]) -> Vec<Series> {
    let points = cases.iter().map(|(x, case)| (*x, case.as_str(), "rate"));
    bench.series(&points.collect::<Vec<_>>())
}

/// Totals that this process reads a second, on so many threads.
fn read_totals(database: &Path, threads: usize, duration: Duration) -> Result<f64> {
    let start = Instant::now();
    let end = start + duration;
    let counts: Vec<Result<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads as u64)
            .map(|thread| scope.spawn(move || read_totals_until(database, thread, end)))
            .collect();
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined
            .map(|count| count.expect("it does not panic"))
            .collect()
    });
    let mut all = 0;
    for count in counts {
        all += count?;
    }
    Ok(as_f64(all) / start.elapsed().as_secs_f64())
}

fn read_totals_until(database: &Path, thread: u64, end: Instant) -> Result<u64> {
    let connection = market::open(database)?;
    let orders: u32 = connection.query_row("SELECT max(id) FROM orders", [], |row| row.get(0))?;
    let mut total = connection.prepare(market::TOTAL)?;
    let mut count = 0;
    while Instant::now() < end {
        // The clock costs a part of a query.
        for _ in 0..16 {
            let id = market::random_id((thread << 32) + count, orders);
            black_box(total.query_row([id], |row| row.get::<_, Option<i64>>(0))?);
            count += 1;
        }
    }
    Ok(count)
}

fn title(case: &str, connections: usize, orders: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    let orders = thousands(orders);
    format!("{case}, {connections} connection{plural}, {orders} orders")
}

fn divide(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}

/// The number down to two digits that are not 0, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of requests a second"
)]
fn two_digits(number: f64) -> u32 {
    let whole = number.max(1.0) as u32;
    let unit = 10_u32.pow(whole.ilog10().saturating_sub(1));
    whole / unit * unit
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Customers;

    #[test]
    fn who_takes_part_in_what() {
        let peer = |workers| Contender::python(Form::Core, workers, Customers::Collected);
        let rust = [Contender::marketsvc(), Contender::axum_rusqlite()];
        let python = [peer(1), peer(2)];
        // Peers of one and of two workers; 5 kinds by 3 numbers of connections over
        // the table in the middle, and 5 kinds over each of the others.
        for (kind, connections, orders, one, two) in [
            (TOTAL, 32, FEW, true, false),
            (OF_CUSTOMER, 32, FEW, false, false),
            (TOTAL_10, 32, FEW, false, false),
            (TOTAL_100, 32, FEW, false, false),
            (MIXED, 32, FEW, false, false),
            (TOTAL, 1, ORDERS, true, false),
            (TOTAL, 32, ORDERS, true, true),
            (TOTAL, 256, ORDERS, true, false),
            (OF_CUSTOMER, 1, ORDERS, true, false),
            (OF_CUSTOMER, 32, ORDERS, true, true),
            (OF_CUSTOMER, 256, ORDERS, true, false),
            (TOTAL_10, 1, ORDERS, true, false),
            (TOTAL_10, 32, ORDERS, true, true),
            (TOTAL_10, 256, ORDERS, true, false),
            (TOTAL_100, 1, ORDERS, true, false),
            (TOTAL_100, 32, ORDERS, true, true),
            // Half a minute of work at once.
            (TOTAL_100, 256, ORDERS, false, false),
            (MIXED, 1, ORDERS, true, false),
            (MIXED, 32, ORDERS, true, true),
            (MIXED, 256, ORDERS, true, false),
            (TOTAL, 32, MANY, true, false),
            (OF_CUSTOMER, 32, MANY, false, false),
            (TOTAL_10, 32, MANY, false, false),
            (TOTAL_100, 32, MANY, false, false),
            (MIXED, 32, MANY, false, false),
        ] {
            let plays = |contender| takes_part(contender, kind, connections, orders);
            let case = title(kind, connections, orders);
            assert!(rust.iter().all(plays), "{case}");
            assert_eq!(python.each_ref().map(plays), [one, two], "{case}");
        }
        for (orders, expected) in [(FEW, &[32][..]), (ORDERS, &[1, 32, 256]), (MANY, &[32])] {
            assert_eq!(connections(orders), expected, "{orders}");
        }
    }

    #[test]
    fn growth_is_judged_for_each_kind_of_reading() {
        let settings = Settings {
            quick: true,
            rounds: 1,
            dir: None,
        };
        let run = Run {
            settings: &settings,
            times: Times::new(&settings),
            contenders: vec![Contender::marketsvc()],
        };
        let mut bench = Bench::new("serve", "");
        for (kind, few) in KINDS.into_iter().zip([1_000.0, 1_500.0, 1_600.0, 500.0]) {
            for (orders, rate) in [(FEW, few), (MANY, 1_000.0)] {
                let case = title(kind, USUAL, orders);
                bench.record(&case, MARKETSVC, "rate", Unit::PerSecond, rate);
            }
        }
        run.aims(&mut bench);
        let aims = bench.aims.iter();
        let kept: Vec<_> = aims
            .filter(|aim| aim.text.contains("against 1,000,000"))
            .map(|aim| (aim.text.split(": rate").next().unwrap(), aim.kept()))
            .collect();
        let expected = [Some(true), Some(true), Some(false), Some(true)];
        assert_eq!(kept, KINDS.into_iter().zip(expected).collect::<Vec<_>>());
        plots(&mut bench);
        let by_size = bench
            .plots
            .iter()
            .find(|plot| plot.title.starts_with(MARKETSVC));
        let series = &by_size.unwrap().series;
        // Of the last one nothing was measured.
        assert_eq!(series.len(), KINDS.len() - 1);
        assert_eq!(series[1].points, [(1e3, 1_500.0), (1e6, 1_000.0)]);
    }

    #[test]
    fn numbers_as_people_write_them() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(two_digits(0.3), 1);
        assert_eq!(two_digits(99.9), 99);
        assert_eq!(two_digits(15_678.0), 15_000);
        assert_eq!(title("a", 1, 1_000), "a, 1 connection, 1,000 orders");
    }
}
