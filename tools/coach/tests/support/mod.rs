//! A small project of the same shape as ours, without dependencies: cargo
//! builds it for real, in a second or two and without a network.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use course::Step;
use course::starter::{self, Files};
use tempfile::TempDir;

/// For all tests of a program together; they take seconds.
const HANG_LIMIT: Duration = Duration::from_mins(5);

/// The folder of the real project.
pub fn real_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A project in a folder of its own, removed when dropped.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// Two steps, 05 with a chapter and a task, 08 without, and the tools that
    /// `run.sh` builds. The exercise of 05 is red, its solution green.
    pub fn new() -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            thread::spawn(|| {
                thread::sleep(HANG_LIMIT);
                eprintln!("a program that a test started has not ended");
                process::exit(1);
            });
        });
        let project = Self {
            // A space in the path, since learners' folders have them.
            folder: tempfile::Builder::new()
                .prefix("market svc ")
                .tempdir()
                .unwrap(),
        };
        project.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\n\
             members = [\"marketsvc\", \"steps/*/exercise\", \"steps/*/solution\", \"tools/*\"]\n\
             default-members = [\"marketsvc\"]\n",
        );
        project.package("marketsvc", "marketsvc", SERVICE);
        project.package("tools/verify", "verify", VERIFY);
        project.package("tools/coach", "coach", ARGUMENTS);
        project.step("05-engine", 1, 2);
        project.write("steps/05-engine/README.md", CHAPTER);
        project.step("08-typed-rows", 2, 2);
        fs::copy(real_root().join("run.sh"), project.path("run.sh")).unwrap();
        // `--locked` needs a lock file; without dependencies no network is asked.
        let made = project
            .command("cargo")
            .args(["generate-lockfile", "--offline"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        project
    }

    /// As [`Self::new`], where the coach that `run.sh` builds is ours.
    pub fn with_coach() -> Self {
        let project = Self::new();
        let main = format!(
            "use std::os::unix::process::CommandExt;\n\nfn main() {{\n    \
             let error = std::process::Command::new({:?})\n        \
             .args(std::env::args_os().skip(1))\n        .exec();\n    panic!(\"{{error}}\");\n}}\n",
            env!("CARGO_BIN_EXE_coach")
        );
        project.write("tools/coach/src/main.rs", &main);
        project
    }

    pub fn root(&self) -> PathBuf {
        // As the system names it: on macOS /var is a link.
        self.folder.path().canonicalize().unwrap()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Writes the patch that makes the exercise of 05, as it is now, out of the
    /// solution.
    pub fn publish_05(&self) {
        self.publish_in(".", "05-engine");
    }

    /// As [`Self::publish_05`], for any step of the project in a folder below.
    pub fn publish_in(&self, folder: &str, slug: &str) {
        let step = Step::at(Path::new(slug)).unwrap();
        let read = |side: &str| -> Files {
            snapshot(&self.path(&format!("{folder}/steps/{slug}/{side}")))
                .into_iter()
                .map(|(file, bytes)| {
                    let text = step.as_exercise(&text(&bytes));
                    (file.to_str().unwrap().to_owned(), text)
                })
                .collect()
        };
        let patch = starter::write(&read("exercise"), &read("solution"));
        self.write(&format!("{folder}/steps/{slug}/starter.patch"), &patch);
    }

    /// Writes the solution of 05 over its exercise.
    pub fn solve_05(&self) {
        let solved = self.read("steps/05-engine/solution/src/lib.rs");
        self.write("steps/05-engine/exercise/src/lib.rs", &solved);
    }

    fn package(&self, folder: &str, name: &str, main: &str) {
        // The gate asks for the feature of the service.
        self.write(
            &format!("{folder}/Cargo.toml"),
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                 [features]\npostgres = []\n"
            ),
        );
        self.write(&format!("{folder}/src/main.rs"), main);
    }

    /// A step whose check wants `answer()` to be 2, and what the two sides answer.
    fn step(&self, slug: &str, exercise: u32, solution: u32) {
        let label = &slug[..2];
        for (side, answer) in [("exercise", exercise), ("solution", solution)] {
            // What differs between the two by design.
            let (library, check) = match side {
                "solution" => (format!("step{label}_solution"), "check_solution.rs"),
                _ => (format!("step{label}"), "check.rs"),
            };
            self.write(
                &format!("steps/{slug}/{side}/Cargo.toml"),
                &format!(
                    "[package]\nname = \"step{label}-{side}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                     [lib]\nname = \"{library}\"\n\n\
                     [[test]]\nname = \"check\"\npath = \"../{check}\"\nharness = false\n"
                ),
            );
            self.write(
                &format!("steps/{slug}/{side}/src/main.rs"),
                &format!("fn main() {{\n    println!(\"{side} {label} says {{}}\", {library}::answer());\n}}\n"),
            );
            self.write(
                &format!("steps/{slug}/{side}/src/lib.rs"),
                &format!(
                    "//! A step.\n\npub fn other() -> u32 {{\n    1\n}}\n\n\
                     pub fn answer() -> u32 {{\n    // TODO({label}.1): answer two\n    {answer}\n    \
                     // END TODO({label}.1)\n}}\n"
                ),
            );
        }
        self.write(
            &format!("steps/{slug}/check.rs"),
            &CHECK.replace("NN", label),
        );
        self.write(
            &format!("steps/{slug}/check_solution.rs"),
            &format!("extern crate step{label}_solution as step{label};\n\nmod check;\n\nfn main() {{\n    check::main();\n}}\n"),
        );
    }

    /// `./run.sh` with these arguments.
    pub fn run_sh(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.path("run.sh"));
        command.args(arguments);
        command
    }

    /// A program in the project's folder, with nothing of our own surroundings
    /// that would change what it does.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("NO_COLOR", "1")
            .env("GIT_CEILING_DIRECTORIES", self.root().parent().unwrap())
            .stdin(Stdio::null());
        for name in [
            "CARGO",
            "CARGO_BUILD_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "DATABASE_URL",
            "MARKETSVC_ADDR",
            "MARKETSVC_VERDICT",
        ] {
            command.env_remove(name);
        }
        command
    }
}

/// The files below a folder.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program did: exit code, stdout, stderr.
pub fn outcome(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const CHAPTER: &str = "\
# 05 · The engine

Goal: share connections.
Minutes: 30 · Files: `src/lib.rs`

## Start

## Tasks

### 1 · Two

`TODO(05.1)` in `src/lib.rs`.

## Done when

Now works: queries share connections, as many as there may be and not one more, however many clients ask.

Try by hand: `./run.sh run 05`, and in a second terminal `./run.sh customers`, which is a long line
";

/// Stands for the service: says where it listens, and answers each request with
/// what it was asked. `--exit N` ends it at once.
const SERVICE: &str = r#"use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    println!("arguments {arguments:?}");
    if let [flag, code] = &arguments[..]
        && flag == "--exit"
    {
        std::process::exit(code.parse().unwrap());
    }
    let address = std::env::var("MARKETSVC_ADDR").unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(address).unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        let (mut first, mut length, mut kind) = (String::new(), 0, String::new());
        stream.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "content-type" => kind = value.trim().to_string(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let status = if first.contains("/404") { "404 Not Found" } else { "200 OK" };
        let request = first.trim_end().trim_end_matches(" HTTP/1.1");
        let answer = format!("{request} {kind} {}", String::from_utf8_lossy(&body));
        let answer = answer.trim_end();
        // A break in the middle of the answer, for who asks for it.
        let length = answer.len() + if first.contains("/500500") { 9 } else { 0 };
        let _ = write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}",
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums() {
        assert_eq!(1 + 1, 2);
    }
}
"#;

/// Stands for the proof of the tutorial; its verdict comes from outside.
const VERIFY: &str = r#"fn main() {
    if std::env::args().nth(1).is_some_and(|part| part == "tests") {
        let mut cargo = std::process::Command::new("cargo");
        cargo.args(["test", "--workspace", "--locked", "--exclude", "step*"]);
        let status = cargo.status().unwrap();
        std::process::exit(i32::from(!status.success()));
    }
    println!("arguments {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    let verdict = std::env::var("MARKETSVC_VERDICT").unwrap_or("3 passed, 0 failed".into());
    println!("verify parity: 99 passed, 0 failed");
    println!("verify: {verdict}");
    std::process::exit(i32::from(!verdict.ends_with("0 failed")));
}
"#;

/// Stands for the coach where only what it is given matters.
const ARGUMENTS: &str = r#"fn main() {
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    println!("{}", std::env::current_dir().unwrap().display());
    std::process::exit(5);
}
"#;

/// A check program that wants the answer 2, with the arguments and the report
/// of the real ones. Code under test can end it by answering 9.
const CHECK: &str = r#"pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "--list") {
        // The one check that there is.
        if "NN.1 the answer".contains(&arguments[1]) {
            println!("NN.1 the answer: test");
        }
        return;
    }
    let (report, filter) = match &arguments[..] {
        [flag, file, filter @ ..] if flag == "--report" => (file, filter),
        _ => panic!("{arguments:?}"),
    };
    let answer = stepNN::answer();
    if answer == 9 {
        std::process::exit(0);
    }
    let right = answer == 2;
    println!("filter {filter:?}");
    println!("the answer is {answer}");
    let details = if right {
        "null,\"expected\":null,\"got\":null,\"file\":null,\"line\":null".to_owned()
    } else {
        format!(
            "\"the \\\"answer\\\"\",\"expected\":\"2\",\"got\":\"{answer}\",\
             \"file\":\"steps/NN-x/exercise/src/lib.rs\",\"line\":8"
        )
    };
    let status = if right { "passed" } else { "failed" };
    let object = format!(
        "{{\"step\":\"NN\",\"passed\":{},\"failed\":{},\"checks\":[{{\"todo\":\"NN.1\",\
         \"name\":\"the answer\",\"status\":\"{status}\",\"asked\":{details}}}]}}",
        i32::from(right),
        i32::from(!right)
    );
    std::fs::write(report, object).unwrap();
    std::process::exit(i32::from(!right));
}
"#;
