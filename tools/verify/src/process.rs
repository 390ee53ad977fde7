//! Child processes in process groups of their own, so that a limit or an
//! interrupt ends them with everything they started.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Env, Environment};

/// How long output may keep coming after the process that we started has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// Groups to end when verify itself is interrupted: they do not get the
/// terminal's Ctrl-C.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Ends all children, then verify, on SIGINT and SIGTERM.
pub fn stop_children_on_interrupt() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            for group in lock(&RUNNING).iter() {
                signal_group(*group, Signal::KILL);
            }
            std::process::exit(130);
        }
    });
}

/// Refuses to begin without `ps`: no process that is left over would be noticed.
pub fn check_programs() -> Env<()> {
    let needed = |_| Environment("`ps` is needed; on Debian: apt install procps".into());
    output(Command::new("ps").arg("-A"))
        .map(drop)
        .map_err(needed)
}

/// What `command` prints; what it says when it fails is the environment's fault.
pub fn output(command: &mut Command) -> Env<String> {
    let output = command
        .output()
        .map_err(|error| cannot_run(command, &error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Environment(text(&output.stderr)))
    }
}

pub fn cannot_run(command: &Command, error: &std::io::Error) -> Environment {
    Environment(format!(
        "cannot run {}: {error}",
        command.get_program().display()
    ))
}

/// Output that is read as it comes.
struct Output {
    chunks: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    closed: bool,
}

impl Output {
    fn read_from(mut source: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = source.read(&mut buffer)
                && sender.send(buffer[..read].to_vec()).is_ok()
            {}
        });
        Self {
            chunks,
            bytes: Vec::new(),
            closed: false,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Waits for more bytes or the end. Whether that came before `deadline`.
    fn more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.chunks.recv_timeout(left) {
            _ if left.is_zero() => return false,
            Ok(chunk) => self.bytes.extend(chunk),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.closed = true,
        }
        true
    }

    fn wait_closed(&mut self, deadline: Instant) {
        while !self.closed && self.more(deadline) {}
    }
}

/// A child that leads its own process group; the group is killed on drop.
struct Group {
    id: u32,
    ended: Receiver<std::io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
}

impl Group {
    fn spawn(command: &mut Command) -> Env<Self> {
        command.process_group(0).stdin(Stdio::null());
        let spawned = command.spawn();
        // It holds the write ends of the pipes too, and would keep them open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = spawned.map_err(|error| cannot_run(command, &error))?;
        let id = child.id();
        lock(&RUNNING).insert(id);
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let _ = sender.send(child.wait());
        });
        Ok(Self {
            id,
            ended,
            status: None,
        })
    }

    /// Waits for the leader's end, at most `limit`.
    fn wait(&mut self, limit: Duration) -> Env<Option<ExitStatus>> {
        if self.status.is_none()
            && let Ok(status) = self.ended.recv_timeout(limit)
        {
            self.status = Some(status?);
        }
        Ok(self.status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After the leader has been waited for, its id stays taken as long as
        // the group has members, so this cannot hit anybody else's group.
        if self.status.is_none() || !members(self.id).is_empty() {
            signal_group(self.id, Signal::KILL);
        }
        lock(&RUNNING).remove(&self.id);
    }
}

/// How a command ended.
pub struct Finished {
    /// `None`: it was killed at its time limit.
    pub status: Option<ExitStatus>,
    /// Standard output, and standard error when merged.
    pub stdout: String,
    /// Standard error when not merged.
    pub stderr: String,
    /// Processes that it left running; they have been killed.
    pub left: Vec<String>,
    /// From its start to its end; processes that it left do not count.
    pub took: Duration,
}

/// Runs `command` to its end, at most `limit`.
///
/// With `merged` standard error goes where standard output goes, in the order
/// of writing.
pub fn run(command: &mut Command, limit: Duration, merged: bool) -> Env<Finished> {
    let (out_reader, out_writer) = std::io::pipe()?;
    let (err_reader, err_writer) = std::io::pipe()?;
    command.stderr(if merged {
        out_writer.try_clone()?
    } else {
        err_writer.try_clone()?
    });
    drop(err_writer);
    command.stdout(out_writer);
    let mut stdout = Output::read_from(out_reader);
    let mut stderr = Output::read_from(err_reader);
    let started = Instant::now();
    let mut group = Group::spawn(command)?;
    let status = group.wait(limit)?;
    let took = started.elapsed();
    let mut left = Vec::new();
    if status.is_some() {
        // A process that is ending holds the pipe for a moment longer.
        stdout.wait_closed(Instant::now() + DRAIN);
        left = left_of(group.id);
    }
    drop(group);
    let deadline = Instant::now() + DRAIN;
    stdout.wait_closed(deadline);
    stderr.wait_closed(deadline);
    Ok(Finished {
        status,
        stdout: stdout.text(),
        stderr: stderr.text(),
        left,
        took,
    })
}

/// What a comparison makes of the output so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged {
    Accepted,
    /// More output may make it acceptable.
    Open,
    /// No more output can.
    Refused,
}

/// A server in the background.
pub struct Server {
    group: Group,
    output: Output,
    /// Bytes of output that an earlier comparison has used up.
    used: usize,
}

impl Server {
    /// Starts `command`, standard error merged into standard output.
    pub fn start(command: &mut Command) -> Env<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stderr(writer.try_clone()?).stdout(writer);
        Ok(Self {
            group: Group::spawn(command)?,
            output: Output::read_from(reader),
            used: 0,
        })
    }

    /// Waits until `judge` accepts what the server has printed since the last
    /// such wait, and for a moment longer so that nothing follows unseen. Gives
    /// what was printed when that is refused or not accepted in time.
    pub fn expect(
        &mut self,
        limit: Duration,
        judge: impl Fn(&str) -> Judged,
    ) -> Result<(), String> {
        /// Lines that belong together are written within this time.
        const SETTLE: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.output.bytes.len();
            let text = String::from_utf8_lossy(&self.output.bytes[self.used..]).into_owned();
            let closed = self.output.closed;
            // Half a line is not compared: the rest may still be under way.
            let whole = text.is_empty() || text.ends_with('\n') || closed;
            let judged = if whole { judge(&text) } else { Judged::Open };
            let until = match judged {
                Judged::Accepted => Instant::now() + SETTLE,
                Judged::Open => deadline,
                Judged::Refused => Instant::now(),
            };
            if closed || !self.output.more(until) {
                self.used = seen;
                return match judged {
                    Judged::Accepted => Ok(()),
                    _ => Err(text),
                };
            }
        }
    }

    /// Presses Ctrl-C and waits at most `limit`. What still runs then is killed.
    pub fn stop(mut self, limit: Duration) -> Result<(), String> {
        let ended = self.group.wait(Duration::ZERO)?;
        if let Some(status) = ended {
            return Err(format!(
                "the server had ended by itself ({status}); it printed\n{}",
                self.output.text()
            ));
        }
        signal_group(self.group.id, Signal::INT);
        let ended = self.group.wait(limit)?;
        if ended.is_some() {
            self.output.wait_closed(Instant::now() + DRAIN);
        }
        let left = left_of(self.group.id);
        if ended.is_some() && left.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} s after Ctrl-C still running:\n{}",
            limit.as_secs(),
            left.join("\n")
        ))
    }
}

/// Sends a signal to all processes of `group`, if there are any.
fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = group.try_into().ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// The processes of `group` that run, as `ps` shows them. Those that have
/// ended and wait to be collected by their parent do not count.
fn members(group: u32) -> Vec<String> {
    let Ok(listed) = Command::new("ps")
        .args(["-A", "-o", "pgid=,pid=,stat=,args="])
        .output()
    else {
        return Vec::new();
    };
    let group = group.to_string();
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|line| {
            let mut fields = line.split_whitespace();
            fields.next() == Some(&group)
                && fields.nth(1).is_some_and(|state| !state.starts_with('Z'))
        })
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The members of `group` that do not end within a moment.
fn left_of(group: u32) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = members(group);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The data is whole even when a thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    fn is_ready(text: &str) -> Judged {
        match text {
            "ready\n" => Judged::Accepted,
            "" => Judged::Open,
            _ => Judged::Refused,
        }
    }

    #[test]
    fn output_and_errors_come_in_the_order_of_writing() {
        let script = "echo one; echo two >&2; echo three; exit 4";
        let finished = run(&mut bash(script), Duration::from_secs(20), true).expect("bash");
        assert_eq!(finished.stdout, "one\ntwo\nthree\n");
        assert_eq!(finished.status.and_then(|status| status.code()), Some(4));
        let finished = run(&mut bash(script), Duration::from_secs(20), false).expect("bash");
        assert_eq!(finished.stdout, "one\nthree\n");
        assert_eq!(finished.stderr, "two\n");
    }

    #[test]
    fn a_command_is_killed_at_its_limit() {
        let script = "trap '' INT TERM; echo started; while :; do sleep 1; done";
        let finished = run(&mut bash(script), Duration::from_millis(500), true).expect("bash");
        assert!(finished.status.is_none());
    }

    #[test]
    fn a_process_left_behind_is_named_and_killed() {
        let script = "sleep 4321 >/dev/null 2>&1 & echo done";
        let finished = run(&mut bash(script), Duration::from_secs(20), true).expect("bash");
        assert_eq!(finished.stdout, "done\n");
        assert_eq!(finished.left.len(), 1);
        assert!(
            finished.left[0].contains("sleep 4321"),
            "{:?}",
            finished.left
        );
    }

    #[test]
    fn a_server_shows_its_output_and_ends_on_interrupt() {
        let mut server = Server::start(&mut bash(
            "trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.1; done",
        ))
        .expect("bash");
        server
            .expect(Duration::from_secs(20), is_ready)
            .expect("the line");
        server.stop(Duration::from_secs(15)).expect("a clean end");
    }

    #[test]
    fn a_server_that_ignores_the_interrupt_is_reported() {
        let mut server = Server::start(&mut bash(
            "trap '' INT; echo ready; while :; do sleep 0.1; done",
        ))
        .expect("bash");
        server
            .expect(Duration::from_secs(20), is_ready)
            .expect("the line");
        let group = server.group.id;
        let failure = server.stop(Duration::from_millis(500)).expect_err("left");
        assert!(failure.contains("still running"), "{failure}");
        // Killed on drop; the kernel needs a moment to remove it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !members(group).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(members(group), Vec::<String>::new());
    }

    #[test]
    fn a_server_that_ended_early_is_not_a_clean_stop() {
        let mut server = Server::start(&mut bash("echo no; exit 1")).expect("bash");
        let printed = server
            .expect(Duration::from_secs(20), is_ready)
            .expect_err("not the line");
        assert_eq!(printed, "no\n");
        server.output.wait_closed(Instant::now() + DRAIN);
        server.group.wait(DRAIN).expect("ended");
        assert!(server.stop(DRAIN).is_err());
    }
}
