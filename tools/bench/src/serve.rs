//! Requests a second and their latency, over one table and over others.

use std::path::Path;

use indicatif::HumanCount;

use crate::contender::Contender;
use crate::error::Result;
use crate::http::Request;
use crate::model::{Bench, Bound, Unit};
use crate::server::{Server, Times};
use crate::{Settings, answers, market, program, take_turns};

/// Orders in the table over which all contenders do everything.
pub const ORDERS: u32 = 100_000;

/// With fewer and with more, to see whether cost grows with the table.
const TABLES: [u32; 3] = [1_000, ORDERS, 1_000_000];

/// Connections of the case that the aims are about.
pub const USUAL: usize = 32;

const CONNECTIONS: [usize; 3] = [1, USUAL, 256];

pub const TOTAL: &str = "order_total";
const OF_CUSTOMER: &str = "orders of a customer";
pub const TOTAL_10: &str = "orders_total of 10";
const TOTAL_100: &str = "orders_total of 100";

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start, or answers something else than the others.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "serve",
        "Requests a second and their latency: reading totals and orders.",
    );
    let contenders = Contender::with_python(&mut bench);
    answers::agree(&contenders)?;
    let folder = program::temporary_folder()?;
    for orders in TABLES {
        let database = folder.path().join(format!("{orders}.sqlite"));
        table(settings, &mut bench, &contenders, &database, orders)?;
    }
    aims(&mut bench);
    Ok(bench)
}

/// Everything that is measured over a table of so many orders: with other sizes only one
/// kind of request, over the usual number of connections.
fn table(
    settings: Settings,
    bench: &mut Bench,
    contenders: &[Contender],
    database: &Path,
    orders: u32,
) -> Result<()> {
    let times = Times::new(settings.quick);
    let customers = orders / 10;
    market::seed(database, customers, orders)?;
    let totals = || market::order_total(20_000, orders);
    let mut kinds = vec![(TOTAL, totals())];
    let (mut limits, mut connections) = (Vec::new(), &[USUAL][..]);
    if orders == ORDERS {
        kinds.push((OF_CUSTOMER, market::orders(2_000, customers)));
        kinds.push((TOTAL_10, market::orders_total(2_000, 10, orders)));
        kinds.push((TOTAL_100, market::orders_total(500, 100, orders)));
        limits = vec![Contender::Hello, Contender::Layers];
        connections = &CONNECTIONS;
    }
    let mut servers = Vec::new();
    for contender in contenders.iter().chain(&limits) {
        servers.push(Server::start(*contender, database)?);
    }
    for (kind, requests) in kinds {
        let workload = servers[0].answers(requests)?;
        for server in &mut servers {
            if !limits.contains(&server.contender) {
                server.ask(&workload)?;
            } else if kind == TOTAL {
                let own = match server.contender {
                    Contender::Layers => vec![Request::get("/app/info")],
                    _ => totals(),
                };
                let own = server.answers(own)?;
                server.ask(&own)?;
            }
        }
        for &connections in connections {
            let title = title(kind, connections, orders);
            eprintln!("serve: {title}");
            take_turns(settings.rounds, &mut servers, |server| {
                let takes_part = match server.contender {
                    // It would be half a minute of work.
                    Contender::FastApi => kind != TOTAL_100 || connections <= USUAL,
                    // The limits are known for one case.
                    Contender::Hello | Contender::Layers => (kind, connections) == (TOTAL, USUAL),
                    _ => true,
                };
                if takes_part {
                    server.closed(bench, &title, connections, times)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn aims(bench: &mut Bench) {
    let [ours, rusqlite, fast_api, hello, layers] = [
        Contender::Marketsvc,
        Contender::AxumRusqlite,
        // The workshop runs one process.
        Contender::FastApi,
        Contender::Hello,
        Contender::Layers,
    ]
    .map(Contender::name);
    for (kind, other, bound) in [
        (TOTAL, fast_api, 40.0),
        (TOTAL_10, fast_api, 40.0),
        (TOTAL, hello, 0.35),
        (TOTAL, layers, 0.6),
    ] {
        let text = format!("{kind}, {USUAL} connections: rate against {other}");
        let measured = bench.ratio(&title(kind, USUAL, ORDERS), "rate", ours, other);
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(bound), measured);
    }
    let rates = bench
        .figures
        .iter()
        .filter(|figure| figure.measure == "rate" && figure.contender == ours);
    let ratios = rates.filter_map(|figure| {
        let ratio = bench.ratio(&figure.case, "rate", ours, rusqlite)?;
        Some((ratio, &figure.case))
    });
    if let Some((ratio, case)) = ratios.min_by(|a, b| a.0.total_cmp(&b.0)) {
        let text = format!("every read: rate against {rusqlite}; the lowest is {case}");
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(0.7), Some(ratio));
    }
}

pub fn title(kind: &str, connections: usize, orders: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    let orders = HumanCount(orders.into());
    format!("{kind}, {connections} connection{plural}, {orders} orders")
}
