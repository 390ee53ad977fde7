//! Measures how long a learner waits from saving a file to the verdict, and how
//! big the build directory has become.
//!
//! Each step's exercise is solved in the copy. Then, again and again, a comment
//! is put at the beginning of its first task, as if somebody had edited there,
//! and `./run.sh check` runs as it does for a learner. Figures depend on the
//! machine and on what else it does, so none of them is a failure; those above
//! what we aim at are flagged.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use course::{Side, Step};
use serde::Serialize;

use crate::process::{self, Finished};
use crate::report::{Report, Totals};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Environment};

/// Seconds that half of the edits should not exceed, on two cores that do
/// nothing else.
const AIM_MEDIAN: f64 = 3.0;

/// Seconds that no edit should exceed.
const AIM_WORST: f64 = 6.0;

/// Megabytes that the build directory should not exceed when every step has
/// been checked.
const AIM_MEGABYTES: u64 = 1200;

/// A first build of everything, on a small machine that is busy.
const LIMIT: Duration = Duration::from_mins(30);

/// What the command line asks for.
#[derive(Args)]
pub struct Settings {
    /// One step only: 5, 05 or 05-engine
    pub step: Option<String>,
    /// How often each step is edited
    #[arg(long, value_name = "N", default_value = "5")]
    times: NonZero<usize>,
    /// One JSON object on stdout instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What was measured of one step, in seconds.
#[derive(Serialize)]
struct Measured {
    step: String,
    /// Median of what compiling and linking take: the total without `checks`.
    build: f64,
    /// Median of the verb when nothing has changed: looking for changes, and
    /// the checks.
    checks: f64,
    /// Median from the edit to the verdict.
    median: f64,
    /// The slowest edit.
    worst: f64,
    /// Each edit, in the order in which they were made.
    edits: Vec<f64>,
    /// What followed each edit: the verb when nothing has changed.
    unchanged: Vec<f64>,
}

/// The object of `--json`.
#[derive(Serialize)]
struct Figures {
    times: usize,
    cores: usize,
    steps: Vec<Measured>,
    /// Folder of the build directory to its size in bytes; `all` is the sum.
    target_bytes: BTreeMap<String, u64>,
}

/// Measures `steps` and prints the figures. A step whose checks do not pass is a
/// failure and has none.
pub fn prove(tree: &Tree, sandbox: &Sandbox, steps: &[Step], settings: &Settings) -> Env<Totals> {
    let mut report = (!settings.json).then(|| Report::new("speed"));
    let mut totals = Totals::default();
    let mut figures = Figures {
        times: settings.times.get(),
        cores: std::thread::available_parallelism().map_or(1, NonZero::get),
        steps: Vec::new(),
        target_bytes: BTreeMap::new(),
    };
    for step in steps {
        let started = Instant::now();
        let measured = measure(tree, sandbox, step, settings.times.get());
        sandbox.unsolve(step).map_err(Environment)?;
        let outcome = measured.map(|measured| figures.steps.push(measured));
        if let Some(report) = &mut report {
            let what = format!("{} edited {} times", step.slug, settings.times);
            report.item(&what, started, outcome);
        } else if let Err(failure) = outcome {
            totals.failed += 1;
            eprintln!("{}: {failure}", step.slug);
        } else {
            totals.passed += 1;
        }
    }
    figures.target_bytes = sizes(&sandbox.build)?;
    if let Some(report) = report {
        print!("\n{}", figures.table());
        return Ok(report.finish());
    }
    let text = serde_json::to_string(&figures);
    println!("{}", text.map_err(|error| Environment(error.to_string()))?);
    Ok(totals)
}

fn measure(tree: &Tree, sandbox: &Sandbox, step: &Step, times: usize) -> Result<Measured, String> {
    sandbox.solve(step)?;
    let file = first_task(tree, step)?;
    let file = sandbox.tree.join(file);
    let original = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    // Builds what nobody waits for at each edit.
    check(sandbox, step)?;
    let mut edits = Vec::new();
    let mut unchanged = Vec::new();
    for edit in 1..=times {
        fs::write(&file, edited(&original, edit)).map_err(|error| error.to_string())?;
        edits.push(check(sandbox, step)?);
        unchanged.push(check(sandbox, step)?);
    }
    let median_of_edits = median(&edits);
    let checks = median(&unchanged);
    Ok(Measured {
        step: step.slug.clone(),
        build: (median_of_edits - checks).max(0.0),
        checks,
        median: median_of_edits,
        worst: edits.iter().copied().fold(0.0, f64::max),
        edits,
        unchanged,
    })
}

/// Runs the verb; gives its seconds when all checks pass.
fn check(sandbox: &Sandbox, step: &Step) -> Result<f64, String> {
    let mut command = sandbox.command("./run.sh");
    command.args(["check", step.label()]);
    let Finished {
        status,
        stdout,
        stderr,
        took,
        ..
    } = process::run(&mut command, LIMIT, false).map_err(|error| error.to_string())?;
    if status.is_some_and(|status| status.success()) {
        return Ok(took.as_secs_f64());
    }
    Err(format!(
        "./run.sh check {} of the solved exercise does not pass:\n{stdout}{stderr}",
        step.label()
    ))
}

/// The file of the exercise that holds the first task.
fn first_task(tree: &Tree, step: &Step) -> Result<String, String> {
    let folder = step.crate_dir(Side::Exercise);
    let mark = format!("TODO({}.1)", step.label());
    tree.below(&folder)
        .into_iter()
        .filter(|file| file.starts_with("src/"))
        .map(|file| format!("{folder}/{file}"))
        .find(|file| tree.read(file).is_ok_and(|text| text.contains(&mark)))
        .ok_or_else(|| format!("{folder}/src has no {mark}"))
}

/// The text with a comment below its first marker of a task: all that follows
/// is in another line than before, as it is after most edits.
fn edited(text: &str, edit: usize) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let marker = lines.iter().position(|line| line.contains("// TODO("));
    let comment = "    // An edit.\n".repeat(edit);
    lines.insert(marker.map_or(0, |line| line + 1), comment.trim_end());
    lines.join("\n") + "\n"
}

/// The middle one of `values`, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// The bytes of the files in each folder of a build directory's profiles, such
/// as `debug/deps`. A file with several names counts once.
fn sizes(build: &Path) -> std::io::Result<BTreeMap<String, u64>> {
    use std::os::unix::fs::MetadataExt;

    let mut seen = std::collections::HashSet::new();
    let mut bytes = BTreeMap::from([("all".to_owned(), 0)]);
    let mut folders = vec![build.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if seen.insert((metadata.dev(), metadata.ino())) {
                let inner = folder.strip_prefix(build).unwrap_or(&folder);
                let name: Vec<_> = inner.iter().take(2).map(|p| p.to_string_lossy()).collect();
                for name in [name.join("/"), "all".to_owned()] {
                    *bytes.entry(name).or_default() += metadata.len();
                }
            }
        }
    }
    Ok(bytes)
}

impl Figures {
    fn table(&self) -> String {
        use std::fmt::Write as _;

        let width = self.steps.iter().map(|step| step.step.len()).max();
        let width = width.unwrap_or_default().max("step".len());
        let mut text = format!(
            "seconds from an edit to the verdict of `./run.sh check`, {} times, {} cores\n\n\
             {:width$}  build  checks  median  worst\n",
            self.times, self.cores, "step",
        );
        for step in &self.steps {
            let mut flags = Vec::new();
            if step.median > AIM_MEDIAN {
                flags.push(format!("median above {AIM_MEDIAN} s"));
            }
            if step.worst > AIM_WORST {
                flags.push(format!("worst above {AIM_WORST} s"));
            }
            let line = format!(
                "{:width$}  {:5.2}  {:6.2}  {:6.2}  {:5.2}  {}",
                step.step,
                step.build,
                step.checks,
                step.median,
                step.worst,
                flags.join(", "),
            );
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let megabytes = |name: &str| self.target_bytes.get(name).unwrap_or(&0) / 1_000_000;
        let all = megabytes("all");
        let _ = write!(text, "\nthe copy's build directory holds {all} MB");
        for folder in ["deps", "incremental", "build"] {
            let _ = write!(text, ", {folder} {}", megabytes(&format!("debug/{folder}")));
        }
        if all > AIM_MEGABYTES {
            let _ = write!(text, "  above {AIM_MEGABYTES} MB");
        }
        text + "\n\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 9.0], 3.0),
        ] {
            assert!((median(&values) - expected).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn every_edit_moves_the_code_of_the_first_task() {
        let text = "use a;\n// TODO(05.1): do it\nlet a = 1;\n// END TODO(05.1)\n";
        let first = edited(text, 1);
        assert_eq!(
            first,
            "use a;\n// TODO(05.1): do it\n    // An edit.\nlet a = 1;\n// END TODO(05.1)\n"
        );
        let place = |text: &str| text.lines().position(|line| line == "let a = 1;");
        assert_eq!(place(&edited(text, 2)), Some(4));
    }

    #[test]
    fn slow_steps_and_a_big_directory_are_flagged() {
        let step = |median: f64, worst: f64| Measured {
            step: "05-engine".into(),
            build: 1.0,
            checks: median - 1.0,
            median,
            worst,
            edits: vec![median],
            unchanged: vec![1.0],
        };
        let figures = |step: Measured, bytes: u64| Figures {
            times: 5,
            cores: 2,
            steps: vec![step],
            target_bytes: BTreeMap::from([("all".into(), bytes)]),
        };
        let fine = figures(step(2.9, 5.9), 1_200_000_000).table();
        assert!(!fine.contains("above"), "{fine}");
        assert!(
            fine.contains("05-engine   1.00    1.90    2.90   5.90\n"),
            "{fine}"
        );
        let slow = figures(step(3.1, 6.1), 1_201_000_000).table();
        for flag in [
            "median above 3 s, worst above 6 s",
            "1201 MB",
            "above 1200 MB",
        ] {
            assert!(slow.contains(flag), "no {flag:?} in\n{slow}");
        }
    }

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let deps = folder.path().join("debug/deps/deeper");
        fs::create_dir_all(&deps).expect("created");
        fs::write(deps.join("a"), "12345").expect("written");
        fs::hard_link(deps.join("a"), folder.path().join("debug/a")).expect("linked");
        fs::write(folder.path().join("debug/b"), "12").expect("written");
        let sizes = sizes(folder.path()).expect("sizes");
        assert_eq!(sizes["all"], 7);
        let parts: u64 = sizes.values().sum::<u64>() - sizes["all"];
        assert_eq!(parts, 7, "{sizes:?}");
    }
}
