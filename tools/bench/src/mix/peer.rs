//! SQLAlchemy's turn: a Python program that does the same list.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::Turn;
use super::strategy::Outcome;
use super::timeline::Timeline;
use crate::error::{Error, Result};
use crate::interrupt::{self, Registration};
use crate::python;

/// How SQLAlchemy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One connection, one operation after another.
    Sync,
    /// asyncio, a task for every operation at once.
    Tasks,
    /// asyncio, forty tasks together.
    Chunks,
}

impl Form {
    fn argument(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Tasks => "tasks",
            Self::Chunks => "chunks",
        }
    }
}

/// What the program needs to know.
pub struct Job<'a> {
    pub form: Form,
    pub url: &'a str,
    pub schema: &'a str,
    pub operations: &'a Path,
    pub connections: u32,
    pub patience: Duration,
}

/// One line of the program's.
#[derive(Deserialize)]
struct Answer {
    seconds: f64,
    checksum: String,
    writes: usize,
    reads: usize,
    not_begun: usize,
    failed: usize,
    first_failure: Option<String>,
    samples: Timeline,
}

/// A program that is killed when this is dropped, and on Ctrl-C.
struct Running {
    child: Child,
    _registration: Registration,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program; `empty` empties the tables after its warm-up. Returns what
/// became of the operations, and the checksum of the list that it has read.
///
/// # Errors
///
/// When the program or `empty` fails.
pub fn turn(job: &Job, empty: impl FnOnce() -> Result<()>) -> Result<(Turn, String)> {
    let name = format!("mix.py --form {}", job.form.argument());
    let failed = |reason: &str| Error::Failed {
        contender: name.clone(),
        reason: reason.to_owned(),
    };
    let mut command = python::script("mix.py")?;
    command
        .args(["--form", job.form.argument()])
        .args(["--url", job.url])
        .args(["--schema", job.schema])
        .arg("--operations")
        .arg(job.operations)
        .args(["--connections", &job.connections.to_string()])
        .args(["--patience", &job.patience.as_secs_f64().to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let (child, registration) = interrupt::tracked(|| {
        let child = command
            .spawn()
            .map_err(Error::io(format!("start {name}")))?;
        let process = child.id();
        let kill = move || {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -s KILL {process}")])
                .status();
        };
        Ok((child, Box::new(kill)))
    })?;
    let mut running = Running {
        child,
        _registration: registration,
    };
    let stdout = running.child.stdout.take();
    let mut stdout = BufReader::new(stdout.ok_or_else(|| failed("no standard output"))?);
    let stdin = running.child.stdin.take();
    let mut stdin = stdin.ok_or_else(|| failed("no standard input"))?;
    let mut line = String::new();
    stdout
        .read_line(&mut line)
        .map_err(Error::io(format!("read what {name} says")))?;
    if line != "ready\n" {
        return Err(failed("it has ended before it was ready; see above"));
    }
    empty()?;
    stdin
        .write_all(b"go\n")
        .map_err(Error::io(format!("tell {name} to begin")))?;
    let mut text = String::new();
    stdout
        .read_to_string(&mut text)
        .map_err(Error::io(format!("read what {name} says")))?;
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|_| failed("it has not said what became of the operations; see above"))?;
    let turn = Turn {
        outcome: Outcome {
            writes: answer.writes,
            reads: answer.reads,
            not_begun: answer.not_begun,
            failed: answer.failed,
            first_failure: answer.first_failure,
            seconds: answer.seconds,
        },
        timeline: Some(answer.samples),
    };
    Ok((turn, answer.checksum))
}
