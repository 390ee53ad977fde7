//! What a learner waits for: the first build, and the verdict after each edit.
//!
//! The project is cloned into a folder of its own and built there from nothing.
//! How long an edit takes is measured by `verify speed`, which has a copy for it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::{Bench, Bound, Unit};
use crate::program::{self, Folder, Program};
use crate::{Settings, http};

/// First builds: each takes a minute or more, and nothing takes turns with it.
const BUILDS: usize = 2;

/// For the service's first answer; only turns a hang into an error.
const PATIENCE: Duration = Duration::from_mins(1);

const CLONE: &str = "a fresh clone";
const EDIT: &str = "an edit, then ./run.sh check";

/// What `verify speed` prints.
#[derive(Deserialize)]
struct Speed {
    steps: Vec<Step>,
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

/// Measures it; with `quick` one build, and one edit of one step.
///
/// # Errors
///
/// When a build or the checks of a solution fail.
pub fn measure(settings: Settings) -> Result<Bench> {
    let mut bench = Bench::new(
        "learn",
        "What a learner waits for: from a clone of this project to the service's first answer, \
         built from nothing in the dev profile with all packages fetched before; and from an edit \
         in a step's exercise to the verdict of its checks.",
    );
    let steps = steps(&project(), settings.quick)?;
    let edits = if settings.quick { 1 } else { settings.rounds };
    let builds = edits.min(BUILDS);
    // Next to the reports, since a build is larger than a temporary folder may be.
    let folder = Folder::new_in(&program::output_folder()?)?;
    let checkout = Checkout {
        clone: folder.path().join("clone"),
        target: folder.path().join("target"),
    };
    // What is not there yet is fetched now; without a network the build says
    // what is missing.
    let mut fetch = checkout.command("cargo", &project());
    let _ = run(fetch.args(["fetch", "--locked"]));
    for _ in 0..builds {
        eprintln!("learn: the first build");
        first_build(&mut bench, &checkout)?;
    }
    let verify = checkout.verify()?;
    for step in &steps {
        eprintln!("learn: {step}");
        let speed = speed(&checkout, &verify, step, edits)?;
        for step in &speed.steps {
            let measures = [
                ("verdict", &step.edits),
                ("without a change", &step.unchanged),
            ];
            for (measure, samples) in measures {
                for seconds in samples {
                    bench.record(EDIT, &step.name, measure, Unit::Seconds, *seconds);
                }
            }
        }
    }
    aims(&mut bench);
    bench.notes.push(format!(
        "First builds: {builds}; edits of each step: {edits}. The clone is of what is committed, \
         on the disk that the project is on. The edits are comments at the first task of a solved \
         exercise."
    ));
    Ok(bench)
}

fn aims(bench: &mut Bench) {
    let verdicts = bench.figures.iter();
    let verdicts = verdicts.filter(|figure| figure.case == EDIT && figure.measure == "verdict");
    let mut steps: Vec<_> = verdicts
        .map(|figure| (figure.median(), figure.contender.clone()))
        .collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = steps.get(steps.len() / 2).map(|(seconds, _)| *seconds);
    let (slowest, which) = steps.pop().unzip();
    let which = which.unwrap_or_default();
    let first = bench.median(CLONE, "marketsvc", "first answer");
    let edit = "from an edit to the verdict";
    for (text, most, measured) in [
        (format!("{edit}, in the middle step"), 3.0, middle),
        (
            format!("{edit}, in the slowest step, {which}"),
            6.0,
            slowest,
        ),
        (
            "from a fresh clone to the first answer".to_owned(),
            100.0,
            first,
        ),
    ] {
        bench.aim(Unit::Seconds, &text, Bound::AtMost(most), measured);
    }
}

/// A clone of the project, and where that is built.
struct Checkout {
    clone: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// A program in that folder that builds in the clone's target folder; of the
    /// caller's settings it sees only where Rust and the C compiler are.
    fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = program::command(program);
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
        let target = program::target_folder()?;
        let mut cargo = self.command("cargo", &project());
        cargo
            .args(["build", "--quiet", "--workspace", "--bin", "verify"])
            .env("CARGO_TARGET_DIR", &target);
        run(&mut cargo)?;
        Ok(target.join("debug/verify"))
    }
}

/// The root of the project.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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
fn first_build(bench: &mut Bench, checkout: &Checkout) -> Result<()> {
    for folder in [&checkout.clone, &checkout.target] {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .map_err(Error::io(format!("remove {}", folder.display())))?;
        }
    }
    let mut git = checkout.command("git", &project());
    git.args(["clone", "--quiet", "--no-hardlinks"]);
    let (_, cloned) = run(git.args([&project(), &checkout.clone]))?;
    // Builds the service and, since it only prints its help, ends.
    let mut help = checkout.offline("./run.sh", &checkout.clone);
    let (_, built) = run(help.args(["run", "--help"]))?;

    let start = Instant::now();
    let mut service = checkout.offline("./run.sh", &checkout.clone);
    service.arg("run");
    let service = Program::start("./run.sh run", service)?;
    http::time(service.addr(), "/", PATIENCE)?;
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

/// Edits a step of the clone that many times.
fn speed(checkout: &Checkout, verify: &Path, step: &str, times: usize) -> Result<Speed> {
    let mut command = checkout.offline(&verify.to_string_lossy(), &checkout.clone);
    command
        .args(["speed", step, "--times", &times.to_string()])
        .arg("--root")
        .arg(&checkout.clone);
    let (output, _) = run(&mut command)?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Error::Environment(format!("verify speed printed something else: {error}"))
    })
}

/// Runs a program to its end; returns what it printed and the seconds it took.
fn run(command: &mut Command) -> Result<(Output, f64)> {
    let start = Instant::now();
    let output = program::output(command)?;
    Ok((output, start.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_those_of_the_project() {
        let all = steps(&project(), false).expect("steps");
        assert!(
            all.len() >= 8 && all.is_sorted() && all[0] == "01",
            "{all:?}"
        );
        let quick = steps(&project(), true).expect("steps");
        assert!(quick.len() == 1 && all.contains(&quick[0]), "{quick:?}");
    }

    #[test]
    fn the_middle_and_the_slowest_step_count() {
        let mut bench = Bench::new("learn", "");
        for (step, seconds) in [
            ("02-raw-queries", 1.0),
            ("05-engine", 6.5),
            ("06-transactions", 2.0),
        ] {
            bench.record(EDIT, step, "verdict", Unit::Seconds, seconds);
            bench.record(EDIT, step, "without a change", Unit::Seconds, 9.0);
        }
        aims(&mut bench);
        let [middle, edit, clone] = bench.aims.as_slice() else {
            panic!("{:?}", bench.aims);
        };
        assert_eq!(middle.measured, Some(2.0));
        assert!(edit.text.ends_with("05-engine") && edit.kept() == Some(false));
        assert_eq!(clone.kept(), None);
    }

    #[test]
    fn what_verify_prints_is_understood() {
        let text = r#"{"steps":[{"step":"05-engine","edits":[1.4,1.6],"unchanged":[0.5,0.5]}]}"#;
        let speed: Speed = serde_json::from_str(text).expect("understood");
        assert_eq!(speed.steps[0].edits.len(), 2);
    }
}
