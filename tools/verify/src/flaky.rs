//! Repeats what must never fail, to find what fails now and then.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use course::{Side, Step};

use crate::cargo;
use crate::process::{self, Finished, Trace};
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Environment};

/// How long one run may take; the longest take some 20 s on a quiet machine.
const RUN_LIMIT: Duration = Duration::from_mins(5);

/// A program that reached the limit so often is not run again: the rest would
/// take hours and tell nothing more.
const PATIENCE: usize = 3;

/// How many failed runs of a program keep their output in a file.
const KEPT: usize = 10;

/// Set for every run, with a value of its own for each `verify flaky`.
const MARK: &str = "MARKETSVC_VERIFY_RUN";

/// Packages whose tests are repeated beside the steps' checks: the service, and
/// the harness that all checks rest on.
const TESTED: [&str; 3] = ["marketsvc", "check", "contract"];

/// What the command line asks for.
#[derive(Args)]
pub struct Settings {
    /// One step only: 5, 05 or 05-engine
    pub step: Option<String>,
    /// How often each program runs
    #[arg(long, value_name = "N", default_value = "100")]
    times: NonZero<usize>,
    /// How many run at once
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZero<usize>,
    /// Repeat the tests of this package alone; may be given several times
    #[arg(long = "package", value_name = "NAME", conflicts_with = "step")]
    packages: Vec<String>,
    /// Repeat the steps' checks alone
    #[arg(long, conflicts_with = "packages")]
    checks: bool,
    /// Keep every processor busy meanwhile
    #[arg(long)]
    load: bool,
}

/// Something to repeat.
struct Program {
    /// `05-engine check`, `marketsvc service`
    name: String,
    executable: PathBuf,
    folder: PathBuf,
    /// It prints a verdict with `--json`; otherwise it is a test of cargo's.
    check: bool,
}

/// What the runs of one program came to.
#[derive(Default)]
struct Tally {
    seconds: Vec<f64>,
    failed: usize,
    /// How often each test failed.
    names: BTreeMap<String, usize>,
    late: usize,
    kept: Vec<PathBuf>,
}

/// The runs that are left, and what came of the others.
struct Progress {
    left: VecDeque<usize>,
    tallies: Vec<Tally>,
    done: usize,
}

impl Progress {
    /// The program to run now; one that never ends is left out.
    fn next(&mut self) -> Option<usize> {
        loop {
            let index = self.left.pop_front()?;
            if self.tallies[index].late < PATIENCE {
                return Some(index);
            }
        }
    }
}

/// Repeats the checks of `steps` on their solutions and the tests of the service
/// and of the harness, or what the command line asks for instead.
pub fn prove(
    tree: &Tree,
    sandbox: &Sandbox,
    steps: &[Step],
    settings: &Settings,
    report: &mut Report,
) -> Env<()> {
    let started = Instant::now();
    let tested: Vec<&str> = match settings.packages.as_slice() {
        _ if settings.checks || settings.step.is_some() => Vec::new(),
        [] => TESTED
            .into_iter()
            .filter(|package| sandbox.packages.contains(*package))
            .collect(),
        packages => packages.iter().map(String::as_str).collect(),
    };
    let steps = if settings.packages.is_empty() {
        steps
    } else {
        &[]
    };
    let programs = build(sandbox, steps, &tested, report)?;
    if programs.is_empty() {
        return match steps {
            [] => Err(Environment("there is nothing to repeat".into())),
            // Reported: none compiles.
            _ => Ok(()),
        };
    }
    let home = sandbox.home().join("flaky");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    // Where databases and the like of all runs go, so that what they leave is seen.
    let scratch = std::env::temp_dir().join(format!("marketsvc-flaky-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let times = settings.times.get();
    println!(
        "built {} programs in {:.1} s; each runs {times} times, {} at once{}, {} s at most",
        programs.len(),
        started.elapsed().as_secs_f64(),
        settings.jobs,
        if settings.load { " under load" } else { "" },
        RUN_LIMIT.as_secs(),
    );

    let mark = format!("{}-{}", std::process::id(), nanoseconds());
    let run = Run {
        sandbox,
        programs: &programs,
        mark: &mark,
        scratch: &scratch,
        home: &home,
        started: Instant::now(),
        total: times * programs.len(),
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let busy = settings
        .load
        .then(|| process::keep_busy(cores))
        .transpose()?;
    let tallies = run.repeat(times, settings.jobs.get());
    drop(busy);

    for (program, tally) in programs.iter().zip(&tallies) {
        report.item(
            &format!("{}: {}", program.name, tally.durations()),
            run.started,
            tally.outcome(&tree.root),
        );
    }
    let setting = format!("{MARK}={mark}");
    report.prove("no process is left", || {
        all_of(&process::end_traced(&Trace {
            setting: &setting,
            programs: &sandbox.build,
        }))
    });
    report.prove("no file is left", || {
        all_of(&entries(&scratch).map_err(|error| error.to_string())?)
    });
    fs::remove_dir_all(&scratch)?;
    println!(
        "{} runs in {:.0} s",
        tallies
            .iter()
            .map(|tally| tally.seconds.len())
            .sum::<usize>(),
        run.started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Builds what is to be repeated; what does not compile is a failure.
fn build(
    sandbox: &Sandbox,
    steps: &[Step],
    packages: &[&str],
    report: &mut Report,
) -> Env<Vec<Program>> {
    let sides: Vec<(&Step, Side)> = steps.iter().map(|step| (step, Side::Solution)).collect();
    let compiled = if sides.is_empty() {
        BTreeMap::new()
    } else {
        cargo::build_checks(sandbox, &sides)?
    };
    let mut programs = Vec::new();
    for step in steps {
        let side = step.crate_dir(Side::Solution);
        match compiled[&side].check() {
            Err(failure) => report.prove(&format!("{} check", step.slug), || Err(failure)),
            Ok(check) => programs.push(Program {
                name: format!("{} check", step.slug),
                executable: check.to_owned(),
                folder: sandbox.tree.join(side),
                check: true,
            }),
        }
    }
    if !packages.is_empty() {
        for test in cargo::build_tests(sandbox, packages)? {
            let package = test.folder.file_name().unwrap_or_default();
            programs.push(Program {
                name: format!("{} {}", package.to_string_lossy(), test.name),
                executable: test.executable,
                folder: test.folder,
                check: false,
            });
        }
    }
    Ok(programs)
}

/// One `verify flaky`.
struct Run<'a> {
    sandbox: &'a Sandbox,
    programs: &'a [Program],
    mark: &'a str,
    scratch: &'a Path,
    home: &'a Path,
    started: Instant,
    total: usize,
}

impl Run<'_> {
    /// Runs each program `times` times, in turns, so that an early end has seen
    /// all of them.
    fn repeat(&self, times: usize, jobs: usize) -> Vec<Tally> {
        let progress = Mutex::new(Progress {
            left: (0..times).flat_map(|_| 0..self.programs.len()).collect(),
            tallies: self.programs.iter().map(|_| Tally::default()).collect(),
            done: 0,
        });
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        // Not in the condition of a `while`, which would keep it locked.
                        let next = lock(&progress).next();
                        let Some(index) = next else { return };
                        self.run_one(index, &progress);
                    }
                });
            }
        });
        progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .tallies
    }

    fn run_one(&self, index: usize, progress: &Mutex<Progress>) {
        let program = &self.programs[index];
        let mut command = cargo::test_command(self.sandbox, &program.executable, &program.folder);
        command.env(MARK, self.mark).env("TMPDIR", self.scratch);
        if program.check {
            command.arg("--json");
        }
        let begun = Instant::now();
        let finished = process::run(&mut command, RUN_LIMIT, false);
        let seconds = begun.elapsed().as_secs_f64();
        let (failures, printed, late) = match &finished {
            Err(error) => (vec![error.to_string()], String::new(), false),
            Ok(finished) => (
                failures(program, finished),
                format!("{}{}", finished.stdout, finished.stderr),
                finished.status.is_none(),
            ),
        };

        let mut progress = lock(progress);
        progress.done += 1;
        let tally = &mut progress.tallies[index];
        tally.seconds.push(seconds);
        tally.late += usize::from(late);
        if !failures.is_empty() {
            tally.failed += 1;
            if tally.kept.len() < KEPT {
                let file = format!("{}-{}.txt", program.name, tally.seconds.len());
                let file = self.home.join(file.replace(' ', "-"));
                let text = format!("{}\n\n{printed}", failures.join("\n"));
                if fs::write(&file, text).is_ok() {
                    tally.kept.push(file);
                }
            }
            for name in failures {
                *tally.names.entry(name).or_default() += 1;
            }
        }
        let step = (self.total / 10).max(1);
        if progress.done.is_multiple_of(step) {
            println!(
                "  {} of {} runs, {} failed, {:.0} s",
                progress.done,
                self.total,
                progress
                    .tallies
                    .iter()
                    .map(|tally| tally.failed)
                    .sum::<usize>(),
                self.started.elapsed().as_secs_f64()
            );
        }
    }
}

/// A line for each thing that failed in a run.
fn failures(program: &Program, finished: &Finished) -> Vec<String> {
    let Some(status) = finished.status else {
        return vec![format!("no end within {} s", RUN_LIMIT.as_secs())];
    };
    let mut failures = Vec::new();
    if program.check {
        match cargo::read_verdict(finished) {
            Ok(verdict) => {
                let failed = verdict.checks.iter().filter(|check| check.failed());
                failures.extend(failed.map(|check| format!("{}  {}", check.todo, check.name)));
            }
            Err(failure) => {
                failures.push(failure.lines().next().unwrap_or_default().to_owned());
            }
        }
    } else if !status.success() {
        failures = failed_tests(&finished.stdout);
        if failures.is_empty() {
            failures.push(status.to_string());
        }
    }
    if !finished.left.is_empty() {
        failures.push("it left processes running".into());
    }
    failures
}

/// Names of the failed tests in what cargo's harness printed, or in a report of
/// a suite: `test a::b ... FAILED`, `FAILED  05.1  the limit holds`.
fn failed_tests(printed: &str) -> Vec<String> {
    printed
        .lines()
        .filter_map(|line| {
            line.strip_prefix("test ")
                .and_then(|rest| rest.strip_suffix(" ... FAILED"))
                .or_else(|| line.strip_prefix("FAILED  "))
        })
        .map(str::to_owned)
        .collect()
}

impl Tally {
    /// How many runs there were and how long they took.
    fn durations(&self) -> String {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
        let worst = seconds.last().copied().unwrap_or_default();
        format!(
            "{} runs, median {median:.1} s, worst {worst:.1} s",
            seconds.len()
        )
    }

    fn outcome(&self, root: &Path) -> Outcome {
        if self.failed == 0 {
            return Ok(());
        }
        let mut lines = vec![format!(
            "{} of {} runs failed",
            self.failed,
            self.seconds.len()
        )];
        if self.late >= PATIENCE {
            lines.push(format!("it was given up: {} runs did not end", self.late));
        }
        lines.extend(
            self.names
                .iter()
                .map(|(name, count)| format!("  {count} times  {name}")),
        );
        lines.extend(self.kept.iter().map(|file| {
            let file = file.strip_prefix(root).unwrap_or(file);
            format!("  output   {}", file.display())
        }));
        Err(lines.join("\n"))
    }
}

/// Names of what is in `folder`.
fn entries(folder: &Path) -> std::io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path().display().to_string()))
        .collect()
}

/// Tells this run from others that had the same process id.
fn nanoseconds() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_named() {
        let printed = "\
running 2 tests
test answers::one ... ok
test answers::two ... FAILED
FAILED  database  the sample
  test x ... FAILED
";
        assert_eq!(
            failed_tests(printed),
            ["answers::two", "database  the sample"]
        );
    }
}
