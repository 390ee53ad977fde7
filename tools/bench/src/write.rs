//! New orders that are on disk when they are acknowledged.

use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Unit};
use crate::server::{Server, Times};
use crate::{Settings, answers, http, market, program, take_turns};

const CLIENTS: [usize; 3] = [1, 16, 64];

/// Orders and customers in the table before.
const ORDERS: u32 = 10_000;
const CUSTOMERS: u32 = 1_000;

/// Items of each new order.
const ITEMS: u32 = 2;

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start or answers otherwise than expected, and when it has
/// stored something else than the orders that were sent.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "write",
        "New orders a second, each on disk before it is acknowledged.",
    );
    let mut contenders = Contender::with_python(&mut bench);
    contenders.insert(1, Contender::OneByOne);
    answers::agree(&contenders)?;
    let times = Times::new(settings.quick);
    let folder = program::temporary_folder()?;
    let workload = market::new_orders(20_000, CUSTOMERS);
    let mut players = Vec::new();
    for contender in contenders {
        let database = folder.path().join(contender.name());
        market::seed(&database, CUSTOMERS, ORDERS)?;
        let mut server = Server::start(contender, &database)?;
        server.ask(&workload)?;
        let before = rows(&database)?;
        players.push((server, database, before));
    }
    for clients in CLIENTS {
        let case = title(clients);
        eprintln!("write: {case}");
        take_turns(settings.rounds, &mut players, |(server, ..)| {
            server.closed(&mut bench, &case, clients, times)
        })?;
    }
    for (server, database, before) in players {
        count(&mut bench, server, before, || rows(&database))?;
    }
    let (ours, each) = (Contender::Marketsvc.name(), Contender::OneByOne.name());
    let [alone, _, most] = CLIENTS.map(title);
    for (case, bound) in [(most, 10.0), (alone, 0.9)] {
        let text = format!("{case}: rate against a commit for each order");
        let measured = bench.ratio(&case, "rate", ours, each);
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(bound), measured);
    }
    Ok(bench)
}

pub fn title(clients: usize) -> String {
    let plural = if clients == 1 { "" } else { "s" };
    format!("new orders, {clients} client{plural}")
}

/// Ends the server and counts what it has stored. `rows` are those of orders and of items
/// of orders.
///
/// # Errors
///
/// When something else is stored than the orders that were sent.
pub fn count(
    bench: &mut Bench,
    server: Server,
    before: (u32, u32),
    rows: impl FnOnce() -> Result<(u32, u32)>,
) -> Result<()> {
    let (contender, acknowledged, unknown) = (server.contender, server.right, server.wrong);
    let name = contender.name();
    drop(server);
    let after = rows()?;
    let stored = after.0 - before.0;
    if after.1 - before.1 != stored * ITEMS || u64::from(stored) > acknowledged + unknown {
        let reason = format!(
            "{acknowledged} orders of {ITEMS} items were acknowledged; {before:?} orders and \
             items have become {after:?}"
        );
        return Err(Error::failed(name, reason));
    }
    let missing = acknowledged.saturating_sub(stored.into());
    let [acknowledged, missing] = [acknowledged, missing].map(as_f64);
    let case = "rows counted afterwards";
    bench.record(case, name, "acknowledged", Unit::Count, acknowledged);
    bench.record(case, name, "stored", Unit::Count, stored.into());
    if contender == Contender::Marketsvc {
        let text = "acknowledged orders of marketsvc that are not stored";
        bench.aim(Unit::Count, text, Bound::AtMost(0.0), Some(missing));
    }
    Ok(())
}

/// How many orders and items of orders there are.
fn rows(database: &Path) -> Result<(u32, u32)> {
    let rows = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items)";
    http::runtime()?.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = options.connect().await?;
        Ok(sqlx::query_as(rows).fetch_one(&mut connection).await?)
    })
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
