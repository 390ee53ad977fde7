//! Thousands of small reads and writes on SQLite and on PostgreSQL: the strategies of
//! step 13, beside SQLAlchemy.

mod together;

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use postgres_server::Server;
use sqlx::{AssertSqlSafe, ConnectOptions};
use sqlx_postgres::PgConnectOptions;
use step13_solution::outcome::Outcome;
use step13_solution::plan::{self, Operation};
use step13_solution::strategies::Strategy;
use step13_solution::tables::Tables;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Figure, Unit};
use crate::{Settings, program, python, take_turns};
use together::Together;

/// How many reads of the empty tables open the connections; as many as in `mix.py`.
const WARM_UP: [Operation; 100] = [Operation::Read; 100];

/// What does the operations.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A strategy of step 13, with so many connections.
    Step(Strategy, u32),
    /// So many readers, and one writer that commits together what is waiting.
    Together(u32),
    /// A form of `mix.py`, with so many connections.
    SqlAlchemy(&'static str, u32),
}

/// A way and how much of the list it does: SQLAlchemy, and what does one operation after
/// another, a tenth of it, which is its beginning.
struct Contender {
    name: String,
    way: Way,
    operations: u32,
}

/// Measures the mix.
///
/// # Errors
///
/// When the environment lacks something, when an operation fails, or when rows
/// are missing afterwards. With `CI=true` also when PostgreSQL or Python is
/// missing.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "mix",
        "Thousands of small transactions, half of them reads and half writes.",
    );
    let operations = if settings.quick { 3_500 } else { 35_000 };
    let runtime = Runtime::new().map_err(Error::io("make a runtime"))?;
    let folder = program::temporary_folder()?;
    let python = available(&mut bench, python::prepare())?.is_some();
    let server = Server::start(&[]).map_err(Error::io("start PostgreSQL"))?;
    let server = server.ok_or_else(|| postgres_server::INSTALL.to_owned());
    let server = available(&mut bench, server)?;
    for (case, server) in [
        ("mix on SQLite", None),
        ("mix on PostgreSQL", server.as_ref()),
    ] {
        if case == "mix on PostgreSQL" && server.is_none() {
            continue;
        }
        let mut contenders = contenders(server.is_some(), operations, python);
        eprintln!("mix: {case}");
        take_turns(settings.rounds, &mut contenders, |contender| {
            let took = runtime.block_on(turn(server, contender, folder.path()))?;
            let count = f64::from(contender.operations);
            let rate = count / took.as_secs_f64();
            bench.record(case, &contender.name, "rate", Unit::PerSecond, rate);
            bench.record(case, &contender.name, "operations", Unit::Count, count);
            Ok(())
        })?;
        aim(&mut bench, case);
    }
    if let Some(server) = &server {
        let url = server.url("postgres");
        bench.notes.push(runtime.block_on(facts(&url))?);
    }
    bench.notes.push(format!(
        "All did the beginning of one list of {} operations on new tables, to its end; none \
         failed, and afterwards the tables held exactly the rows of the writes. SQLite: WAL, \
         synchronous FULL, foreign keys on, for both sides.",
        HumanCount(operations.into())
    ));
    Ok(bench)
}

/// What is missing is skipped, but not where everything has to be there.
fn available<T>(bench: &mut Bench, found: std::result::Result<T, String>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(missing) if env::var_os("CI").is_some_and(|ci| ci == "true") => {
            Err(Error::Environment(missing))
        }
        Err(missing) => {
            bench.skipped.push(missing);
            Ok(None)
        }
    }
}

fn contenders(postgres: bool, all: u32, python: bool) -> Vec<Contender> {
    // On SQLite more connections only contend for its lock.
    let [tasks, chunks] = if postgres { [90, 40] } else { [10, 10] };
    let tenth = all / 10;
    let contender = |name: &str, way, operations| Contender {
        name: name.to_owned(),
        way,
        operations,
    };
    let mut contenders = vec![
        contender(
            "sqlx, one after another",
            Way::Step(Strategy::OneAfterAnother, 1),
            tenth,
        ),
        contender(
            "sqlx, 8 in flight",
            Way::Step(Strategy::InFlight(8), 8),
            all,
        ),
        contender(
            "sqlx, one writer that commits together, 8 readers",
            Way::Together(8),
            all,
        ),
    ];
    if python {
        for (form, connections) in [("sync", 1), ("tasks", tasks), ("chunks", chunks)] {
            let name = format!("SQLAlchemy, {form}, pool of {connections}");
            contenders.push(contender(&name, Way::SqlAlchemy(form, connections), tenth));
        }
    }
    contenders
}

/// One contender, on new tables, of a PostgreSQL server or else on SQLite; its rows are
/// counted afterwards.
async fn turn(server: Option<&Server>, contender: &Contender, folder: &Path) -> Result<Duration> {
    let tables = match server {
        None => Tables::on_sqlite_in(folder).await?,
        Some(server) => Tables::on_postgres(&server.url("postgres")).await?,
    };
    tables.create_index().await?;
    let operations = plan::operations(contender.operations as usize);
    let failed = |reason: String| Error::failed(&contender.name, reason);
    // Nothing is allowed to fail.
    let succeeded = |outcome: Outcome| match outcome.first_failure {
        Some(error) => Err(failed(error.to_string())),
        None => Ok(()),
    };
    let took = match contender.way {
        Way::Step(strategy, connections) => {
            let pool = tables.open(connections);
            let run = |list| strategy.run(list, |operation| pool.perform(operation));
            succeeded(run(&WARM_UP).await)?;
            let start = Instant::now();
            succeeded(run(&operations).await)?;
            let took = start.elapsed();
            pool.close().await;
            took
        }
        Way::Together(readers) => {
            let both = Together::new(&tables, readers).await?;
            let strategy = Strategy::InFlight(together::MOST);
            let run = |list| strategy.run(list, |operation| both.perform(operation));
            succeeded(run(&WARM_UP).await)?;
            let start = Instant::now();
            succeeded(run(&operations).await)?;
            let took = start.elapsed();
            both.close().await;
            took
        }
        Way::SqlAlchemy(form, connections) => {
            let url = url(server, &tables, form).await?;
            let letters = operations.iter().map(|operation| match operation {
                Operation::Write => 'w',
                Operation::Read => 'r',
            });
            let mut mix = python::script("mix.py")?;
            mix.args([form, &url, &connections.to_string()]);
            let output = program::output(mix.arg(letters.collect::<String>()))?;
            let seconds = String::from_utf8_lossy(&output.stdout);
            let parsed = seconds.trim().parse().ok();
            Duration::from_secs_f64(parsed.ok_or_else(|| failed(seconds.into_owned()))?)
        }
    };
    let rows = tables.count().await?;
    tables.remove().await?;
    let writes = i64::try_from(plan::writes(&operations)).unwrap_or(i64::MAX);
    if rows == (writes * 3, writes * 5) {
        return Ok(took);
    }
    Err(failed(format!(
        "after {writes} writes a and b have {rows:?} rows; 3 and 5 for each are right"
    )))
}

/// How a form of SQLAlchemy connects to the tables.
async fn url(server: Option<&Server>, tables: &Tables, form: &str) -> Result<String> {
    let sync = form == "sync";
    match (server, tables) {
        (Some(server), Tables::Postgres { options, schema }) => {
            // The drivers have no common word for this in an URL.
            let sql = format!("ALTER ROLE CURRENT_USER SET search_path TO {schema}");
            let mut connection = options.connect().await?;
            let sql = sqlx::query(AssertSqlSafe(sql));
            sql.execute(&mut connection).await?;
            let driver = if sync { "psycopg" } else { "asyncpg" };
            Ok(server.url(&format!("postgresql+{driver}")))
        }
        (None, Tables::Sqlite { options, .. }) => {
            let driver = if sync { "sqlite" } else { "sqlite+aiosqlite" };
            Ok(format!("{driver}:///{}", options.get_filename().display()))
        }
        _ => unreachable!("`turn` makes the tables"),
    }
}

/// The server's version, and the settings that matter for durability.
///
/// # Errors
///
/// When the server cannot be reached.
pub async fn facts(url: &str) -> sqlx::Result<String> {
    let options: PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    let facts = "SELECT 'PostgreSQL ' || current_setting('server_version') || ': ' \
         || string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
         FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";
    sqlx::query_scalar(facts).fetch_one(&mut connection).await
}

fn aim(bench: &mut Bench, case: &str) {
    let best = |side: &str| {
        let figures = bench.figures.iter().filter(|figure| {
            figure.case == case && figure.measure == "rate" && figure.contender.starts_with(side)
        });
        figures.map(Figure::median).reduce(f64::max)
    };
    let measured = best("sqlx").zip(best("SQLAlchemy"));
    let measured = measured.map(|(ours, theirs)| ours / theirs);
    let text = format!("{case}: the best of sqlx against the best of SQLAlchemy");
    bench.aim(Unit::Ratio, &text, Bound::AtLeast(10.0), measured);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [Way; 4] = [
        Way::Step(Strategy::OneAfterAnother, 1),
        Way::Step(Strategy::InFlight(20), 4),
        Way::Together(3),
        Way::Together(1),
    ];

    /// `turn` looks at results and rows itself, and fails when one is wrong.
    fn all_work(server: Option<&Server>) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        for way in WAYS {
            let contender = Contender {
                name: format!("{way:?}"),
                way,
                operations: 150,
            };
            let turn = turn(server, &contender, folder.path());
            runtime.block_on(turn).unwrap();
        }
    }

    #[test]
    fn every_way_leaves_all_rows_on_sqlite() {
        all_work(None);
    }

    #[test]
    fn every_way_leaves_all_rows_on_postgres() {
        let Some(server) = Server::start(&[]).unwrap() else {
            assert!(env::var_os("CI").is_none(), "{}", postgres_server::INSTALL);
            eprintln!("not run: {}", postgres_server::INSTALL);
            return;
        };
        all_work(Some(&server));
    }

    #[test]
    fn a_write_that_the_database_refuses_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let outcome = runtime.block_on(async {
            let tables = Tables::on_sqlite_in(folder.path()).await.unwrap();
            let Tables::Sqlite { options, .. } = &tables else {
                unreachable!()
            };
            let mut connection = options.connect().await.unwrap();
            let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON b WHEN NEW.data = 'b4' \
                          BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
            sqlx::raw_sql(refuse)
                .execute(&mut connection)
                .await
                .unwrap();
            let both = Together::new(&tables, 1).await.unwrap();
            let strategy = Strategy::InFlight(5);
            let operations = [Operation::Write; 30];
            strategy
                .run(&operations, |operation| both.perform(operation))
                .await
        });
        assert_eq!(outcome.failures, 30);
        let error = outcome.first_failure.unwrap().to_string();
        assert!(error.contains("on purpose"), "{error}");
    }
}
