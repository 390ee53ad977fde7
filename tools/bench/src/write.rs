//! New orders that are on disk when they are acknowledged.

use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::market::{self, Market};
use crate::model::{Bench, Bound, Unit};
use crate::program::Folder;
use crate::server::{Server, Times};
use crate::{Settings, answers, databases, take_turns};

const CLIENTS: [usize; 3] = [1, 16, 64];

/// Orders in the table before.
const ORDERS: u32 = 10_000;

/// Items of each new order.
const ITEMS: u64 = 2;

/// What a commit for each order cannot exceed: what SQLite's log does once it has its
/// size.
const DISK: &str = "4 KiB over old ones, fsync";

/// Faster than any disk that keeps its promise: the folder is in memory.
const NO_DISK: f64 = 100_000.0;

/// Measures; see README.md.
///
/// # Errors
///
/// When a contender does not start or answers otherwise than expected, and when
/// an order was acknowledged that is not stored.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "write",
        "New orders a second, each on disk before it is acknowledged.",
    );
    let mut contenders = Contender::with_python(&mut bench);
    contenders.insert(1, Contender::OneByOne);
    answers::agree(&contenders)?;
    let times = Times::new(settings.quick);
    let folder = Folder::new()?;
    let database = databases::seeded(ORDERS / 10, ORDERS)?;
    let workload = Market::open(&database)?.new_orders(20_000);

    let mut players = Vec::new();
    for contender in contenders {
        let copy = folder.path().join(format!("{}.sqlite", contender.name()));
        databases::copy(&database, &copy)?;
        let server = Server::start(contender, &copy, &workload)?;
        // When its answers have been compared.
        players.push((server, Stored::count(&copy)?));
    }
    for clients in CLIENTS {
        let case = title(clients);
        eprintln!("write: {case}");
        take_turns(settings.rounds, &mut players, |(server, _), _| {
            server.closed(&mut bench, &case, clients, times)
        })?;
    }
    for _ in 0..settings.rounds {
        let rate = blocks(folder.path(), times.stretch)?;
        bench.record(&title(1), DISK, "rate", Unit::PerSecond, rate);
    }
    if bench.median(&title(1), DISK, "rate") > Some(NO_DISK) {
        bench.notes.push(format!(
            "{} is in memory, where nothing has to reach a disk: name another in TMPDIR",
            folder.path().display()
        ));
    }
    for (server, before) in players {
        count(&mut bench, server, before)?;
    }
    aims(&mut bench);
    Ok(bench)
}

fn title(clients: usize) -> String {
    let plural = if clients == 1 { "" } else { "s" };
    format!("new orders, {clients} client{plural}")
}

fn aims(bench: &mut Bench) {
    let (ours, each) = (Contender::Marketsvc.name(), Contender::OneByOne.name());
    let [alone, _, most] = CLIENTS.map(title);
    for (case, bound) in [(most, 10.0), (alone, 0.9)] {
        let text = format!("{case}: rate against a commit for each order");
        let measured = bench.ratio(&case, "rate", ours, each);
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(bound), measured);
    }
}

/// Stops the server and counts what it has stored.
fn count(bench: &mut Bench, server: Server, before: Stored) -> Result<()> {
    let (contender, database) = (server.contender, server.database.clone());
    let (acknowledged, unknown) = (server.acknowledged, server.unknown);
    drop(server);
    let after = Stored::count(&database)?;
    let missing = after
        .missing(before, acknowledged, unknown)
        .map_err(|why| Error::Environment(format!("{}: {why}", contender.name())))?;
    let stored = after.orders - before.orders;
    for (measure, count) in [("acknowledged", acknowledged), ("stored", stored)] {
        let (case, name) = ("rows counted afterwards", contender.name());
        bench.record(case, name, measure, Unit::Count, as_f64(count));
    }
    if contender == Contender::Marketsvc {
        let text = "acknowledged orders of marketsvc that are not stored";
        bench.aim(Unit::Count, text, Bound::AtMost(0.0), Some(as_f64(missing)));
    }
    Ok(())
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

/// How many blocks of 4 KiB reach the disk in a second, one after the other, over
/// old ones.
fn blocks(folder: &Path, stretch: Duration) -> Result<f64> {
    const BLOCK: [u8; 4096] = [0x5a; 4096];
    const BLOCKS: u64 = 1_000;
    let measure = || {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(&BLOCK.repeat(1_000))?;
        file.sync_all()?;
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < stretch {
            if count % BLOCKS == 0 {
                file.rewind()?;
            }
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            count += 1;
        }
        Ok(as_f64(count) / start.elapsed().as_secs_f64())
    };
    measure().map_err(Error::io(format!("write to {}", folder.display())))
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
}
