//! A peer's program, which ends with its turn, however that ends.

use std::io::BufReader;
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};

use crate::error::{Error, Result};
use crate::interrupt::Registration;
use crate::program;

/// A program that is killed when this is dropped; on Ctrl-C with its process group.
pub struct Child {
    name: String,
    process: process::Child,
    _registration: Registration,
}

impl Child {
    /// Starts it with pipes for its standard input and output.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (process, registration) = program::spawn(name, command, "KILL")?;
        Ok(Self {
            name: name.to_owned(),
            process,
            _registration: registration,
        })
    }

    /// Its ends of the pipes.
    ///
    /// # Errors
    ///
    /// When they were taken before.
    pub fn pipes(&mut self) -> Result<(ChildStdin, BufReader<ChildStdout>)> {
        let pipes = self.process.stdin.take().zip(self.process.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| Error::Failed {
            contender: self.name.clone(),
            reason: "it has no pipes".to_owned(),
        })?;
        Ok((stdin, BufReader::new(stdout)))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
