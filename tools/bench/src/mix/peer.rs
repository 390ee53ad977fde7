//! SQLAlchemy's turn: a Python program that does the same list.

use std::env;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::Turn;
use super::child::Child;
use super::strategy::Outcome;
use super::timeline::Timeline;
use crate::error::{Error, Result};
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
    /// May hold a password.
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
    let mut command = command(job)?;
    let mut child = Child::spawn(&name, &mut command)?;
    let (mut stdin, mut stdout) = child.pipes()?;
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

fn command(job: &Job) -> Result<Command> {
    let mut command = python::script("mix.py")?;
    command
        .args(["--form", job.form.argument()])
        .args(["--schema", job.schema])
        .arg("--operations")
        .arg(job.operations)
        .args(["--connections", &job.connections.to_string()])
        .args(["--patience", &job.patience.as_secs_f64().to_string()])
        // Everybody on the machine can read a command line, and only we this.
        .env("DATABASE_URL", job.url);
    for name in ["PGPASSWORD", "PGPASSFILE"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_on_the_command_line() {
        let url = "postgresql+psycopg://me:secret@db/x";
        let job = Job {
            form: Form::Sync,
            url,
            schema: "bench_1",
            operations: Path::new("operations"),
            connections: 1,
            patience: Duration::from_secs(8),
        };
        let command = command(&job).unwrap();
        assert!(command.get_args().count() > 8);
        for argument in command.get_args() {
            assert!(!argument.to_string_lossy().contains("secret"));
        }
        let mut variables = command.get_envs();
        assert!(
            variables.any(|variable| variable == ("DATABASE_URL".as_ref(), Some(url.as_ref())))
        );
    }
}
