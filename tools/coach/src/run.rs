//! `run`, `seed` and `bench`: programs that take the coach's place.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::ask::quoted;
use crate::cargo::{self, Built, Wanted};
use crate::project::{Project, chosen};
use crate::trouble::Trouble;

/// Builds and starts the finished service with these arguments; or, where the first
/// is a step, one of its programs.
pub fn run(
    project: &Project,
    release: bool,
    solution: bool,
    mut words: Vec<String>,
) -> Result<ExitCode, Trouble> {
    if words.first().is_some_and(|word| !word.starts_with('-')) {
        let step = words.remove(0);
        return run_step(project, &step, release, solution, words);
    }
    if solution {
        return Err(Trouble::usage(
            "--solution needs a step: ./run.sh run 05 --solution",
        ));
    }
    let program = cargo::build_tools(project, &["marketsvc"], release)?;
    hand_over(Command::new(program).args(words).current_dir(&project.root))
}

fn run_step(
    project: &Project,
    step: &str,
    release: bool,
    mut solution: bool,
    mut words: Vec<String>,
) -> Result<ExitCode, Trouble> {
    let (step, side) = project.resolve(step)?;
    // Behind `--` nothing is ours.
    let end = words.iter().position(|word| word == "--");
    let (mut ours, theirs) = match end {
        Some(end) => (words.drain(..end).collect(), words.split_off(1)),
        None => (words, Vec::new()),
    };
    solution |= ours.iter().any(|word| word == "--solution");
    ours.retain(|word: &String| word != "--solution");
    ours.extend(theirs);
    let side = chosen(solution, side);
    if release {
        return Err(Trouble::usage(
            "--release is for the finished service: ./run.sh run --release",
        ));
    }
    let folder = step.crate_folder(side);
    let examples = cargo::examples(&folder);
    let example = ours.first().filter(|word| examples.contains(word)).cloned();
    let wanted = match &example {
        Some(name) => {
            ours.remove(0);
            Wanted::Example(name)
        }
        None => Wanted::Bin,
    };
    // A step's service has no flags and would not look at any. A step without a
    // service has programs, whose names its own binary knows.
    if let (Wanted::Bin, Some(word)) = (&wanted, ours.first())
        && step.folder.join("solution/src/server.rs").is_file()
    {
        let label = step.label();
        let programs = if examples.is_empty() {
            String::new()
        } else {
            format!(" or the name of an example ({})", examples.join(", "))
        };
        return Err(Trouble::usage(format!(
            "run {label} takes only --solution{programs}, not {};\nthe address is \
             MARKETSVC_ADDR, the database DATABASE_URL: \
             MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run {label}",
            quoted(word)
        )));
    }
    match cargo::build(project, &step, side, &wanted)? {
        Built::Program { program, .. } => {
            hand_over(Command::new(program).args(ours).current_dir(&project.root))
        }
        Built::Broken(errors) => {
            cargo::show_errors(&errors, true);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Adds rows with the service's own program.
pub fn seed(project: &Project, release: bool, words: &[String]) -> Result<ExitCode, Trouble> {
    let program = cargo::build_tools(project, &["marketsvc"], release)?;
    let mut command = Command::new(program);
    hand_over(command.arg("seed").args(words).current_dir(&project.root))
}

/// Measures; what takes part as a program of its own lies beside the bench.
pub fn bench(project: &Project, words: &[String]) -> Result<ExitCode, Trouble> {
    let programs = [
        "bench",
        "marketsvc",
        "step12-solution",
        "bench-hello",
        "bench-axum-rusqlite",
    ];
    let program = cargo::build_tools(project, &programs, true)?;
    hand_over(Command::new(program).args(words))
}

/// The program takes this process's place: Ctrl-C and kill reach it directly, its
/// exit code is ours, and nothing can be left behind. Without such a call the system
/// has to do with a child.
fn hand_over(command: &mut Command) -> Result<ExitCode, Trouble> {
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(ExitCode::from(code.unwrap_or(1)));
        }
        Err(error) => error,
    };
    let program = Path::new(command.get_program()).display();
    Err(Trouble::environment(format!("{program}: {error}")))
}
