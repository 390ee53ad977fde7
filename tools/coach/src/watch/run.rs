//! One run: a child that leads a process group of its own, so that a signal
//! reaches all that it has started.

use std::io;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::Event;

/// How long the system may take to end what was killed.
const END: Duration = Duration::from_secs(5);

/// A run in progress. Dropping it kills its group and waits for its end.
pub struct Run {
    pub id: u64,
    group: u32,
    /// Disconnected once the child has ended.
    ended: Receiver<()>,
}

impl Run {
    /// Starts `command`; its end comes as [`Event::Ended`].
    pub fn start(id: u64, command: &mut Command, events: &Sender<Event>) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.spawn()?;
        let group = child.id();
        let (over, ended) = mpsc::channel::<()>();
        let events = events.clone();
        thread::spawn(move || {
            let status = child.wait().ok();
            kill_group(group);
            let _ = events.send(Event::Ended(id, status));
            drop(over);
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
    let mut taskkill = Command::new("taskkill");
    let _ = taskkill
        .args(["/T", "/F", "/PID", &group.to_string()])
        .output();
}
