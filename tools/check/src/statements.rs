//! The SQL that the process executes, as sqlx reports it through `tracing`, and
//! what the service logs.

use std::fmt::{Debug, Display, Write};
use std::sync::{Arc, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::failure::{Outcome, ensure};
use crate::trail::{self, lock};

/// The target under which sqlx reports statements.
const SQLX: &str = "sqlx::query";

/// One executed SQL statement. `BEGIN`, `COMMIT` and `ROLLBACK` are not among
/// them, since sqlx does not report them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The level at which sqlx reported it, which the service sets.
    pub level: Level,
    pub sql: String,
    /// Rows that SQLite returned, whether the service used them or not.
    pub rows_returned: u64,
}

#[derive(Default)]
struct Log {
    statements: Vec<Statement>,
    connections_opened: usize,
    messages: Vec<(&'static Metadata<'static>, String)>,
}

/// The log of the current recording, if there is one.
static ACTIVE: Mutex<Option<Arc<Mutex<Log>>>> = Mutex::new(None);

/// Records the SQL that the whole process executes and what it logs, from
/// [`Recording::start`] until the recording is dropped.
///
/// There is one recording at a time: a later one replaces the earlier one, which
/// then records nothing more. This is safe in a [`Suite`](crate::Suite), whose
/// checks run one after another. Tests that libtest runs at the same time need a
/// test binary each. Statements of [`Database`](crate::Database) itself are not
/// recorded.
///
/// A statement is recorded when it has ended, before its last result reaches the
/// code that awaits it. A statement that is dropped half-way is recorded shortly
/// afterwards; once [`Database::wait_until_closed`](crate::Database::wait_until_closed)
/// has returned, all of them are recorded.
pub struct Recording {
    log: Arc<Mutex<Log>>,
}

impl Recording {
    pub fn start() -> Self {
        install();
        let log = Arc::new(Mutex::new(Log::default()));
        *lock(&ACTIVE) = Some(Arc::clone(&log));
        Self { log }
    }

    /// The statements so far, in the order in which they ended, without those
    /// with which sqlx sets up a connection.
    pub fn statements(&self) -> Vec<Statement> {
        lock(&self.log).statements.clone()
    }

    pub fn connections_opened(&self) -> usize {
        lock(&self.log).connections_opened
    }

    /// What was logged at exactly `level` (ERROR, WARN or INFO), without sqlx's
    /// log of statements. Each entry is the message, followed by its fields as
    /// `name=value`.
    pub fn logged(&self, level: Level) -> Vec<String> {
        self.messages(|metadata| *metadata.level() == level)
    }

    /// As [`Recording::logged`], but what was logged under `target`, at each of these
    /// levels.
    pub fn logged_by(&self, target: &str) -> Vec<String> {
        self.messages(|metadata| metadata.target() == target)
    }

    fn messages(&self, wanted: impl Fn(&Metadata<'_>) -> bool) -> Vec<String> {
        let log = lock(&self.log);
        let wanted = log.messages.iter().filter(|(metadata, _)| wanted(metadata));
        wanted.map(|(_, text)| text.clone()).collect()
    }

    /// Fails unless an event of exactly `level` contains `part`, in its message or
    /// in a field: `error=Database(`. The failure lists all events of this level.
    pub fn expect_logged(&self, asked: impl Display, level: Level, part: &str) -> Outcome {
        let logged = self.logged(level);
        ensure(
            logged.iter().any(|event| event.contains(part)),
            asked,
            format_args!("an event of level {level} with \"{part}\" in the log"),
            match &logged[..] {
                [] => format!("no event of level {level}"),
                logged => format!("{level} {}", logged.join(&format!("\n{level} "))),
            },
        )
    }

    pub fn clear(&self) {
        *lock(&self.log) = Log::default();
    }
}

/// Fails unless several runs of the same code have executed the same statements,
/// in whichever order. `runs` are the statements of each with its label, for
/// example `("order 1, with 3 items", recording.statements())`. Let the runs
/// differ in size, so that one statement for each item is noticed, and in every
/// value, so that a value written into the SQL is noticed.
pub fn equal_runs(
    asked: impl Display,
    expected: impl Display,
    runs: &[(&str, Vec<Statement>)],
) -> Outcome {
    let counts: Vec<_> = runs.iter().map(|(_, run)| run.len()).collect();
    let same_count = counts.windows(2).all(|pair| pair[0] == pair[1]);
    let same = runs
        .windows(2)
        .all(|pair| sorted(&pair[0].1) == sorted(&pair[1].1));
    let got = if same_count {
        "the values are part of the SQL text, so the texts differ:"
    } else {
        "the number of statements grows with the amount of data:"
    };
    let shown: String = runs.iter().map(|(label, run)| shown(label, run)).collect();
    ensure(same, asked, expected, format_args!("{got}{shown}"))
}

/// The texts, each on one line.
fn sorted(run: &[Statement]) -> Vec<String> {
    let words = run.iter().map(|statement| statement.sql.split_whitespace());
    let mut texts: Vec<_> = words
        .map(|words| words.collect::<Vec<_>>().join(" "))
        .collect();
    texts.sort_unstable();
    texts
}

/// A paragraph for one run: how many statements, then each text once.
fn shown(label: &str, run: &[Statement]) -> String {
    let texts = sorted(run);
    let plural = if texts.len() == 1 { "" } else { "s" };
    let mut text = format!("\n{label}: {} statement{plural}", texts.len());
    for same in texts.chunk_by(|one, other| one == other) {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {} × {}", same.len(), same[0]);
    }
    text
}

impl Drop for Recording {
    fn drop(&mut self) {
        lock(&ACTIVE).take_if(|log| Arc::ptr_eq(log, &self.log));
    }
}

pub(crate) fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        tracing::subscriber::set_global_default(Recorder).expect(
            "the check harness reads SQL from tracing events, but other code has already \
             installed a global tracing subscriber; install yours in main, not in the library",
        );
    });
}

struct Recorder;

impl Recorder {
    /// Whether such an event could ever be recorded. sqlx asks this first, with a
    /// callsite that is neither a span nor an event.
    fn wants(metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && (metadata.target() == SQLX || *metadata.level() <= Level::INFO)
    }

    /// Whether a failure may have to show such an event, recording or not.
    fn is_kept(metadata: &Metadata<'_>) -> bool {
        metadata.target() != SQLX && *metadata.level() <= Level::WARN
    }
}

impl Subscriber for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // `sometimes` makes tracing ask `enabled` each time, so that nothing is
        // formatted while there is no recording.
        if Self::wants(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::wants(metadata) && (Self::is_kept(metadata) || lock(&ACTIVE).is_some())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Cloned, so that the lock is held for a moment only.
        let active = lock(&ACTIVE).clone();
        if metadata.target() != SQLX {
            let text = fields.message();
            if Self::is_kept(metadata) {
                trail::keep_log_line(*metadata.level(), metadata.target(), &text);
            }
            if let Some(log) = active {
                lock(&log).messages.push((metadata, text));
            }
            return;
        }
        let Some(log) = active else { return };
        // sqlx reports a statement of up to four words in `summary` alone.
        let sql = match fields.get("db.statement").trim() {
            "" => fields.get("summary"),
            sql => sql,
        };
        // The first statement of sqlx on a new connection: all its settings in one
        // text, each with a semicolon at its end.
        if sql.starts_with("PRAGMA") && sql.contains("PRAGMA foreign_keys") && sql.ends_with(';') {
            lock(&log).connections_opened += 1;
            return;
        }
        lock(&log).statements.push(Statement {
            level: *metadata.level(),
            sql: sql.to_owned(),
            rows_returned: fields.get("rows_returned").parse().unwrap_or(0),
        });
    }

    // Spans are never enabled, so that no id is ever used.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The fields of an event as text; the message is one of them.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn get(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(other, _)| *other == name);
        field.map_or("", |(_, value)| value)
    }

    fn message(&self) -> String {
        let others = self.0.iter().filter(|(name, _)| *name != "message");
        let mut text = self.get("message").to_owned();
        for (name, value) in others {
            // Writing to a String does not fail.
            let _ = write!(text, " {name}={value}");
        }
        text.trim_start().to_owned()
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}
