//! The learner's helper, behind `./run.sh` and `cargo coach`.
//!
//! Reading order: [`project`] finds the steps, [`tasks`] what is to be done in
//! them, [`progress`] how far the learner is. [`check`] builds (with [`cargo`])
//! and runs a step's checks, [`watch`] does so after every save, [`hint`] helps
//! with a task, [`diff`] shows the way from exercise to solution, [`list`] and
//! [`checkout`] where one is. The coach knows cargo and folders, never what a
//! step teaches.
//!
//! Exit codes: 0 passed, 1 a check failed or the learner's code does not
//! compile, 2 wrong usage, 3 the environment is at fault.

mod backup;
mod cargo;
mod check;
mod checkout;
mod clean;
mod diff;
mod doctor;
mod hint;
mod last;
mod list;
mod machine;
mod markers;
mod prefetch;
mod project;
mod prose;
mod prune;
mod reset;
mod screen;
mod trace;
mod trouble;
mod watch;

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
    /// The steps: what is done, minutes, what each teaches
    #[command(after_help = "Examples:\n  ./run.sh list")]
    List,
    /// Make a step the current one and show where everything is
    #[command(
        after_help = "Examples:\n  ./run.sh checkout 05   work on step 05 from now on\n  ./run.sh checkout      show the page of the current step again\n\nThe other verbs then mean this step where no number is given. No file of yours is changed."
    )]
    Checkout {
        /// 5, 05, 05-engine or steps/05-engine
        step: Option<String>,
    },
    /// Check a step: builds it, runs its checks, shows the first failure in full
    #[command(
        after_help = "Examples:\n  ./run.sh check                the current step\n  ./run.sh check 05             your exercise\n  ./run.sh check 05 --solution  ours\n  ./run.sh check 05.2           only the checks of task 05.2\n  ./run.sh check 05 stream      only those whose name contains \"stream\"\n  ./run.sh check 05 --brief     the first failure alone, for a small terminal\n  ./run.sh check 05 --all       every error of the compiler, not only the first\n  ./run.sh check 05 --json      one JSON object on stdout (tools/coach/README.md)\n\nWithout a number it is the step whose folder you are in, else the current one (./run.sh checkout)."
    )]
    Check {
        /// 5, 05, 05-engine, steps/05-engine/exercise, or a task: 05.2
        step: Option<String>,
        /// Run only the checks whose name contains this
        filter: Option<String>,
        /// Check the solution instead of the exercise
        #[arg(long)]
        solution: bool,
        /// One JSON object on stdout instead of text
        #[arg(long)]
        json: bool,
        /// The first failure, and how many others; not their names
        #[arg(long)]
        brief: bool,
        /// Show every error of the compiler; without it, the first in full
        #[arg(long)]
        all: bool,
    },
    /// Check a step now and after every save, with keys for hint, diff and next step
    #[command(
        after_help = "Examples:\n  ./run.sh watch            the current step, at every save\n  ./run.sh watch 05\n  ./run.sh watch 05 --poll  where saves go unnoticed: network folders, /mnt/c under WSL\n\nKeys, in a terminal: h hint, d diff,\nn next step (once this one has passed), r run again, q quit, ? all keys.\n\nExit codes: 0 by q, 130 by Ctrl-C, 143 by kill, 129 if the terminal is closed."
    )]
    Watch {
        /// 5, 05, 05-engine or steps/05-engine
        step: Option<String>,
        /// Look at the files again and again instead of having the system tell of saves
        #[arg(long)]
        poll: bool,
        /// Show every error of the compiler; without it, the first in full
        #[arg(long)]
        all: bool,
    },
    /// Help with a task: a nudge, then a pointer, then nearly the answer
    #[command(
        after_help = "Examples:\n  ./run.sh hint            the task that failed first at the last check\n  ./run.sh hint more       the next level for it\n  ./run.sh hint 05.2       a certain task\n  ./run.sh hint 05.2 more\n\nWithout `more` it shows again the last hint that you have seen."
    )]
    Hint {
        /// A step (05) or a task (05.2); without it, the current step
        target: Option<String>,
        /// The next level
        #[arg(value_parser = ["more"])]
        more: Option<String>,
    },
    /// A patch from your exercise to the solution, or from one solution to another
    #[command(
        after_help = "Examples:\n  ./run.sh diff 05                what is left to do, one hunk for each task\n  ./run.sh diff                   the same for the current step\n  ./run.sh diff 05 --stat         how much that is, for each file and task\n  ./run.sh diff 04 05             from the solution of 04 to that of 05\n  ./run.sh diff 05 | git apply    take over the solution"
    )]
    Diff {
        /// 5, 05, 05-engine or steps/05-engine; without it, the current step
        step: Option<String>,
        /// Compare the two steps' solutions
        other: Option<String>,
        /// Only how many lines are added and removed, per file and task
        #[arg(long)]
        stat: bool,
    },
    /// Put a step's exercise back as it was published; yours is saved first
    #[command(
        after_help = "Examples:\n  ./run.sh reset 05\n\nThe whole exercise is saved in backups/ first, and the command that undoes it is\nprinted. Files that only you have stay."
    )]
    Reset {
        /// 5, 05, 05-engine or steps/05-engine
        step: String,
    },
    /// Put the solution in place of your exercise, which is saved first
    #[command(
        after_help = "Examples:\n  ./run.sh solve 05\n\nThe whole exercise is saved in backups/ first, and the command that undoes it is\nprinted. Files that only you have stay, your own tests among them."
    )]
    Solve {
        /// 5, 05, 05-engine or steps/05-engine
        step: String,
    },
    /// Bring back what reset, solve or restore saved; without a name, list what there is
    #[command(
        after_help = "Examples:\n  ./run.sh restore\n  ./run.sh restore 2026-11-21_225500-05-engine\n\nThe exercise is then as it was; what it is now is saved first. Times are UTC."
    )]
    Restore {
        /// The backup's name
        name: Option<String>,
        /// The step, if its folder is called otherwise by now
        #[arg(long, value_name = "STEP")]
        to: Option<String>,
    },
    /// Run a step's program and draw what ran when
    #[command(
        after_help = "Examples:\n  ./run.sh trace 01 tasks                 a program of step 01, as you have written it\n  ./run.sh trace 01 tasks --solution      ours\n  ./run.sh trace 04                       the queries of a request, and their connections\n  ./run.sh trace 01 tasks --svg mine.svg  the picture in a file of that name\n\nThe picture goes to target/trace/ where no file is named. Steps 01, 04, 05 and 07 have programs to trace."
    )]
    Trace {
        /// 4, 04, 04-orders-total or steps/04-orders-total
        step: String,
        /// A program of the step; without it, the usual one
        program: Option<String>,
        /// Our solution instead of the exercise
        #[arg(long)]
        solution: bool,
        /// Where to put the picture
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Look at this machine: what is missing, and what to do about it
    #[command(
        after_help = "Examples:\n  ./run.sh doctor\n  MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh doctor\n\nEnds with 3 if something has to be fixed."
    )]
    Doctor,
    /// Get and build everything while there is a network, so that none is needed later
    #[command(
        after_help = "Examples:\n  ./run.sh prefetch               some minutes\n  ./run.sh prefetch --no-build    only the download"
    )]
    Prefetch {
        /// Only download
        #[arg(long)]
        no_build: bool,
    },
    /// Remove what was built; progress, backups and databases stay
    #[command(after_help = "Examples:\n  ./run.sh clean")]
    Clean,
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
        Verb::Checkout { step } => checkout::checkout(&project, step.as_deref())?,
        Verb::Check {
            step,
            filter,
            solution,
            json,
            brief,
            all,
        } => {
            return check::check(
                &project,
                &check::Request {
                    step,
                    filter,
                    solution,
                    json,
                    brief,
                    all,
                },
            );
        }
        Verb::Watch { step, poll, all } => {
            return watch::watch(&project, &watch::Request { step, poll, all });
        }
        // `hint more` means the current step.
        Verb::Hint { target, more } => match target.as_deref() {
            Some("more") => return hint::hint(&project, None, true),
            target => return hint::hint(&project, target, more.is_some()),
        },
        Verb::Diff { step, other, stat } => {
            diff::diff(&project, step.as_deref(), other.as_deref(), stat)?;
        }
        Verb::Reset { step } => reset::reset(&project, &step)?,
        Verb::Solve { step } => reset::solve(&project, &step)?,
        Verb::Restore { name, to } => {
            reset::restore(&project, name.as_deref(), to.as_deref())?;
        }
        Verb::Doctor => return Ok(doctor::doctor(&project)),
        Verb::Prefetch { no_build } => prefetch::prefetch(&project, !no_build)?,
        Verb::Clean => clean::clean(&project)?,
        Verb::Trace {
            step,
            program,
            solution,
            svg,
        } => {
            return trace::trace(
                &project,
                &trace::Request {
                    step,
                    name: program,
                    solution,
                    svg,
                },
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn every_verb_has_examples_in_its_help() {
        let command = Arguments::command();
        command.clone().debug_assert();
        let mut verbs = 0;
        for verb in command.get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = format!("\n  ./run.sh {}", verb.get_name());
            assert!(
                help.starts_with("Example") && help.contains(&example),
                "{} has no examples in its help: {help}",
                verb.get_name()
            );
            verbs += 1;
        }
        assert!(verbs >= 5);
    }
}
