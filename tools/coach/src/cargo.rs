//! Cargo: building a step's programs, and those of the service and the tools.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use course::{Side, Step};

use crate::errors::{self, CodeError};
use crate::messages::{Message, listen};
use crate::project::Project;
use crate::prune;
use crate::screen;
use crate::trouble::Trouble;

/// What to do about a file that sqlx cannot read.
pub const ENV_FILE_ADVICE: &str = "write each of its lines as NAME=\"value\" or NAME=value \
    without blanks, or move the project to a folder that is not below it";

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
    },
    /// The step's code does not compile. The errors are not shown yet.
    Broken(Vec<CodeError>),
}

/// Builds one of the step's programs. Warnings go to stderr as cargo shows them;
/// errors in the step's code are left to the caller.
pub fn build(
    project: &Project,
    step: &Step,
    side: Side,
    wanted: &Wanted<'_>,
) -> Result<Built, Trouble> {
    let package = step.package(side);
    // The kind tells the program asked for from others that cargo builds for it.
    let (arguments, kind, name): (&[&str], _, _) = match wanted {
        Wanted::Check => (&["test", "--no-run", "--test", "check"], "test", "check"),
        Wanted::Bin => (&["build", "--bin", &package], "bin", &*package),
        Wanted::Example(name) => (&["build", "--example", name], "example", *name),
    };
    let mut command = cargo(project);
    command
        .args(arguments)
        .arg(if screen::coloured(&io::stderr()) {
            "--message-format=json-diagnostic-rendered-ansi"
        } else {
            "--message-format=json"
        });
    if matches!(wanted, Wanted::Check) {
        for test in course::test_programs(&step.crate_folder(side)) {
            command.args(["--test", &test]);
        }
    }
    // All packages but the other steps, although only one has a target of that name:
    // the dependencies' features are then those of a build of the whole workspace, and
    // nothing is built a second time.
    command.arg("--workspace");
    for other in project.steps()? {
        for side in [Side::Exercise, Side::Solution] {
            let is_there = other.crate_folder(side).join("Cargo.toml").is_file();
            if is_there && other.package(side) != package {
                command.args(["--exclude", &other.package(side)]);
            }
        }
    }
    let manifest = Path::new(&step.crate_dir(side)).join("Cargo.toml");
    let mut program = None;
    let mut tests = BTreeMap::new();
    let mut errors = Vec::new();
    let mut warnings = String::new();
    let mut env_file = None;
    let success = messages(&mut command, |message| {
        let ours = message
            .manifest_path
            .is_some_and(|it| it.ends_with(&manifest));
        if let Some(diagnostic) = message.diagnostic {
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
        } else if let (Some(target), Some(built)) = (message.target, message.executable)
            && ours
            && target.kind.iter().any(|it| it == kind)
        {
            if target.name == name {
                program = Some(built);
            } else {
                tests.insert(course::test_variable(&target.name), built);
            }
        }
    })?;
    match program {
        Some(program) if success => {
            eprint!("{warnings}");
            if let Some(debug) = program.parent().and_then(Path::parent) {
                prune::prune(debug, &program, &tests);
            }
            Ok(Built::Program { program, tests })
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

/// Builds one of the step's programs; `None` if it does not compile, which is shown.
pub fn program(
    project: &Project,
    step: &Step,
    side: Side,
    wanted: &Wanted<'_>,
) -> Result<Option<PathBuf>, Trouble> {
    match build(project, step, side, wanted)? {
        Built::Program { program, .. } => Ok(Some(program)),
        Built::Broken(errors) => {
            errors::render(&errors, true);
            Ok(None)
        }
    }
}

/// Builds programs of the service and the tools, and returns the path of the
/// first. `--workspace --bin` resolves the dependencies' features for the workspace
/// as a whole, so that nothing is built a second time.
pub fn build_tools(
    project: &Project,
    bins: &[&str],
    feature: Option<&str>,
    release: bool,
) -> Result<PathBuf, Trouble> {
    let mut command = cargo(project);
    command.args([
        "build",
        "--workspace",
        "--message-format=json-render-diagnostics",
    ]);
    for bin in bins {
        command.args(["--bin", bin]);
    }
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    if release {
        command.arg("--release");
    }
    let mut program = None;
    let success = messages(&mut command, |message| {
        if message.target.is_some_and(|it| it.name == bins[0]) && message.executable.is_some() {
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
        .map_err(no_cargo)?;
    let stderr = child.stderr.take();
    let heard = thread::spawn(|| stderr.map(listen));
    let stdout = child.stdout.take().into_iter();
    for line in stdout.flat_map(|it| BufReader::new(it).lines()) {
        // Cargo may pass on lines of other programs: not for us.
        if let Ok(message) = serde_json::from_str(&line.map_err(no_cargo)?) {
            hear(message);
        }
    }
    let status = child.wait().map_err(no_cargo)?;
    // All that cargo says comes before what we say.
    let _ = heard.join();
    Ok(status.success())
}

/// Cargo in the project's folder. Under `cargo coach` it is the cargo that
/// started us.
pub fn cargo(project: &Project) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&project.root).stdin(Stdio::null());
    command
}

pub fn no_cargo(error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::NotFound {
        Trouble::environment(
            "cargo was not found: install Rust from https://rustup.rs, open a new terminal and try again",
        )
    } else {
        Trouble::at("cargo")(error)
    }
}
