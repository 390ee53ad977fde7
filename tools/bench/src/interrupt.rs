//! What has to be undone when somebody presses Ctrl-C.
//!
//! A signal ends the program without running destructors, so programs that
//! were started and folders that were made are also registered here.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// One thing that is undone before the program ends.
pub type Action = Box<dyn FnOnce() + Send>;

static ACTIONS: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

fn actions() -> MutexGuard<'static, Vec<(u64, Action)>> {
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An action that waits for a signal; dropping this forgets the action.
pub struct Registration(u64);

impl Drop for Registration {
    fn drop(&mut self) {
        let forgotten = {
            let mut actions = actions();
            let place = actions.iter().position(|(id, _)| *id == self.0);
            place.map(|place| actions.remove(place))
        };
        drop(forgotten);
    }
}

/// Makes something together with what undoes it if Ctrl-C or SIGTERM ends the
/// program; no signal does so between the two. What was made last is undone first.
///
/// # Errors
///
/// Those of `make`.
pub fn tracked<T>(make: impl FnOnce() -> Result<(T, Action)>) -> Result<(T, Registration)> {
    let mut actions = actions();
    let (thing, action) = make()?;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    actions.push((id, action));
    Ok((thing, Registration(id)))
}

/// Begins to listen for Ctrl-C (exit code 130) and SIGTERM (143).
///
/// # Errors
///
/// When the system refuses to tell us of signals.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("listen for signals"))?;
    let entered = runtime.enter();
    let stream = |kind| signal(kind).map_err(Error::io("listen for signals"));
    let interrupt = stream(SignalKind::interrupt())?;
    let terminate = stream(SignalKind::terminate())?;
    drop(entered);
    thread::spawn(move || {
        let code = runtime.block_on(first(interrupt, terminate));
        eprintln!("\nstopping");
        // Kept to the end, so that nothing new is started meanwhile.
        let mut actions = actions();
        while let Some((_, action)) = actions.pop() {
            action();
        }
        process::exit(code);
    });
    Ok(())
}

async fn first(mut interrupt: Signal, mut terminate: Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
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
    use crate::settings::Settings;

    /// This program once more, which starts a server, waits for the end of another
    /// program and makes a folder.
    #[test]
    fn nothing_is_left_after_a_signal() {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "interrupt::tests::runs_until_it_is_told_to_stop"])
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
        let settings = Settings {
            quick: true,
            rounds: 1,
            dir: None,
        };
        let folder = settings.folder().unwrap();
        let mut shell = program::command(Path::new("/bin/sh"));
        shell.args([
            "-c",
            "trap '' TERM; echo http://127.0.0.1:9; exec sleep 600",
        ]);
        let program = Program::start("shell", shell).unwrap();
        let file = folder.path().join("pid");
        let mut other = program::command(Path::new("/bin/sh"));
        other
            .args(["-c", "echo $$ >\"$0\"; exec sleep 600"])
            .arg(&file);
        thread::spawn(move || program::output("another", &mut other));
        let other = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match text.strip_suffix('\n') {
                Some(pid) => break pid.to_owned(),
                None => thread::yield_now(),
            }
        };
        println!(
            "has made {} {other} {}",
            program.pid(),
            folder.path().display()
        );
        loop {
            thread::park();
        }
    }
}
