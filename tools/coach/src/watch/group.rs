//! One run: a child that leads a process group of its own, so that a signal
//! reaches all that it has started, and what it prints.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::machine::{Event, Outcome, RunId, Stop};
use super::output::Capped;

/// A run in progress. Dropping it kills its group.
pub struct Run {
    id: RunId,
    group: u32,
    output: Arc<Mutex<Capped>>,
}

impl Run {
    /// Starts `command`. What it prints, to stdout and stderr in the order of
    /// writing, comes as [`Event::Output`]; then [`Event::Exited`] and
    /// [`Event::Closed`], in either order.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(id: RunId, command: &mut Command, events: &Sender<Event>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer)
            .process_group(0);
        let child = command.spawn();
        // The command holds the write ends too, and would keep the pipe open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child?;
        let group = child.id();
        let output = Arc::new(Mutex::new(Capped::default()));
        let (sender, shared) = (events.clone(), Arc::clone(&output));
        // An error of `send` means that the watch has ended: nobody is to be told.
        thread::spawn(move || {
            forward(id, reader, &shared, &sender);
            let _ = sender.send(Event::Closed(id));
        });
        let sender = events.clone();
        thread::spawn(move || {
            let outcome = child.wait().map_or(Outcome::Lost, Outcome::from);
            let _ = sender.send(Event::Exited(id, outcome));
        });
        Ok(Self { id, group, output })
    }

    pub fn id(&self) -> RunId {
        self.id
    }

    /// Sends a signal to all processes of the group. None left is no error.
    pub fn signal(&self, stop: Stop) {
        signal_group(self.group, stop);
    }

    /// What is left to show once the run is over.
    pub fn rest(&self) -> Vec<u8> {
        lock(&self.output).finish()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The group's number is not given to another one while it has members.
        // Without any, it is a moment old: numbers are not used again so soon.
        signal_group(self.group, Stop::Kill);
    }
}

/// Reads to the end, whatever is done with it: a pipe that nobody empties would
/// stop the run.
fn forward(id: RunId, mut reader: impl Read, output: &Mutex<Capped>, events: &Sender<Event>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                let shown = lock(output).push(&buffer[..read]).to_vec();
                if !shown.is_empty() {
                    let _ = events.send(Event::Output(id, shown));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The kill of a shell: to signal a group from Rust needs unsafe code or
/// another dependency.
fn signal_group(group: u32, stop: Stop) {
    let name = match stop {
        Stop::Terminate => "TERM",
        Stop::Kill => "KILL",
    };
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\"", "sh", name])
        .arg(group.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Passed,
            (Some(1), _) => Self::Failed,
            (Some(code), _) => Self::Trouble(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Lost,
        }
    }
}

/// The data is whole even when a thread panicked while it held the lock.
fn lock(output: &Mutex<Capped>) -> std::sync::MutexGuard<'_, Capped> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
