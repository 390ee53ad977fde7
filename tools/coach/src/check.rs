//! `check`: builds a step's check program and runs it.
//!
//! Cargo builds, the check program judges; the coach passes on what both say
//! and tells apart whose fault a failure is.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::Deserialize;

use crate::project::{Project, Side, Step};
use crate::screen;
use crate::trouble::Trouble;

/// What the learner asked for.
pub struct Request {
    /// Without it, the step whose folder we are in.
    pub step: Option<String>,
    /// Only checks whose task or name contains this.
    pub filter: Option<String>,
    pub solution: bool,
    /// One JSON object on stdout. If the step does not compile it has no
    /// checks and a member `error` with the text "does not compile".
    pub json: bool,
}

/// Checks a step. The exit code is 0 if all checks passed and 1 if one failed
/// or the step does not compile.
///
/// # Errors
/// An unknown step (exit code 2); cargo is missing, or fails for another
/// reason than the step's code (exit code 3).
pub fn check(project: &Project, request: &Request) -> Result<ExitCode, Trouble> {
    let (step, side) = match &request.step {
        Some(text) => project.resolve(text)?,
        None => project.current()?,
    };
    let side = if request.solution {
        Side::Solution
    } else {
        side.unwrap_or(Side::Exercise)
    };
    let Some(program) = build(project, &step, side)? else {
        if request.json {
            let object = serde_json::json!({
                "step": step.slug,
                "passed": 0,
                "failed": 0,
                "checks": [],
                "error": "does not compile",
            });
            screen::print(&format!("{object}\n"));
        } else {
            eprintln!(
                "\n{}: the {side} does not compile; no check has run",
                step.slug
            );
        }
        return Ok(ExitCode::FAILURE);
    };
    let folder = step.crate_folder(side);
    if let Some(filter) = &request.filter {
        require_match(&program, &folder, filter, &step)?;
    }
    let passed = run(&program, &folder, request)?;
    if passed && !request.json && request.filter.is_none() && side == Side::Exercise {
        screen::print(&what_next(project, &step)?);
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A filter that selects no check would report "0 of 0 passed", which looks like
/// success.
fn require_match(program: &Path, folder: &Path, filter: &str, step: &Step) -> Result<(), Trouble> {
    let output = Command::new(program)
        .current_dir(folder)
        .stdin(Stdio::null())
        .args(["--list", filter])
        .output()
        .map_err(|error| Trouble::environment(format!("{}: {error}", program.display())))?;
    if output.stdout.is_empty() {
        return Err(Trouble::usage(format!(
            "no check of {} has \"{filter}\" in its task or its text; \
             ./run.sh check {:02} runs all",
            step.slug, step.number
        )));
    }
    Ok(())
}

/// Runs the check program with our stdout and stderr; true if all passed.
fn run(program: &Path, folder: &Path, request: &Request) -> Result<bool, Trouble> {
    let mut command = Command::new(program);
    // Where cargo would start it, so that relative paths mean the same.
    command.current_dir(folder).stdin(Stdio::null());
    if request.json {
        command.arg("--json");
    }
    command.args(&request.filter);
    let status = command
        .status()
        .map_err(|error| Trouble::environment(format!("{}: {error}", program.display())))?;
    if status.code().is_none() {
        eprintln!("the check program was ended from outside ({status})");
    }
    Ok(status.success())
}

fn what_next(project: &Project, step: &Step) -> Result<String, Trouble> {
    let next = project
        .steps()?
        .into_iter()
        .find(|other| other.number > step.number);
    Ok(match next {
        Some(next) => format!(
            "\nNext: {}\nCompare with our solution: ./run.sh diff {}\n",
            project.short(&next.chapter_file()).display(),
            step.label()
        ),
        None => format!(
            "\nThat was the last step.\nCompare with our solution: ./run.sh diff {}\n",
            step.label()
        ),
    })
}

// ---- cargo

/// The part of `cargo metadata` that we read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

impl Package {
    /// Whether the package is in this folder, whatever links lead to it.
    fn is_below(&self, folder: &Path) -> bool {
        match (self.manifest_path.canonicalize(), folder.canonicalize()) {
            (Ok(manifest), Ok(folder)) => manifest.starts_with(folder),
            _ => false,
        }
    }
}

/// A line of cargo's `--message-format=json`, with the members that we read.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    #[serde(rename = "message")]
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
}

/// Builds the step's check program and gives its path; `None` if the step's
/// code does not compile, which the learner has then been shown.
fn build(project: &Project, step: &Step, side: Side) -> Result<Option<PathBuf>, Trouble> {
    let metadata = metadata(project)?;
    let folder = step.crate_folder(side);
    let package = metadata
        .packages
        .iter()
        .find(|package| package.is_below(&folder))
        .ok_or_else(|| {
            Trouble::environment(format!(
                "{} is no package of the workspace",
                project.short(&folder).display()
            ))
        })?;
    let mut command = cargo(project);
    command
        .args(["test", "--no-run", "--test", "check", "-p", &package.name])
        .arg(if screen::coloured(&io::stderr()) {
            "--message-format=json-diagnostic-rendered-ansi"
        } else {
            "--message-format=json"
        });
    // The packages that are no steps are selected too, although they have no
    // test of that name: the dependencies' features are then those of a build
    // of the whole workspace, and nothing is built a second time.
    let steps = project.root.join("steps");
    for package in &metadata.packages {
        if !package.is_below(&steps) {
            command.args(["-p", &package.name]);
        }
    }
    if metadata.target_directory.join("debug/deps").is_dir() {
        command.arg("--quiet");
    } else {
        eprintln!("building; the first time takes a minute or two");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| no_cargo(&error))?;
    let mut program = None;
    let mut broken = BTreeSet::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| Trouble::environment(format!("cargo: {error}")))?;
            // Cargo may pass on lines of other programs: not for us.
            let Ok(message) = serde_json::from_str::<Message>(&line) else {
                continue;
            };
            let ours = message.package_id.as_deref() == Some(&package.id);
            match message.diagnostic {
                Some(diagnostic) if message.reason == "compiler-message" => {
                    if diagnostic.level.starts_with("error") && !is_linker_missing(&diagnostic) {
                        broken.insert(message.package_id.unwrap_or_default());
                    }
                    diagnostic.show(ours);
                }
                _ => {
                    let is_check = message.target.is_some_and(|target| {
                        target.name == "check" && target.kind.iter().any(|kind| kind == "test")
                    });
                    if ours && is_check && message.executable.is_some() {
                        program = message.executable;
                    }
                }
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| Trouble::environment(format!("cargo: {error}")))?;
    match program {
        Some(program) if status.success() => Ok(Some(program)),
        _ if broken.contains(&package.id) => Ok(None),
        _ => Err(Trouble::environment(
            "the build failed, and not for the step's code: see cargo's message above \
             (a missing C compiler, no network for the first build, a changed Cargo.toml)",
        )),
    }
}

impl Diagnostic {
    /// Shows it as cargo would. Warnings only of the step itself.
    fn show(&self, ours: bool) {
        let is_summary = self.message.starts_with("aborting due to")
            || (self.level == "warning" && self.message.ends_with("emitted"));
        let wanted = ours || self.level.starts_with("error");
        if let Some(rendered) = &self.rendered
            && wanted
            && !is_summary
        {
            eprint!("{rendered}");
        }
    }
}

/// A program that is missing on the machine is no mistake in the code.
fn is_linker_missing(diagnostic: &Diagnostic) -> bool {
    diagnostic.message.starts_with("linker `")
}

fn metadata(project: &Project) -> Result<Metadata, Trouble> {
    let output = cargo(project)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| no_cargo(&error))?;
    if !output.status.success() {
        return Err(Trouble::environment(
            "cargo cannot read the workspace: see its message above",
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Trouble::environment(format!("cargo metadata: {error}")))
}

/// Cargo in the project's folder. Under `cargo coach` it is the cargo that
/// started us.
fn cargo(project: &Project) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&project.root).stdin(Stdio::null());
    command
}

fn no_cargo(error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::NotFound {
        Trouble::environment(
            "cargo was not found: install Rust from https://rustup.rs, open a new terminal and try again",
        )
    } else {
        Trouble::environment(format!("cargo: {error}"))
    }
}
