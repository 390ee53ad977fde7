//! What somebody who learns waits for: the first build, and the verdict after
//! each edit; and what the build directory has grown to.
//!
//! The project is cloned into a folder of its own and built there from nothing.
//! How long an edit takes is measured by `verify speed`, which has a copy for it.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Unit};
use crate::program::{self, Program};
use crate::rounds::Progress;
use crate::settings::{self, Settings};

/// First builds: each takes a minute or more, and nobody takes turns with it.
const BUILDS: usize = 2;

const CLONE: &str = "a fresh clone";
const EDIT: &str = "an edit, then ./run.sh check";
const TARGET: &str = "target/ when every step has been checked";

/// What `verify speed --json` prints; the rest of it is not needed.
#[derive(Deserialize)]
struct Speed {
    steps: Vec<Step>,
    target_bytes: Sizes,
}

#[derive(Deserialize)]
struct Step {
    #[serde(rename = "step")]
    name: String,
    /// Seconds from each edit to the verdict.
    edits: Vec<f64>,
    /// Seconds to the verdict when nothing has changed.
    unchanged: Vec<f64>,
}

#[derive(Deserialize)]
struct Sizes {
    all: f64,
}

/// Measures it; with `quick` one build, and one edit of one step.
///
/// # Errors
///
/// When a build or the checks of a solution fail.
pub fn measure(settings: &Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "learn",
        "What a learner waits for: from a clone of this project to the service's first answer, \
         built from nothing in the dev profile with all packages fetched before; and from an edit \
         in a step's exercise to the verdict of its checks. Beside it is what the build directory \
         holds in the end.",
    );
    let Some(root) = project() else {
        bench
            .skipped
            .push("all of it: run it in a clone of the project, with git installed".to_owned());
        return Ok(bench);
    };
    let steps = steps(&root, settings.quick)?;
    let edits = if settings.quick { 1 } else { settings.rounds };
    let builds = edits.min(BUILDS);
    let progress = Progress::new("learn", builds + 1 + steps.len());
    // Next to the reports, since a build is larger than a temporary folder may be.
    let folder = Settings {
        dir: Some(settings::output_folder()?),
        ..settings.clone()
    }
    .folder()?;
    let place = Place {
        root,
        clone: folder.path().join("clone"),
        target: folder.path().join("target"),
    };
    // What is not there yet is fetched now; without a network the build says
    // what is missing.
    let _ = run(
        "cargo fetch",
        place
            .command("cargo", &place.root)
            .args(["fetch", "--locked"]),
    );

    for _ in 0..builds {
        progress.say("the first build");
        first_build(&mut bench, &place)?;
        progress.step();
    }
    progress.say("building verify");
    let verify = place.verify()?;
    progress.step();
    let mut target = None;
    for step in &steps {
        progress.say(step);
        let speed = speed(&place, &verify, step, edits)?;
        for step in &speed.steps {
            for seconds in &step.edits {
                bench.record(EDIT, &step.name, "verdict", Unit::Seconds, *seconds);
            }
            for seconds in &step.unchanged {
                let measure = "without a change";
                bench.record(EDIT, &step.name, measure, Unit::Seconds, *seconds);
            }
        }
        target = Some(speed.target_bytes.all);
        progress.step();
    }
    if settings.quick {
        // Not the promised size, which is that of all steps.
        target = None;
    }
    if let Some(bytes) = target {
        bench.record(TARGET, "all steps", "size", Unit::Bytes, bytes);
    }
    aims(&mut bench, target);
    bench.notes.push(format!(
        "There is nobody to take turns with. First builds: {builds}; edits of each step: {edits}."
    ));
    bench.notes.push(
        "The clone is of what is committed, on the disk that the project is on. The edits are \
         comments at the first task of a solved exercise."
            .to_owned(),
    );
    Ok(bench)
}

fn aims(bench: &mut Bench, target: Option<f64>) {
    let slowest = bench
        .figures
        .iter()
        .filter(|figure| figure.case == EDIT && figure.measure == "verdict")
        .map(|figure| (figure.median(), figure.contender.clone()))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let which = slowest
        .as_ref()
        .map_or_else(String::new, |(_, step)| format!(", {step}"));
    let first = bench.median(CLONE, "marketsvc", "first answer");
    bench.aim_in(
        Unit::Seconds,
        format!("from an edit to the verdict, in the slowest step{which}"),
        Bound::AtMost(3.0),
        slowest.map(|(seconds, _)| seconds),
    );
    bench.aim_in(
        Unit::Seconds,
        "from a fresh clone to the first answer",
        Bound::AtMost(100.0),
        first,
    );
    bench.aim_in(
        Unit::Bytes,
        format!("{TARGET}; 1.12 GiB are 1.2 GB"),
        Bound::AtMost(1.2e9),
        target,
    );
}

/// Where it takes place.
struct Place {
    /// The project.
    root: PathBuf,
    /// Its clone, and where that is built.
    clone: PathBuf,
    target: PathBuf,
}

impl Place {
    /// A program in that folder that builds in the clone's target folder; of the
    /// caller's settings it sees only where Rust and the C compiler are.
    fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = program::command(Path::new(program));
        command
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .env("MARKETSVC_ADDR", "127.0.0.1:0");
        for name in ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CC"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// The same without a network.
    fn offline(&self, program: &str, folder: &Path) -> Command {
        let mut command = self.command(program, folder);
        command.env("CARGO_NET_OFFLINE", "true");
        command
    }

    /// Builds `verify` where the project itself is built, so that it is not in the
    /// figures, and says where it is.
    fn verify(&self) -> Result<PathBuf> {
        let target = settings::target_folder()?;
        let mut cargo = self.command("cargo", &self.root);
        cargo
            .args(["build", "--quiet", "--workspace", "--bin", "verify"])
            .env("CARGO_TARGET_DIR", &target);
        run("cargo build --bin verify", &mut cargo)?;
        Ok(target.join("debug/verify"))
    }
}

/// The root of the project that the current folder belongs to, if git knows it.
fn project() -> Option<PathBuf> {
    let output = Command::new("git")
        .args(["rev-parse", "--show-toplevel"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    (output.status.success() && root.join("run.sh").is_file()).then_some(root)
}

/// The steps' numbers; one that has a database and a pool, when it is to be quick.
fn steps(root: &Path, quick: bool) -> Result<Vec<String>> {
    if quick {
        return Ok(vec!["05".to_owned()]);
    }
    let steps = fs::read_dir(root.join("steps")).map_err(Error::io("look for the steps"))?;
    let mut numbers: Vec<String> = steps
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let (number, _) = name.split_once('-')?;
            number
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| number.to_owned())
        })
        .collect();
    numbers.sort();
    Ok(numbers)
}

/// Clones, builds and starts what `./run.sh run` starts.
fn first_build(bench: &mut Bench, place: &Place) -> Result<()> {
    for folder in [&place.clone, &place.target] {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .map_err(Error::io(format!("remove {}", folder.display())))?;
        }
    }
    let mut git = place.command("git", &place.root);
    git.args(["clone", "--quiet", "--no-hardlinks"])
        .args([&place.root, &place.clone]);
    let (_, cloned) = run("git clone", &mut git)?;
    // Builds the service and, since it only prints its help, ends.
    let mut help = place.offline("./run.sh", &place.clone);
    let (_, built) = run("./run.sh run --help", help.args(["run", "--help"]))?;

    let start = Instant::now();
    let mut service = place.offline("./run.sh", &place.clone);
    service.arg("run");
    let service = Program::start("./run.sh run", service)?;
    answers(service.addr()).map_err(Error::io("ask the service"))?;
    let started = start.elapsed().as_secs_f64();
    for (measure, seconds) in [
        ("first answer", cloned + built + started),
        ("clone", cloned),
        ("build", built),
        ("start", started),
    ] {
        bench.record(CLONE, "marketsvc", measure, Unit::Seconds, seconds);
    }
    Ok(())
}

/// Whether `GET /` is answered with 200.
fn answers(addr: SocketAddr) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(addr)?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        let line = String::from_utf8_lossy(&answer);
        Err(std::io::Error::other(
            line.lines().next().unwrap_or("no answer").to_owned(),
        ))
    }
}

/// Edits a step of the clone that many times.
fn speed(place: &Place, verify: &Path, step: &str, times: usize) -> Result<Speed> {
    let what = format!("verify speed {step}");
    let mut command = place.offline(&verify.to_string_lossy(), &place.clone);
    command
        .args(["speed", step, "--json", "--times", &times.to_string()])
        .arg("--root")
        .arg(&place.clone);
    let (output, _) = run(&what, &mut command)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Environment(format!("{what} printed something else: {error}")))
}

/// Runs a program to its end; gives what it printed and the seconds it took.
fn run(what: &str, command: &mut Command) -> Result<(Output, f64)> {
    let start = Instant::now();
    let output = program::output(what, command)?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.success() {
        return Ok((output, seconds));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(15)..].join("\n  ");
    Err(Error::Environment(format!(
        "{what} failed ({})\n  {end}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_those_of_the_project() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let all = steps(&root, false).expect("steps");
        assert!(
            all.len() >= 8 && all.is_sorted() && all[0] == "01",
            "{all:?}"
        );
        let quick = steps(&root, true).expect("steps");
        assert!(quick.len() == 1 && all.contains(&quick[0]), "{quick:?}");
    }

    #[test]
    fn the_slowest_step_is_what_counts() {
        let mut bench = Bench::new("learn", "");
        for (step, seconds) in [
            ("02-raw-queries", 1.0),
            ("05-engine", 3.5),
            ("06-transactions", 2.0),
        ] {
            bench.record(EDIT, step, "verdict", Unit::Seconds, seconds);
            bench.record(EDIT, step, "without a change", Unit::Seconds, 9.0);
        }
        aims(&mut bench, Some(1.1e9));
        let [edit, clone, target] = bench.aims.as_slice() else {
            panic!("{:?}", bench.aims);
        };
        assert!(edit.text.ends_with("05-engine") && edit.kept() == Some(false));
        assert_eq!(clone.kept(), None);
        assert_eq!(target.kept(), Some(true));
    }

    #[test]
    fn what_verify_prints_is_understood() {
        let text = r#"{"times":2,"cores":2,"steps":[{"step":"05-engine","build":1.0,"checks":0.5,
            "median":1.5,"worst":1.6,"edits":[1.4,1.6],"unchanged":[0.5,0.5]}],
            "target_bytes":{"all":1000,"debug/deps":900}}"#;
        let speed: Speed = serde_json::from_str(text).expect("understood");
        assert_eq!(speed.steps[0].edits.len(), 2);
        assert!((speed.target_bytes.all - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo because >&2; exit 4"]);
        let error = run("it", &mut command).expect_err("it fails").to_string();
        assert!(
            error.contains("it failed") && error.contains("because"),
            "{error}"
        );
    }
}
