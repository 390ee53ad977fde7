//! Runs one of the programs: `./run.sh run 01 tasks`, or `./run.sh run 01 tasks
//! --solution` for the one in the solution. Prints a line for each event.
//!
//! Time is tokio's paused clock: it stands still while anything can run, and jumps
//! to the next timer when nothing can. So the times are exact, and you do not have
//! to wait. `--real` uses the real clock.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use step01_solution::differences::{blocking, cancel, lazy, pace, select, send};
use step01_solution::{coroutines, errands, generator, group, market, tasks};
use tokio::runtime::Builder;
use tokio::time::timeout;

const PROGRAMS: [(&str, &str); 12] = [
    ("errands", "three errands without async"),
    (
        "coroutines",
        "futures awaited one after another, and together",
    ),
    ("tasks", "what a spawned task does, and when"),
    ("group", "tasks that end together"),
    ("generator", "values that are produced on demand"),
    ("market", "customers and shops, with a queue between them"),
    ("lazy", "a future does nothing until it is polled"),
    ("pace", "streams with a timeout and with a maximum rate"),
    ("blocking", "a blocked thread stops all tasks on it"),
    ("cancel", "dropping a future cancels it at its await"),
    ("select", "the branch that loses is dropped"),
    ("send", "what lives across an await moves with the task"),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (flags, names): (Vec<&str>, Vec<&str>) = words
        .iter()
        .map(String::as_str)
        .partition(|word| word.starts_with('-'));
    match names[..] {
        [name]
            if PROGRAMS.iter().any(|(known, _)| *known == name)
                && flags.iter().all(|flag| *flag == "--real") =>
        {
            run(name, !flags.is_empty())
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: ./run.sh run 01 PROGRAM [--real] [--solution]; the programs are");
    for (name, about) in PROGRAMS {
        eprintln!("  {name:<12}{about}");
    }
    ExitCode::from(2)
}

fn run(name: &str, real: bool) -> ExitCode {
    // These two block threads, which a paused clock does not notice.
    let real = real || name == "errands" || name == "blocking";
    // With one thread, the order of events is the same in every run.
    let runtime = match Builder::new_current_thread()
        .enable_time()
        .start_paused(!real)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::from(3);
        }
    };
    runtime.block_on(async {
        let timeline = timeline::narrate(&format!("01 {name}"));
        let mut program = pin!(program(name));
        // When nothing can run any more and no other timer is left, the paused
        // clock jumps to the end of this hour.
        if timeout(Duration::from_hours(1), &mut program)
            .await
            .is_err()
        {
            // Before the program is dropped, so that its lanes stay open in the
            // output.
            drop(timeline);
            eprintln!("nothing moves any more: the program waits for something that never happens");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    })
}

async fn program(name: &str) {
    match name {
        "errands" => errands::run(),
        "coroutines" => coroutines::run().await,
        "tasks" => tasks::run().await,
        "group" => group::run().await,
        "generator" => generator::run().await,
        "market" => market::run().await,
        "lazy" => lazy::run().await,
        "pace" => pace::run().await,
        "blocking" => blocking::run().await,
        "cancel" => cancel::run().await,
        "select" => select::run().await,
        _ => send::run().await,
    }
}
