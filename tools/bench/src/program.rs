//! A contender as a program of its own: started, found, watched, stopped.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::interrupt::{self, Registration};

/// How long a program has to begin; an interpreter with cold caches is slow.
const START: Duration = Duration::from_mins(1);

/// How long a program has to end by itself.
const STOP: Duration = Duration::from_secs(5);

/// The program that cargo has built beside this one.
///
/// # Errors
///
/// When it is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let path = env::current_exe()
        .map_err(Error::io("find this program"))?
        .with_file_name(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::Environment(format!(
            "{} is missing; ./run.sh bench builds all programs that take part",
            path.display()
        )))
    }
}

/// The program with an environment that is the same everywhere.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a program to its end, in a process group of its own that is asked to end on
/// Ctrl-C; gives what it printed.
///
/// # Errors
///
/// When it cannot be started. That it fails is none.
pub fn output(what: &str, command: &mut Command) -> Result<Output> {
    output_to(Stdio::piped(), what, command)
}

/// As [`output`], with another place for what it prints than its errors.
///
/// # Errors
///
/// Those of [`output`].
pub fn output_to(stdout: Stdio, what: &str, command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped());
    // Not KILL: some end what they have started when they are asked to end.
    let (child, _registration) = spawn(what, command, "TERM")?;
    child
        .wait_with_output()
        .map_err(Error::io(format!("wait for {what}")))
}

/// Starts a program in a process group of its own, which gets `signal` on Ctrl-C
/// for as long as the registration is there.
///
/// # Errors
///
/// When it cannot be started.
pub fn spawn(
    what: &str,
    command: &mut Command,
    signal: &'static str,
) -> Result<(Child, Registration)> {
    command.process_group(0);
    interrupt::tracked(|| {
        let child = command
            .spawn()
            .map_err(Error::io(format!("start {what}")))?;
        let group = child.id();
        Ok((child, Box::new(move || signal_group(signal, group))))
    })
}

/// The finished service on that database, at a free port.
///
/// # Errors
///
/// When it is not built, or the path is not UTF-8.
pub fn marketsvc(database: &Path) -> Result<Command> {
    let path = database
        .to_str()
        .ok_or_else(|| Error::Environment(format!("{} is not UTF-8", database.display())))?;
    let mut url = String::from("sqlite://");
    for c in path.chars() {
        match c {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            c => url.push(c),
        }
    }
    let mut command = command(&beside("marketsvc")?);
    command
        .env("DATABASE_URL", url)
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        // No peer turns requests away, so nor does the service: there are as many
        // places as 256 clients need, and six for each that asks for a list.
        .env("MARKETSVC_IN_FLIGHT", "1536")
        .env("MARKETSVC_QUEUE", "256")
        // No peer writes a line for each request, so nor does the service.
        .env("RUST_LOG", "warn");
    Ok(command)
}

/// Adds made-up rows to the database, which is created when it is missing; the
/// same ones each time.
///
/// # Errors
///
/// When `marketsvc seed` fails, with what it said.
pub fn seed(database: &Path, customers: u32, orders: u32) -> Result<()> {
    let mut seed = marketsvc(database)?;
    seed.arg("seed")
        .args(["--customers", &customers.to_string()])
        .args(["--orders", &orders.to_string()]);
    let output = output("marketsvc seed", &mut seed)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::Environment(format!(
            "marketsvc seed failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}

/// A running program, in a process group of its own; it and its children are
/// stopped when this is dropped, and on Ctrl-C.
pub struct Program {
    child: Child,
    addr: SocketAddr,
    _registration: Registration,
}

impl Program {
    /// Starts it and waits until it says on standard output where it listens, in
    /// a line with `http://IP:PORT`. What it writes to standard error is shown
    /// only when it does not start.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready within a minute.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let mut log = tempfile::tempfile().map_err(Error::io("make a temporary file"))?;
        let stderr = log
            .try_clone()
            .map_err(Error::io("share a temporary file"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let (child, registration) = spawn(name, &mut command, "KILL")?;
        let mut program = Self {
            child,
            // Until it has said where.
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            _registration: registration,
        };
        program.addr = program
            .wait_until_ready()
            .map_err(|why| Error::Environment(format!("{name} {why}{}", last_lines(&mut log))))?;
        Ok(program)
    }

    /// Where it listens, or why it does not.
    fn wait_until_ready(&mut self) -> std::result::Result<SocketAddr, &'static str> {
        let (found, addr) = mpsc::channel();
        let stdout = self.child.stdout.take().ok_or("has no standard output")?;
        // Reads on when the line has come: a full pipe would stop the program.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(io::Result::ok) {
                if let Some(addr) = address_in(&line) {
                    let _ = found.send(addr);
                }
            }
        });
        addr.recv_timeout(START).map_err(|error| match error {
            RecvTimeoutError::Timeout => "has not said where it listens",
            RecvTimeoutError::Disconnected => "has ended at once",
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most resident memory that the program and each of its children have
    /// had so far, added up, in bytes; pages that they share count for each.
    /// `None` where there is no `/proc`.
    pub fn peak_memory(&self) -> Option<u64> {
        sum(self.pid(), "VmHWM:")
    }

    /// Notes the resident memory of the program and its children from now on,
    /// at that interval.
    pub fn watch_memory(&self, every: Duration) -> Watch {
        let pid = self.pid();
        let (stop, stopped) = mpsc::channel();
        let start = Instant::now();
        let thread = thread::spawn(move || {
            let mut points = Vec::new();
            loop {
                points
                    .extend(sum(pid, "VmRSS:").map(|bytes| (start.elapsed().as_secs_f64(), bytes)));
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return points;
                }
            }
        });
        Watch { stop, thread }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = self.child.id();
        signal_group("TERM", group);
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        // Whatever is left of it; workers may outlive who has started them.
        signal_group("KILL", group);
        let _ = self.child.wait();
    }
}

/// Sends a signal, such as `TERM`, to all processes of a group. A group that is
/// gone is no error.
pub fn signal_group(signal: &str, group: u32) {
    // Every shell has this built in; the program is not installed everywhere.
    let _ = Command::new("sh")
        .args(["-c", &format!("kill -s {signal} -- -{group}")])
        .stderr(Stdio::null())
        .status();
}

/// `IP:PORT` of the first `http://` in the line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '/')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The end of what a program has said, indented.
fn last_lines(log: &mut File) -> String {
    let mut text = Vec::new();
    let _ = log.seek(SeekFrom::Start(0));
    let _ = log.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(15)..] {
        let _ = write!(end, "\n  {line}");
    }
    end
}

/// A field of `/proc/PID/status` in bytes, of the process and all below it.
fn sum(pid: u32, field: &str) -> Option<u64> {
    let mut bytes = status(pid, field)?;
    for child in children(pid) {
        // One that has just ended counts no more.
        bytes += sum(child, field).unwrap_or(0);
    }
    Some(bytes)
}

fn status(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads.into_iter().flatten().flatten();
    lists
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Memory over time.
pub struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<(f64, u64)>>,
}

impl Watch {
    /// Seconds since the watch began, and bytes; empty where there is no `/proc`.
    pub fn finish(self) -> Vec<(f64, u64)> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command(Path::new("/bin/sh"));
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_address_is_found_in_what_programs_say() {
        let addr = "127.0.0.1:4711".parse().ok();
        for line in [
            "listening on http://127.0.0.1:4711",
            "INFO: Uvicorn running on http://127.0.0.1:4711 (Press CTRL+C to quit)",
            "http://127.0.0.1:4711/",
        ] {
            assert_eq!(address_in(line), addr, "{line}");
        }
        assert_eq!(address_in("listening"), None);
        assert_eq!(address_in("http://"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_and_its_children_end_with_it() {
        // The shell answers SIGTERM, its child does not.
        let script = "sh -c 'trap \"\" TERM; echo $$ http://127.0.0.1:9; exec sleep 600' & \
                      trap 'exit 0' TERM; wait";
        let program = Program::start("shell", shell(script)).unwrap();
        assert_eq!(program.addr().port(), 9);
        let family = [&[program.pid()][..], &children(program.pid())].concat();
        assert_eq!(family.len(), 2);
        drop(program);
        wait_until_dead(&family);
    }

    #[cfg(target_os = "linux")]
    pub fn wait_until_dead(pids: &[u32]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while pids.iter().any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < deadline, "something is left of {pids:?}");
            thread::yield_now();
        }
    }

    /// A process that nobody has waited for yet is there, but dead.
    #[cfg(target_os = "linux")]
    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| !status.contains("State:\tZ"))
    }

    #[test]
    fn why_a_program_did_not_start_is_what_it_said() {
        let Err(error) = Program::start("it", shell("echo no such thing >&2; exit 1")) else {
            panic!("it has started");
        };
        let text = error.to_string();
        assert!(
            text.contains("it has ended") && text.contains("no such thing"),
            "{text}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_of_children_counts() {
        let script = "sleep 600 & echo on http://127.0.0.1:9; wait";
        let program = Program::start("shell", shell(script)).unwrap();
        let alone = status(program.pid(), "VmRSS:").unwrap();
        assert!(sum(program.pid(), "VmRSS:").unwrap() > alone);
        assert!(program.peak_memory().unwrap() > alone);
        let points = program.watch_memory(Duration::from_millis(1)).finish();
        assert!(!points.is_empty());
    }
}
