//! The mix by SQLAlchemy.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use super::list::Operation;
use crate::error::{Error, Result};
use crate::undo::Undo;
use crate::{program, python};

/// Has SQLAlchemy do the list, in one of its forms; `empty` empties the tables after its
/// warm-up.
///
/// # Errors
///
/// When the program or `empty` fails.
pub fn sqlalchemy(
    form: &str,
    url: &str,
    connections: usize,
    list: &[Operation],
    empty: impl FnOnce() -> Result<()>,
) -> Result<Duration> {
    let mut command = python::script("mix.py")?;
    command
        .args([form, url, &connections.to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let ((stdin, stdout), _undo) = Undo::new(|| {
        let mut child = command.spawn().map_err(Error::io("start mix.py"))?;
        let pipes = (child.stdin.take(), child.stdout.take());
        Ok((pipes, Box::new(move || program::stop(&mut child, "KILL"))))
    })?;
    let (mut stdin, stdout) = stdin.zip(stdout).expect("both are pipes");
    let mut lines = BufReader::new(stdout).lines();
    let mut exchange = |text: &str| -> Result<String> {
        writeln!(stdin, "{text}").map_err(Error::io("tell mix.py what to do"))?;
        let line = lines.next().transpose().map_err(Error::io("read mix.py"))?;
        line.ok_or_else(|| failed("it has ended early; see above"))
    };
    let letters = list.iter().map(|operation| match operation {
        Operation::Write => 'w',
        Operation::Read => 'r',
    });
    let ready = exchange(&letters.collect::<String>())?;
    if ready != "ready" {
        return Err(failed(&ready));
    }
    empty()?;
    let seconds = exchange("go")?;
    let seconds = seconds.parse().map_err(|_| failed(&seconds))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn failed(reason: &str) -> Error {
    Error::Failed {
        contender: "mix.py".to_owned(),
        reason: reason.to_owned(),
    }
}
