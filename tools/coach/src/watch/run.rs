//! One run: a child that leads a process group of its own, so that a signal
//! reaches all that it has started, and what it prints.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use super::Event;

/// How long output is waited for once the run has ended: a process that has left the
/// group may hold the pipe.
const DRAIN: Duration = Duration::from_secs(1);
/// How long the system may take to end what was killed.
const END: Duration = Duration::from_secs(5);

/// A run in progress. Dropping it kills its group and waits for its end.
pub struct Run {
    pub id: u64,
    group: u32,
    ended: Receiver<()>,
}

impl Run {
    /// Starts `command`. What it prints, to stdout and stderr in the order of
    /// writing, comes as [`Event::Output`], and then [`Event::Ended`].
    pub fn start(id: u64, command: &mut Command, events: &SyncSender<Event>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn();
        // The command holds the write ends too, and would keep the pipe open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child?;
        let group = child.id();
        let (sender, read) = mpsc::channel::<()>();
        let shown = events.clone();
        thread::spawn(move || {
            forward(id, reader, &shown);
            drop(sender);
        });
        let (over, ended) = mpsc::channel();
        let events = events.clone();
        thread::spawn(move || {
            let status: Option<ExitStatus> = child.wait().ok();
            kill_group(group);
            let _ = over.send(());
            let _ = read.recv_timeout(DRAIN);
            // An error means that the watch has ended: nobody is to be told.
            let _ = events.send(Event::Ended(id, status));
        });
        Ok(Self { id, group, ended })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The group's number is not given to another one while it has members.
        // Without any, it is a moment old: numbers are not used again so soon.
        kill_group(self.group);
        let _ = self.ended.recv_timeout(END);
    }
}

/// Kills all processes of the group. None left is no error.
#[cfg(unix)]
fn kill_group(group: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(group: u32) {
    let _ = Command::new("taskkill")
        .args(["/T", "/F", "/PID", &group.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Reads to the end, whatever is done with it: a pipe that nobody empties would stop
/// the run.
fn forward(id: u64, mut reader: impl Read, events: &SyncSender<Event>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(read) => {
                let _ = events.send(Event::Output(id, buffer[..read].to_vec()));
            }
        }
    }
}
