//! `serve` and `write` on PostgreSQL: the service, `FastAPI` over asyncpg and, as a limit,
//! `pgbench` with the SQL of the service.

use std::path::Path;
use std::process;

use postgres_server::{INSTALL, Postgres, programs};
use sqlx::{AssertSqlSafe, ConnectOptions};
use sqlx_postgres::{PgConnectOptions, PgConnection};

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::http::runtime;
use crate::mix::facts;
use crate::model::{Bench, Unit};
use crate::serve::{ORDERS, TOTAL, TOTAL_10, USUAL, title};
use crate::server::{Server, Times};
use crate::{Settings, answers, market, program, take_turns, write};

const CUSTOMERS: u32 = ORDERS / 10;

/// Clients that place orders: with 10, each has a connection of a pool of ten.
const CLIENTS: [usize; 3] = [1, 10, 64];

/// Where the scripts of `pgbench` are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pgbench");

/// Measures reading totals; see README.md.
///
/// # Errors
///
/// When there is no server, and as [`crate::serve::measure`].
pub fn serve(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "serve on PostgreSQL",
        "Requests a second and their latency: reading totals.",
    );
    let (mut market, contenders) = begin(&mut bench)?;
    let url = market.copy()?;
    let servers = contenders
        .into_iter()
        .map(|contender| start(contender, &url));
    let mut servers = servers.collect::<Result<Vec<_>>>()?;
    let totals = market::order_total(20_000, ORDERS);
    let totals_10 = market::orders_total(2_000, 10, ORDERS);
    for (kind, requests, script, connections) in [
        (TOTAL, totals, "order_total.sql", &[1, USUAL][..]),
        (TOTAL_10, totals_10, "orders_total.sql", &[USUAL]),
    ] {
        let workload = servers[0].answers(requests)?;
        for server in &mut servers {
            server.ask(&workload)?;
        }
        let pgbench = Pgbench { url: &url, script };
        for &connections in connections {
            let case = title(kind, connections, ORDERS);
            turns(
                settings,
                &mut bench,
                &mut servers,
                &pgbench,
                &case,
                connections,
            )?;
        }
    }
    Ok(bench)
}

/// Measures placing orders; see README.md.
///
/// # Errors
///
/// When there is no server, and as [`crate::write::measure`].
pub fn write(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "write on PostgreSQL",
        "New orders a second, each on disk before it is acknowledged.",
    );
    let (mut market, contenders) = begin(&mut bench)?;
    let workload = market::new_orders(20_000, CUSTOMERS);
    let (mut servers, mut before) = (Vec::new(), Vec::new());
    for contender in contenders {
        let url = market.copy()?;
        let mut server = start(contender, &url)?;
        server.ask(&workload)?;
        servers.push(server);
        before.push((rows(&url)?, url));
    }
    let pgbench = Pgbench {
        url: &market.copy()?,
        script: "add_new_order.sql",
    };
    for clients in CLIENTS {
        let case = write::title(clients);
        turns(settings, &mut bench, &mut servers, &pgbench, &case, clients)?;
    }
    for (server, (before, url)) in servers.into_iter().zip(before) {
        write::count(&mut bench, server, before, || rows(&url))?;
    }
    Ok(bench)
}

/// Makes the market, and compares the answers of the contenders over HTTP.
fn begin(bench: &mut Bench) -> Result<(Market, Vec<Contender>)> {
    let mut contenders = Contender::with_python(bench);
    contenders.retain(|contender| *contender != Contender::AxumRusqlite);
    let mut market = Market::new()?;
    answers::same(&contenders, |contender| start(contender, &market.copy()?))?;
    let facts = facts(market.server.url());
    bench.notes.push(runtime()?.block_on(facts)?);
    Ok((market, contenders))
}

fn start(contender: Contender, url: &str) -> Result<Server> {
    Ok(Server::new(contender, contender.start_on_postgres(url)?))
}

/// Each server once a round, and `pgbench`.
fn turns(
    settings: Settings,
    bench: &mut Bench,
    servers: &mut [Server],
    pgbench: &Pgbench,
    case: &str,
    clients: usize,
) -> Result<()> {
    eprintln!("{}: {case}", bench.name);
    let times = Times::new(settings.quick);
    let mut players: Vec<_> = servers.iter_mut().map(Some).chain([None]).collect();
    take_turns(settings.rounds, &mut players, |player| {
        if let Some(server) = player {
            return server.closed(bench, case, clients, times);
        }
        let rate = pgbench.run(clients)?;
        bench.record(case, "pgbench", "rate", Unit::PerSecond, rate);
        Ok(())
    })
}

/// `pgbench` on the database with this URL.
struct Pgbench<'a> {
    url: &'a str,
    script: &'a str,
}

impl Pgbench<'_> {
    /// Runs the script for a second over so many connections; returns how often it was
    /// run in a second.
    fn run(&self, clients: usize) -> Result<f64> {
        let folder = programs(&["pgbench"]);
        let folder = folder.ok_or_else(|| Error::Environment(INSTALL.to_owned()))?;
        let mut pgbench = program::command(folder.join("pgbench"));
        pgbench
            .args(["-n", "-M", "prepared", "-T", "1", "-j", "2"])
            .args(["-c", &clients.to_string(), "-f"])
            .arg(Path::new(SCRIPTS).join(self.script))
            .arg(self.url);
        let output = program::output(&mut pgbench)?;
        let said = String::from_utf8_lossy(&output.stdout);
        rate(&said).ok_or_else(|| Error::failed("pgbench", said.as_ref()))
    }
}

/// The rate in what `pgbench` prints, without the time to connect.
fn rate(said: &str) -> Option<f64> {
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    tps.split(' ').next()?.parse().ok()
}

/// A market and its copies, databases of one server; they are removed at the end.
struct Market {
    server: Postgres,
    databases: Vec<String>,
}

impl Market {
    fn new() -> Result<Self> {
        let server = Postgres::find().map_err(Error::io("start PostgreSQL"))?;
        let server = server.ok_or_else(|| Error::Environment(INSTALL.to_owned()))?;
        let mut market = Self {
            server,
            databases: Vec::new(),
        };
        let url = market.create("")?;
        market::seed_postgres(&url, CUSTOMERS, ORDERS)?;
        // Otherwise the server does it during the first turns.
        execute(&url, "VACUUM (ANALYZE)")?;
        Ok(market)
    }

    /// A copy of the market; returns its URL.
    fn copy(&mut self) -> Result<String> {
        let template = format!("TEMPLATE {}", self.databases[0]);
        self.create(&template)
    }

    fn create(&mut self, options: &str) -> Result<String> {
        let name = format!("bench_{}_{}", process::id(), self.databases.len());
        execute(
            self.server.url(),
            &format!("CREATE DATABASE {name} {options}"),
        )?;
        let url = with_database(self.server.url(), &name);
        self.databases.push(name);
        Ok(url)
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        for name in &self.databases {
            let _ = execute(
                self.server.url(),
                &format!("DROP DATABASE {name} WITH (FORCE)"),
            );
        }
    }
}

/// `postgresql://USER@HOST/NAME?…` for the URL of another database of the server.
fn with_database(url: &str, name: &str) -> String {
    let (place, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
    let server = place.split_once("://").map_or(place, |(_, server)| server);
    let server = server.split_once('/').map_or(server, |(server, _)| server);
    format!("postgresql://{server}/{name}{parameters}")
}

fn execute(url: &str, statement: &str) -> Result<()> {
    runtime()?.block_on(async {
        let mut connection = connect(url).await?;
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&mut connection).await?;
        Ok(())
    })
}

async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    let options: PgConnectOptions = url.parse()?;
    options.connect().await
}

/// How many orders and items of orders there are.
fn rows(url: &str) -> Result<(u32, u32)> {
    let rows = "SELECT (SELECT count(*) FROM orders)::int, (SELECT count(*) FROM order_items)::int";
    let rows: (i32, i32) = runtime()?.block_on(async {
        let mut connection = connect(url).await?;
        sqlx::query_as(rows).fetch_one(&mut connection).await
    })?;
    Ok((rows.0.unsigned_abs(), rows.1.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_pgbench_prints() {
        let said = "latency average = 1.250 ms\n\
                    initial connection time = 2.5 ms\n\
                    tps = 800.125 (without initial connection time)\n";
        assert_eq!(rate(said), Some(800.125));
        assert_eq!(rate("pgbench: error"), None);
    }

    #[test]
    fn a_url_of_another_database_keeps_the_rest() {
        for (url, expected) in [
            (
                "postgres://me:x@host:5433/a?sslmode=require",
                "postgresql://me:x@host:5433/b?sslmode=require",
            ),
            ("postgresql://host", "postgresql://host/b"),
        ] {
            assert_eq!(with_database(url, "b"), expected);
        }
    }
}
