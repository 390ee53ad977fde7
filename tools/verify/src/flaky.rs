//! Repeats what must never fail, to find what fails now and then.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use course::Side;

use crate::cargo::{self, BUILD_LIMIT};
use crate::process;
use crate::report::{Outcome, Report, all_of};
use crate::{Env, Only, Proof};

/// How long one run may take; the longest take some 20 s on a quiet machine.
const RUN_LIMIT: Duration = Duration::from_mins(5);

/// A program that has failed so often is not run again: the rest could take
/// hours and would tell nothing more.
const PATIENCE: usize = 5;

/// Packages whose tests are repeated beside the steps' checks: the service, and
/// the harness that all checks rest on.
const TESTED: [&str; 3] = ["marketsvc", "tools/check", "tools/contract"];

#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pub only: Only,
    /// How often each program runs
    #[arg(long, value_name = "N", default_value = "100")]
    times: NonZero<usize>,
    /// Keep every processor busy meanwhile
    #[arg(long)]
    load: bool,
}

/// Something to repeat.
struct Program {
    name: String,
    command: Command,
    seconds: Vec<f64>,
    /// What came of the runs that failed.
    failures: Vec<String>,
}

/// Repeats the checks of the solutions, and without a step's number also the
/// tests of the service and of the harness.
pub fn prove(proof: &Proof, settings: &Settings, report: &mut Report) -> Env<()> {
    let mut programs = build(proof, report)?;
    // Where databases and the like of all runs go, so that what they leave is seen.
    let scratch = std::env::temp_dir().join(format!("marketsvc-flaky-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let started = Instant::now();
    let done = AtomicBool::new(!settings.load);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // In rounds, so that an early end has seen all of them.
        for round in 1..=settings.times.get() {
            for program in &mut programs {
                if program.failures.len() < PATIENCE
                    && let Err(failure) = program.run(&scratch)
                {
                    program.failures.push(format!("run {round}: {failure}"));
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    for mut program in programs {
        program.seconds.sort_by(f64::total_cmp);
        let runs = program.seconds.len();
        let [median, worst] = [runs / 2, runs - 1].map(|index| program.seconds[index]);
        let name = program.name;
        let what = format!("{name}: {runs} runs, median {median:.1} s, worst {worst:.1} s");
        let failed = program.failures.len();
        let outcome = all_of(program.failures)
            .map_err(|failures| format!("{failed} of {runs} runs failed\n{failures}"));
        report.item(&what, started, outcome);
    }
    report.prove("no file is left", || {
        let left = fs::read_dir(&scratch)
            .map_err(|error| error.to_string())?
            .flatten();
        let left = left.map(|entry| entry.path().display().to_string());
        all_of(left)
    });
    Ok(fs::remove_dir_all(&scratch)?)
}

/// Builds what is to be repeated; a check that does not compile is a failure.
fn build(proof: &Proof, report: &mut Report) -> Env<Vec<Program>> {
    let sandbox = proof.sandbox;
    let program = |name: String, command: Command| Program {
        name,
        command,
        seconds: Vec::new(),
        failures: Vec::new(),
    };
    let mut programs = Vec::new();
    let solutions = proof.steps.iter().map(|step| (step, Side::Solution));
    let compiled = cargo::build_checks(sandbox, &solutions.collect::<Vec<_>>())?;
    for step in proof.steps {
        let name = format!("{} check", step.slug);
        let folder = step.crate_dir(Side::Solution);
        match compiled[&folder].check() {
            Err(failure) => report.prove(&name, || Err(failure)),
            Ok(check) => {
                let command = cargo::check_command(sandbox, &check, &folder);
                programs.push(program(name, command));
            }
        }
    }
    let there = |folder: &&str| proof.whole && proof.tree.has(folder);
    let packages: Vec<&str> = TESTED.into_iter().filter(there).collect();
    if !packages.is_empty() {
        let tests = |more: &[&str]| {
            let mut command = sandbox.command("cargo");
            command.args(["test", "--quiet"]).args(more);
            for package in &packages {
                command.args(["-p", package.trim_start_matches("tools/")]);
            }
            command
        };
        let built = process::run(&mut tests(&["--no-run"]), BUILD_LIMIT, true)?;
        if !built.succeeded() {
            return Err(built.stdout.into());
        }
        let name = format!("tests of {}", packages.join(", "));
        programs.push(program(name, tests(&[])));
    }
    Ok(programs)
}

impl Program {
    fn run(&mut self, scratch: &Path) -> Outcome {
        let command = self.command.env("TMPDIR", scratch);
        let started = Instant::now();
        let finished = process::run(command, RUN_LIMIT, true);
        self.seconds.push(started.elapsed().as_secs_f64());
        let finished = finished?;
        if finished.succeeded() && finished.left.is_empty() {
            return Ok(());
        }
        let (status, left) = (finished.status, finished.left.join("\n"));
        Err(format!(
            "{status:?}, left running: {left}\n{}",
            finished.stdout
        ))
    }
}
