//! Requests a second and their latency, over one table and over others.

use std::sync::Arc;

use crate::amount::thousands;
use crate::contender::Contender;
use crate::error::Result;
use crate::market::Market;
use crate::model::{Bench, Bound, Unit};
use crate::server::{Server, Times};
use crate::{Settings, answers, databases, take_turns};

/// Orders in the table over which all contenders do everything.
const ORDERS: u32 = 100_000;

/// With fewer and with more, to see whether cost grows with the table.
const TABLES: [u32; 3] = [1_000, ORDERS, 1_000_000];

/// Connections of the case that the aims are about.
const USUAL: usize = 32;

const CONNECTIONS: [usize; 3] = [1, USUAL, 256];

const TOTAL: &str = "order_total";
const OF_CUSTOMER: &str = "orders of a customer";
const TOTAL_10: &str = "orders_total of 10";
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
    for orders in TABLES {
        table(settings, &mut bench, &contenders, orders)?;
    }
    aims(&mut bench);
    Ok(bench)
}

/// Over how many connections something is measured.
fn connections(orders: u32) -> &'static [usize] {
    if orders == ORDERS {
        &CONNECTIONS
    } else {
        &[USUAL]
    }
}

/// Whether a contender takes part. Left out is what would take the peer in Python
/// long and show nothing new.
fn takes_part(contender: Contender, kind: &str, connections: usize, orders: u32) -> bool {
    // Whether cost grows with the table is seen at one kind.
    let table = kind == TOTAL || orders == ORDERS;
    match contender {
        // 256 at once would be half a minute of work.
        Contender::FastApi => table && (kind != TOTAL_100 || connections <= USUAL),
        // The limits are known for one case.
        Contender::Hello | Contender::Layers => {
            (kind, connections, orders) == (TOTAL, USUAL, ORDERS)
        }
        _ => true,
    }
}

/// Everything that is measured over a table of so many orders.
fn table(
    settings: Settings,
    bench: &mut Bench,
    contenders: &[Contender],
    orders: u32,
) -> Result<()> {
    let times = Times::new(settings.quick);
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
    let mut servers = Vec::new();
    for contender in contenders {
        servers.push(Server::start(*contender, &database, &totals)?);
    }
    let answer = market.hello(20_000);
    for limit in [Contender::Hello, Contender::Layers] {
        if takes_part(limit, TOTAL, USUAL, orders) {
            servers.push(Server::start(limit, &database, &answer)?);
        }
    }
    for (kind, workload) in &cases {
        for server in &mut servers {
            // A contender that ever takes part does so over that many.
            if *kind != TOTAL && takes_part(server.contender, kind, USUAL, orders) {
                server.ask(workload)?;
            }
        }
        for &connections in connections(orders) {
            let title = title(kind, connections, orders);
            eprintln!("serve: {title}");
            take_turns(settings.rounds, &mut servers, |server, _| {
                if takes_part(server.contender, kind, connections, orders) {
                    server.closed(bench, &title, connections, times)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn aims(bench: &mut Bench) {
    let (ours, rusqlite) = (Contender::Marketsvc.name(), Contender::AxumRusqlite.name());
    for kind in [TOTAL, TOTAL_10] {
        // The workshop runs one process.
        let peer = Contender::FastApi.name();
        bench.aim(
            Unit::Ratio,
            &format!("{kind}, {USUAL} connections: rate against {peer}"),
            Bound::AtLeast(40.0),
            bench.ratio(&title(kind, USUAL, ORDERS), "rate", ours, peer),
        );
    }
    let case = title(TOTAL, USUAL, ORDERS);
    for (limit, bound) in [(Contender::Hello, 0.35), (Contender::Layers, 0.6)] {
        bench.aim(
            Unit::Ratio,
            &format!(
                "{TOTAL}, {USUAL} connections: rate against {}",
                limit.name()
            ),
            Bound::AtLeast(bound),
            bench.ratio(&case, "rate", ours, limit.name()),
        );
    }
    let mut lowest: Option<(f64, String)> = None;
    for kind in [TOTAL, OF_CUSTOMER, TOTAL_10, TOTAL_100] {
        for orders in TABLES {
            for &connections in connections(orders) {
                let case = title(kind, connections, orders);
                let ratio = bench.ratio(&case, "rate", ours, rusqlite);
                if let Some(ratio) = ratio
                    && lowest.as_ref().is_none_or(|(least, _)| ratio < *least)
                {
                    lowest = Some((ratio, case));
                }
            }
        }
    }
    if let Some((ratio, case)) = lowest {
        let text = format!("every read: rate against {rusqlite}; the lowest is {case}");
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(0.7), Some(ratio));
    }
}

fn title(kind: &str, connections: usize, orders: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!(
        "{kind}, {connections} connection{plural}, {} orders",
        thousands(orders)
    )
}
