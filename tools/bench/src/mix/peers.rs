//! The mix by SQLAlchemy.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use step13_solution::plan::Operation;

use crate::error::{Error, Result};
use crate::undo::Undo;
use crate::{program, python};

/// SQLAlchemy, which has done its warm-up.
pub struct Peer {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _undo: Undo,
}

impl Peer {
    /// Starts one of the forms of SQLAlchemy, tells it the operations and waits until it
    /// has warmed up.
    ///
    /// # Errors
    ///
    /// When the program fails.
    pub fn start(
        form: &str,
        url: &str,
        connections: usize,
        operations: &[Operation],
    ) -> Result<Self> {
        let mut command = python::script("mix.py")?;
        command
            .args([form, url, &connections.to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let ((stdin, stdout), undo) = Undo::new(|| {
            let mut child = command.spawn().map_err(Error::io("start mix.py"))?;
            let pipes = (child.stdin.take(), child.stdout.take());
            Ok((pipes, Box::new(move || program::stop(&mut child, "KILL"))))
        })?;
        let (stdin, stdout) = stdin.zip(stdout).expect("both are pipes");
        let mut peer = Self {
            stdin,
            lines: BufReader::new(stdout).lines(),
            _undo: undo,
        };
        let letters = operations.iter().map(|operation| match operation {
            Operation::Write => 'w',
            Operation::Read => 'r',
        });
        match peer.exchange(&letters.collect::<String>())?.as_str() {
            "ready" => Ok(peer),
            other => Err(failed(other)),
        }
    }

    /// Does the operations, and returns how long they took.
    ///
    /// # Errors
    ///
    /// When the program fails.
    pub fn go(mut self) -> Result<Duration> {
        let seconds = self.exchange("go")?;
        let seconds = seconds.parse().map_err(|_| failed(&seconds))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn exchange(&mut self, text: &str) -> Result<String> {
        writeln!(self.stdin, "{text}").map_err(Error::io("tell mix.py what to do"))?;
        let line = self.lines.next().transpose();
        let line = line.map_err(Error::io("read mix.py"))?;
        line.ok_or_else(|| failed("it has ended early; see above"))
    }
}

fn failed(reason: &str) -> Error {
    Error::Failed {
        contender: "mix.py".to_owned(),
        reason: reason.to_owned(),
    }
}
