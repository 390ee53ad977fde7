//! The learner's helper, behind `./run.sh` and `cargo coach`.
//!
//! Reading order: [`verbs`] says what there is, [`project`] finds the steps. [`check`]
//! builds (with [`cargo`]) and runs a step's checks, [`watch`] does so after every
//! save, [`hint`] helps with a task, [`diff`] shows the way from exercise to solution,
//! [`reset`] replaces files after a [`backup`], [`list`] and [`checkout`] show where
//! one is. [`run`] starts programs, [`postgres`] a database for them, [`ask`] sends
//! requests to a service, [`gate`] runs every check of the project. [`new`] makes an
//! application outside the project. The coach knows cargo and folders, never what a
//! step teaches.
//!
//! Exit codes: 0 passed, 1 a check failed or the learner's code does not
//! compile, 2 wrong usage, 3 the environment is at fault.

mod ask;
mod backup;
mod cargo;
mod check;
mod checkout;
mod clean;
mod diff;
mod doctor;
mod errors;
mod gate;
mod hint;
mod last;
mod list;
mod markers;
mod messages;
mod new;
#[cfg(unix)]
mod postgres;
mod prefetch;
mod project;
mod prose;
mod prune;
mod reset;
mod run;
mod screen;
mod trace;
mod trouble;
mod verbs;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use ask::ask;
use project::Project;
use trouble::Trouble;
use verbs::{Arguments, Verb};

/// How long a stream of rows may take, and another answer, in seconds.
const STREAM: u32 = 600;
const SHORT: u32 = 30;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(trouble.code)
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Trouble> {
    let Some(verb) = arguments.verb else {
        screen::print(&Arguments::command().render_help().to_string());
        return Ok(ExitCode::SUCCESS);
    };
    let project = Project::find(arguments.root)?;
    match verb {
        Verb::Run {
            release,
            solution,
            words,
        } => return run::run(&project, release, solution, words),
        Verb::Seed { release, words } => return run::seed(&project, release, &words),
        Verb::Bench { words } => return run::bench(&project, &words),
        Verb::Book { words } => return run::book(&project, words),
        Verb::Customers => return ask(STREAM, "/api/customers", &[]),
        Verb::Custorders { customer } => {
            return ask(STREAM, &format!("/api/orders/{customer}"), &[]);
        }
        Verb::Ordertotal { order } => {
            return ask(SHORT, &format!("/api/order_total/{order}"), &[]);
        }
        Verb::Orderstotal { orders } => {
            let path = format!("/api/orders_total?orders={}", ask::ids(&orders));
            return ask(SHORT, &path, &[]);
        }
        Verb::Ordersbet { before, after } => {
            let path = format!("/api/orders_between_dates/{before}/{after}");
            return ask(STREAM, &path.replace(' ', "%20"), &[]);
        }
        Verb::Neworder { json } => {
            let options = ["-H", "Content-Type: application/json", "-d", &json];
            return ask(SHORT, "/api/add_new_order", &options);
        }
        Verb::Test { parts } => return gate::test(&project, &parts),
        Verb::List => list::list(&project)?,
        Verb::Checkout { step } => checkout::checkout(&project, step.as_deref())?,
        Verb::Check(request) => return check::check(&project, &request),
        Verb::Watch(request) => return watch::watch(&project, &request),
        Verb::Trace(request) => return trace::trace(&project, &request),
        // `hint more` means the current step.
        Verb::Hint { target, more } => match target.as_deref() {
            Some("more") => return hint::hint(&project, None, true),
            target => return hint::hint(&project, target, more.is_some()),
        },
        Verb::Diff { step, other } => diff::diff(&project, step.as_deref(), other.as_deref())?,
        Verb::Reset { step } => reset::keeper(&project).reset(&step)?,
        Verb::Solve { step } => reset::keeper(&project).solve(&step)?,
        Verb::Restore { name: None, .. } => screen::print(&reset::list(&project)),
        Verb::Restore {
            name: Some(name),
            to,
        } => {
            reset::keeper(&project).restore(&name, to.as_deref())?;
        }
        #[cfg(unix)]
        Verb::Postgres { servers, command } => return postgres::postgres(&servers, &command),
        Verb::New(request) => new::new(&project, request)?,
        Verb::Doctor => return Ok(doctor::doctor(&project)),
        Verb::Prefetch { no_build } => prefetch::prefetch(&project, !no_build)?,
        Verb::Clean => clean::clean(&project)?,
    }
    Ok(ExitCode::SUCCESS)
}
