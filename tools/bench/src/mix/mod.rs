//! Thousands of small reads and writes, run in different ways: one after
//! another, all at once, in chunks, a bounded number in flight, through one
//! writer. On SQLite and on PostgreSQL, beside SQLAlchemy and `pgbench`.

mod child;
mod on_postgres;
mod on_sqlite;
mod operations;
mod peer;
mod pgbench;
mod store;
mod strategy;
mod timeline;
mod together;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use sqlx::{ConnectOptions, Connection};
use sqlx_postgres::{PgConnectOptions, PgConnection};
use tokio::runtime::{self, Runtime};

use crate::error::{Error, Result};
use crate::model::{Axis, Bench, Bound, Plot, Series, Style, Unit};
use crate::postgres::{self, Server};
use crate::python;
use crate::report::thousands;
use crate::rounds::{self, Progress};
use crate::settings::Settings;
use on_postgres::OnPostgres;
use on_sqlite::OnSqlite;
use operations::Operation;
use peer::Form;
use pgbench::Clients;
use store::{Connections, Store};
use strategy::{Outcome, Strategy};
use timeline::{Sampler, Timeline};

/// What this bench is told besides the settings of all.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// How many operations [default: 35000, or 3500 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    operations: Option<u32>,
    /// With or without the index on `b.a_id`.
    #[arg(long, value_enum, default_value_t)]
    index: Index,
    /// Seconds after which a contender begins nothing new [default: 3, or 1 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    patience: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Index {
    With,
    Without,
    #[default]
    Both,
}

/// What a contender has done in a round.
pub struct Turn {
    outcome: Outcome,
    /// `None`: it holds all its connections all the time.
    timeline: Option<Timeline>,
}

/// Who takes part.
struct Contender {
    name: String,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Sqlx(Strategy, Connections),
    SqlAlchemy(Form, u32),
    Pgbench(Clients),
}

impl Contender {
    fn sqlx(name: impl Into<String>, strategy: Strategy, connections: Connections) -> Self {
        Self {
            name: format!("sqlx, {}", name.into()),
            what: What::Sqlx(strategy, connections),
        }
    }

    /// How many connections it may hold.
    fn connections(&self) -> u32 {
        match self.what {
            What::Sqlx(_, connections) => connections.most(),
            What::SqlAlchemy(_, connections) => connections,
            What::Pgbench(Clients { clients, .. }) => clients,
        }
    }

    fn is_ours(&self) -> bool {
        matches!(self.what, What::Sqlx(..))
    }
}

/// Whose turn it can be, and what is known of its turns so far.
struct Player<'a> {
    contender: &'a Contender,
    /// The time was up before the list was done.
    cut_off: bool,
    /// Of the last turn.
    timeline: Timeline,
}

const CHUNK: usize = 40;

/// Readers beside the one writer.
const READERS: u32 = 8;

/// Those of both databases, where nobody may hold more than `most` connections.
fn common(most: u32, python: bool) -> Vec<Contender> {
    use Connections::{CommitTogether, OneWriter, Shared};
    use Strategy::{AllAtOnce, Chunks, InFlight, Sequential};

    let forty = most.min(40);
    let mut contenders = vec![
        Contender::sqlx("one after another", Sequential, Shared(1)),
        Contender::sqlx(
            format!("all at once, {most} connections"),
            AllAtOnce,
            Shared(most),
        ),
        Contender::sqlx("chunks of 40", Chunks(CHUNK), Shared(forty)),
        Contender::sqlx("8 in flight", InFlight(8), Shared(8)),
        Contender::sqlx("40 in flight", InFlight(40), Shared(forty)),
        Contender::sqlx(
            format!("one writer, {READERS} readers"),
            InFlight(40),
            OneWriter(READERS),
        ),
        Contender::sqlx(
            format!("one writer that commits together, {READERS} readers"),
            InFlight(100),
            CommitTogether(READERS),
        ),
    ];
    if python {
        let sqlalchemy = |name: &str, form, connections| Contender {
            name: format!("SQLAlchemy, {name}"),
            what: What::SqlAlchemy(form, connections),
        };
        contenders.extend([
            sqlalchemy("sync", Form::Sync, 1),
            sqlalchemy(
                &format!("all at once, {most} connections"),
                Form::Tasks,
                most,
            ),
            sqlalchemy("chunks of 40", Form::Chunks, forty),
        ]);
    }
    contenders
}

/// One database, with or without the index.
struct Case<'a> {
    /// "`PostgreSQL, 35,000 operations, index on b.a_id`".
    name: String,
    place: Place<'a>,
    index: bool,
    contenders: Vec<Contender>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Sqlite,
    Postgres(&'a Server),
}

/// What all turns share.
struct Run<'a> {
    runtime: Runtime,
    folder: &'a Path,
    list: Vec<Operation>,
    /// The same list for programs that read it.
    file: PathBuf,
    patience: Duration,
    python: bool,
    rounds: usize,
}

/// Measures the mix.
///
/// # Errors
///
/// When the environment lacks something, when an operation fails, or when rows
/// are missing afterwards. With `CI=true` also when PostgreSQL or Python is
/// missing.
pub fn measure(settings: &Settings, options: &Options) -> Result<Bench> {
    let count = options
        .operations
        .unwrap_or(if settings.quick { 3_500 } else { 35_000 });
    let patience = options
        .patience
        .unwrap_or(if settings.quick { 1 } else { 3 });
    let mut bench = Bench::new(
        "mix",
        format!(
            "{} small transactions, half of them reads and half writes, run in different ways",
            thousands(count)
        ),
    );
    let folder = settings.folder()?;
    let list = operations::list(count as usize);
    let file = folder.path().join("operations");
    fs::write(&file, operations::letters(&list)).map_err(Error::io("write the operations"))?;
    let python = available(&mut bench, python::prepare())?.is_some();
    let server = available(&mut bench, server(settings)?)?;
    let run = Run {
        runtime: runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Error::io("make a runtime"))?,
        folder: folder.path(),
        list,
        file,
        patience: Duration::from_secs(patience.into()),
        python,
        rounds: settings.rounds,
    };
    let cases = cases(&run, options, server.as_ref(), &mut bench)?;
    for case in &cases {
        run.measure(case, &mut bench)?;
    }
    aims(&cases, &mut bench);
    own_commits(&cases, &mut bench);
    bench.plots.extend(bars(&cases, &bench));
    notes(&run, &mut bench);
    Ok(bench)
}

fn server(settings: &Settings) -> Result<std::result::Result<Server, String>> {
    Ok(Server::start(settings)?.ok_or_else(|| postgres::INSTALL.to_owned()))
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

fn cases<'a>(
    run: &Run,
    options: &Options,
    server: Option<&'a Server>,
    bench: &mut Bench,
) -> Result<Vec<Case<'a>>> {
    let facts = server.map(Server::facts).transpose()?;
    if let Some(facts) = &facts {
        bench.notes.push(format!(
            "PostgreSQL {} ({}); a contender may hold {} connections.",
            facts.version, facts.settings, facts.connections
        ));
    }
    let python = run.python;
    let mut cases = Vec::new();
    for index in [true, false] {
        let other = if index { Index::Without } else { Index::With };
        if options.index == other {
            continue;
        }
        let title = |database: &str| {
            format!(
                "{database}, {} operations, {} index",
                thousands(run.list.len()),
                if index { "with the" } else { "without an" }
            )
        };
        let contenders = common(100, python);
        cases.push(Case {
            name: title("SQLite"),
            place: Place::Sqlite,
            index,
            contenders,
        });
        let (Some(server), Some(facts)) = (server, &facts) else {
            continue;
        };
        let mut contenders = common(facts.connections, python);
        if server.program("pgbench").is_some() {
            // The best of some; without the index all are as slow as the server.
            let settings: &[_] = if index {
                &[(10, 1), (10, 2), (20, 2), (40, 2)]
            } else {
                &[(10, 1)]
            };
            let allowed = settings
                .iter()
                .filter(|(clients, _)| *clients <= facts.connections);
            contenders.extend(allowed.map(|&(clients, threads)| {
                Contender {
                    name: format!("pgbench, {clients} clients, {threads} threads")
                        .replace("1 threads", "1 thread"),
                    what: What::Pgbench(Clients { clients, threads }),
                }
            }));
        }
        cases.push(Case {
            name: title("PostgreSQL"),
            place: Place::Postgres(server),
            index,
            contenders,
        });
    }
    if server.is_some_and(|server| server.program("pgbench").is_none()) {
        available::<()>(
            bench,
            Err(
                "no pgbench: install it (apt install postgresql-contrib, dnf install \
                 postgresql-contrib)"
                    .to_owned(),
            ),
        )?;
    }
    Ok(cases)
}

impl Run<'_> {
    /// All rounds of a case; adds figures and a plot.
    fn measure(&self, case: &Case, bench: &mut Bench) -> Result<()> {
        let progress = Progress::new("mix", self.rounds * case.contenders.len());
        let mut players: Vec<Player> = case
            .contenders
            .iter()
            .map(|contender| Player {
                contender,
                cut_off: false,
                timeline: Timeline::default(),
            })
            .collect();
        rounds::take_turns(self.rounds, &mut players, |player, round| {
            let contender = player.contender;
            let name = &contender.name;
            progress.say(&format!(
                "{}, round {} of {}: {name}",
                case.name,
                round + 1,
                self.rounds
            ));
            let turn = self.turn(case, contender, round)?;
            let outcome = turn.outcome;
            bench.record(&case.name, name, "rate", Unit::PerSecond, outcome.rate());
            let done = precise(outcome.done());
            bench.record(&case.name, name, "operations done", Unit::Count, done);
            let peak = match turn.timeline {
                Some(seen) => {
                    player.timeline = seen;
                    player.timeline.peak()
                }
                None => contender.connections() as usize,
            };
            bench.record(
                &case.name,
                name,
                "peak connections",
                Unit::Count,
                precise(peak),
            );
            player.cut_off |= outcome.not_begun > 0;
            progress.step();
            Ok(())
        })?;
        let cut_off = players.iter().filter(|player| player.cut_off);
        let cut_off: Vec<&str> = cut_off.map(|player| &*player.contender.name).collect();
        if !cut_off.is_empty() {
            bench.notes.push(format!(
                "{}: after {} s nothing new was begun, so these did only the beginning of the \
                 list: {}.",
                case.name,
                self.patience.as_secs(),
                cut_off.join("; "),
            ));
        }
        bench.plots.push(connections_plot(case, &players));
        Ok(())
    }

    /// One contender, on new tables; its results and its rows are examined.
    fn turn(&self, case: &Case, contender: &Contender, round: usize) -> Result<Turn> {
        let name = &contender.name;
        let (turn, rows) = match case.place {
            Place::Sqlite => {
                let folder = tempfile::tempdir_in(self.folder)
                    .map_err(Error::io("make a temporary folder"))?;
                let file = folder.path().join(format!("round{round}.sqlite"));
                self.wait_for(on_sqlite::create(&file, case.index))?;
                let turn = self.turn_on_sqlite(contender, &file)?;
                (turn, self.wait_for(on_sqlite::rows(&file))?)
            }
            Place::Postgres(server) => {
                let mut connection = self.wait_for(server.options()?.connect())?;
                self.wait_for(on_postgres::drop_tables(&mut connection))?;
                self.wait_for(on_postgres::create(&mut connection, case.index))?;
                let turn = self.turn_on_postgres(contender, server, &mut connection)?;
                let rows = self.wait_for(on_postgres::rows(&mut connection))?;
                self.wait_for(connection.close())?;
                (turn, rows)
            }
        };
        examine(name, &turn.outcome, self.list.len(), rows)?;
        Ok(turn)
    }

    fn turn_on_sqlite(&self, contender: &Contender, file: &Path) -> Result<Turn> {
        let empty = || on_sqlite::empty(file);
        match contender.what {
            What::Sqlx(strategy, connections) => self.runtime.block_on(async {
                let store = OnSqlite::new(file, connections, self.patience);
                self.sqlx(strategy, &store, empty).await
            }),
            What::SqlAlchemy(form, connections) => {
                let path = file.display();
                let url = match form {
                    Form::Sync => format!("sqlite:///{path}"),
                    Form::Tasks | Form::Chunks => format!("sqlite+aiosqlite:///{path}"),
                };
                let empty = || self.wait_for(empty());
                self.sqlalchemy(contender, form, &url, "", connections, empty)
            }
            What::Pgbench(_) => Err(Error::Environment("pgbench is not for SQLite".to_owned())),
        }
    }

    fn turn_on_postgres(
        &self,
        contender: &Contender,
        server: &Server,
        connection: &mut PgConnection,
    ) -> Result<Turn> {
        match contender.what {
            What::Sqlx(strategy, connections) => {
                let options: PgConnectOptions = server.options()?;
                self.runtime.block_on(async {
                    let store = OnPostgres::new(&options, connections, self.patience);
                    self.sqlx(strategy, &store, async || {
                        on_postgres::empty(connection).await
                    })
                    .await
                })
            }
            What::SqlAlchemy(form, connections) => {
                let url = server.url(match form {
                    Form::Sync => "postgresql+psycopg",
                    Form::Tasks | Form::Chunks => "postgresql+asyncpg",
                });
                let empty = || self.wait_for(on_postgres::empty(connection));
                self.sqlalchemy(contender, form, &url, server.schema(), connections, empty)
            }
            What::Pgbench(clients) => {
                let program = server.program("pgbench");
                let program = program.ok_or_else(|| {
                    Error::Environment("pgbench was there and is gone".to_owned())
                })?;
                self.wait_for(on_postgres::empty(connection))?;
                pgbench::turn(&program, server, self.folder, clients, &self.list)
            }
        }
    }

    /// Ours: the beginning of the list to warm up, then the list on empty tables.
    async fn sqlx<S: Store>(
        &self,
        strategy: Strategy,
        store: &S,
        empty: impl AsyncFnOnce() -> sqlx::Result<()>,
    ) -> Result<Turn> {
        let perform = |operation| {
            let store = store.clone();
            async move { store.perform(operation).await }
        };
        let beginning = &self.list[..self.list.len().min(WARM_UP)];
        let warm = strategy::run(strategy, beginning, Instant::now() + self.patience, perform);
        if let Some(failure) = warm.await.first_failure {
            return Err(Error::Failed {
                contender: format!("{strategy:?}"),
                reason: format!("the warm-up: {failure}"),
            });
        }
        empty().await?;
        let sampler = Sampler::start({
            let store = store.clone();
            move || store.in_use()
        });
        let until = Instant::now() + self.patience;
        let outcome = strategy::run(strategy, &self.list, until, perform).await;
        let timeline = Some(sampler.finish());
        store.close().await;
        Ok(Turn { outcome, timeline })
    }

    fn sqlalchemy(
        &self,
        contender: &Contender,
        form: Form,
        url: &str,
        schema: &str,
        connections: u32,
        empty: impl FnOnce() -> Result<()>,
    ) -> Result<Turn> {
        let job = peer::Job {
            form,
            url,
            schema,
            operations: &self.file,
            connections,
            patience: self.patience,
        };
        let (turn, checksum) = peer::turn(&job, empty)?;
        let expected = operations::checksum(&operations::letters(&self.list));
        if checksum == expected {
            Ok(turn)
        } else {
            Err(Error::Differs {
                contender: contender.name.clone(),
                request: "the checksum of the list".to_owned(),
                found: checksum,
                expected,
            })
        }
    }

    fn wait_for<T>(&self, job: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        Ok(self.runtime.block_on(job)?)
    }
}

/// How many operations a contender does before its tables are emptied again; as
/// many as in `mix.py`.
const WARM_UP: usize = 100;

/// Nothing failed, nothing is missing from the outcome, and the tables hold
/// what was written.
fn examine(name: &str, outcome: &Outcome, operations: usize, rows: (i64, i64)) -> Result<()> {
    let wrong = |reason: String| {
        Err(Error::Failed {
            contender: name.to_owned(),
            reason,
        })
    };
    if outcome.failed > 0 {
        let first = outcome.first_failure.as_deref().unwrap_or("?");
        return wrong(format!(
            "{} operations failed, first: {first}",
            outcome.failed
        ));
    }
    let seen = outcome.done() + outcome.not_begun;
    if seen != operations {
        return wrong(format!("{seen} results of {operations} operations"));
    }
    let expected = (
        outcome.writes * store::PARENTS.len(),
        outcome.writes * store::CHILDREN.len(),
    );
    let found = (usize::try_from(rows.0), usize::try_from(rows.1));
    if found != (Ok(expected.0), Ok(expected.1)) {
        return wrong(format!(
            "{} rows of a and {} of b after {} writes; {} and {} are right",
            rows.0, rows.1, outcome.writes, expected.0, expected.1
        ));
    }
    Ok(())
}

fn connections_plot(case: &Case, players: &[Player]) -> Plot {
    let axis = |label: &str, unit| Axis {
        label: label.to_owned(),
        log: false,
        unit: Some(unit),
    };
    Plot {
        title: format!("Connections in use: {}", case.name),
        x: axis("time", Unit::Seconds),
        y: axis("connections", Unit::Count),
        style: Style::Steps,
        categories: Vec::new(),
        series: players
            .iter()
            .map(|player| Series {
                name: player.contender.name.clone(),
                points: player.timeline.points(200),
            })
            .filter(|series| !series.points.is_empty())
            .collect(),
    }
}

/// One graph for each database: all contenders, with the index and without.
fn bars(cases: &[Case], bench: &Bench) -> Vec<Plot> {
    let mut plots = Vec::new();
    for first in cases {
        let of_database = |case: &&Case| database_of(case) == database_of(first);
        let same: Vec<&Case> = cases.iter().filter(of_database).collect();
        if !std::ptr::eq(same[0], first) {
            continue;
        }
        let contenders: Vec<&Contender> = first.contenders.iter().collect();
        let series = same.iter().map(|case| {
            let points = contenders
                .iter()
                .enumerate()
                .filter_map(|(place, contender)| {
                    let rate = bench.median(&case.name, &contender.name, "rate")?;
                    Some((precise(place), 1_000.0 / rate))
                });
            Series {
                name: if case.index {
                    "with the index"
                } else {
                    "without an index"
                }
                .to_owned(),
                points: points.collect(),
            }
        });
        plots.push(Plot {
            title: format!("Time for 1,000 operations: {}", database_of(first)),
            x: Axis {
                label: String::new(),
                log: false,
                unit: None,
            },
            y: Axis {
                label: "time for 1,000 operations".to_owned(),
                log: true,
                unit: Some(Unit::Seconds),
            },
            style: Style::Bars,
            series: series.collect(),
            categories: contenders.iter().map(|c| c.name.clone()).collect(),
        });
    }
    plots
}

fn database_of(case: &Case) -> &'static str {
    match case.place {
        Place::Sqlite => "SQLite",
        Place::Postgres(_) => "PostgreSQL",
    }
}

/// What the project promises is about the tables with their index.
fn aims(cases: &[Case], bench: &mut Bench) {
    let mut ratio = |place: &str, text: &str, bound: f64, other: &dyn Fn(&What) -> bool| {
        let case = cases
            .iter()
            .find(|case| case.index && database_of(case) == place);
        let measured = case.and_then(|case| {
            let best = |wanted: &dyn Fn(&Contender) -> bool| {
                let rates = case
                    .contenders
                    .iter()
                    .filter(|contender| wanted(contender))
                    .filter_map(|contender| bench.median(&case.name, &contender.name, "rate"));
                rates.max_by(f64::total_cmp)
            };
            Some(best(&Contender::is_ours)? / best(&|contender| other(&contender.what))?)
        });
        bench.aim(text, Bound::AtLeast(bound), measured);
    };
    ratio(
        "SQLite",
        "mix on SQLite: the best of ours against the best of SQLAlchemy",
        10.0,
        &|what| matches!(what, What::SqlAlchemy(..)),
    );
    ratio(
        "PostgreSQL",
        "mix on PostgreSQL: the best of ours against SQLAlchemy in chunks",
        10.0,
        &|what| matches!(what, What::SqlAlchemy(Form::Chunks, _)),
    );
    ratio(
        "PostgreSQL",
        "mix on PostgreSQL: the best of ours against the best of pgbench",
        1.0,
        &|what| matches!(what, What::Pgbench(_)),
    );
}

/// What remains of the last aim when our writes share no commits either.
fn own_commits(cases: &[Case], bench: &mut Bench) {
    let case = cases
        .iter()
        .find(|case| case.index && matches!(case.place, Place::Postgres(_)));
    let Some(case) = case else { return };
    let best = |wanted: &dyn Fn(&What) -> bool| {
        let wanted = case.contenders.iter().filter(|one| wanted(&one.what));
        let rates = wanted.filter_map(|one| bench.median(&case.name, &one.name, "rate"));
        rates.max_by(f64::total_cmp)
    };
    let ours = best(&|what| {
        matches!(what, What::Sqlx(_, connections)
            if !matches!(connections, Connections::CommitTogether(_)))
    });
    let pgbench = best(&|what| matches!(what, What::Pgbench(_)));
    if let (Some(ours), Some(pgbench)) = (ours, pgbench) {
        bench.notes.push(format!(
            "{}: with a commit for each write, as pgbench has it, the best of ours reaches {:.2} \
             of the best of pgbench.",
            case.name,
            ours / pgbench
        ));
    }
}

fn notes(run: &Run, bench: &mut Bench) {
    let list = operations::letters(&run.list);
    let writes = list.matches('w').count();
    bench.notes.push(format!(
        "All contenders were given the same list (checksum {}): {} writes of three rows of a and five of \
         b, and {} reads. Each turn was on new tables; no operation failed, and afterwards the \
         tables held exactly the rows of the writes.",
        operations::checksum(&list),
        thousands(writes),
        thousands(list.len() - writes),
    ));
    bench
        .notes
        .push("SQLite: WAL, synchronous FULL, foreign keys on, for both sides.".to_owned());
}

#[expect(clippy::cast_precision_loss, reason = "thousands of operations")]
fn precise(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::interrupt;

    const ALL: [(Strategy, Connections); 7] = [
        (Strategy::Sequential, Connections::Shared(1)),
        (Strategy::AllAtOnce, Connections::Shared(10)),
        (Strategy::Chunks(7), Connections::Shared(7)),
        (Strategy::InFlight(3), Connections::Shared(3)),
        (Strategy::InFlight(20), Connections::Shared(4)),
        (Strategy::InFlight(20), Connections::OneWriter(3)),
        (Strategy::InFlight(20), Connections::CommitTogether(3)),
    ];

    const LATER: Duration = Duration::from_hours(1);

    fn run(folder: &Path, list: Vec<Operation>) -> Run<'_> {
        Run {
            runtime: runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap(),
            folder,
            list,
            file: PathBuf::new(),
            patience: LATER,
            python: false,
            rounds: 1,
        }
    }

    fn case(place: Place, index: bool, what: (Strategy, Connections)) -> (Case, Contender) {
        let case = Case {
            name: String::new(),
            place,
            index,
            contenders: Vec::new(),
        };
        (case, Contender::sqlx(format!("{what:?}"), what.0, what.1))
    }

    /// `Run::turn` looks at results and rows itself, and fails when one is wrong.
    fn all_work(place: Place) {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path(), operations::list(150));
        let writes = operations::letters(&run.list).matches('w').count();
        for what in ALL {
            for index in [true, false] {
                let (case, contender) = case(place, index, what);
                let turn = run.turn(&case, &contender, 0).unwrap();
                assert_eq!(turn.outcome.writes, writes, "{what:?}");
                assert_eq!(turn.outcome.reads, 150 - writes, "{what:?}");
                assert!(turn.timeline.unwrap().peak() > 0, "{what:?}");
            }
        }
    }

    #[test]
    fn every_way_leaves_all_rows_on_sqlite() {
        all_work(Place::Sqlite);
    }

    fn settings() -> Settings {
        Settings {
            quick: true,
            rounds: 1,
            dir: None,
        }
    }

    /// `None`, and a line that says so, where PostgreSQL is not installed.
    fn server_or_skip() -> Option<Server> {
        let server = Server::start(&settings()).unwrap();
        if server.is_none() {
            assert!(env::var_os("CI").is_none(), "{}", postgres::INSTALL);
            eprintln!("not run: {}", postgres::INSTALL);
        }
        server
    }

    #[test]
    fn every_way_leaves_all_rows_on_postgres() {
        let Some(server) = server_or_skip() else {
            return;
        };
        all_work(Place::Postgres(&server));

        // pgbench follows the same list, or the rows would not be as many.
        if let Some(program) = server.program("pgbench") {
            let folder = tempfile::tempdir().unwrap();
            let run = run(folder.path(), operations::list(150));
            let (case, mut contender) = case(Place::Postgres(&server), true, ALL[0]);
            for clients in [1, 4] {
                contender.what = What::Pgbench(Clients {
                    clients,
                    threads: 1,
                });
                run.turn(&case, &contender, 0).unwrap();
            }

            let clients = Clients {
                clients: 1,
                threads: 1,
            };
            let command = pgbench::command(&program, &server, folder.path(), clients, 150);
            // A server that trusts everybody has none.
            if let Some(password) = server.url_and_password().1 {
                let password = password.to_string_lossy();
                for argument in command.get_args() {
                    assert!(!argument.to_string_lossy().contains(&*password));
                }
            }
        }
    }

    /// This program once more, at work on a server that stays; told to stop at the
    /// beginning of each way's turn.
    #[test]
    fn no_schema_is_left_after_a_signal() {
        let Some(server) = server_or_skip() else {
            return;
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for (place, what) in ALL.iter().enumerate() {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "mix::tests::works_until_it_is_told_to_stop"])
                .args(["--ignored", "--nocapture"])
                .env("DATABASE_URL", server.url("postgres"))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut turns = lines
                .map_while(std::io::Result::ok)
                .filter(|line| line.contains("begins a turn"));
            assert!(turns.nth(place).is_some(), "{what:?}");
            let kill = format!("kill -s INT {}", child.id());
            Command::new("sh").args(["-c", &kill]).status().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{what:?}");
            let left: i64 = runtime
                .block_on(async {
                    let mut connection = server.options().unwrap().connect().await?;
                    sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname = $1")
                        .bind(format!("bench_{}", child.id()))
                        .fetch_one(&mut connection)
                        .await
                })
                .unwrap();
            assert_eq!(left, 0, "{what:?}");
        }
    }

    #[test]
    #[ignore = "ends only by a signal; the test above starts it"]
    fn works_until_it_is_told_to_stop() {
        interrupt::listen().unwrap();
        let server = Server::start(&settings()).unwrap().unwrap();
        let folder = settings().folder().unwrap();
        let run = run(folder.path(), operations::list(3_500));
        for what in ALL.iter().cycle() {
            println!("begins a turn");
            let (case, contender) = case(Place::Postgres(&server), true, *what);
            run.turn(&case, &contender, 0).unwrap();
        }
    }

    #[test]
    fn whoever_waits_too_long_for_a_connection_has_done_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mix.sqlite");
        let run = run(folder.path(), operations::list(40));
        run.wait_for(on_sqlite::create(&file, true)).unwrap();
        run.runtime.block_on(async {
            let store = OnSqlite::new(&file, Connections::Shared(1), Duration::from_millis(20));
            let held = store.pools().writers().take().await.unwrap();
            let until = Instant::now() + LATER;
            let outcome = strategy::run(Strategy::AllAtOnce, &run.list, until, |operation| {
                let store = store.clone();
                async move { store.perform(operation).await }
            })
            .await;
            drop(held);
            store.close().await;
            assert_eq!((outcome.not_begun, outcome.failed), (40, 0));
        });
        assert_eq!(run.wait_for(on_sqlite::rows(&file)).unwrap(), (0, 0));
    }

    #[test]
    fn writes_that_share_a_commit_share_its_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mix.sqlite");
        let run = run(folder.path(), vec![Operation::Write; 30]);
        run.wait_for(on_sqlite::create(&file, true)).unwrap();
        // From the tenth b4 on they are refused, after the parents of that write.
        run.wait_for(async {
            let mut connection = on_sqlite::options(&file).connect().await?;
            sqlx::raw_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON b \
                 WHEN NEW.data = 'b4' AND (SELECT count(*) FROM b WHERE data = 'b4') = 9 BEGIN \
                 SELECT RAISE(ABORT, 'on purpose'); END",
            )
            .execute(&mut connection)
            .await?;
            connection.close().await
        })
        .unwrap();
        run.runtime.block_on(async {
            let store = OnSqlite::new(&file, Connections::CommitTogether(1), LATER);
            let until = Instant::now() + LATER;
            let outcome = strategy::run(Strategy::AllAtOnce, &run.list, until, |operation| {
                let store = store.clone();
                async move { store.perform(operation).await }
            })
            .await;
            store.close().await;
            assert_eq!(outcome.writes + outcome.failed, 30);
            let stored = i64::try_from(outcome.writes).unwrap();
            assert!(stored <= 9, "{stored}");
            let first = outcome.first_failure.unwrap();
            assert!(first.contains("on purpose"), "{first}");
            let rows = on_sqlite::rows(&file).await.unwrap();
            assert_eq!(rows, (3 * stored, 5 * stored));
        });
    }

    #[test]
    fn missing_rows_and_failures_are_errors() {
        let outcome = |failed| Outcome {
            writes: 2,
            reads: 1,
            failed,
            ..Outcome::default()
        };
        assert!(examine("it", &outcome(0), 3, (6, 10)).is_ok());
        assert!(examine("it", &outcome(0), 3, (6, 9)).is_err());
        assert!(examine("it", &outcome(0), 3, (5, 10)).is_err());
        assert!(examine("it", &outcome(0), 4, (6, 10)).is_err());
        assert!(examine("it", &outcome(1), 4, (6, 10)).is_err());
    }
}
