//! Child processes in process groups of their own, so that a limit or an
//! interrupt ends them with everything they started.

use std::collections::BTreeSet;
use std::io::{PipeWriter, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Env, Environment};

/// How long output may keep coming after the process that we started has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a process that is about to end may take.
const ENDING: Duration = Duration::from_secs(2);

/// Lines that belong together are written within this time.
const SETTLE: Duration = Duration::from_millis(100);

const POLL: Duration = Duration::from_millis(5);

/// Groups to end when verify itself is interrupted: they do not get the
/// terminal's Ctrl-C.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Ends all children, then verify, on SIGINT and SIGTERM.
pub fn stop_children_on_interrupt() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            for group in lock(&RUNNING).iter() {
                signal_group(*group, Signal::KILL);
            }
            std::process::exit(130);
        }
    });
}

/// What `command` prints; what it says when it fails is the environment's fault.
pub fn output(command: &mut Command) -> Env<String> {
    let output = command.output().map_err(|it| cannot_run(command, &it))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Environment(text(&output.stderr)))
    }
}

fn cannot_run(command: &Command, error: &std::io::Error) -> Environment {
    format!("cannot run {}: {error}", command.get_program().display()).into()
}

/// Output that a thread reads as it comes. At its end the thread lets go of it.
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn pipe() -> std::io::Result<(Self, PipeWriter)> {
        let (mut source, writer) = std::io::pipe()?;
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let output = Self(Arc::clone(&bytes));
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                lock(&bytes).extend(&buffer[..length]);
            }
        });
        Ok((output, writer))
    }

    fn closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn text(&self, from: usize) -> String {
        String::from_utf8_lossy(&lock(&self.0)[from..]).into_owned()
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

impl Finished {
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` to its end, at most `limit`. With `merged` standard error goes where
/// standard output goes, in the order of writing.
pub fn run(command: &mut Command, limit: Duration, merged: bool) -> Env<Finished> {
    Ok(Running::start(command, merged)?.finish(limit))
}

/// A child that leads its own process group; the group is killed on drop.
pub struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
    started: Instant,
    /// Bytes of output that an earlier comparison has used up.
    used: usize,
}

impl Running {
    pub fn start(command: &mut Command, merged: bool) -> Env<Self> {
        let (stdout, out) = Output::pipe()?;
        let (stderr, mut err) = Output::pipe()?;
        if merged {
            err = out.try_clone()?;
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let spawned = command.process_group(0).spawn();
        // It holds the write ends of the pipes too, and would keep them open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawned.map_err(|error| cannot_run(command, &error))?;
        lock(&RUNNING).insert(child.id());
        Ok(Self {
            child,
            stdout,
            stderr,
            started: Instant::now(),
            used: 0,
        })
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn finish(mut self, limit: Duration) -> Finished {
        within(limit, || self.status().is_some());
        let status = self.status();
        let took = self.started.elapsed();
        if status.is_some() {
            // A process that is ending holds the pipe for a moment longer.
            within(DRAIN, || self.stdout.closed());
        }
        let mut left = Vec::new();
        within(status.map_or(Duration::ZERO, |_| ENDING), || {
            left = members(self.child.id());
            left.is_empty()
        });
        self.kill();
        within(DRAIN, || self.stdout.closed() && self.stderr.closed());
        Finished {
            status,
            stdout: self.stdout.text(0),
            stderr: self.stderr.text(0),
            left,
            took,
        }
    }

    /// Waits until `judge` accepts what has been printed since the last such wait, and
    /// for a moment longer so that nothing follows unseen. `judge` returns `None` while
    /// more output may make it acceptable.
    ///
    /// # Errors
    /// What was printed, when that is refused or not accepted within `limit`.
    pub fn expect(
        &mut self,
        limit: Duration,
        judge: impl Fn(&str) -> Option<bool>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let (mut seen, mut judged, mut until) = (None, None, deadline);
        loop {
            let closed = self.stdout.closed();
            let length = lock(&self.stdout.0).len();
            if seen != Some(length) || closed {
                seen = Some(length);
                let text = self.stdout.text(self.used);
                // Half a line is not compared: the rest may still be under way.
                let whole = text.is_empty() || text.ends_with('\n') || closed;
                judged = whole.then(|| judge(&text)).flatten();
                until = match judged {
                    Some(true) => Instant::now() + SETTLE,
                    Some(false) => Instant::now(),
                    None => deadline,
                };
            }
            if closed || Instant::now() >= until {
                let text = self.stdout.text(self.used);
                self.used = length;
                return (judged == Some(true)).then_some(()).ok_or(text);
            }
            thread::sleep(POLL);
        }
    }

    /// Presses Ctrl-C and waits at most `limit`. What still runs then is killed.
    pub fn stop(mut self, limit: Duration) -> Result<(), String> {
        if let Some(status) = self.status() {
            let said = self.stdout.text(0);
            return Err(format!("the server had ended by itself ({status}): {said}"));
        }
        signal_group(self.child.id(), Signal::INT);
        let finished = self.finish(limit);
        if finished.status.is_some() && finished.left.is_empty() {
            return Ok(());
        }
        let (limit, left) = (limit.as_secs(), finished.left.join("\n"));
        Err(format!("{limit} s after Ctrl-C still running:\n{left}"))
    }

    /// Ends what still runs, once.
    fn kill(&mut self) {
        let group = self.child.id();
        if !lock(&RUNNING).remove(&group) {
            return;
        }
        // After the leader has been waited for, its id stays taken as long as
        // the group has members, so this cannot hit anybody else's group.
        if self.status().is_none() || !members(group).is_empty() {
            signal_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits at most `limit` until `done`.
fn within(limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() && Instant::now() < deadline {
        thread::sleep(POLL);
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
    let mut ps = Command::new("ps");
    let listed = match output(ps.args(["-A", "-o", "pgid=,pid=,stat=,args="])) {
        Ok(listed) => listed,
        // Without it no process that is left would be noticed.
        Err(Environment(error)) => return vec![format!("{error}; on Debian: apt install procps")],
    };
    let group = group.to_string();
    let runs = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(&group) && fields.nth(1).is_some_and(|it| !it.starts_with('Z'))
    };
    let running = listed.lines().filter(runs);
    running.map(|line| line.trim().to_owned()).collect()
}

/// The data is whole even when a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    fn start(script: &str) -> Running {
        Running::start(&mut bash(script), true).expect("bash")
    }

    fn is_ready(text: &str) -> Option<bool> {
        (!text.is_empty()).then_some(text == "ready\n")
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
        let mut server =
            start("trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.1; done");
        server
            .expect(Duration::from_secs(20), is_ready)
            .expect("the line");
        server.stop(Duration::from_secs(15)).expect("a clean end");
    }

    #[test]
    fn a_server_that_ignores_the_interrupt_is_reported() {
        let mut server = start("trap '' INT; echo ready; while :; do sleep 0.1; done");
        server
            .expect(Duration::from_secs(20), is_ready)
            .expect("the line");
        let group = server.child.id();
        let failure = server.stop(Duration::from_millis(500)).expect_err("left");
        assert!(failure.contains("still running"), "{failure}");
        // Killed; the kernel needs a moment to remove it.
        within(Duration::from_secs(20), || members(group).is_empty());
        assert_eq!(members(group), Vec::<String>::new());
    }

    #[test]
    fn a_server_that_ended_early_is_not_a_clean_stop() {
        let mut server = start("echo no; exit 1");
        let printed = server
            .expect(Duration::from_secs(20), is_ready)
            .expect_err("not the line");
        assert_eq!(printed, "no\n");
        within(DRAIN, || server.status().is_some());
        assert!(server.stop(DRAIN).is_err());
    }
}
