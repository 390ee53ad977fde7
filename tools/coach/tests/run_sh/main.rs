//! `run.sh`, run as a learner runs it, on a small project.

mod ask;
mod gate;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Project, outcome, text};

fn run_sh(project: &Project, arguments: &[&str]) -> Command {
    project.run_sh(arguments)
}

fn run(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    outcome(&run_sh(project, arguments).output().unwrap())
}

/// A service started by `./run.sh run`, in a process group of its own, as a
/// terminal does it. Whatever is left of it is ended on drop.
struct Running {
    child: Child,
    address: String,
    before: Vec<String>,
}

impl Running {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut child = run_sh(project, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Self {
            child,
            address: String::new(),
            before: Vec::new(),
        };
        while running.address.is_empty() {
            let line = lines.next().expect("it ended before it listened").unwrap();
            match line.strip_prefix("listening on http://") {
                Some(address) => address.clone_into(&mut running.address),
                None => running.before.push(line),
            }
        }
        running
    }

    /// `to` is "-" for the whole group, as Ctrl-C, or "" for the script alone.
    fn signal(&mut self, signal: &str, to: &str) -> std::process::ExitStatus {
        let target = format!("{to}{}", self.child.id());
        let sent = Command::new("kill")
            .args([signal, "--", &target])
            .status()
            .unwrap();
        assert!(sent.success());
        self.child.wait().unwrap()
    }

    fn answers(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

#[test]
fn ctrl_c_ends_the_service_and_leaves_nothing() {
    let project = Project::with_coach();
    for (signal, to, number) in [("-INT", "-", 2), ("-TERM", "", 15), ("-INT", "", 2)] {
        let mut running = Running::start(&project, &["run"]);
        assert!(running.answers());
        assert_eq!(running.before, ["arguments []"]);
        // The service of this project does not catch the signal: it reaches it.
        assert_eq!(running.signal(signal, to).signal(), Some(number));
        assert!(!running.answers(), "{signal} left the service running");
    }
}

#[test]
fn flags_and_exit_codes_pass_through() {
    let project = Project::with_coach();
    assert_eq!(run(&project, &["run", "--exit", "7"]).0, Some(7));
    let (code, out, _) = run(&project, &["run", "--release", "--exit", "7"]);
    assert_eq!((code, out.contains("--release")), (Some(7), false), "{out}");
    assert!(project.path("target/release/marketsvc").is_file());
    // After `--` nothing is run.sh's own.
    let running = Running::start(&project, &["run", "--", "--release", "a b"]);
    assert_eq!(running.before, ["arguments [\"--release\", \"a b\"]"]);
}

#[test]
fn a_step_is_started_by_any_of_its_names() {
    let project = Project::with_coach();
    for name in [
        "8",
        "08",
        "008",
        "08-typed-rows",
        "steps/08-typed-rows/",
        "./steps/08-typed-rows/exercise",
    ] {
        let (code, out, err) = run(&project, &["run", name]);
        assert_eq!(
            (code, out.as_str()),
            (Some(0), "exercise 08 says 2\n"),
            "{name}: {err}"
        );
    }
    let (code, out, _) = run(&project, &["run", "05", "--solution"]);
    assert_eq!((code, out.as_str()), (Some(0), "solution 05 says 2\n"));
    for name in ["07", "5x", "05-motor", "99999999999999999999"] {
        let (code, _, err) = run(&project, &["run", name]);
        assert_eq!(code, Some(2), "{name}");
        assert!(
            err.ends_with("the steps are:\n  05-engine\n  08-typed-rows\n"),
            "{name}: {err}"
        );
    }
    assert_eq!(run(&project, &["run", "--solution"]).0, Some(2));

    // A word that nobody would look at is refused before anything is built.
    project.write("steps/05-engine/solution/src/server.rs", "");
    for (arguments, word) in [
        (&["run", "05", "--solutoin"][..], "--solutoin"),
        (&["run", "05", "--addr", "127.0.0.1:9292"], "--addr"),
        (&["run", "05", "--solution", "a b"], "'a b'"),
    ] {
        let (code, out, err) = run(&project, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        let said = format!("run 05 takes only --solution, not {word};\n");
        assert!(err.starts_with(&said), "{arguments:?}: {err}");
        assert!(err.contains("MARKETSVC_ADDR"), "{err}");
    }
    // A service that has settings judges them itself, and so does the program of a step
    // that has no service.
    project.write("steps/05-engine/solution/src/config.rs", "");
    let (code, out, _) = run(&project, &["run", "05", "--anything"]);
    assert_eq!((code, out.as_str()), (Some(0), "exercise 05 says 1\n"));
    let (code, out, _) = run(&project, &["run", "08", "--anything"]);
    assert_eq!((code, out.as_str()), (Some(0), "exercise 08 says 2\n"));

    project.write(
        "steps/05-engine/exercise/src/lib.rs",
        "pub fn answer() -> u32 {\n    \"two\"\n}\n",
    );
    let (code, _, err) = run(&project, &["run", "05"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error[E0308]"), "{err}");
    // The others are not held up by it.
    assert_eq!(run(&project, &["run", "08"]).0, Some(0));
}

#[test]
fn it_works_from_any_folder_and_with_any_target_folder() {
    let project = Project::with_coach();
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().canonicalize().unwrap();
    let output = run_sh(&project, &["run", "08"])
        .current_dir(&elsewhere)
        .env("CARGO_TARGET_DIR", "built")
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        "exercise 08 says 2\n",
        "{}",
        text(&output.stderr)
    );
    assert!(elsewhere.join("built/debug").is_dir());
    assert!(!project.path("built").exists());

    // The coach is told where the project is, and sees the caller's folder.
    let project = Project::new();
    let output = run_sh(&project, &["check", "05", "a b"])
        .current_dir(&elsewhere)
        .output()
        .unwrap();
    let expected = format!(
        "[\"--root\", {:?}, \"check\", \"05\", \"a b\"]\n{}\n",
        project.root().to_str().unwrap(),
        elsewhere.display()
    );
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(5), expected)
    );
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let project = Project::with_coach();
    let cases: [(&[&str], &str); 10] = [
        (&["ordertotal"], "./run.sh ordertotal <ORDER>"),
        (&["custorders", "1", "2"], "./run.sh custorders <CUSTOMER>"),
        (&["ordersbet", "2024-03-22"], "<AFTER>"),
        (&["neworder", "{", "}"], "./run.sh neworder [JSON]"),
        (&["customers", "1"], "unexpected argument '1'"),
        (&["test", "05"], "possible values: format, clippy"),
        (&["custmers"], "'customers'"),
        (&["chek", "05"], "'check'"),
        (&["help", "tset"], "'--help'"),
        (&["nothing-like-it"], "'--help'"),
    ];
    for (arguments, said) in cases {
        let (code, out, err) = run(&project, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    for address in ["127.0.0.1:0", "9090"] {
        let mut command = run_sh(&project, &["customers"]);
        let output = command.env("MARKETSVC_ADDR", address).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(&format!("MARKETSVC_ADDR is {address}")));
    }
}

#[test]
fn help_names_every_verb() {
    let project = Project::with_coach();
    let (code, help, err) = run(&project, &["help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(run(&project, &[]), (Some(0), help.clone(), String::new()));
    assert_eq!(
        run(&project, &["--help"]),
        (Some(0), help.clone(), String::new())
    );
    for verb in [
        "run",
        "test",
        "seed",
        "bench",
        "book",
        "customers",
        "neworder",
        "check",
        "watch",
        "help",
    ] {
        assert!(
            help.contains(&format!("\n  {verb}")),
            "{verb} is not listed"
        );
    }
    let (code, one, _) = run(&project, &["help", "ordertotal"]);
    assert_eq!(code, Some(0));
    assert!(
        one.ends_with("Examples:\n  ./run.sh ordertotal 1\n"),
        "{one}"
    );
}

#[test]
fn without_cargo_it_says_where_to_get_it() {
    let project = Project::new();
    // What the script itself needs, without what is beside cargo.
    let tools = tempfile::tempdir().unwrap();
    for tool in ["bash", "dirname", "env"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .unwrap();
        std::os::unix::fs::symlink(text(&found.stdout).trim(), tools.path().join(tool)).unwrap();
    }
    for verb in [&["run"][..], &["check", "05"], &["test"], &["seed"]] {
        let output = run_sh(&project, verb)
            .env("PATH", tools.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("https://rustup.rs"),
            "{}",
            text(&output.stderr)
        );
    }
}

fn make_executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_coach_that_was_built_before_helps_where_nothing_builds() {
    let project = Project::new();
    let broken = |verb: &str| {
        project.write("steps/05-engine/exercise/Cargo.toml", "[package\n");
        run(&project, &[verb, "05"])
    };
    // Nothing was built before.
    assert_eq!(broken("reset").0, Some(3));
    let manifest = project.read("steps/05-engine/solution/Cargo.toml");
    project.write(
        "steps/05-engine/exercise/Cargo.toml",
        &manifest.replace("solution", "exercise"),
    );
    assert_eq!(run(&project, &["list"]).0, Some(5));
    for verb in ["reset", "solve", "restore", "doctor", "clean"] {
        let (code, out, err) = broken(verb);
        // The coach of this project repeats its arguments and ends with 5.
        assert_eq!(code, Some(5), "{err}");
        assert!(out.contains(&format!("\"{verb}\", \"05\"")), "{out}");
        assert!(
            err.contains("done by the coach that was built before"),
            "{err}"
        );
    }
    let (code, _, err) = broken("diff");
    assert_eq!(code, Some(3));
    assert!(err.contains("Cargo.toml"), "{err}");
    assert!(
        err.contains("the coach could not be built: see above"),
        "{err}"
    );
}

#[test]
fn an_example_of_a_step_is_started_by_its_name() {
    let project = Project::with_coach();
    let main = |side: &str| {
        format!(
            "fn main() {{\n    println!(\"{side} {{:?}}\", std::env::args().skip(1).collect::<Vec<_>>());\n    std::process::exit(4);\n}}\n"
        )
    };
    for side in ["exercise", "solution"] {
        project.write(
            &format!("steps/05-engine/{side}/examples/two_writers.rs"),
            &main(side),
        );
    }
    project.write("steps/05-engine/solution/src/server.rs", "");
    for (arguments, expected) in [
        (&["run", "05", "two_writers"][..], "exercise []\n"),
        (
            &["run", "05", "two_writers", "10", "--fast"],
            "exercise [\"10\", \"--fast\"]\n",
        ),
        (
            &["run", "05", "--solution", "two_writers", "1"],
            "solution [\"1\"]\n",
        ),
        (&["run", "05/solution", "two_writers"], "solution []\n"),
    ] {
        let (code, out, err) = run(&project, arguments);
        assert_eq!(
            (code, out.as_str()),
            (Some(4), expected),
            "{arguments:?}: {err}"
        );
        assert_eq!(err, "", "{arguments:?}");
    }
    let (code, _, err) = run(&project, &["run", "05", "two_riders"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("an example (two_writers), not two_riders;"),
        "{err}"
    );
}

/// How the door is started: words, folder, settings.
type Start<'a> = (&'a [&'a str], &'a Path, &'a [(&'a str, &'a str)]);

/// The caller's shell, folder and settings make no difference to the door.
#[test]
fn it_starts_through_any_shell_and_any_link() {
    let project = Project::new();
    let elsewhere = tempfile::Builder::new()
        .prefix("Übungen für mich ")
        .tempdir()
        .unwrap();
    let elsewhere = elsewhere.path().canonicalize().unwrap();
    let root = elsewhere.join("der Markt/markt's größe");
    for (file, bytes) in support::snapshot(&project.root()) {
        fs::create_dir_all(root.join(&file).parent().unwrap()).unwrap();
        fs::write(root.join(file), bytes).unwrap();
    }
    make_executable(&root.join("run.sh"));
    let link = elsewhere.join("der Link");
    std::os::unix::fs::symlink("der Markt/markt's größe/run.sh", &link).unwrap();
    let link_to_link = root.join("steps/door");
    std::os::unix::fs::symlink(&link, &link_to_link).unwrap();
    let noisy = elsewhere.join("noisy.sh");
    fs::write(&noisy, "echo noise\ncd() { echo noise; }\n").unwrap();

    let script = root.join("run.sh");
    let script = script.to_str().unwrap();
    let link = link.to_str().unwrap();

    let starts: [Start; 11] = [
        (&[script], &elsewhere, &[]),
        (&["sh", script], &elsewhere, &[]),
        (&["dash", script], &elsewhere, &[]),
        (&["bash", script], &elsewhere, &[]),
        (&["sh", "run.sh"], &root, &[]),
        (&["./run.sh"], &root, &[("CDPATH", ".:..:steps")]),
        (
            &["sh", "der Markt/markt's größe/run.sh"],
            &elsewhere,
            &[("CDPATH", ".:/")],
        ),
        (&[link], Path::new("/"), &[]),
        (
            &["sh", "door"],
            &root.join("steps"),
            &[("CARGO_TARGET_DIR", "../gebaut hier")],
        ),
        (
            &[script],
            &elsewhere,
            &[("BASH_ENV", noisy.to_str().unwrap())],
        ),
        (
            &["bash", script],
            &elsewhere,
            &[("BASH_FUNC_cd%%", "() {  builtin cd \"$@\" && ls\n}")],
        ),
    ];
    let expected = format!(
        "[\"--root\", {:?}, \"a b\", \"--ü\"]\n",
        root.to_str().unwrap()
    );
    for (words, folder, settings) in starts {
        // Debian's sh; other systems need not have it.
        if words[0] == "dash" && Command::new("dash").args(["-c", ":"]).status().is_err() {
            continue;
        }
        let mut command = project.command(words[0]);
        command
            .args(&words[1..])
            .args(["a b", "--ü"])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", root.join("target"))
            .envs(settings.iter().copied());
        let (code, out, err) = outcome(&command.output().unwrap());
        assert_eq!(code, Some(5), "{words:?} {settings:?}: {err}");
        let folder = folder.display();
        assert_eq!(
            out,
            format!("{expected}{folder}\n"),
            "{words:?} {settings:?}"
        );
        assert_eq!(err, "", "{words:?} {settings:?}");
    }
    assert!(root.join("gebaut hier/debug/coach").is_file());
}
