//! The learner's helper, behind `./run.sh` and `cargo coach`.
//!
//! Reading order: [`project`] finds the steps, [`check`] builds and runs a
//! step's checks, [`diff`] shows the way from exercise to solution, [`list`]
//! the steps. The coach knows cargo and folders, never what a step teaches.
//!
//! Exit codes: 0 passed, 1 a check failed or the learner's code does not
//! compile, 2 wrong usage, 3 the environment is at fault.

mod check;
mod diff;
mod list;
mod project;
mod screen;
mod trouble;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use project::Project;
use trouble::Trouble;

#[derive(Parser)]
#[command(
    name = "coach",
    bin_name = "./run.sh",
    about = "Helps with the steps: lists them, checks them, shows the way to the solution",
    after_help = "Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 the environment is at fault."
)]
struct Arguments {
    /// The project's folder; without it, the current folder or one above it.
    #[arg(long, hide = true, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The steps: number, title, minutes, goal
    #[command(after_help = "Example:\n  ./run.sh list")]
    List,
    /// Check a step: builds it, runs its checks, shows the first failure in full
    #[command(
        after_help = "Examples:\n  ./run.sh check 05             your exercise\n  ./run.sh check 05 --solution  ours\n  ./run.sh check 05 05.2        only the checks whose task or name contains 05.2\n  ./run.sh check 05 --json      one JSON object on stdout\n\nIn a step's folder the number can be left out."
    )]
    Check {
        /// 5, 05, 05-engine or steps/05-engine/exercise
        step: Option<String>,
        /// Run only the checks whose task or name contains this
        filter: Option<String>,
        /// Check the solution instead of the exercise
        #[arg(long)]
        solution: bool,
        /// One JSON object on stdout instead of text
        #[arg(long)]
        json: bool,
    },
    /// A patch from your exercise to the solution, or from one solution to another
    #[command(
        after_help = "Examples:\n  ./run.sh diff 05                what is left to do, one hunk for each task\n  ./run.sh diff 04 05             from the solution of 04 to that of 05\n  ./run.sh diff 05 | git apply    take over the solution"
    )]
    Diff {
        /// 5, 05, 05-engine or steps/05-engine
        step: String,
        /// Compare the two steps' solutions
        other: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(trouble.code)
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Trouble> {
    let project = Project::find(arguments.root)?;
    match arguments.verb {
        Verb::List => list::list(&project)?,
        Verb::Check {
            step,
            filter,
            solution,
            json,
        } => {
            return check::check(
                &project,
                &check::Request {
                    step,
                    filter,
                    solution,
                    json,
                },
            );
        }
        Verb::Diff { step, other } => diff::diff(&project, &step, other.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}
