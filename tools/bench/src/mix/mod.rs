//! Thousands of small reads and writes on SQLite and on PostgreSQL, beside SQLAlchemy.

mod list;
mod ours;
mod peers;
mod store;

use std::env;
use std::path::Path;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx_postgres::PgConnection;
use tokio::runtime::Runtime;

use crate::amount::thousands;
use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Figure, Unit};
use crate::postgres::{self, Server};
use crate::program::Folder;
use crate::{Settings, python, take_turns};
use ours::{Ours, Way};
use store::Store;

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
    Ours(Way),
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
    let server = Server::start(&runtime)?.ok_or_else(|| postgres::INSTALL.to_owned());
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
        bench.notes.push(runtime.block_on(server.facts())?);
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
    let way = |in_flight, connections, together| {
        What::Ours(Way {
            in_flight,
            connections,
            together,
        })
    };
    let contender = |name: String, operations, what| Contender {
        name,
        what,
        operations,
    };
    let ours = |name: &str, operations, what| contender(format!("sqlx, {name}"), operations, what);
    let mut contenders = vec![
        ours("one after another", all / 10, way(1, 1, false)),
        ours("8 in flight", all, way(8, 8, false)),
        ours(
            "one writer that commits together, 8 readers",
            all,
            way(100, 8, true),
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
    match database {
        Database::Sqlite => {
            let folder =
                tempfile::tempdir_in(folder).map_err(Error::io("make a temporary folder"))?;
            let file = folder.path().join("mix.sqlite");
            let url = |form: &str| {
                let driver = match form {
                    "sync" => "sqlite",
                    _ => "sqlite+aiosqlite",
                };
                format!("{driver}:///{}", file.display())
            };
            On::<SqliteConnection>::new(runtime, store::sqlite(&file))?.turn(contender, url)
        }
        Database::Postgres(server) => {
            let url = |form: &str| match form {
                "sync" => server.url("postgresql+psycopg"),
                _ => server.url("postgresql+asyncpg"),
            };
            On::<PgConnection>::new(runtime, server.options())?.turn(contender, url)
        }
    }
}

/// New tables in a database.
struct On<'a, C: Store> {
    runtime: &'a Runtime,
    options: C::Options,
    /// Makes, empties and counts.
    connection: C,
}

impl<'a, C: Store> On<'a, C> {
    fn new(runtime: &'a Runtime, options: C::Options) -> Result<Self> {
        let mut connection = runtime.block_on(C::open(&options))?;
        runtime.block_on(connection.execute(C::CREATE))?;
        Ok(Self {
            runtime,
            options,
            connection,
        })
    }

    /// How long the contender takes; `url` names the database to a form of SQLAlchemy.
    fn turn(mut self, contender: &Contender, url: impl Fn(&str) -> String) -> Result<Duration> {
        let list = &list::list(contender.operations);
        let failed = |reason: String| Error::Failed {
            contender: contender.name.clone(),
            reason,
        };
        let took = match contender.what {
            What::Ours(way) => {
                let run = async {
                    let ours = Ours::<C>::new(&self.options, way).await?;
                    ours.run(&list[..list.len().min(WARM_UP)]).await?;
                    self.connection.execute(C::EMPTY).await?;
                    ours.run(list).await
                };
                let took = self.runtime.block_on(run);
                took.map_err(|error| failed(error.to_string()))?
            }
            What::SqlAlchemy { form, connections } => {
                let empty = || Ok(self.runtime.block_on(self.connection.execute(C::EMPTY))?);
                peers::sqlalchemy(form, &url(form), connections, list, empty)?
            }
        };
        let rows = self.runtime.block_on(self.connection.count())?;
        let writes = i64::try_from(list::writes(list)).unwrap_or(i64::MAX);
        if rows == (writes * 3, writes * 5) {
            Ok(took)
        } else {
            Err(failed(format!(
                "after {writes} writes a and b have {rows:?} rows; 3 and 5 for each are right"
            )))
        }
    }
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

    const WAYS: [(usize, usize, bool); 4] =
        [(1, 1, false), (20, 4, false), (20, 3, true), (150, 1, true)];

    /// `turn` looks at results and rows itself, and fails when one is wrong.
    fn all_work(runtime: &Runtime, database: &Database) {
        let folder = tempfile::tempdir().unwrap();
        for (in_flight, connections, together) in WAYS {
            let way = Way {
                in_flight,
                connections,
                together,
            };
            let contender = Contender {
                name: format!("{way:?}"),
                what: What::Ours(way),
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
        let runtime = Runtime::new().unwrap();
        let Some(server) = Server::start(&runtime).unwrap() else {
            assert!(env::var_os("CI").is_none(), "{}", postgres::INSTALL);
            eprintln!("not run: {}", postgres::INSTALL);
            return;
        };
        all_work(&runtime, &Database::Postgres(&server));
    }

    #[test]
    fn a_write_that_the_database_refuses_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mix.sqlite");
        let runtime = Runtime::new().unwrap();
        let on = On::<SqliteConnection>::new(&runtime, store::sqlite(&file)).unwrap();
        for together in [false, true] {
            let way = Way {
                in_flight: 5,
                connections: 1,
                together,
            };
            let error = runtime.block_on(async {
                let mut connection = SqliteConnection::open(&on.options).await?;
                connection
                    .execute(
                        "CREATE TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON b \
                         WHEN NEW.data = 'b4' BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
                    )
                    .await?;
                let ours = Ours::<SqliteConnection>::new(&on.options, way).await?;
                ours.run(&[list::Operation::Write; 30]).await
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains("on purpose"), "{error}");
        }
    }
}
