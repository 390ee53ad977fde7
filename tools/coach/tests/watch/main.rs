//! `watch`, with real files, real processes and, where there is tmux, a real
//! terminal.

#[path = "../support/mod.rs"]
mod support;
mod terminal;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use support::{Project, text};

/// Against hangs only: what a test waits for takes a second or less.
const LIMIT: Duration = Duration::from_mins(2);
/// How often something is looked at that cannot be waited for.
const PAUSE: Duration = Duration::from_millis(20);
/// The file that the stand-ins below act on.
const LIB: &str = "steps/05-engine/exercise/src/lib.rs";

/// Stands for cargo: says where the step's check program is. With the first
/// word `build` in the step's source, building it does not end.
const CARGO: &str = r#"#!/usr/bin/env bash
case $1 in
test)
    read -r how word <steps/05-engine/exercise/src/lib.rs
    if [ "$how" = build ]; then
        sleep 987 &
        echo $$ $! >>pids
        echo "$word is being built" >&2
        wait
    fi
    printf '{"reason":"compiler-artifact","manifest_path":"%s","target":{"name":"check","kind":["test"]},"executable":"%s"}\n' \
        "$PWD/steps/05-engine/exercise/Cargo.toml" "$PWD/check"
    ;;
esac
"#;

/// Stands for a step's check program; it does what the step's source says.
const CHECK: &str = r#"#!/usr/bin/env bash
read -r how word <src/lib.rs
# verdict PASSED FAILED: reports and ends.
report=$2
verdict() {
    printf '{"step":"05","passed":%s,"failed":%s,"checks":[]}' $1 $2 >"$report"
    exit $2
}
pids=../../../pids
case $how in
pass)
    echo "$word is right"
    verdict 1 0
    ;;
fail) echo "$word is wrong" ;;
slow)
    # Says something after it has been told to stop.
    trap 'echo "$word was told to stop"; exit 1' TERM
    sleep 987 &
    echo $$ $! >>$pids
    echo "$word begins"
    wait
    ;;
stubborn)
    trap '' TERM
    sleep 987 &
    echo $$ $! >>$pids
    echo "$word begins"
    while :; do wait; done
    ;;
endless)
    yes "$word goes on" | head -n 300000
    echo "$word comes to an end"
    ;;
left)
    sleep 987 >/dev/null 2>&1 &
    echo $! >>$pids
    echo "$word has left something"
    verdict 1 0
    ;;
esac
verdict 0 1
"#;

/// A project whose cargo and check program are the scripts above.
fn scripted(source: &str) -> Project {
    let project = Project::new();
    for (name, script) in [("cargo", CARGO), ("check", CHECK)] {
        project.write(name, script);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.path(name), executable).unwrap();
    }
    project.write(LIB, source);
    project
}

/// The process ids that the scripts have noted.
fn noted(project: &Project) -> Vec<String> {
    let pids = fs::read_to_string(project.path("pids")).unwrap_or_default();
    pids.split_whitespace().map(str::to_owned).collect()
}

/// Waits until none of these processes runs; there must be some.
fn wait_until_gone(pids: &[String]) {
    assert!(!pids.is_empty());
    until("the end of the processes", || {
        pids.iter().all(|pid| {
            let ps = Command::new("ps")
                .args(["-o", "stat=", "-p", pid])
                .output()
                .unwrap();
            // One that nobody has collected yet has ended all the same.
            let state = text(&ps.stdout);
            state.trim().is_empty() || state.trim().starts_with('Z')
        })
    });
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(PAUSE);
    }
}

/// A watch in the background.
struct Watch {
    child: Child,
    output: Arc<(Mutex<String>, Condvar)>,
    /// Bytes that earlier waits have gone past.
    seen: usize,
}

impl Watch {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut child = project
            .command(env!("CARGO_BIN_EXE_coach"))
            .args(["watch", "05"])
            .args(arguments)
            .env("CARGO", project.path("cargo"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut stdout, shared) = (child.stdout.take().unwrap(), Arc::clone(&output));
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                let mut so_far = shared.0.lock().unwrap();
                so_far.push_str(&String::from_utf8_lossy(&buffer[..read]));
                shared.1.notify_all();
            }
        });
        Self {
            child,
            output,
            seen: 0,
        }
    }

    /// Waits for a text behind the last one that was waited for; gives what
    /// came before it.
    fn until(&mut self, wanted: &str) -> String {
        let (output, changed) = &*self.output;
        let (so_far, timeout) = changed
            .wait_timeout_while(output.lock().unwrap(), LIMIT, |so_far| {
                !so_far[self.seen..].contains(wanted)
            })
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "no {wanted:?} in\n{}",
            &so_far[self.seen..]
        );
        let start = self.seen + so_far[self.seen..].find(wanted).unwrap();
        let before = so_far[self.seen..start].to_owned();
        self.seen = start + wanted.len();
        before
    }

    fn so_far(&self) -> String {
        self.output.0.lock().unwrap().clone()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    }

    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the end of the watch", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Saves as many editors do: a new file takes the place of the old one.
fn save_by_rename(project: &Project, text: &str) {
    let beside = format!("{LIB}.tmp");
    project.write(&beside, text);
    fs::rename(project.path(&beside), project.path(LIB)).unwrap();
}

#[test]
fn every_way_to_save_is_noticed_and_a_touch_is_none() {
    let project = scripted("fail one\n");
    let mut watch = Watch::start(&project, &[]);
    let head = watch.until("==== 05-engine, run 1, ");
    assert!(
        head.starts_with("watching steps/05-engine/exercise; "),
        "{head}"
    );
    watch.until("one is wrong\n---- run 1 failed in ");
    watch.until("waiting for a save\n");

    // Written anew with the same content, and a new time: nothing to check.
    project.write(LIB, "fail one\n");
    let file = fs::File::options().write(true).open(project.path(LIB));
    file.unwrap().set_modified(SystemTime::now()).unwrap();
    // Not the learner's files.
    project.write("steps/05-engine/exercise/src/.lib.rs.swp", "x");
    project.write("steps/05-engine/exercise/marketdb.sqlite", "x");

    project.write(LIB, "pass two\n");
    let head = watch.until("two is right\n");
    watch.until("---- run 2 passed in ");
    assert!(head.contains(", changed: src/lib.rs ====\n"), "{head}");
    save_by_rename(&project, "pass three\n");
    watch.until("three is right\n");
    watch.until("---- run 3 passed in ");
    // The same length, at once.
    save_by_rename(&project, "fail three\n");
    watch.until("three is wrong\n---- run 4 failed in ");
    project.write("steps/05-engine/exercise/tests/mine.rs", "");
    let head = watch.until("---- run 5 failed in ");
    assert!(head.contains("changed: tests/mine.rs ===="), "{head}");

    // A folder takes the exercise's place, as when a backup is brought back.
    let exercise = project.path("steps/05-engine/exercise");
    let manifest = project.read("steps/05-engine/exercise/Cargo.toml");
    project.write("backup/Cargo.toml", &manifest);
    project.write("backup/src/lib.rs", "pass four\n");
    fs::rename(&exercise, project.path("away")).unwrap();
    fs::rename(project.path("backup"), &exercise).unwrap();
    watch.until("four is right\n");
    watch.until(" passed in ");
    project.write(LIB, "pass five\n");
    watch.until("five is right\n");
    watch.until(" passed in ");
}

#[test]
fn a_newer_save_ends_the_run_with_all_its_processes() {
    let project = scripted("slow one\n");
    let mut watch = Watch::start(&project, &[]);
    // A check that obeys, one that does not, and a build.
    let runs = ["slow one", "stubborn two", "build three", "pass four"];
    let begins = ["one begins\n", "two begins\n", "three is being built\n"];
    for (begins, next) in begins.iter().zip(&runs[1..]) {
        watch.until(begins);
        let pids = noted(&project);
        project.write(LIB, &format!("{next}\n"));
        watch.until(" stopped: a newer save ----\n");
        // The next run begins when nothing of this one is left to say.
        let between = watch.until("\n==== 05-engine, run ");
        assert_eq!(between, "");
        wait_until_gone(&pids);
    }
    watch.until("four is right\n");
    watch.until("---- run 4 passed in ");
    let all = watch.so_far();
    assert!(!all.contains("told to stop"), "{all}");
    assert_eq!(all.matches(" begins\n").count(), 2, "{all}");
}

#[test]
fn what_a_run_leaves_behind_is_ended_with_it() {
    let project = scripted("left one\n");
    let mut watch = Watch::start(&project, &[]);
    watch.until("one has left something\n");
    watch.until("---- run 1 passed in ");
    wait_until_gone(&noted(&project));
}

#[test]
fn much_output_is_shown_and_then_the_verdict() {
    let project = scripted("endless one\n");
    let mut watch = Watch::start(&project, &[]);
    watch.until("one comes to an end\n---- run 1 failed in ");
}

#[test]
fn an_interrupt_leaves_no_process() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        for source in ["slow one", "stubborn one", "build one"] {
            let project = scripted(&format!("{source}\n"));
            let mut watch = Watch::start(&project, &[]);
            watch.until("==== 05-engine, run 1");
            until("the processes", || noted(&project).len() >= 2);
            watch.signal(signal);
            assert_eq!(watch.ended(), Some(code), "{signal} {source}");
            wait_until_gone(&noted(&project));
        }
    }
    // While nothing runs.
    let project = scripted("fail one\n");
    let mut watch = Watch::start(&project, &[]);
    watch.until("waiting for a save\n");
    watch.signal("INT");
    assert_eq!(watch.ended(), Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_the_watch() {
    let project = scripted("stubborn one\n");
    let mut child = project
        .command(env!("CARGO_BIN_EXE_coach"))
        .args(["watch", "05"])
        .env("CARGO", project.path("cargo"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the processes", || noted(&project).len() >= 2);
    drop(child.stdout.take());
    // The next run has something to say.
    project.write(LIB, "pass two\n");
    let mut code = None;
    until("the end of the watch", || {
        code = child.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(0)));
    wait_until_gone(&noted(&project));
}

#[test]
fn what_cannot_be_watched_is_said_at_once() {
    let project = Project::new();
    for (arguments, code, words) in [
        (&["watch", "07"][..], 2, "there is no step \"07\""),
        (&["watch"][..], 2, "which step?"),
    ] {
        let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(words));
    }
    fs::remove_dir_all(project.path("steps/05-engine/exercise")).unwrap();
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    let output = command.args(["watch", "05"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(
        message.starts_with("steps/05-engine/exercise: "),
        "{message}"
    );
}
