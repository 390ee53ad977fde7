//! Child processes in process groups of their own, so that a limit or an
//! interrupt ends them with everything they started.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
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

/// Refuses to begin without the programs that this module calls.
pub fn check_programs() -> Env<()> {
    for (program, package) in [("bash", "bash"), ("ps", "procps")] {
        let found = Command::new(program)
            .arg(if program == "ps" { "-A" } else { "--version" })
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(Environment(format!(
                "`{program}` is needed and does not run; on Debian: apt install {package}"
            )));
        }
    }
    Ok(())
}

/// What a pipe has delivered so far.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    closed: bool,
}

/// Output that is read as it comes.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Collected>, Condvar)>);

impl Output {
    fn read_from(mut source: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let writer = output.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = source.read(&mut buffer).unwrap_or(0);
                let mut collected = lock(&writer.0.0);
                collected.bytes.extend_from_slice(&buffer[..read]);
                collected.closed = read == 0;
                writer.0.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        output
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0.0).bytes).into_owned()
    }

    /// Waits until more than `seen` bytes are there or the pipe is closed.
    /// Returns whether that happened before `deadline`.
    fn wait_beyond(&self, seen: usize, deadline: Instant) -> bool {
        let mut collected = lock(&self.0.0);
        while collected.bytes.len() <= seen && !collected.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            collected = self
                .0
                .1
                .wait_timeout(collected, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn wait_closed(&self, deadline: Instant) -> bool {
        loop {
            let seen = {
                let collected = lock(&self.0.0);
                if collected.closed {
                    return true;
                }
                collected.bytes.len()
            };
            if !self.wait_beyond(seen, deadline) {
                return false;
            }
        }
    }
}

/// A child that leads its own process group; the group is killed on drop.
pub struct Group {
    id: u32,
    ended: Receiver<std::io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
}

impl Group {
    fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.process_group(0).stdin(Stdio::null()).spawn()?;
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
    fn wait(&mut self, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match self.ended.recv_timeout(limit) {
                Ok(status) => Some(status?),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(std::io::Error::other("the waiting thread is gone"));
                }
            };
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
pub fn run(command: &mut Command, limit: Duration, merged: bool) -> std::io::Result<Finished> {
    let (out_reader, out_writer) = std::io::pipe()?;
    let errors = if merged {
        command.stderr(out_writer.try_clone()?);
        None
    } else {
        let (reader, writer) = std::io::pipe()?;
        command.stderr(writer);
        Some(reader)
    };
    command.stdout(out_writer);
    let stdout = Output::read_from(out_reader);
    let stderr = errors.map(Output::read_from);
    let started = Instant::now();
    let mut group = Group::spawn(command)?;
    // The command holds the write ends too, and would keep the pipes open.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let status = group.wait(limit)?;
    let took = started.elapsed();
    let left = if status.is_some() {
        // A process that is ending holds the pipe for a moment longer.
        stdout.wait_closed(Instant::now() + DRAIN);
        left_of(group.id)
    } else {
        Vec::new()
    };
    drop(group);
    let deadline = Instant::now() + DRAIN;
    stdout.wait_closed(deadline);
    if let Some(stderr) = &stderr {
        stderr.wait_closed(deadline);
    }
    Ok(Finished {
        status,
        stdout: stdout.text(),
        stderr: stderr.map(|stderr| stderr.text()).unwrap_or_default(),
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
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stderr(writer.try_clone()?).stdout(writer);
        let output = Output::read_from(reader);
        let group = Group::spawn(command)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self {
            group,
            output,
            used: 0,
        })
    }

    /// Waits until `judge` accepts what the server has printed since the last
    /// such wait, and for a moment longer so that nothing follows unseen.
    ///
    /// # Errors
    /// What was printed, when `judge` refuses it, `limit` has passed, or the
    /// server has ended and its output still is not accepted.
    pub fn expect(
        &mut self,
        limit: Duration,
        judge: impl Fn(&str) -> Judged,
    ) -> Result<(), String> {
        /// Lines that belong together are written within this time.
        const SETTLE: Duration = Duration::from_millis(300);
        let deadline = Instant::now() + limit;
        loop {
            let (text, seen, closed) = {
                let collected = lock(&self.output.0.0);
                let text = String::from_utf8_lossy(&collected.bytes[self.used..]).into_owned();
                (text, collected.bytes.len(), collected.closed)
            };
            // Half a line is not compared: the rest may still be under way.
            let whole = text.is_empty() || text.ends_with('\n') || closed;
            let judged = if whole { judge(&text) } else { Judged::Open };
            if judged == Judged::Accepted {
                let quiet = !self.output.wait_beyond(seen, Instant::now() + SETTLE);
                if quiet || closed {
                    self.used = seen;
                    return Ok(());
                }
                continue;
            }
            if judged == Judged::Refused || closed || !self.output.wait_beyond(seen, deadline) {
                self.used = seen;
                return Err(text);
            }
        }
    }

    /// Presses Ctrl-C and waits at most `limit` until nothing is left.
    ///
    /// # Errors
    /// What is still running; it is killed.
    pub fn stop(mut self, limit: Duration) -> Result<(), String> {
        let ended = self.group.wait(Duration::ZERO).map_err(|e| e.to_string())?;
        if let Some(status) = ended {
            return Err(format!(
                "the server had ended by itself ({status}); it printed\n{}",
                self.output.text()
            ));
        }
        signal_group(self.group.id, Signal::INT);
        let ended = self.group.wait(limit).map_err(|e| e.to_string())?;
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

/// Starts `count` processes that do nothing but keep processors busy, until
/// they are dropped. Each ends by itself soon after verify is gone.
pub fn keep_busy(count: usize) -> std::io::Result<Vec<Group>> {
    const LOOP: &str = "while kill -0 \"$1\"; do for ((i = 0; i < 200000; i++)); do :; done; done";
    let mut groups = Vec::new();
    for _ in 0..count {
        let mut command = Command::new("bash");
        command
            .args(["-c", LOOP, "bash", &std::process::id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        groups.push(Group::spawn(&mut command)?);
    }
    Ok(groups)
}

/// What all processes of a run have in common.
pub struct Trace<'a> {
    /// A setting in their environment, `NAME=value`, that no other process has.
    pub setting: &'a str,
    /// A folder that only programs of the run are started from, for those whose
    /// environment was emptied.
    pub programs: &'a Path,
}

/// Ends the processes of a run that are there after a moment, and names them.
/// They are found by their environment and by their program, so also when they
/// have left the process group that they were started in.
pub fn end_traced(trace: &Trace) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let found = traced(trace);
        if found.is_empty() || Instant::now() > deadline {
            for (process, _) in &found {
                if let Some(process) = process.parse().ok().and_then(pid) {
                    let _ = kill_process(process, Signal::KILL);
                }
            }
            return found.into_iter().map(|(_, line)| line).collect();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ids and lines of `ps` of the processes that bear `trace`.
fn traced(trace: &Trace) -> Vec<(String, String)> {
    let proc = Path::new("/proc/self/environ").exists();
    // Without /proc, as on macOS, `ps` shows the environment behind the arguments.
    let columns = if proc { "-Awwo" } else { "-AEwwo" };
    let Ok(listed) = Command::new("ps")
        .args([columns, "pid=,stat=,args="])
        .output()
    else {
        return Vec::new();
    };
    let programs = format!("{}/", trace.programs.display());
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let mut fields = line.split_whitespace();
        let (Some(process), Some(state)) = (fields.next(), fields.next()) else {
            continue;
        };
        let program = fields.next().unwrap_or_default();
        if state.starts_with('Z') || process == own {
            continue;
        }
        let marked = if proc {
            std::fs::read(format!("/proc/{process}/environ")).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|setting| setting == trace.setting.as_bytes())
            })
        } else {
            line.split_whitespace().any(|word| word == trace.setting)
        };
        if marked || program.starts_with(&programs) {
            found.push((process.to_owned(), line.trim().to_owned()));
        }
    }
    found
}

/// Sends a signal to all processes of `group`, if there are any.
fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = pid(group) {
        let _ = kill_process_group(group, signal);
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(id.try_into().ok()?)
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
    fn a_process_that_left_its_group_is_found_and_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("a service");
        std::os::unix::fs::symlink("/bin/sleep", &program).expect("a link");
        let setting = format!("MARKETSVC_VERIFY_TEST={}", std::process::id());
        let trace = Trace {
            setting: &setting,
            programs: folder.path(),
        };
        assert_eq!(end_traced(&trace), Vec::<String>::new());
        // `set -m` gives each job a group of its own.
        let script = "set -m; sleep 4323 & env -i \"$1\" 4324 & disown -a; echo started";
        let mut command = bash(script);
        command
            .args(["bash".as_ref(), program.as_os_str()])
            .env("MARKETSVC_VERIFY_TEST", std::process::id().to_string())
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        let status = command.status().expect("bash");
        assert!(status.success());
        let mut left = end_traced(&trace);
        left.sort_by_key(|line| line.contains("4324"));
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("sleep 4323"), "{left:?}");
        assert!(left[1].contains("4324"), "{left:?}");
        assert_eq!(end_traced(&trace), Vec::<String>::new());
    }

    #[test]
    fn busy_processes_end_with_their_owner() {
        let busy = keep_busy(2).expect("bash");
        let groups: Vec<u32> = busy.iter().map(|group| group.id).collect();
        assert!(groups.iter().all(|group| !members(*group).is_empty()));
        drop(busy);
        for group in groups {
            assert_eq!(left_of(group), Vec::<String>::new());
        }
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
