//! How lines of the log get out: nobody waits for that.
//!
//! A line is put into a buffer, and a thread writes what is in it. A terminal
//! that is stopped, or a pipe that nobody reads, keeps that thread waiting and
//! no other. When the buffer is full, lines are lost; how many is the next thing
//! that is written.
//!
//! The thread lets lines gather for [`GATHER`], so that under load hundreds are
//! one write, and it is woken once for them. [`Flush`] writes what is left, for at
//! most a second. A program that is killed or aborts loses its last lines, and
//! lines that the system refuses are lost without a word.
//!
//! `tracing-appender` does the same with an allocation and a channel's message
//! for each line, and does not say that lines are lost.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::trace::span_at_hand;

/// How many bytes wait to be written: some 6,000 lines.
const BUFFER: usize = 1 << 20;

const GATHER: Duration = Duration::from_millis(1);

/// For how long the end of the program waits for its last lines.
const LAST: Duration = Duration::from_secs(1);

/// Takes whole lines, each with one `write`. Clones write to the same place.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something where nothing was.
    more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    end: bool,
}

/// Dropped, it writes what is left, for at most a second. What is logged after
/// that is lost.
#[derive(Debug)]
#[must_use]
pub struct Flush {
    lines: Lines,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// When the system has no thread for it.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<(Self, Flush)> {
        let lines = Self(Arc::default());
        let (alive, ended) = channel();
        let shared = Arc::clone(&lines.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                shared.write_to(out);
                drop(alive);
            })?;
        let flush = Flush {
            lines: lines.clone(),
            ended,
        };
        Ok((lines, flush))
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting();
        if waiting.lines.len() + line.len() > BUFFER {
            waiting.lost += 1;
        } else {
            waiting.lines.extend_from_slice(line);
            let first = waiting.lines.len() == line.len();
            drop(waiting);
            if first {
                self.0.more.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No panic leaves half a line.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        let mut end = false;
        while !end {
            let waiting = self
                .more
                .wait_while(self.waiting(), |w| w.lines.is_empty() && !w.end);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.lines, &mut lines);
            let lost = std::mem::take(&mut waiting.lost);
            end = waiting.end;
            drop(waiting);
            // An error of the log has nowhere to go.
            let _ = out.write_all(&lines);
            if lost > 0 {
                let _ = writeln!(out, "{lost} lines of the log were lost here");
            }
            let _ = out.flush();
            lines.clear();
            if !end {
                thread::sleep(GATHER);
            }
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.lines.0.waiting().end = true;
        self.lines.0.more.notify_one();
        let _ = self.ended.recv_timeout(LAST);
    }
}

/// From now on panics are lines of the log, with the id of their request. By
/// default they would be written to standard error by the thread that panics,
/// which may have to wait there for ever; they still are where `RUST_LOG` wants
/// no errors.
pub fn panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let _entered = span_at_hand().entered();
        if !tracing::enabled!(tracing::Level::ERROR) {
            return default(panic);
        }
        let message = panic.payload_as_str().unwrap_or("with something else");
        let place = panic.location().map(ToString::to_string);
        let backtrace = match Backtrace::capture() {
            captured if captured.status() == BacktraceStatus::Captured => format!("\n{captured}"),
            _ => String::new(),
        };
        tracing::error!(place, "panicked: {message}{backtrace}");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// Says what it is asked to write, and writes when it is let go.
    struct Slow {
        asked: Sender<Vec<u8>>,
        go: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.send(bytes.to_vec()).unwrap();
            // At the end of a test, to all.
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Lines, Flush, Receiver<Vec<u8>>, Sender<()>) {
        let (asked, said) = channel();
        let (let_go, go) = channel();
        let (lines, flush) = Lines::to(Slow { asked, go }).unwrap();
        (lines, flush, said, let_go)
    }

    #[test]
    fn lines_that_come_while_others_are_written_are_written_together() {
        let (mut lines, flush, said, go) = slow();
        lines.write_all(b"one\n").unwrap();
        assert_eq!(said.recv().unwrap(), b"one\n");
        for line in ["two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(go);
        drop(flush);
        assert_eq!(said.recv().unwrap(), b"two\nthree\nfour\n");
        assert!(said.recv().is_err());
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_counted_and_keeps_nobody() {
        let (mut lines, flush, said, go) = slow();
        lines.write_all(b"first\n").unwrap();
        said.recv().unwrap();
        let line = [b'x'; 1000];
        let fit = BUFFER / line.len();
        for _ in 0..fit + 7 {
            lines.write_all(&line).unwrap();
        }
        drop(go);
        drop(flush);
        assert_eq!(said.recv().unwrap().len(), fit * line.len());
        let rest: Vec<u8> = said.iter().flatten().collect();
        assert_eq!(
            String::from_utf8_lossy(&rest),
            "7 lines of the log were lost here\n"
        );
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (mut lines, flush, said, go) = slow();
        lines.write_all(b"first\n").unwrap();
        said.recv().unwrap();
        let start = Instant::now();
        drop(flush);
        assert!(start.elapsed() >= LAST);
        drop(go);
    }
}
