//! `run`, `seed`, `bench` and `book`: programs that take the coach's place.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use crate::ask::quoted;
use crate::cargo::{self, Wanted};
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
    if words.first().is_none_or(|word| word.starts_with('-')) {
        if solution {
            return Err(Trouble::usage(
                "--solution needs a step: ./run.sh run 05 --solution",
            ));
        }
        let program = build_service(project, &["marketsvc"], release, &words)?;
        return hand_over(Command::new(program).args(words).current_dir(&project.root));
    }
    if release {
        return Err(Trouble::usage(
            "--release is for the finished service: ./run.sh run --release",
        ));
    }
    let (step, side) = project.resolve(&words.remove(0))?;
    let side = chosen(solution || words.iter().any(|it| it == "--solution"), side);
    words.retain(|word| word != "--solution");
    let examples = course::programs(&step.crate_folder(side).join("examples"));
    let named = words.first().is_some_and(|word| examples.contains(word));
    let example = named.then(|| words.remove(0));
    let wanted = example.as_deref().map_or(Wanted::Bin, Wanted::Example);
    // Until it has `config.rs`, a step's service has no flags and would not look at any. A
    // step without a service has programs, whose names its own binary knows.
    let has = |file| step.folder.join("solution/src").join(file).is_file();
    if let (Wanted::Bin, Some(word)) = (&wanted, words.first())
        && (has("server.rs") || has("app.rs"))
        && !has("config.rs")
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
    match cargo::program(project, &step, side, &wanted)? {
        Some(program) => hand_over(Command::new(program).args(words).current_dir(&project.root)),
        None => Ok(ExitCode::FAILURE),
    }
}

/// Adds rows with the service's program for that.
pub fn seed(project: &Project, release: bool, words: &[String]) -> Result<ExitCode, Trouble> {
    let program = build_service(project, &["marketsvc-seed"], release, words)?;
    hand_over(Command::new(program).args(words).current_dir(&project.root))
}

/// Measures; what takes part as a program of its own lies beside the bench.
pub fn bench(project: &Project, words: &[String]) -> Result<ExitCode, Trouble> {
    let programs = [
        "bench",
        "marketsvc",
        "marketsvc-seed",
        "step12-solution",
        "step14-solution",
        "bench-hello",
        "bench-axum-rusqlite",
    ];
    let program = build_service(project, &programs, true, words)?;
    hand_over(Command::new(program).args(words))
}

/// Builds the program that builds the book, and starts it.
pub fn book(project: &Project, words: Vec<String>) -> Result<ExitCode, Trouble> {
    let program = cargo::build_tools(project, &["book"], None, false)?;
    hand_over(Command::new(program).args(words).current_dir(&project.root))
}

/// Builds programs of the service, or with it. The driver for PostgreSQL is compiled only
/// where that is the database: by `DATABASE_URL`, or by the arguments of the program.
fn build_service(
    project: &Project,
    bins: &[&str],
    release: bool,
    words: &[String],
) -> Result<PathBuf, Trouble> {
    let is_postgres = |url: &str| url.starts_with("postgres:") || url.starts_with("postgresql:");
    let by_word =
        |word: &String| word == "--postgres" || is_postgres(word.trim_start_matches("--database="));
    let wanted = env::var("DATABASE_URL").is_ok_and(|url| is_postgres(&url));
    let feature = (wanted || words.iter().any(by_word)).then_some("marketsvc/postgres");
    cargo::build_tools(project, bins, feature, release)
}

/// The program takes this process's place: Ctrl-C and kill reach it directly, its
/// exit code is ours, and nothing can be left behind. Without such a call the system
/// has to do with a child.
fn hand_over(command: &mut Command) -> Result<ExitCode, Trouble> {
    #[cfg(unix)]
    let result = Err(std::os::unix::process::CommandExt::exec(command));
    #[cfg(not(unix))]
    let result = command.status();
    result
        .map(exit_code)
        .map_err(Trouble::at(command.get_program()))
}

/// A program's exit code as ours. Killed by a signal it has none of its own.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
