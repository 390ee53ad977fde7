//! Runs one of the programs: `./run.sh run 01 tasks`, or one of our solution:
//! `./run.sh run 01 tasks --solution`. Prints a line for each event.
//!
//! The clock is tokio's paused clock: it stands still while something can run
//! and jumps to the next timer when nothing can, so times are exact and nobody
//! has to wait. `--real` takes the real one.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use step01::differences::{blocking, cancel, lazy, select, send};
use step01::{coroutines, generator, group, market, tasks, workers};
use tokio::runtime::Builder;
use tokio::time::timeout;

const PROGRAMS: [(&str, &str); 11] = [
    ("workers", "three workers without async"),
    ("coroutines", "futures awaited in turn, and together"),
    ("tasks", "what a spawned task does, and when"),
    ("group", "tasks with a common end"),
    ("generator", "values that are made when they are asked for"),
    ("market", "customers and shops, a queue between"),
    ("lazy", "a future does nothing until it is polled"),
    ("blocking", "a blocked thread stops all tasks on it"),
    ("cancel", "dropping a future cancels it, at its await"),
    ("select", "the branch that comes second is dropped"),
    ("send", "what lives across an await travels with the task"),
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
    // These two block threads, which no paused clock knows of.
    let real = real || name == "workers" || name == "blocking";
    // One thread: what runs when is the same each time.
    let runtime = match Builder::new_current_thread()
        .enable_time()
        .start_paused(!real)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(3);
        }
    };
    runtime.block_on(async {
        let timeline = timeline::narrate(&format!("01 {name}"));
        let mut program = pin!(program(name));
        // Where nothing moves any more, the paused clock jumps to the end of
        // this hour.
        if timeout(Duration::from_hours(1), &mut program)
            .await
            .is_err()
        {
            // Before the program is dropped: what hangs is to be seen hanging.
            drop(timeline);
            eprintln!("nothing moves any more: somebody waits for what never comes");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    })
}

async fn program(name: &str) {
    match name {
        "workers" => workers::run(),
        "coroutines" => coroutines::run().await,
        "tasks" => tasks::run().await,
        "group" => group::run().await,
        "generator" => generator::run().await,
        "market" => market::run().await,
        "lazy" => lazy::run().await,
        "blocking" => blocking::run().await,
        "cancel" => cancel::run().await,
        "select" => select::run().await,
        _ => send::run().await,
    }
}
