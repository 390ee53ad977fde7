//! What SQL the process executes, as sqlx reports it through `tracing`.

use std::fmt::{self, Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// The target under which sqlx reports statements.
const SQLX: &str = "sqlx::query";

/// One executed SQL statement. `BEGIN`, `COMMIT` and `ROLLBACK` are not among
/// them, since sqlx does not report them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The level at which it was reported: the echo that the service asked for.
    pub level: Level,
    /// The whole SQL text.
    pub sql: String,
    /// Rows that SQLite produced, whether the service used them or not.
    pub rows_returned: u64,
    /// Rows inserted, changed or deleted.
    pub rows_affected: u64,
}

#[derive(Default)]
struct Log {
    statements: Vec<Statement>,
    connections_opened: usize,
    messages: Vec<(Level, String)>,
}

/// The log that is being written, if any.
static ACTIVE: RwLock<Option<Arc<Mutex<Log>>>> = RwLock::new(None);

/// Records what the whole process executes, from [`Recording::start`] until it
/// is dropped.
///
/// There is one recording at a time: a later one takes over, and the earlier one
/// gets nothing more. Checks of a [`Suite`](crate::Suite) run one after another,
/// so there it is safe; tests that libtest runs side by side belong into a
/// test binary of their own. What [`Database`](crate::Database) itself executes is not
/// recorded.
///
/// A statement is recorded when it has ended, before its last result reaches the
/// code that awaits it. A statement that is dropped half-way is recorded a moment
/// after; once [`Database::wait_until_closed`](crate::Database::wait_until_closed) has
/// returned, all are there.
pub struct Recording {
    log: Arc<Mutex<Log>>,
}

impl Recording {
    /// Starts with an empty record.
    ///
    /// # Panics
    /// When other code has installed a global `tracing` subscriber, which would
    /// take all events.
    pub fn start() -> Self {
        install();
        let log = Arc::new(Mutex::new(Log::default()));
        *ACTIVE.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&log));
        Self { log }
    }

    /// The statements so far, in the order in which they ended, without those
    /// with which sqlx sets up a connection.
    pub fn statements(&self) -> Vec<Statement> {
        self.log().statements.clone()
    }

    /// How many connections to a database were opened so far.
    pub fn connections_opened(&self) -> usize {
        self.log().connections_opened
    }

    /// What was logged at exactly `level` (ERROR, WARN or INFO) by code other
    /// than sqlx's statement log: the message, then its fields as
    /// `name=value`, on one line each.
    pub fn logged(&self, level: Level) -> Vec<String> {
        let of_level = |(at, message): &(Level, String)| (*at == level).then(|| message.clone());
        self.log().messages.iter().filter_map(of_level).collect()
    }

    /// Forgets what was recorded so far.
    pub fn clear(&self) {
        *self.log() = Log::default();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut active = ACTIVE.write().unwrap_or_else(PoisonError::into_inner);
        if active
            .as_ref()
            .is_some_and(|log| Arc::ptr_eq(log, &self.log))
        {
            *active = None;
        }
    }
}

/// Makes the recorder the process's subscriber, once.
///
/// # Panics
/// When there is another one already.
pub(crate) fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        tracing::subscriber::set_global_default(Recorder::default()).expect(
            "the check harness reads SQL from tracing events, but other code has installed a \
             global tracing subscriber first; do that in main, not in the library",
        );
    });
}

#[derive(Default)]
struct Recorder {
    spans: AtomicU64,
}

impl Recorder {
    /// Whether such an event could ever be recorded. sqlx asks first, by a
    /// callsite that is neither a span nor an event.
    fn wants(metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && (metadata.target() == SQLX || *metadata.level() <= Level::INFO)
    }

    fn is_recording() -> bool {
        ACTIVE
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl Subscriber for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // `sometimes` makes tracing ask `enabled` each time, so that nothing is
        // formatted while nobody records.
        if Self::wants(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::wants(metadata) && Self::is_recording()
    }

    fn event(&self, event: &Event<'_>) {
        // Cloned, so that no lock is held while the fields format themselves,
        // which may log in turn.
        let active = ACTIVE
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(log) = active else { return };
        let level = *event.metadata().level();

        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if event.metadata().target() != SQLX {
            log.messages.push((level, fields.message()));
            return;
        }
        // A statement of up to four words stands in `summary` alone.
        let sql = match fields.sql.trim() {
            "" => fields.summary,
            sql => sql.to_owned(),
        };
        // The first thing that sqlx does on a new connection: all its settings in
        // one text, each with a semicolon at its end.
        if sql.starts_with("PRAGMA") && sql.contains("PRAGMA foreign_keys") && sql.ends_with(';') {
            log.connections_opened += 1;
            return;
        }
        log.statements.push(Statement {
            level,
            sql,
            rows_returned: fields.rows_returned,
            rows_affected: fields.rows_affected,
        });
    }

    // Spans are never enabled, yet a span must have an id to be made.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    summary: String,
    sql: String,
    rows_returned: u64,
    rows_affected: u64,
    text: String,
    others: String,
}

impl Fields {
    fn message(self) -> String {
        format!("{}{}", self.text, self.others)
            .trim_start()
            .to_owned()
    }

    fn other(&mut self, name: &str, value: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = write!(self.others, " {name}={value}");
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.sql),
            "message" => value.clone_into(&mut self.text),
            name => self.other(name, format_args!("{value}")),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows_returned" => self.rows_returned = value,
            "rows_affected" => self.rows_affected = value,
            name => self.other(name, format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            name => self.other(name, format_args!("{value:?}")),
        }
    }
}
