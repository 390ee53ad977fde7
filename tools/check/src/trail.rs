//! What the service logs while it answers one request.
//!
//! Client and service are two ends of one socket in one process, so the client's
//! port tells the service's log lines of one request from those of another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::Level;

use crate::failure::shortened;

/// How many log lines are kept, over all requests.
const KEPT: usize = 256;

/// How many log lines a failure shows.
const SHOWN: usize = 5;

tokio::task_local! {
    /// The client of the connection that this task serves.
    pub(crate) static CLIENT: SocketAddr;
}

struct Log {
    /// How many lines there were so far, those that are no longer kept included.
    count: usize,
    lines: VecDeque<LogLine>,
}

struct LogLine {
    number: usize,
    /// `None` for code outside of a connection's task, for example in a task that
    /// a handler has spawned.
    client: Option<SocketAddr>,
    text: String,
}

static LOG: Mutex<Log> = Mutex::new(Log {
    count: 0,
    lines: VecDeque::new(),
});

pub(crate) fn keep_log_line(level: Level, target: &str, message: &str) {
    let mut log = lock(&LOG);
    if log.lines.len() == KEPT {
        log.lines.pop_front();
    }
    let line = LogLine {
        number: log.count,
        client: CLIENT.try_get().ok(),
        text: shortened(&format!("{level} {target}: {message}")),
    };
    log.lines.push_back(line);
    log.count += 1;
}

/// The log of one request.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    client: SocketAddr,
    /// The numbers of the lines that came while the request ran.
    lines: Range<usize>,
}

impl Trail {
    /// For a request over a new connection of this client.
    pub(crate) fn begin(client: SocketAddr) -> Self {
        let lines = lock(&LOG).count..usize::MAX;
        Self { client, lines }
    }

    pub(crate) fn end(&mut self) {
        self.lines.end = lock(&LOG).count;
    }

    /// The service's warnings and errors of this request, as a paragraph of a
    /// failure; empty when there are none. Lines from outside of every
    /// connection's task count when they came while the request ran.
    pub(crate) fn log(&self) -> String {
        let belongs = |line: &&LogLine| match line.client {
            Some(client) => client == self.client && line.number >= self.lines.start,
            None => self.lines.contains(&line.number),
        };
        let log = lock(&LOG);
        let lines: Vec<_> = log.lines.iter().filter(belongs).collect();
        let mut text = String::new();
        for (index, line) in lines.iter().take(SHOWN).enumerate() {
            if index == 0 {
                text += "the service's log of this request:";
            }
            text = format!("{text}\n  {}", line.text);
        }
        if lines.len() > SHOWN {
            text = format!("{text}\n  … and {} more lines", lines.len() - SHOWN);
        }
        text
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
