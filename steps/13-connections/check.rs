//! What step 13 must do: `./run.sh check 13`.
//!
//! Most checks of a strategy run it with operations that the check itself ends, on
//! tokio's paused clock: a millisecond passes only when nothing else can happen. So
//! "nothing more begins" is certain, and no database is needed. Then each strategy works
//! on SQLite, and on PostgreSQL where there is one.

use std::fmt::{Debug, Display};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use check::statements::Recording;
use check::{Failure, OrFail, Outcome, Suite, ensure, equal};
use futures::FutureExt;
use futures::future::join_all;
use postgres_server::Postgres;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use step13::error::Error;
use step13::outcome::Outcome as Done;
use step13::plan::Operation::{self, Read, Write};
use step13::plan::{operations, writes};
use step13::rows::{NEW, Parent, families};
use step13::sqlite;
use step13::strategies::Strategy;
use step13::tables::Tables;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub fn main() -> ExitCode {
    let suite = Suite::new("13-connections", env!("CARGO_MANIFEST_DIR"));
    let suite = operations_on_sqlite(suite);
    let suite = strategies(suite);
    let suite = index(suite);
    suite.run()
}

fn operations_on_sqlite(suite: Suite) -> Suite {
    suite
        .check(
            "13.1",
            "families keep the order of the rows of `a`, and each has its own rows of `b`",
            in_families,
        )
        .check(
            "13.1",
            "a read returns ten rows of `a`, each with its rows of `b`",
            read_returns,
        )
        .check(
            "13.1",
            "a read returns what there is if there are fewer than ten rows, and the database's error",
            read_few,
        )
        .check(
            "13.1",
            "a read is two queries, however many rows there are",
            read_is_two,
        )
        .check(
            "13.2",
            "a write stores three rows of `a` with their rows of `b`, and returns the ids",
            write_stores,
        )
        .check(
            "13.2",
            "a write that the database refuses leaves no row and no transaction",
            write_refused,
        )
        .check(
            "13.2",
            "a write that is dropped leaves all of its rows or none, and no transaction",
            write_dropped,
        )
        .check(
            "13.2",
            "writes on eight connections at the same time all succeed",
            writes_at_once,
        )
}

#[allow(clippy::too_many_lines)] // it is a list
fn strategies(suite: Suite) -> Suite {
    suite
        .check(
            "13.3",
            "a success counts by its kind, a failure only as a failure, and the first error is kept",
            noted,
        )
        .paused_check(
            "13.3",
            "an operation begins when the one before it has ended, in the order of the list",
            one_by_one,
        )
        .paused_check(
            "13.3",
            "every operation is done once, and each result is noted, also after a failure",
            || results([Strategy::OneAfterAnother]),
        )
        .paused_check("13.3", "dropping the call ends the operation", || {
            dropped(Strategy::OneAfterAnother)
        })
        .paused_check("13.3", "a panic reaches the caller", || {
            panics(Strategy::OneAfterAnother)
        })
        .check("13.3", "on SQLite one connection does all of them", || {
            on_sqlite(Strategy::OneAfterAnother, 1)
        })
        .paused_check(
            "13.4",
            "every operation begins, though none has ended",
            at_once,
        )
        .paused_check(
            "13.4",
            "every operation is done once, and each result is noted, also after a failure",
            || results([Strategy::AllAtOnce]),
        )
        .paused_check("13.4", "dropping the call ends all operations", || {
            dropped(Strategy::AllAtOnce)
        })
        .paused_check("13.4", "a panic reaches the caller", || {
            panics(Strategy::AllAtOnce)
        })
        .check(
            "13.4",
            "on SQLite the pool limits how many connections are in use",
            || on_sqlite(Strategy::AllAtOnce, POOL),
        )
        .paused_check(
            "13.5",
            "all operations of a chunk begin at once, and no other ones",
            || begins(Strategy::InChunks(4), 4),
        )
        .paused_check(
            "13.5",
            "the next chunk begins when the last operation of the chunk before it has ended",
            next_chunk,
        )
        .paused_check(
            "13.5",
            "every operation is done once, and each result is noted, also after a failure",
            || results([5, 1, 12, 50].map(Strategy::InChunks)),
        )
        .paused_check("13.5", "dropping the call ends all operations", || {
            dropped(Strategy::InChunks(4))
        })
        .paused_check("13.5", "a panic reaches the caller", || {
            panics(Strategy::InChunks(4))
        })
        .check(
            "13.5",
            "on SQLite no more connections are in use than a chunk has operations",
            || on_sqlite(Strategy::InChunks(4), 4),
        )
        .paused_check(
            "13.6",
            "`limit` operations begin at once, and no other ones",
            || begins(Strategy::InFlight(4), 4),
        )
        .paused_check(
            "13.6",
            "whichever operation ends, the next one begins at once",
            next_in_flight,
        )
        .paused_check(
            "13.6",
            "every operation is done once, and each result is noted, also after a failure",
            || results([5, 1, 12, 50].map(Strategy::InFlight)),
        )
        .paused_check("13.6", "dropping the call ends all operations", || {
            dropped(Strategy::InFlight(4))
        })
        .paused_check("13.6", "a panic reaches the caller", || {
            panics(Strategy::InFlight(4))
        })
        .check(
            "13.6",
            "on SQLite no more connections are in use than the limit",
            || on_sqlite(Strategy::InFlight(4), 4),
        )
        .paused_check(
            "13.7",
            "one write and `readers` reads begin at once, and no other ones",
            || begins(Strategy::OneWriter(3), 4),
        )
        .paused_check(
            "13.7",
            "writes are done one after another while reads wait",
            || one_kind(Write),
        )
        .paused_check(
            "13.7",
            "reads are done, `readers` at a time, while a write waits",
            || one_kind(Read),
        )
        .paused_check(
            "13.7",
            "every operation is done once, and each result is noted, also after a failure",
            || results([3, 1, 12, 50].map(Strategy::OneWriter)),
        )
        .paused_check("13.7", "dropping the call ends all operations", || {
            dropped(Strategy::OneWriter(3))
        })
        .paused_check("13.7", "a panic reaches the caller", || {
            panics(Strategy::OneWriter(3))
        })
        .check(
            "13.7",
            "on SQLite no more connections are in use than one for the writer and one for each reader",
            || on_sqlite(Strategy::OneWriter(3), 4),
        )
        .check(
            "13.7",
            "on PostgreSQL, where there is one, each strategy stores exactly the rows of its writes",
            on_postgres,
        )
}

fn index(suite: Suite) -> Suite {
    suite
        .check(
            "13.8",
            "with the index, SQLite searches `b` for the rows of a read",
            index_is_used,
        )
        .check(
            "13.8",
            "the index can be created again, and the database's error is returned",
            index_again,
        )
        .check(
            "13.8",
            "the plan of a query has a line for each step, and the query is not run",
            plan_of_query,
        )
}

// ---- operations on SQLite

/// A connection to a new database in memory.
async fn in_memory() -> Result<SqliteConnection, Failure> {
    let mut connection = SqliteConnection::connect("sqlite::memory:")
        .await
        .or_fail("connect")?;
    execute(&mut connection, sqlite::TABLES).await?;
    Ok(connection)
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Outcome {
    let result = sqlx::raw_sql(sql).execute(connection).await;
    result.or_fail(sql).map(drop)
}

/// New tables in a file, and a connection to them.
async fn in_file() -> Result<(Tables, SqliteConnection), Failure> {
    let tables = Tables::on_sqlite().await.or_fail("new tables")?;
    let connection = connect(&tables).await?;
    Ok((tables, connection))
}

async fn connect(tables: &Tables) -> Result<SqliteConnection, Failure> {
    match tables {
        Tables::Sqlite { options, .. } => options.connect().await.or_fail("connect"),
        Tables::Postgres { .. } => Err(Failure::new("connect", "SQLite", "PostgreSQL")),
    }
}

fn parent(id: i64, data: &str, children: &[&str]) -> Parent {
    Parent {
        id,
        data: data.to_owned(),
        children: children.iter().map(|&child| child.to_owned()).collect(),
    }
}

fn sorted(mut parents: Vec<Parent>) -> Vec<Parent> {
    parents.sort_by_key(|parent| parent.id);
    for parent in &mut parents {
        parent.children.sort();
    }
    parents
}

async fn in_families() -> Outcome {
    let row = |id, data: &str| (id, data.to_owned());
    let mut got = families(
        vec![row(7, "seven"), row(3, "three"), row(5, "five")],
        vec![row(3, "x"), row(7, "y"), row(3, "z")],
    );
    for parent in &mut got {
        parent.children.sort();
    }
    let expected = vec![
        parent(7, "seven", &["y"]),
        parent(3, "three", &["x", "z"]),
        parent(5, "five", &[]),
    ];
    equal(
        "families([7, 3, 5], [x of 3, y of 7, z of 3])",
        expected,
        got,
    )?;
    let same = "same".to_owned();
    let got = families(
        vec![(7, same.clone()), (3, same.clone())],
        [3, 7, 3].map(|parent| (parent, same.clone())).to_vec(),
    );
    equal(
        "families([7, 3], [a row of 3, a row of 7, another row of 3]), and all rows have \
         the same data; how many rows of b does each have?",
        vec![(7, 1), (3, 2)],
        got.iter()
            .map(|parent| (parent.id, parent.children.len()))
            .collect::<Vec<_>>(),
    )
}

/// Twelve rows of `a`, of which the third has no row of `b`, and the seventh to the ninth
/// have two rows with the same data.
const TWELVE: &str = "
    INSERT INTO a (id, data) SELECT 10 * value, 'a' || value FROM generate(12);
    INSERT INTO b (a_id, data) SELECT 10 * value, 'x' || value FROM generate(12) WHERE value <> 3;
    INSERT INTO b (a_id, data) SELECT 10 * value, iif(value < 10, 'x', 'y') || value
        FROM generate(12) WHERE value > 6";

fn with_numbers(sql: &str) -> String {
    let numbers = "(WITH RECURSIVE n (value) AS \
                   (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 12) \
                   SELECT value FROM n)";
    sql.replace("generate(12)", numbers)
}

async fn twelve() -> Result<SqliteConnection, Failure> {
    let mut connection = in_memory().await?;
    let sql = with_numbers(TWELVE);
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .or_fail("insert twelve rows of a")?;
    Ok(connection)
}

async fn read_returns() -> Outcome {
    let mut connection = twelve().await?;
    let got = sqlite::read(&mut connection).await.or_fail("read")?;
    let expected = (1..=10).map(|number| {
        let children = match number {
            3 => vec![],
            1..=6 => vec![format!("x{number}")],
            7..=9 => vec![format!("x{number}"), format!("x{number}")],
            _ => vec![format!("x{number}"), format!("y{number}")],
        };
        Parent {
            id: 10 * number,
            data: format!("a{number}"),
            children,
        }
    });
    equal(
        "read: a has twelve rows, the third of them has no row of b",
        expected.collect::<Vec<_>>(),
        sorted(got),
    )
}

async fn read_few() -> Outcome {
    let mut connection = in_memory().await?;
    let got = sqlite::read(&mut connection).await.or_fail("read")?;
    equal("read: a is empty", Vec::<Parent>::new(), got)?;
    execute(
        &mut connection,
        "INSERT INTO a (id, data) VALUES (4, 'four'); INSERT INTO b (a_id, data) VALUES (4, 'x')",
    )
    .await?;
    let got = sqlite::read(&mut connection).await.or_fail("read")?;
    equal("read: a has one row", vec![parent(4, "four", &["x"])], got)?;
    for table in ["b", "a"] {
        let drop = sqlx::AssertSqlSafe(format!("DROP TABLE {table}"));
        let dropped = sqlx::raw_sql(drop).execute(&mut connection).await;
        dropped.or_fail("drop a table")?;
        let result = sqlite::read(&mut connection).await;
        fails(format_args!("read: there is no table {table}"), &result)?;
    }
    Ok(())
}

/// The learner's function must return the database's error.
fn fails<T: Debug>(asked: impl Display, result: &sqlx::Result<T>) -> Outcome {
    let got = format!("{result:?}");
    ensure(result.is_err(), asked, "the database's error", got)
}

async fn read_is_two() -> Outcome {
    let mut connection = twelve().await?;
    let recording = Recording::start();
    sqlite::read(&mut connection).await.or_fail("read")?;
    let statements: Vec<String> = recording
        .statements()
        .into_iter()
        .map(|statement| statement.sql)
        .collect();
    ensure(
        statements.len() == 2,
        "read: a has twelve rows; which statements does it execute?",
        "2: one for the rows of a, one for the rows of b of all of them",
        format_args!("{}: {}", statements.len(), statements.join("; ")),
    )
}

/// Each row of `b` with the id and the data of its row of `a`.
async fn all_rows(
    connection: &mut SqliteConnection,
) -> Result<Vec<(i64, String, String)>, Failure> {
    let sql = "SELECT a.id, a.data, b.data FROM b JOIN a ON a.id = b.a_id ORDER BY b.data, a.id";
    let rows = sqlx::query_as(sql).fetch_all(connection).await;
    rows.or_fail("the rows of both tables")
}

async fn write_stores() -> Outcome {
    let (tables, mut connection) = in_file().await?;
    let mut other = connect(&tables).await?;
    // So that ids do not begin at 1, and those of `a` and `b` differ.
    execute(&mut other, "INSERT INTO a (id, data) VALUES (40, 'old')").await?;
    let mut expected = Vec::new();
    for number in ["first", "second"] {
        let asked = format!("the {number} write");
        let ids = sqlite::write(&mut connection).await.or_fail(&asked)?;
        equal(
            format_args!("{asked}: how many ids does it return?"),
            NEW.len(),
            ids.len(),
        )?;
        for (id, (data, children)) in ids.iter().zip(NEW) {
            let rows = children
                .iter()
                .map(|&child| (*id, data.to_owned(), child.to_owned()));
            expected.extend(rows);
        }
        expected.sort_by(|one, other| (&one.2, one.0).cmp(&(&other.2, other.0)));
        equal(
            format_args!(
                "{asked}, then on another connection: a's id, a's data, b's data. \
                 The ids are those that the writes returned, in the order of NEW"
            ),
            &expected,
            &all_rows(&mut other).await?,
        )?;
    }
    let count = tables.count().await.or_fail("count")?;
    equal("two writes: how many rows are new?", (6 + 1, 10), count)
}

/// Ways in which the database refuses a write: what it is, the SQL that prepares it, and
/// the SQL that takes it away.
const REFUSALS: [(&str, &str, &str); 4] = [
    (
        "a trigger refuses the row 'b5'",
        "CREATE TRIGGER refuse BEFORE INSERT ON b WHEN NEW.data = 'b5' \
         BEGIN SELECT RAISE(ABORT, 'refused on purpose'); END",
        "DROP TRIGGER refuse",
    ),
    (
        "a UNIQUE constraint refuses the row 'b5'",
        "CREATE UNIQUE INDEX refuse ON b (data); INSERT INTO b (a_id, data) VALUES (1, 'b5')",
        "DROP INDEX refuse; DELETE FROM b",
    ),
    (
        "a UNIQUE constraint refuses the row 'a3'",
        "CREATE UNIQUE INDEX refuse ON a (data); INSERT INTO a (data) VALUES ('a3')",
        "DROP INDEX refuse; DELETE FROM a WHERE data = 'a3'",
    ),
    (
        // A deferred foreign key is looked at when the transaction commits.
        "each row is accepted, the COMMIT is refused",
        "CREATE TABLE late (a_id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER refuse AFTER INSERT ON b WHEN NEW.data = 'b5' \
         BEGIN INSERT INTO late VALUES (-1); END",
        "DROP TRIGGER refuse; DROP TABLE late",
    ),
];

async fn write_refused() -> Outcome {
    for (how, prepare, take_away) in REFUSALS {
        let (tables, mut connection) = in_file().await?;
        execute(
            &mut connection,
            "INSERT INTO a (id, data) VALUES (1, 'old')",
        )
        .await?;
        execute(&mut connection, prepare).await?;
        let before = tables.count().await.or_fail("count")?;
        let asked = format!("write: {how}");
        let result = sqlite::write(&mut connection).await;
        fails(&asked, &result)?;
        no_transaction(&mut connection, &asked).await?;
        let count = tables.count().await.or_fail("count")?;
        equal(
            format_args!("{asked}; how many rows have a and b? (As many as before.)"),
            before,
            count,
        )?;
        execute(&mut connection, take_away).await?;
        let again = format!("{asked}; then a write on the same connection, which nothing refuses");
        sqlite::write(&mut connection).await.or_fail(&again)?;
        let count = tables.count().await.or_fail("count")?;
        equal(
            format_args!("{again}: how many rows have a and b?"),
            (1 + 3, 5),
            count,
        )?;
    }
    Ok(())
}

/// Within a transaction another one cannot begin.
async fn no_transaction(connection: &mut SqliteConnection, asked: &str) -> Outcome {
    let begun = sqlx::raw_sql("BEGIN; ROLLBACK").execute(connection).await;
    ensure(
        begun.is_ok(),
        format_args!("{asked}; then another transaction on the same connection"),
        "it begins",
        begun
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default(),
    )
}

async fn write_dropped() -> Outcome {
    /// More often than a write is polled.
    const OFTEN: usize = 200;
    let (tables, mut connection) = in_file().await?;
    for polls in 1..=OFTEN {
        let before = tables.count().await.or_fail("count")?;
        let done = {
            let mut write = pin!(sqlite::write(&mut connection));
            let mut left = polls;
            poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                write.as_mut().poll(context).map(Some)
            })
            .await
        };
        let asked = format!("a write that is dropped after it was polled {polls} times");
        no_transaction(&mut connection, &asked).await?;
        let (a, b) = tables.count().await.or_fail("count")?;
        let new = (a - before.0, b - before.1);
        ensure(
            new == (0, 0) || new == (3, 5),
            format_args!("{asked}: how many new rows have a and b?"),
            "none, or 3 and 5",
            format_args!("{} and {}", new.0, new.1),
        )?;
        if let Some(result) = done {
            return result.or_fail("a write").map(drop);
        }
    }
    let expected = "it ends";
    Err(Failure::new(
        "a write",
        expected,
        format!("it was polled {OFTEN} times"),
    ))
}

async fn writes_at_once() -> Outcome {
    const WRITES: usize = 32;
    let tables = Tables::on_sqlite().await.or_fail("new tables")?;
    let database = tables.open(8);
    let writes = (0..WRITES).map(|_| database.perform(Write));
    let results = join_all(writes).await;
    let asked = "32 writes at the same time, on eight connections";
    for result in results {
        result.or_fail(asked)?;
    }
    let count = tables.count().await.or_fail("count")?;
    equal(
        format_args!("{asked}: how many rows have a and b?"),
        (96, 160),
        count,
    )
}

// ---- strategies, with operations that the check ends

/// So much time passes only when nothing else can happen any more.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Operations that wait until the check ends them.
#[derive(Clone, Default)]
struct Work(Arc<Mutex<Vec<Job>>>);

struct Job {
    operation: Operation,
    /// Gone when the operation was ended or dropped.
    end: Option<oneshot::Sender<End>>,
    dropped: bool,
}

enum End {
    Success,
    /// The operation with this number fails.
    Failure(usize),
    Panic,
}

impl Work {
    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation that begins when it is polled for the first time.
    fn perform(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let work = self.clone();
        async move {
            let (end, ended) = oneshot::channel();
            let number = {
                let mut jobs = work.jobs();
                jobs.push(Job {
                    operation,
                    end: Some(end),
                    dropped: false,
                });
                jobs.len() - 1
            };
            let _visit = Visit { work, number };
            match ended.await {
                Ok(End::Success) => Ok(()),
                Ok(End::Failure(number)) => Err(failure_of(number)),
                // Without a message, so that it is not reported as one of the learner's.
                Ok(End::Panic) | Err(_) => resume_unwind(Box::new(())),
            }
        }
    }

    /// The operations that have begun, in that order.
    fn begun(&self) -> Vec<Operation> {
        self.jobs().iter().map(|job| job.operation).collect()
    }

    /// The numbers of those that have begun and not ended.
    fn running(&self) -> Vec<usize> {
        let jobs = self.jobs();
        let running = jobs.iter().enumerate().filter(|(_, job)| job.end.is_some());
        running.map(|(number, _)| number).collect()
    }

    fn running_of(&self, operation: Operation) -> Vec<usize> {
        let mut running = self.running();
        running.retain(|number| self.jobs()[*number].operation == operation);
        running
    }

    fn dropped(&self) -> usize {
        self.jobs().iter().filter(|job| job.dropped).count()
    }

    fn end(&self, number: usize, end: End) {
        let sender = self.jobs()[number].end.take();
        // It may have been dropped in the meantime, which another check looks at.
        let _ = sender.map(|sender| sender.send(end));
    }

    fn succeed(&self, numbers: &[usize]) {
        for number in numbers {
            self.end(*number, End::Success);
        }
    }
}

/// The time in which an operation is under way.
struct Visit {
    work: Work,
    number: usize,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut jobs = self.work.jobs();
        let job = &mut jobs[self.number];
        job.dropped = job.end.take().is_some();
    }
}

/// The call as it is written, for messages.
fn call(strategy: Strategy) -> String {
    match strategy {
        Strategy::OneAfterAnother => "one_after_another(…)".to_owned(),
        Strategy::AllAtOnce => "all_at_once(…)".to_owned(),
        Strategy::InChunks(size) => format!("in_chunks({size}, …)"),
        Strategy::InFlight(limit) => format!("in_flight({limit}, …)"),
        Strategy::OneWriter(readers) => format!("one_writer({readers}, …)"),
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

fn start<'a>(strategy: Strategy, operations: &'a [Operation], work: &'a Work) -> Running<'a> {
    Box::pin(strategy.run(operations, |operation| work.perform(operation)))
}

/// Lets the call and all tasks run until none of them can do anything more. Returns
/// the call's result if it has one by then. The hour passes in a moment, since time is
/// paused. It is longer than a strategy may wait of its own accord.
async fn settle(call: &mut Running<'_>) -> Option<Done> {
    timeout(Duration::from_hours(1), call).await.ok()
}

/// Fails when the call has returned although operations are under way.
async fn goes_on(call: &mut Running<'_>, asked: &str) -> Outcome {
    let done = settle(call).await;
    ensure(
        done.is_none(),
        asked,
        "it waits for its operations",
        format_args!("it returns {done:?}"),
    )
}

fn counts(work: &Work) -> String {
    let (begun, running) = (work.begun().len(), work.running().len());
    format!("begun: {begun}, under way: {running}")
}

async fn noted() -> Outcome {
    let mut done = Done::default();
    let failure = |text: &str| Err(Error::WrongRows(text.to_owned()));
    for (operation, result) in [
        (Read, Ok(())),
        (Write, failure("the write failed")),
        (Write, Ok(())),
        (Read, Ok(())),
        (Read, failure("the read failed")),
    ] {
        done.note(operation, result);
    }
    equal(
        "note: read, failed write, write, read, failed read; reads, writes, failures",
        (2, 1, 2),
        (done.reads, done.writes, done.failures),
    )?;
    equal(
        "note: a write fails, then a read; first_failure",
        Some("the write failed".to_owned()),
        done.first_failure.map(|error| error.to_string()),
    )
}

async fn one_by_one() -> Outcome {
    let list = operations(12);
    let work = Work::default();
    let strategy = Strategy::OneAfterAnother;
    let mut running = start(strategy, &list, &work);
    for number in 0..list.len() {
        let asked = format!("{}: 12 operations, ended so far: {number}", call(strategy));
        goes_on(&mut running, &asked).await?;
        equal(
            format_args!("{asked}; which operations have begun?"),
            &list[..=number],
            &work.begun()[..],
        )?;
        work.succeed(&work.running());
    }
    let done = settle(&mut running).await;
    ensure(
        done.is_some(),
        "one_after_another(…): all 12 operations have ended",
        "it returns",
        "it waits",
    )
}

/// So many of twelve operations begin at once.
async fn begins(strategy: Strategy, expected: usize) -> Outcome {
    let list = operations(12);
    let work = Work::default();
    let mut running = start(strategy, &list, &work);
    let asked = format!("{}: 12 operations, none has ended", call(strategy));
    goes_on(&mut running, &asked).await?;
    let wanted = format!("begun: {expected}, under way: {expected}");
    ensure(counts(&work) == wanted, &asked, &wanted, counts(&work))?;
    if let Strategy::OneWriter(_) = strategy {
        let writes = work.running_of(Write).len();
        equal(format_args!("{asked}; how many are writes?"), 1, writes)?;
    }
    Ok(())
}

async fn at_once() -> Outcome {
    let list = operations(1_000);
    let work = Work::default();
    let mut running = start(Strategy::AllAtOnce, &list, &work);
    let asked = "all_at_once(…): 1000 operations, none has ended";
    goes_on(&mut running, asked).await?;
    let wanted = "begun: 1000, under way: 1000";
    ensure(counts(&work) == wanted, asked, wanted, counts(&work))
}

async fn next_chunk() -> Outcome {
    let list = [
        [Read, Write, Write, Write].as_slice(),
        &[Read, Read, Read, Write],
        &[Read, Write],
    ]
    .concat();
    let work = Work::default();
    let strategy = Strategy::InChunks(4);
    let mut running = start(strategy, &list, &work);
    let mut begun = 0;
    for size in [4, 4, 2] {
        begun += size;
        // The last one first, so that the slowest is the first of the chunk.
        for left in (0..size).rev() {
            let ended = begun - left - 1;
            let asked = format!("{}: 10 operations, ended so far: {ended}", call(strategy));
            goes_on(&mut running, &asked).await?;
            let wanted = format!("begun: {begun}, under way: {}", left + 1);
            ensure(counts(&work) == wanted, &asked, &wanted, counts(&work))?;
            equal(
                format_args!("{asked}; how many of those begun are writes? (The list: {list:?})"),
                writes(&list[..begun]),
                writes(&work.begun()),
            )?;
            work.succeed(&work.running()[left..]);
        }
    }
    let done = settle(&mut running).await;
    let asked = format!("{}: all 10 operations have ended", call(strategy));
    ensure(done.is_some(), asked, "it returns", "it waits")
}

async fn next_in_flight() -> Outcome {
    // In each round another one of the four operations under way ends.
    let list = operations(24);
    let work = Work::default();
    let strategy = Strategy::InFlight(4);
    let mut running = start(strategy, &list, &work);
    for ended in 0..list.len() {
        let asked = format!("{}: 24 operations, ended so far: {ended}", call(strategy));
        goes_on(&mut running, &asked).await?;
        let begun = list.len().min(ended + 4);
        let wanted = format!("begun: {begun}, under way: {}", begun - ended);
        ensure(counts(&work) == wanted, &asked, &wanted, counts(&work))?;
        equal(
            format_args!("{asked}; which have begun? (In the order of the list.)"),
            &list[..begun],
            &work.begun()[..],
        )?;
        let under_way = work.running();
        let chosen = [3, 1, 0, 2][ended % 4] % under_way.len();
        work.succeed(&[under_way[chosen]]);
    }
    let done = settle(&mut running).await;
    let asked = format!("{}: all 24 operations have ended", call(strategy));
    ensure(done.is_some(), asked, "it returns", "it waits")
}

/// One kind of operation is done to its end, while those of the other kind wait.
async fn one_kind(kind: Operation) -> Outcome {
    let list = operations(24);
    let work = Work::default();
    let strategy = Strategy::OneWriter(3);
    let mut running = start(strategy, &list, &work);
    let (at_once, waits, other) = match kind {
        Write => (1, "3 reads wait", Read),
        Read => (3, "a write waits", Write),
    };
    let waiting = 4 - at_once;
    for ended in 0..12 {
        let asked = format!(
            "{}: 12 reads and 12 writes, {waits}, {kind:?}s ended so far: {ended}",
            call(strategy)
        );
        goes_on(&mut running, &asked).await?;
        let wanted = (at_once.min(12 - ended), waiting);
        let got = (work.running_of(kind).len(), work.running_of(other).len());
        equal(
            format_args!("{asked}; how many {kind:?}s and {other:?}s are under way?"),
            wanted,
            got,
        )?;
        let newest = work.running_of(kind).into_iter().next_back();
        work.succeed(newest.as_slice());
    }
    Ok(())
}

/// In which order the operations under way end, and which of them fail.
struct Ending {
    text: &'static str,
    /// This kind ends before the other one; of several operations the newest.
    first: Option<Operation>,
    /// By its number, in the order in which operations begin.
    fails: fn(usize, Operation) -> bool,
}

/// With the last two, a result that is noted for another operation becomes a wrong count:
/// whatever a list with both kinds looks like, one of the two ends in another order.
const ENDINGS: [Ending; 3] = [
    Ending {
        text: "the third and the eighth fail, the newest ends first",
        first: None,
        fails: |number, _| number == 2 || number == 7,
    },
    Ending {
        text: "writes fail, and end before reads",
        first: Some(Write),
        fails: |_, operation| operation == Write,
    },
    Ending {
        text: "reads fail, and end before writes",
        first: Some(Read),
        fails: |_, operation| operation == Read,
    },
];

async fn results<const N: usize>(strategies: [Strategy; N]) -> Outcome {
    for strategy in strategies {
        for ending in &ENDINGS {
            let of_list = async |name: &str, list: &[Operation]| {
                let asked = format!("{}: {name}, {}", call(strategy), ending.text);
                results_of(strategy, ending, list, &asked).await
            };
            of_list("12 operations", &operations(12)).await?;
            of_list("5 reads", &[Read; 5]).await?;
            of_list("5 writes", &[Write; 5]).await?;
            of_list("no operations", &[]).await?;
        }
    }
    Ok(())
}

async fn results_of(
    strategy: Strategy,
    ending: &Ending,
    list: &[Operation],
    asked: &str,
) -> Outcome {
    let work = Work::default();
    let mut running = start(strategy, list, &work);
    let done = loop {
        if let Some(done) = settle(&mut running).await {
            break done;
        }
        let preferred = ending.first.and_then(|kind| work.running_of(kind).pop());
        let Some(number) = preferred.or_else(|| work.running().pop()) else {
            let counts = counts(&work);
            let got = format!("it waits for something that never happens; {counts}");
            return Err(Failure::new(asked, "it returns", got));
        };
        let fails = (ending.fails)(number, work.begun()[number]);
        let end = if fails {
            End::Failure(number)
        } else {
            End::Success
        };
        work.end(number, end);
    };
    let begun = work.begun();
    equal(
        format_args!("{asked}; how many reads and writes have begun?"),
        (list.len() - writes(list), writes(list)),
        (begun.len() - writes(&begun), writes(&begun)),
    )?;
    ensure(
        work.running().is_empty() && work.dropped() == 0,
        format_args!("{asked}; when it returns"),
        "all have ended",
        format_args!("{} and dropped: {}", counts(&work), work.dropped()),
    )?;
    let (failed, succeeded): (Vec<_>, Vec<_>) =
        (0..begun.len()).partition(|number| (ending.fails)(*number, begun[*number]));
    let succeeded: Vec<_> = succeeded.iter().map(|number| begun[*number]).collect();
    equal(
        format_args!("{asked}; reads, writes, failures"),
        (
            succeeded.len() - writes(&succeeded),
            writes(&succeeded),
            failed.len(),
        ),
        (done.reads, done.writes, done.failures),
    )?;
    first_failure(strategy, &failed, &done, asked)
}

/// Some operations fail because no connection came in time.
fn failure_of(number: usize) -> Error {
    if number % 5 == 4 {
        return sqlx::Error::PoolTimedOut.into();
    }
    Error::WrongRows(format!("operation {} failed", number + 1))
}

/// Operations that run at the same time have no certain order, so any of them may be the
/// first that failed. But a chunk ends before the next one begins.
fn first_failure(strategy: Strategy, failed: &[usize], done: &Done, asked: &str) -> Outcome {
    let together = match strategy {
        Strategy::OneAfterAnother => 1,
        Strategy::InChunks(size) => size,
        _ => usize::MAX,
    };
    let first = failed.iter().map(|number| number / together).next();
    let mut of_first = failed.to_vec();
    of_first.retain(|number| Some(number / together) == first);
    let failures = of_first.into_iter().map(failure_of);
    let mut expected: Vec<String> = failures.map(|error| error.to_string()).collect();
    if expected.is_empty() {
        expected.push("no failure".to_owned());
    }
    let got = done.first_failure.as_ref();
    let got = got.map_or_else(|| "no failure".to_owned(), Error::to_string);
    ensure(
        expected.contains(&got),
        format_args!("{asked}; first_failure (operations are numbered as they begin)"),
        expected.join(", or "),
        got,
    )
}

async fn dropped(strategy: Strategy) -> Outcome {
    let list = operations(12);
    for ended in [0, 5] {
        let work = Work::default();
        let mut running = start(strategy, &list, &work);
        goes_on(&mut running, &call(strategy)).await?;
        for _ in 0..ended {
            let newest = work.running().into_iter().next_back();
            work.succeed(newest.as_slice());
            goes_on(&mut running, &call(strategy)).await?;
        }
        let asked = format!(
            "{}: 12 operations, ended so far: {ended}, {}; then the call is dropped",
            call(strategy),
            counts(&work)
        );
        let begun = work.begun().len();
        drop(running);
        // A task that is aborted ends when the runtime next runs it.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let wanted = format!("begun: {begun}, under way: 0");
        ensure(counts(&work) == wanted, asked, &wanted, counts(&work))?;
    }
    Ok(())
}

async fn panics(strategy: Strategy) -> Outcome {
    let list = operations(12);
    // Each of the operations that begin at once, in a call of its own.
    let mut number = 0;
    loop {
        let work = Work::default();
        let mut running = start(strategy, &list, &work);
        goes_on(&mut running, &call(strategy)).await?;
        let Some(operation) = work.begun().get(number).copied() else {
            return Ok(());
        };
        work.end(number, End::Panic);
        number += 1;
        let asked = format!(
            "{}: operation {number}, a {operation:?}, panics, the others wait",
            call(strategy)
        );
        let caught = AssertUnwindSafe(timeout(FOR_EVER, running))
            .catch_unwind()
            .await;
        let got = match caught {
            Err(_) => continue,
            Ok(Ok(done)) => format!("it returns {done:?}"),
            Ok(Err(_)) => "it goes on".to_owned(),
        };
        return Err(Failure::new(asked, "the caller panics", got));
    }
}

// ---- strategies on databases

/// How many connections the pool has at most.
const POOL: u64 = 8;

/// Does some operations on empty tables, with at most `most` connections.
async fn on_tables(tables: &Tables, strategy: Strategy, most: u64) -> Outcome {
    let list = operations(60);
    let database = tables.open(u32::try_from(POOL).unwrap_or(u32::MAX));
    let done = strategy
        .run(&list, |operation| database.perform(operation))
        .await;
    let asked = format!("{}: 60 operations", call(strategy));
    if let Some(error) = done.first_failure {
        return Err(Failure::new(asked, "none fails", error));
    }
    equal(
        format_args!("{asked}; reads, writes"),
        (30, 30),
        (done.reads, done.writes),
    )?;
    let count = tables.count().await.or_fail("count")?;
    equal(
        format_args!("{asked}; how many rows have a and b?"),
        (90, 150),
        count,
    )?;
    let peak = database.meter.peak();
    ensure(
        peak <= most,
        format_args!("{asked}; the most connections in use at the same time"),
        format_args!("at most {most}"),
        peak,
    )?;
    database.close().await;
    Ok(())
}

async fn on_sqlite(strategy: Strategy, most: u64) -> Outcome {
    let tables = Tables::on_sqlite().await.or_fail("new tables")?;
    on_tables(&tables, strategy, most).await
}

async fn on_postgres() -> Outcome {
    let all = [
        (Strategy::OneAfterAnother, 1),
        (Strategy::AllAtOnce, POOL),
        (Strategy::InChunks(4), 4),
        (Strategy::InFlight(4), 4),
        (Strategy::OneWriter(3), 4),
    ];
    // A strategy that is not written yet panics here, before a server is started.
    for (strategy, _) in all {
        strategy
            .run(&[], |operation| Work::default().perform(operation))
            .await;
    }
    let server = match timeout(START, postgres()).await {
        Ok(Ok(Some(server))) => server,
        // A server that does not work is not the learner's fault.
        Ok(Err(failure)) if std::env::var_os("CI").is_some() => return Err(failure),
        Ok(Err(_) | Ok(None)) | Err(_) => return Ok(()),
    };
    for (strategy, most) in all {
        let tables = Tables::on_postgres(server.url()).await;
        let tables = tables.or_fail("new tables")?;
        let result = on_tables(&tables, strategy, most).await;
        tables.remove().await.or_fail("remove the tables")?;
        result?;
    }
    Ok(())
}

/// How long a server has to start. A check has ten seconds for everything.
const START: Duration = Duration::from_secs(6);

/// A database of PostgreSQL in which tables can be made, if there is one.
async fn postgres() -> Result<Option<Postgres>, Failure> {
    let (found, server) = oneshot::channel();
    // A thread and not a task, so that nobody has to wait for a server that is slow.
    std::thread::spawn(move || found.send(Postgres::find()));
    let server = server.await.or_fail("start PostgreSQL")?;
    let server = server.or_fail("start PostgreSQL")?;
    if let Some(server) = &server {
        let tables = Tables::on_postgres(server.url()).await;
        let removed = tables.or_fail("new tables")?.remove().await;
        removed.or_fail("remove the tables")?;
    }
    Ok(server)
}

// ---- the index

/// A plan, not by the learner's function. SQLite's versions differ in what they write.
async fn plan_of(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<String>, Failure> {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .or_fail("EXPLAIN QUERY PLAN")?;
    Ok(rows.into_iter().map(|(.., detail)| detail).collect())
}

async fn index_is_used() -> Outcome {
    let mut connection = in_memory().await?;
    sqlite::create_index(&mut connection)
        .await
        .or_fail("create_index")?;
    let plan = plan_of(&mut connection, sqlite::SELECT_B).await?.join("; ");
    ensure(
        plan.contains("SEARCH b USING") && plan.contains("INDEX b_a_id (a_id=?)"),
        "create_index, then EXPLAIN QUERY PLAN of SELECT_B",
        "SEARCH b USING INDEX b_a_id (a_id=?)",
        plan,
    )?;
    let rows = "INSERT INTO a (id, data) VALUES (1, 'x'); \
                INSERT INTO b (a_id, data) VALUES (1, 'y'), (1, 'y')";
    let stored = sqlx::raw_sql(rows).execute(&mut connection).await;
    ensure(
        stored.is_ok(),
        "create_index, then two rows of b with the same a_id and the same data are stored",
        "both are stored: the index isn't UNIQUE",
        format_args!("{stored:?}"),
    )
}

async fn index_again() -> Outcome {
    let mut connection = in_memory().await?;
    for number in ["first", "second"] {
        let asked = format!("create_index, the {number} time");
        sqlite::create_index(&mut connection).await.or_fail(asked)?;
    }
    execute(&mut connection, "DROP TABLE b").await?;
    let result = sqlite::create_index(&mut connection).await;
    fails("create_index: there is no table b", &result)
}

async fn plan_of_query() -> Outcome {
    let mut connection = twelve().await?;
    let plan = sqlite::query_plan(&mut connection, sqlite::SELECT_B)
        .await
        .or_fail("query_plan(SELECT_B) without an index")?;
    equal(
        "query_plan(SELECT_B) without an index",
        plan_of(&mut connection, sqlite::SELECT_B).await?,
        plan,
    )?;
    let sql = "DELETE FROM b WHERE id = 1";
    let plan = sqlite::query_plan(&mut connection, sql)
        .await
        .or_fail(sql)?;
    equal(
        format_args!("query_plan({sql:?})"),
        plan_of(&mut connection, sql).await?,
        plan,
    )?;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM b")
        .fetch_one(&mut connection)
        .await
        .or_fail("count")?;
    equal(
        "the plan of a DELETE; how many rows has b afterwards?",
        17,
        left,
    )?;
    let sql = "SELECT data FROM b WHERE a_id = ?1 AND data <> '?'";
    let plan = sqlite::query_plan(&mut connection, sql)
        .await
        .or_fail(sql)?;
    equal(
        format_args!("query_plan({sql:?})"),
        plan_of(&mut connection, sql).await?,
        plan,
    )?;
    let sql = "SELECT data FROM c";
    let result = sqlite::query_plan(&mut connection, sql).await;
    fails(
        format_args!("query_plan({sql:?}): there is no table c"),
        &result,
    )
}
