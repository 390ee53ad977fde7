//! All strategies on the same list of operations, without and with the index on
//! `b.a_id`: how long they take, and how many connections they use.
//!
//! `./run.sh run 13 compare` runs your exercise, `./run.sh run 13 compare --solution` the
//! solution. `--help` lists the options.

use std::error::Error;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use postgres_server::Postgres;
use step13::plan::{Operation, operations, writes};
use step13::strategies::Strategy;
use step13::tables::Tables;

#[derive(Debug, Parser)]
struct Options {
    /// How many operations each strategy does
    #[arg(long, default_value_t = 3_500)]
    operations: usize,
    /// Only this database [default: both, where PostgreSQL is installed or `DATABASE_URL`
    /// names a database of it]
    #[arg(long, value_name = "NAME")]
    database: Option<Kind>,
    /// The most connections of the pool
    #[arg(long, value_name = "NUMBER", default_value_t = POOL)]
    pool: u32,
    /// How many seconds an operation waits for a connection
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600.0)]
    patience: f64,
    /// Only the strategies whose names contain this: "chunks"
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Only with the index
    #[arg(long)]
    with_index: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A new PostgreSQL accepts 100 connections and keeps three of them for administrators.
pub(crate) const POOL: u32 = 90;

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy::OneAfterAnother,
    Strategy::AllAtOnce,
    Strategy::InChunks(40),
    Strategy::InFlight(8),
    Strategy::OneWriter(8),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let operations = operations(options.operations);
    let patience = Duration::try_from_secs_f64(options.patience)?;
    let mut strategies = STRATEGIES.to_vec();
    strategies.retain(|strategy| strategy.to_string().contains(&options.only));
    let server = server(options.database)?;
    for kind in kinds(options.database, server.as_ref()) {
        for index in [false, true] {
            if options.with_index && !index {
                continue;
            }
            let mut runs = Vec::new();
            for &strategy in &strategies {
                let tables = tables(kind, server.as_ref(), index).await?;
                runs.push(Run::new(strategy, &operations, &tables, options.pool, patience).await?);
                // All leave the same rows, so one plan is enough.
                if runs.len() == strategies.len() {
                    let with = if index { "with" } else { "without" };
                    println!("{}, {with} the index on b.a_id", kind.name());
                    println!("how it finds the rows of b:");
                    for line in tables.query_plan().await? {
                        println!("    {line}");
                    }
                }
                tables.remove().await?;
            }
            println!("{}\n", table(&runs));
        }
    }
    Ok(())
}

/// PostgreSQL, unless it is not wanted or not there.
pub(crate) fn server(wanted: Option<Kind>) -> Result<Option<Postgres>, Box<dyn Error>> {
    if wanted == Some(Kind::Sqlite) {
        return Ok(None);
    }
    let server = Postgres::find()?;
    if server.is_none() {
        eprintln!("{}", postgres_server::INSTALL);
    }
    Ok(server)
}

/// The databases to work on.
pub(crate) fn kinds(wanted: Option<Kind>, server: Option<&Postgres>) -> Vec<Kind> {
    let mut kinds = vec![Kind::Sqlite, Kind::Postgres];
    kinds.retain(|kind| wanted.is_none_or(|wanted| wanted == *kind));
    kinds.retain(|kind| *kind == Kind::Sqlite || server.is_some());
    kinds
}

/// New tables.
pub(crate) async fn tables(
    kind: Kind,
    server: Option<&Postgres>,
    index: bool,
) -> Result<Tables, Box<dyn Error>> {
    let tables = match (kind, server) {
        (Kind::Postgres, Some(server)) => Tables::on_postgres(server.url()).await?,
        _ => Tables::on_sqlite().await?,
    };
    if index {
        tables.create_index().await?;
    }
    Ok(tables)
}

/// What a strategy has done.
pub(crate) struct Run {
    pub strategy: Strategy,
    took: Duration,
    succeeded: usize,
    failures: usize,
    peak: u64,
    /// How many connections were in use from which time on.
    #[allow(dead_code)] // the example `trace` draws it
    pub connections: Vec<(Duration, u64)>,
}

impl Run {
    /// Does all operations on empty tables, and counts the rows afterwards.
    pub(crate) async fn new(
        strategy: Strategy,
        operations: &[Operation],
        tables: &Tables,
        pool: u32,
        patience: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let database = tables.open_with(pool, patience);
        let start = Instant::now();
        let perform = |operation| database.perform(operation);
        let outcome = strategy.run(operations, perform).await;
        let took = start.elapsed();
        database.close().await;
        if let Some(error) = &outcome.first_failure {
            eprintln!(
                "{strategy}: {} failed, the first: {error}",
                outcome.failures
            );
        } else {
            assert_eq!(outcome.writes, writes(operations), "{strategy}");
        }
        let stored = i64::try_from(outcome.writes)?;
        assert_eq!(
            tables.count().await?,
            (stored * 3, stored * 5),
            "{strategy}"
        );
        Ok(Self {
            strategy,
            took,
            succeeded: outcome.reads + outcome.writes,
            failures: outcome.failures,
            peak: database.meter.peak(),
            connections: database.meter.changes(),
        })
    }
}

pub(crate) fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "strategy",
        "seconds",
        "operations a second",
        "peak connections",
        "failed",
    ]);
    for run in runs {
        let seconds = run.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "thousands of operations")]
        let rate = run.succeeded as f64 / seconds;
        table.add_row([
            run.strategy.to_string(),
            format!("{seconds:.2}"),
            format!("{rate:.0}"),
            run.peak.to_string(),
            run.failures.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
