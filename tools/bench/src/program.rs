//! Other programs: those that do one thing and end, and contenders, which run until they
//! are dropped; and the folders in which that happens.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Error, Result};

/// How long a program has to begin; an interpreter with cold caches is slow.
const START: Duration = Duration::from_mins(1);

/// `bench` in cargo's target folder, which is made when it is missing: for reports, and
/// for what is kept from run to run.
///
/// # Errors
///
/// When it cannot be made.
pub fn output_folder() -> Result<PathBuf> {
    // This program is target/release/bench, and a test of it in target/debug/deps.
    let program = env::current_exe().map_err(Error::io("find this program"))?;
    let profile = program
        .ancestors()
        .find(|folder| folder.ends_with("release") || folder.ends_with("debug"));
    let target = profile
        .and_then(Path::parent)
        .unwrap_or(Path::new("target"));
    let folder = target.join("bench");
    fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
    Ok(folder)
}

/// A folder for databases there, since the system's folder for temporary files may be in
/// memory.
///
/// # Errors
///
/// When it cannot be made.
pub fn temporary_folder() -> Result<TempDir> {
    tempfile::tempdir_in(output_folder()?).map_err(Error::io("make a temporary folder"))
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
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a program to its end; returns what it printed.
///
/// # Errors
///
/// When it cannot be started, and when it fails, with what it said.
pub fn output(command: &mut Command) -> Result<Output> {
    let program = command.get_program().display().to_string();
    let output = command.output();
    let output = output.map_err(Error::io(format!("start {program}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(&program, said.trim_end()))
}

/// A program that runs until this is dropped.
pub struct Program {
    child: Child,
    addr: SocketAddr,
}

impl Program {
    /// Starts it and waits until it says where it listens, in a line with
    /// `http://IP:PORT`.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready within a minute; with what it
    /// said until then.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let (output, pipe) = io::pipe().map_err(Error::io("make a pipe"))?;
        let errors = pipe.try_clone().map_err(Error::io("make a pipe"))?;
        command.stdin(Stdio::null()).stdout(pipe).stderr(errors);
        let child = command.spawn();
        let mut program = Self {
            child: child.map_err(Error::io(format!("start {name}")))?,
            addr: SocketAddr::from(([0; 4], 0)),
        };
        // It holds the pipe open, whose end is that of the program from now on.
        drop(command);
        let (line, lines) = mpsc::channel();
        // Reads on when it has started: a full pipe would stop the program.
        thread::spawn(move || {
            for text in BufReader::new(output).lines().map_while(io::Result::ok) {
                let _ = line.send(text);
            }
        });
        let deadline = Instant::now() + START;
        let mut reason = "has not said where it listens".to_owned();
        while let Ok(text) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(addr) = address_in(&text) {
                program.addr = addr;
                return Ok(program);
            }
            reason = reason + "\n  " + &text;
        }
        Err(Error::failed(name, reason))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The most resident memory that it has had so far, in bytes; `None` where there is
    /// no `/proc`.
    pub fn peak_memory(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `IP:PORT` of the first `http://` in the line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let addr = rest.split(|c: char| c.is_whitespace() || c == '/').next()?;
    addr.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command("/bin/sh");
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
    fn a_program_is_watched_and_ends_when_it_is_dropped() {
        let script = "trap '' TERM INT; echo on http://127.0.0.1:9 >&2; exec sleep 600";
        let program = Program::start("shell", shell(script)).unwrap();
        assert_eq!(program.addr().port(), 9);
        assert!(program.peak_memory().unwrap() > 0.0);
        let process = PathBuf::from(format!("/proc/{}", program.child.id()));
        assert!(process.exists());
        drop(program);
        assert!(!process.exists());
    }

    #[test]
    fn why_a_program_did_not_start_is_what_it_said() {
        let Err(error) = Program::start("it", shell("echo no such thing >&2; exit 1")) else {
            panic!("it has started");
        };
        let expected = "it: has not said where it listens\n  no such thing";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_program_that_fails_is_an_error_with_its_words() {
        let error = output(&mut shell("echo words >&2; exit 3")).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh: words");
        assert!(output(&mut shell("exit 0")).is_ok());
    }
}
