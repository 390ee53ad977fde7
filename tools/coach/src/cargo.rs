//! Cargo: what there is to build, and building a step's programs.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::{env, fs};

use course::{Side, Step};
use serde::Deserialize;

use crate::messages::{CodeError, Message, Target, listen};
use crate::project::Project;
use crate::prune;
use crate::screen;
use crate::trouble::Trouble;

/// Which of a step's programs to build.
pub enum Wanted<'a> {
    Check,
    /// The one of `./run.sh run`.
    Bin,
    Example(&'a str),
}

pub enum Built {
    Program {
        program: PathBuf,
        /// With a check, the step's test programs that it runs, each with the
        /// variable of the environment that says where it is.
        tests: BTreeMap<String, PathBuf>,
        /// Cargo's target folder, where what is only for a moment may be put.
        target: PathBuf,
    },
    /// The step's code does not compile. The errors are not shown yet.
    Broken(Vec<CodeError>),
}

/// The part of `cargo metadata` that we read.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    pub target_directory: PathBuf,
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

/// Builds one of the step's programs. Warnings go to stderr as cargo shows them;
/// errors in the step's code are left to the caller.
pub fn build(
    project: &Project,
    step: &Step,
    side: Side,
    wanted: &Wanted<'_>,
) -> Result<Built, Trouble> {
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
    // The kind tells the program asked for from others that cargo builds for it.
    let (arguments, kind, name): (&[&str], _, _) = match wanted {
        Wanted::Check => (&["test", "--no-run", "--test", "check"], "test", "check"),
        Wanted::Bin => (&["build", "--bin", &package.name], "bin", &*package.name),
        Wanted::Example(name) => (&["build", "--example", name], "example", *name),
    };
    let mut command = cargo(project);
    command
        .args(arguments)
        .args(["-p", &package.name])
        .arg(if screen::coloured(&io::stderr()) {
            "--message-format=json-diagnostic-rendered-ansi"
        } else {
            "--message-format=json"
        });
    if matches!(wanted, Wanted::Check) {
        for test in course::test_programs(&folder) {
            command.args(["--test", &test]);
        }
    }
    // The packages that are no steps are selected too, although they have no
    // target of that name: the dependencies' features are then those of a build
    // of the whole workspace, and nothing is built a second time.
    let steps = project.root.join("steps");
    for package in &metadata.packages {
        if !package.is_below(&steps) {
            command.args(["-p", &package.name]);
        }
    }
    let mut program = None;
    let mut tests = BTreeMap::new();
    let mut errors = Vec::new();
    let mut warnings = String::new();
    let mut env_file = None;
    let success = messages(&mut command, |message| {
        let ours = message.package_id.as_deref() == Some(&package.id);
        match message.diagnostic {
            Some(diagnostic) if message.reason == "compiler-message" => {
                let rendered = diagnostic.rendered.as_deref().unwrap_or_default();
                if diagnostic.is_summary() {
                } else if let Some(file) = diagnostic.env_file() {
                    env_file = Some(file);
                } else if !diagnostic.level.starts_with("error") {
                    warnings.push_str(if ours { rendered } else { "" });
                // A program that is missing on the machine is no mistake in the code.
                } else if ours && !diagnostic.message.starts_with("linker `") {
                    errors.push(diagnostic.code_error(project, step));
                } else {
                    eprint!("{rendered}");
                }
            }
            _ => {
                let is_wanted = |target: &Target| target.kind.iter().any(|it| it == kind);
                if let (Some(target), Some(built)) = (message.target, message.executable)
                    && ours
                    && is_wanted(&target)
                {
                    if target.name == name {
                        program = Some(built);
                    } else {
                        tests.insert(course::test_variable(&target.name), built);
                    }
                }
            }
        }
    })?;
    match program {
        Some(program) if success => {
            eprint!("{warnings}");
            if let Some(debug) = program.parent().and_then(Path::parent) {
                prune::prune(debug, &program, &tests);
            }
            Ok(Built::Program {
                program,
                tests,
                target: metadata.target_directory,
            })
        }
        _ if env_file.is_some() => Err(Trouble::environment(format!(
            "sqlx reads every file called .env in the project's folder and in those above it, \
             and cannot read {}\n{ENV_FILE_ADVICE}",
            env_file.unwrap_or_default()
        ))),
        _ if !errors.is_empty() => Ok(Built::Broken(errors)),
        _ => Err(Trouble::environment(
            "the build failed, and not for the step's code: see cargo's message above \
             (a missing C compiler, no network for the first build, a changed Cargo.toml)",
        )),
    }
}

/// Builds programs of the service and the tools, and returns the path of the
/// first. `--workspace --bin` resolves the dependencies' features for the workspace
/// as a whole, so that nothing is built a second time.
pub fn build_tools(project: &Project, bins: &[&str], release: bool) -> Result<PathBuf, Trouble> {
    let mut command = cargo(project);
    command.args([
        "build",
        "--workspace",
        "--message-format=json-render-diagnostics",
    ]);
    for bin in bins {
        command.args(["--bin", bin]);
    }
    if release {
        command.arg("--release");
    }
    let mut program = None;
    let success = messages(&mut command, |message| {
        let is_first = |target: Target| bins.first() == Some(&&*target.name);
        if message.target.is_some_and(is_first) && message.executable.is_some() {
            program = message.executable;
        }
    })?;
    program.filter(|_| success).ok_or_else(|| {
        Trouble::environment(format!("{} could not be built: see above", bins.join(", ")))
    })
}

/// Runs a build whose messages come on stdout, and passes on what cargo says besides;
/// whether it succeeded. Not `--quiet`: cargo would then wait for another cargo without
/// a word.
fn messages(command: &mut Command, mut hear: impl FnMut(Message)) -> Result<bool, Trouble> {
    let mut child = command
        .args(["--color", "never"])
        .env("CARGO_TERM_QUIET", "false")
        .env("CARGO_TERM_VERBOSE", "false")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| no_cargo(&error))?;
    let stderr = child.stderr.take();
    let heard = thread::spawn(|| stderr.map(listen));
    let stdout = child.stdout.take().into_iter();
    for line in stdout.flat_map(|it| BufReader::new(it).lines()) {
        // Cargo may pass on lines of other programs: not for us.
        if let Ok(message) = serde_json::from_str(&line.map_err(|error| no_cargo(&error))?) {
            hear(message);
        }
    }
    let status = child.wait().map_err(|error| no_cargo(&error))?;
    // All that cargo says comes before what we say.
    let _ = heard.join();
    Ok(status.success())
}

/// What to do about a `.env` file that sqlx cannot read.
pub const ENV_FILE_ADVICE: &str = "write each of its lines as NAME=\"value\" or NAME=value without blanks, \
     or move the project to a folder that is not below it";

/// Shows errors of the compiler: all of them, or the first in full and how many
/// more there are.
pub fn show_errors(errors: &[CodeError], all: bool) {
    let shown = if all { errors.len() } else { 1 };
    for error in errors.iter().take(shown) {
        eprint!("{}", error.rendered);
    }
    match errors.len().saturating_sub(shown) {
        0 => {}
        1 => eprintln!("and 1 more error (--all shows it)"),
        more => eprintln!("and {more} more errors (--all shows them)"),
    }
}

pub fn examples(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("examples"));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

pub fn metadata(project: &Project) -> Result<Metadata, Trouble> {
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
pub fn cargo(project: &Project) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&project.root).stdin(Stdio::null());
    command
}

pub fn no_cargo(error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::NotFound {
        Trouble::environment(
            "cargo was not found: install Rust from https://rustup.rs, open a new terminal and try again",
        )
    } else {
        Trouble::environment(format!("cargo: {error}"))
    }
}
