//! Thousands of small reads and writes on SQLite and on PostgreSQL: the strategies of
//! step 13, beside SQLAlchemy.

mod peers;
mod together;

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use postgres_server::Server;
use sqlx::{AssertSqlSafe, ConnectOptions};
use sqlx_postgres::PgConnectOptions;
use step13_solution::outcome::Outcome;
use step13_solution::plan;
use step13_solution::strategies::Strategy;
use step13_solution::tables::Tables;
use tokio::runtime::Runtime;

use crate::amount::thousands;
use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Figure, Unit};
use crate::program::Folder;
use crate::{Settings, python, take_turns};
use together::Together;

/// How many operations a contender does before its tables are emptied again; as
/// many as in `mix.py`.
const WARM_UP: usize = 100;

/// A contender and how much of the list it does: SQLAlchemy, and what does one operation
/// after another, a tenth of it, which is its beginning.
struct Contender {
    name: String,
    what: What,
    operations: usize,
}

#[derive(Debug, Clone)]
enum What {
    /// A strategy of step 13, with so many connections.
    Step(Strategy, u32),
    /// So many readers, and one writer that commits together what is waiting.
    Together(u32),
    SqlAlchemy {
        form: &'static str,
        connections: usize,
    },
}

/// One database.
enum Database<'a> {
    Sqlite,
    Postgres(&'a Server),
}

impl Database<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "mix on SQLite",
            Self::Postgres(_) => "mix on PostgreSQL",
        }
    }
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
    let folder = Folder::new()?;
    let python = available(&mut bench, python::prepare())?.is_some();
    let server = Server::start(&[]).map_err(Error::io("start PostgreSQL"))?;
    let server = server.ok_or_else(|| postgres_server::INSTALL.to_owned());
    let server = available(&mut bench, server)?;
    let mut databases = vec![Database::Sqlite];
    databases.extend(server.as_ref().map(Database::Postgres));
    for database in &databases {
        let case = database.name();
        let mut contenders = contenders(database, operations, python);
        eprintln!("mix: {case}");
        take_turns(settings.rounds, &mut contenders, |contender, _| {
            let took = turn(&runtime, database, contender, folder.path())?;
            let name = &contender.name;
            let done = as_f64(contender.operations);
            bench.record(
                case,
                name,
                "rate",
                Unit::PerSecond,
                done / took.as_secs_f64(),
            );
            bench.record(case, name, "operations", Unit::Count, done);
            Ok(())
        })?;
    }
    aims(&mut bench);
    if let Some(server) = &server {
        bench.notes.push(runtime.block_on(facts(server))?);
    }
    bench.notes.push(format!(
        "All did the beginning of one list of {} operations on new tables, to its end; none \
         failed, and afterwards the tables held exactly the rows of the writes. SQLite: WAL, \
         synchronous FULL, foreign keys on, for both sides.",
        thousands(operations)
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

fn contenders(database: &Database, all: usize, python: bool) -> Vec<Contender> {
    let contender = |name: String, operations, what| Contender {
        name,
        what,
        operations,
    };
    let ours = |name: &str, operations, what| contender(format!("sqlx, {name}"), operations, what);
    let mut contenders = vec![
        ours(
            "one after another",
            all / 10,
            What::Step(Strategy::OneAfterAnother, 1),
        ),
        ours("8 in flight", all, What::Step(Strategy::InFlight(8), 8)),
        ours(
            "one writer that commits together, 8 readers",
            all,
            What::Together(8),
        ),
    ];
    // More connections than these only contend for SQLite's lock.
    let most = match database {
        Database::Sqlite => 10,
        Database::Postgres(_) => 90,
    };
    if python {
        let forms = [("sync", 1), ("tasks", most), ("chunks", most.min(40))];
        contenders.extend(forms.map(|(form, connections)| {
            let name = format!("SQLAlchemy, {form}, {connections} connections");
            let name = name.replace(" 1 connections", " 1 connection");
            contender(name, all / 10, What::SqlAlchemy { form, connections })
        }));
    }
    contenders
}

/// One contender, on new tables; its rows are counted afterwards.
fn turn(
    runtime: &Runtime,
    database: &Database,
    contender: &Contender,
    folder: &Path,
) -> Result<Duration> {
    runtime.block_on(async {
        let tables = match database {
            Database::Sqlite => Tables::on_sqlite_in(folder).await?,
            Database::Postgres(server) => Tables::on_postgres(&server.url("postgres")).await?,
        };
        tables.create_index().await?;
        let took = on_tables(contender, &tables, database).await?;
        tables.remove().await?;
        Ok(took)
    })
}

async fn on_tables(
    contender: &Contender,
    tables: &Tables,
    database: &Database<'_>,
) -> Result<Duration> {
    let operations = &plan::operations(contender.operations);
    let warm_up = &operations[..operations.len().min(WARM_UP)];
    let failed = |reason: String| Error::Failed {
        contender: contender.name.clone(),
        reason,
    };
    // Nothing is allowed to fail.
    let succeeded = |outcome: Outcome| match outcome.first_failure {
        Some(error) => Err(failed(error.to_string())),
        None => Ok(()),
    };
    let took = match contender.what {
        What::Step(strategy, connections) => {
            let pool = tables.open(connections);
            let run = |list| strategy.run(list, |operation| pool.perform(operation));
            succeeded(run(warm_up).await)?;
            empty(tables).await?;
            let start = Instant::now();
            succeeded(run(operations).await)?;
            let took = start.elapsed();
            pool.close().await;
            took
        }
        What::Together(readers) => {
            let both = Together::new(tables, readers).await?;
            let strategy = Strategy::InFlight(together::MOST);
            let run = |list| strategy.run(list, |operation| both.perform(operation));
            succeeded(run(warm_up).await)?;
            empty(tables).await?;
            let start = Instant::now();
            succeeded(run(operations).await)?;
            let took = start.elapsed();
            both.close().await;
            took
        }
        What::SqlAlchemy { form, connections } => {
            let url = url(database, tables, form).await?;
            let run = peers::Peer::start(form, &url, connections, operations)?;
            empty(tables).await?;
            run.go()?
        }
    };
    let rows = tables.count().await?;
    let writes = i64::try_from(plan::writes(operations)).unwrap_or(i64::MAX);
    if rows == (writes * 3, writes * 5) {
        Ok(took)
    } else {
        Err(failed(format!(
            "after {writes} writes a and b have {rows:?} rows; 3 and 5 for each are right"
        )))
    }
}

/// Empties the tables, and leaves the database nothing to do afterwards.
async fn empty(tables: &Tables) -> Result<()> {
    match tables {
        Tables::Sqlite { options, .. } => {
            let sql = "DELETE FROM b; DELETE FROM a; PRAGMA wal_checkpoint(TRUNCATE)";
            let mut connection = options.connect().await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
        }
        Tables::Postgres { options, .. } => {
            // A checkpoint is not allowed in the transaction that several statements are.
            for sql in ["TRUNCATE a, b RESTART IDENTITY", "CHECKPOINT"] {
                let mut connection = options.connect().await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
            }
        }
    }
    Ok(())
}

/// How a form of SQLAlchemy connects to the tables.
async fn url(database: &Database<'_>, tables: &Tables, form: &str) -> Result<String> {
    Ok(match (database, tables) {
        (Database::Postgres(server), Tables::Postgres { options, schema }) => {
            // The drivers have no common word for this in an URL.
            let sql = format!("ALTER ROLE CURRENT_USER SET search_path TO {schema}");
            let mut connection = options.connect().await?;
            sqlx::query(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await?;
            server.url(match form {
                "sync" => "postgresql+psycopg",
                _ => "postgresql+asyncpg",
            })
        }
        (_, Tables::Sqlite { options, .. }) => {
            let driver = match form {
                "sync" => "sqlite",
                _ => "sqlite+aiosqlite",
            };
            format!("{driver}:///{}", options.get_filename().display())
        }
        (Database::Sqlite, Tables::Postgres { .. }) => unreachable!("`turn` makes them"),
    })
}

/// The server's version, and the settings that matter for durability.
async fn facts(server: &Server) -> sqlx::Result<String> {
    let options: PgConnectOptions = server.url("postgres").parse()?;
    let mut connection = options.connect().await?;
    let facts = "SELECT 'PostgreSQL ' || current_setting('server_version') || ': ' \
         || string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
         FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";
    sqlx::query_scalar(facts).fetch_one(&mut connection).await
}

fn aims(bench: &mut Bench) {
    for case in ["mix on SQLite", "mix on PostgreSQL"] {
        let best = |who: &str| {
            let figures = bench.figures.iter().filter(|figure| {
                figure.case == case && figure.measure == "rate" && figure.contender.starts_with(who)
            });
            figures.map(Figure::median).reduce(f64::max)
        };
        let measured = best("sqlx").zip(best("SQLAlchemy"));
        let measured = measured.map(|(ours, theirs)| ours / theirs);
        let text = format!("{case}: the best of sqlx against the best of SQLAlchemy");
        bench.aim(Unit::Ratio, &text, Bound::AtLeast(10.0), measured);
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands of operations")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use step13_solution::plan::Operation;

    const WHAT: [What; 4] = [
        What::Step(Strategy::OneAfterAnother, 1),
        What::Step(Strategy::InFlight(20), 4),
        What::Together(3),
        What::Together(1),
    ];

    /// `turn` looks at results and rows itself, and fails when one is wrong.
    fn all_work(runtime: &Runtime, database: &Database) {
        let folder = tempfile::tempdir().unwrap();
        for what in WHAT {
            let contender = Contender {
                name: format!("{what:?}"),
                what,
                operations: 150,
            };
            turn(runtime, database, &contender, folder.path()).unwrap();
        }
    }

    #[test]
    fn every_way_leaves_all_rows_on_sqlite() {
        all_work(&Runtime::new().unwrap(), &Database::Sqlite);
    }

    #[test]
    fn every_way_leaves_all_rows_on_postgres() {
        let Some(server) = Server::start(&[]).unwrap() else {
            assert!(env::var_os("CI").is_none(), "{}", postgres_server::INSTALL);
            eprintln!("not run: {}", postgres_server::INSTALL);
            return;
        };
        all_work(&Runtime::new().unwrap(), &Database::Postgres(&server));
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
