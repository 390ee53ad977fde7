//! A contender as a program of its own: started, found, watched, stopped; and the
//! folders in which that happens.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::undo::Undo;

/// How long a program has to begin; an interpreter with cold caches is slow.
const START: Duration = Duration::from_mins(1);

/// How long a program has to end by itself.
const STOP: Duration = Duration::from_secs(5);

/// A temporary folder that is removed when this is dropped, and on Ctrl-C.
pub struct Folder {
    path: PathBuf,
    _undo: Undo,
}

impl Folder {
    /// In the system's folder for temporary files; `TMPDIR` names another.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Self::new_in(&env::temp_dir())
    }

    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new_in(parent: &Path) -> Result<Self> {
        let (path, undo) = Undo::new(|| {
            let folder = tempfile::tempdir_in(parent);
            let path = folder.map_err(Error::io("make a temporary folder"))?.keep();
            let folder = path.clone();
            let remove = move || {
                // A program that still works in it may add a file meanwhile.
                for _ in 0..100 {
                    match fs::remove_dir_all(&folder) {
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                            thread::sleep(Duration::from_millis(10));
                        }
                        _ => break,
                    }
                }
            };
            Ok((path, Box::new(remove)))
        })?;
        Ok(Self { path, _undo: undo })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Cargo's target folder, where this program is built.
///
/// # Errors
///
/// When this program is not found.
pub fn target_folder() -> Result<PathBuf> {
    // This program is target/release/bench, and a test of it in target/debug/deps.
    let program = env::current_exe().map_err(Error::io("find this program"))?;
    let profile = program
        .ancestors()
        .find(|folder| folder.ends_with("release") || folder.ends_with("debug"));
    let target = profile.and_then(Path::parent);
    Ok(target.unwrap_or(Path::new("target")).to_owned())
}

/// `bench` in the target folder, which is made when it is missing: for reports, and
/// for what is kept from run to run.
///
/// # Errors
///
/// When it cannot be made.
pub fn output_folder() -> Result<PathBuf> {
    let folder = target_folder()?.join("bench");
    fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
    Ok(folder)
}

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
        return Ok(path);
    }
    Err(Error::Environment(format!(
        "{} is missing; ./run.sh bench builds all programs that take part",
        path.display()
    )))
}

/// The program with an environment that is the same everywhere.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a program to its end, in a process group of its own that is asked to end on
/// Ctrl-C; returns what it printed.
///
/// # Errors
///
/// When it cannot be started, and when it fails, with what it said.
pub fn output(command: &mut Command) -> Result<Output> {
    output_to(Stdio::piped(), command)
}

/// As [`output`], with another destination for what it prints.
///
/// # Errors
///
/// Those of [`output`].
pub fn output_to(stdout: Stdio, command: &mut Command) -> Result<Output> {
    let what = command.get_program().to_string_lossy().into_owned();
    command.stdout(stdout).stderr(Stdio::piped());
    let (child, undo) = Undo::new(|| {
        let child = spawn(&what, command)?;
        let group = child.id();
        // Not KILL: some end what they have started when they are asked to end.
        Ok((child, Box::new(move || signal_group("TERM", group))))
    })?;
    let output = child.wait_with_output();
    undo.forget();
    let output = output.map_err(Error::io(format!("wait for {what}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&*output.stdout, &*output.stderr].concat();
    let said = last_lines(&String::from_utf8_lossy(&said));
    Err(Error::Environment(format!("{what} failed:{said}")))
}

fn spawn(what: &str, command: &mut Command) -> Result<Child> {
    command.process_group(0);
    command.spawn().map_err(Error::io(format!("start {what}")))
}

/// A running program in a process group of its own. It and its children are stopped
/// when this is dropped, and on Ctrl-C.
pub struct Program {
    pub pid: u32,
    addr: SocketAddr,
    _undo: Undo,
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
        let stderr = log.try_clone().map_err(Error::io("share a file"))?;
        command.stdout(Stdio::piped()).stderr(stderr);
        let ((pid, stdout), undo) = Undo::new(|| {
            let mut child = spawn(name, &mut command)?;
            let made = (child.id(), child.stdout.take());
            Ok((made, Box::new(move || stop(&mut child, "TERM"))))
        })?;
        let (found, addr) = mpsc::channel();
        // Reads on when the line has come: a full pipe would stop the program.
        thread::spawn(move || {
            let lines = stdout
                .into_iter()
                .flat_map(|pipe| BufReader::new(pipe).lines());
            for line in lines.map_while(io::Result::ok) {
                if let Some(addr) = address_in(&line) {
                    let _ = found.send(addr);
                }
            }
        });
        let addr = addr.recv_timeout(START).map_err(|error| {
            let why = match error {
                RecvTimeoutError::Timeout => "has not said where it listens",
                RecvTimeoutError::Disconnected => "has ended at once",
            };
            Error::Environment(format!("{name} {why}{}", said(&mut log)))
        })?;
        Ok(Self {
            pid,
            addr,
            _undo: undo,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The most resident memory that the program and each of its children have
    /// had so far, added up, in bytes; pages that they share count for each.
    /// `None` where there is no `/proc`.
    pub fn peak_memory(&self) -> Option<f64> {
        sum(self.pid, "VmHWM:")
    }
}

/// Asks the child's group to end, gives it some time, and ends what is left of it:
/// workers may outlive the process that has started them.
pub fn stop(child: &mut Child, signal: &str) {
    let group = child.id();
    signal_group(signal, group);
    let deadline = Instant::now() + STOP;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(5));
    }
    signal_group("KILL", group);
    let _ = child.wait();
}

/// Sends a signal, such as `TERM`, to all processes of a group. A group that is
/// gone is no error.
fn signal_group(signal: &str, group: u32) {
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

/// The end of what a program has written to its log, indented.
pub fn said(log: &mut File) -> String {
    let mut text = Vec::new();
    let _ = log.rewind();
    let _ = log.read_to_end(&mut text);
    last_lines(&String::from_utf8_lossy(&text))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(15)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}

/// A field of `/proc/PID/status` in bytes, of the process and all below it.
fn sum(pid: u32, field: &str) -> Option<f64> {
    let mut bytes = status(pid, field)?;
    for child in children(pid) {
        // One that has just ended counts no more.
        bytes += sum(child, field).unwrap_or(0.0);
    }
    Some(bytes)
}

fn status(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
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
        let family = [&[program.pid][..], &children(program.pid)].concat();
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
        let alone = status(program.pid, "VmRSS:").unwrap();
        assert!(sum(program.pid, "VmRSS:").unwrap() > alone);
        assert!(program.peak_memory().unwrap() > alone);
    }
}
