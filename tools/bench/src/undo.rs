//! What is undone when it is no longer needed, and when Ctrl-C or SIGTERM ends the
//! program, which runs no destructors: programs that were started, folders that were
//! made.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};

/// Must not drop an [`Undo`].
type Action = Box<dyn FnOnce() + Send>;

static ACTIONS: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

fn actions() -> MutexGuard<'static, Vec<(u64, Action)>> {
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs its action when it is dropped, or before a signal ends the program.
pub struct Undo(u64);

impl Undo {
    /// Makes something together with what undoes it; no signal ends the program
    /// between the two.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn new<T>(make: impl FnOnce() -> Result<(T, Action)>) -> Result<(T, Self)> {
        let mut actions = actions();
        let (thing, action) = make()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        actions.push((id, action));
        Ok((thing, Self(id)))
    }

    /// There is nothing left to undo.
    pub fn forget(self) {
        actions().retain(|(id, _)| *id != self.0);
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // The lock is kept, so that a signal does not end the program meanwhile.
        let mut actions = actions();
        if let Some(place) = actions.iter().position(|(id, _)| *id == self.0) {
            actions.remove(place).1();
        }
    }
}

/// From now on Ctrl-C (exit code 130) and SIGTERM (143) undo everything, what was made
/// last first, and end the program.
///
/// # Errors
///
/// When the system refuses to tell us of signals.
pub fn listen() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Error::io("listen for signals"))?;
    thread::spawn(move || {
        let signal = signals.forever().next().unwrap_or(SIGINT);
        eprintln!("\nstopping");
        // Kept to the end, so that nothing new is started meanwhile.
        let mut actions = actions();
        while let Some((_, action)) = actions.pop() {
            action();
        }
        process::exit(128 + signal);
    });
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::env;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;
    use crate::program::{self, Program};

    /// This program once more, which starts a server, waits for the end of another
    /// program and makes a folder.
    #[test]
    fn nothing_is_left_after_a_signal() {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "undo::tests::runs_until_it_is_told_to_stop"])
                .args(["--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let line = lines
                .map_while(std::io::Result::ok)
                .find_map(|line| {
                    line.split_once("has made ")
                        .map(|(_, made)| made.to_owned())
                })
                .expect("it has begun");
            let mut words = line.split(' ');
            let pids = [(); 2].map(|()| words.next().unwrap().parse().unwrap());
            let folder = words.next().unwrap();
            assert!(Path::new(folder).is_dir());
            let kill = format!("kill -s {signal} {}", child.id());
            Command::new("sh").args(["-c", &kill]).status().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
            assert!(!Path::new(folder).exists(), "{signal}: {folder} is left");
            program::tests::wait_until_dead(&pids);
        }
    }

    #[test]
    #[ignore = "ends only by a signal; the test above starts it"]
    fn runs_until_it_is_told_to_stop() {
        listen().unwrap();
        let folder = program::Folder::new().unwrap();
        let mut shell = program::command(Path::new("/bin/sh"));
        shell.args(["-c", "echo http://127.0.0.1:9; exec sleep 600"]);
        let program = Program::start("shell", shell).unwrap();
        let file = folder.path().join("pid");
        let mut other = program::command(Path::new("/bin/sh"));
        other
            .args(["-c", "echo $$ >\"$0\"; exec sleep 600"])
            .arg(&file);
        thread::spawn(move || program::output(&mut other));
        let other = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match text.strip_suffix('\n') {
                Some(pid) => break pid.to_owned(),
                None => thread::yield_now(),
            }
        };
        println!(
            "has made {} {other} {}",
            program.pid,
            folder.path().display()
        );
        loop {
            thread::park();
        }
    }
}
