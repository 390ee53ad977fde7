//! The keys, in a real terminal, where there is tmux.

use std::io::{Write, stderr};
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use super::support::{Project, text};
use super::{LIB, LIMIT, PAUSE, until};

/// What is shown while nothing runs.
const PROMPT: &str = "waiting for a save; keys: h hint (again: more), d diff, r run again, q quit";

/// A terminal of its own, with a shell in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// `None` without tmux.
    fn open(project: &Project) -> Option<Self> {
        let terminal = Self {
            socket: format!("coach-watch-{}", std::process::id()),
        };
        let folder = project.root();
        let started = terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "150",
            "-y",
            "50",
            "-c",
            folder.to_str().unwrap(),
            "env PS1='$ ' bash --noprofile --norc -i",
        ])?;
        assert!(started.status.success(), "{}", text(&started.stderr));
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Option<Output> {
        Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .env_remove("TMUX")
            .output()
            .ok()
    }

    fn press(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        let sent = self.tmux(&arguments).unwrap();
        assert!(sent.status.success(), "{}", text(&sent.stderr));
    }

    /// Waits until the text has been shown this often, scrolled away or not;
    /// gives all that was shown.
    fn until(&self, wanted: &str, times: usize) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]).unwrap();
            let shown = text(&shown.stdout);
            if shown.matches(wanted).count() >= times {
                return shown;
            }
            assert!(
                Instant::now() < deadline,
                "no {wanted:?}, {times} times, in\n{shown}"
            );
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

#[test]
fn keys_in_a_terminal() {
    let project = Project::new();
    let Some(terminal) = Terminal::open(&project) else {
        let line = course::program::not_run("tmux", "the keys of watch in a terminal").unwrap();
        // Past the harness, which keeps what `eprintln!` says: the gate sums these lines up.
        writeln!(stderr(), "{line}").unwrap();
        return;
    };
    let program = env!("CARGO_BIN_EXE_coach");
    project.write(
        "start.sh",
        &format!(
            "export CARGO_TARGET_DIR=target CARGO_NET_OFFLINE=true\n\
             unset CARGO NO_COLOR\ntrap : INT\n'{program}' watch 05\n\
             echo \"ended with $?\"\n"
        ),
    );
    let modes = |mark: &str| {
        let command =
            format!("echo \"{mark}:\" $(stty -a | grep -oE ' -?(icanon|echo|isig)( |;|$)')");
        terminal.press(&["-l", &command]);
        terminal.press(&["Enter"]);
        let shown = terminal.until(&format!("\n{mark}: "), 1);
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{mark}: ")));
        line.unwrap().trim_start_matches(mark).trim().to_owned()
    };
    let before = modes("before");
    terminal.press(&["sh start.sh", "Enter"]);
    terminal.until("---- run 1 failed in ", 1);
    let shown = terminal.until(PROMPT, 1);
    assert!(!shown.contains("n next step"), "{shown}");
    terminal.press(&["h"]);
    terminal.until("---- ./run.sh hint 05 ----", 1);
    terminal.press(&["h"]);
    terminal.until("---- ./run.sh hint 05 more ----", 1);
    terminal.press(&["d"]);
    terminal.until("+    2\n", 1);
    terminal.press(&["n"]);
    terminal.until("05-engine has not passed yet", 1);
    // An arrow is no key, whatever its escape contains.
    terminal.press(&["Down", "r"]);
    terminal.until("---- run 2 failed in ", 1);

    // Away and back.
    terminal.press(&["C-z"]);
    terminal.until("Stopped", 1);
    assert_eq!(modes("stopped"), before);
    let prompts = terminal.until(PROMPT, 1).matches(PROMPT).count();
    terminal.press(&["fg", "Enter"]);
    terminal.until(PROMPT, prompts + 1);
    terminal.press(&["n"]);
    terminal.until("05-engine has not passed yet", 2);

    let solved = project.read("steps/05-engine/solution/src/lib.rs");
    project.write(LIB, &solved);
    terminal.until("---- run 3 passed in ", 1);
    terminal.until("keys: n next step (08-typed-rows), h hint", 1);
    terminal.press(&["n"]);
    terminal.until("watching steps/08-typed-rows/exercise", 1);
    terminal.until("---- run 4 passed in ", 1);
    // Its files are watched now, and the last step's are not.
    project.write(LIB, "");
    let lib = "steps/08-typed-rows/exercise/src/lib.rs";
    project.write(lib, &format!("{}\n", project.read(lib)));
    terminal.until("---- run 5 passed in ", 1);
    let shown = terminal.until("==== 08-typed-rows, run 5", 1);
    assert!(!shown.contains("05-engine, run 4"), "{shown}");
    terminal.press(&["n"]);
    terminal.until("That was the last step.", 1);
    terminal.press(&["q"]);
    terminal.until("\nended with 0\n", 1);
    assert_eq!(modes("quit"), before);

    // Ctrl-C in the middle of a run that would go on for hours.
    let waiting = "fn main() {\n    println!(\"it waits\");\n    loop {\n        std::thread::park();\n    }\n}\n";
    project.write("steps/05-engine/check.rs", waiting);
    project.write(LIB, &solved);
    terminal.press(&["sh start.sh", "Enter"]);
    terminal.until("\nit waits\n", 1);
    terminal.press(&["C-c"]);
    terminal.until("\nended with 130\n", 1);
    assert_eq!(modes("interrupted"), before);
    let folder = project.root().display().to_string();
    until("the end of all processes", || {
        let ps = Command::new("ps").args(["-A", "-o", "args="]).output();
        !text(&ps.unwrap().stdout)
            .lines()
            .any(|line| line.contains(&folder) && !line.contains("tmux"))
    });
}
