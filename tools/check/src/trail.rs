//! What happens inside the process while the service answers one request: what
//! it logs, which status its handler returns, and in which request it panics.
//!
//! Client and service are two ends of one socket in one process, so the client's
//! port tells the service's log lines of one request from those of another.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tracing::Level;

use crate::failure::shortened;

/// How many log lines are kept, over all requests.
const KEPT: usize = 256;

/// How many log lines a failure shows.
const SHOWN: usize = 5;

/// The server's end of a connection.
struct ServedConnection {
    client: SocketAddr,
    /// The request that it is answering, `GET /path`.
    request: Mutex<Option<String>>,
}

tokio::task_local! {
    static CONNECTION: Arc<ServedConnection>;
}

#[derive(Default)]
struct Seen {
    /// How many log lines there were so far, those that are no longer kept included.
    logged: usize,
    lines: VecDeque<LogLine>,
    /// Statuses that handlers have returned and that no client has received yet.
    returned: HashMap<SocketAddr, u16>,
}

struct LogLine {
    number: usize,
    /// `None` for code outside of a connection's task, for example in a task that
    /// a handler has spawned.
    client: Option<SocketAddr>,
    text: String,
}

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// Runs the server's end of a connection, so that its log lines and panics are
/// known to be those of this client.
pub(crate) async fn serve_connection<T>(client: SocketAddr, serving: impl Future<Output = T>) -> T {
    let connection = ServedConnection {
        client,
        request: Mutex::new(None),
    };
    CONNECTION.scope(Arc::new(connection), serving).await
}

/// Notes which request this task answers from now on.
pub(crate) fn begin_request(request: String) {
    let _ = CONNECTION.try_with(|connection| *lock(&connection.request) = Some(request));
}

/// Notes which status the handler has returned, before any byte of it is sent.
pub(crate) fn handler_returned(status: u16) {
    let _ = CONNECTION.try_with(|connection| {
        seen(|seen| seen.returned.insert(connection.client, status));
    });
}

/// The request that the current task answers, if it answers one.
pub(crate) fn current_request() -> Option<String> {
    CONNECTION
        .try_with(|connection| lock(&connection.request).clone())
        .ok()?
}

pub(crate) fn keep_log_line(level: Level, target: &str, message: &str) {
    let client = CONNECTION.try_with(|connection| connection.client).ok();
    let text = shortened(&format!("{level} {target}: {message}"));
    seen(|seen| {
        if seen.lines.len() == KEPT {
            seen.lines.pop_front();
        }
        seen.lines.push_back(LogLine {
            number: seen.logged,
            client,
            text,
        });
        seen.logged += 1;
    });
}

/// What can be said of one request afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    client: SocketAddr,
    first_line: usize,
    /// `None` while the request runs.
    end: Option<usize>,
}

impl Trail {
    /// For a request over a new connection of this client.
    pub(crate) fn begin(client: SocketAddr) -> Self {
        Self {
            client,
            first_line: seen(|seen| seen.logged),
            end: None,
        }
    }

    pub(crate) fn end(&mut self) {
        self.end = Some(seen(|seen| seen.logged));
    }

    /// The status that the handler has returned, which the client may or may not
    /// have received. Forgets it, so ask once.
    pub(crate) fn take_returned_status(&self) -> Option<u16> {
        seen(|seen| seen.returned.remove(&self.client))
    }

    /// The service's warnings and errors of this request, as a paragraph of a
    /// failure; empty when there are none. Lines from outside of every
    /// connection's task count when they came while the request ran.
    pub(crate) fn log(&self) -> String {
        seen(|seen| {
            let end = self.end.unwrap_or(usize::MAX);
            let belongs = |line: &&LogLine| match line.client {
                Some(client) => client == self.client && line.number >= self.first_line,
                None => (self.first_line..end).contains(&line.number),
            };
            let mut lines = vec!["the service's log of this request:".to_owned()];
            lines.extend(
                seen.lines
                    .iter()
                    .filter(belongs)
                    .map(|line| line.text.clone()),
            );
            let more = lines.len().saturating_sub(1 + SHOWN);
            if more > 0 {
                lines.truncate(1 + SHOWN);
                lines.push(format!("… and {more} more lines"));
            }
            if lines.len() == 1 {
                return String::new();
            }
            lines.join("\n  ")
        })
    }
}

fn seen<T>(change: impl FnOnce(&mut Seen) -> T) -> T {
    change(&mut lock(&SEEN))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
