//! Measures the market service and its alternatives: `./run.sh bench`. README.md beside
//! this folder says what is measured, and how.

mod answers;
mod bookstore;
mod contender;
mod error;
mod http;
mod load;
mod machine;
mod market;
mod mix;
mod model;
mod postgres;
mod program;
mod python;
mod report;
mod serve;
mod server;
mod stream;
mod write;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use error::{Error, Result};
use model::{Bench, Report};

/// Measures the market service and its alternatives.
///
/// Without arguments it measures everything. Run it when the machine has
/// nothing else to do.
#[derive(Parser)]
#[command(
    name = "bench",
    after_help = "Exit codes: 0 measured, whatever the figures are; 2 wrong usage; \
                  3 the environment is at fault; 130 stopped by Ctrl-C."
)]
struct Args {
    /// What to measure [default: all of them].
    #[arg(value_name = "BENCH")]
    benches: Vec<Which>,
    /// Measure `serve` and `write` on PostgreSQL instead of SQLite: on the server that
    /// `DATABASE_URL` names, or else on one that is made for the run.
    #[arg(long)]
    postgres: bool,
    /// Measure less, for a shorter time: rough figures of everything in a few minutes.
    #[arg(long)]
    quick: bool,
    /// How many rounds to run; each contender is measured once in a round
    /// [default: 5, with --quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The folder for report.json and report.md [default: bench in the target folder].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// How much to measure.
#[derive(Debug, Clone, Copy)]
struct Settings {
    quick: bool,
    rounds: usize,
    postgres: bool,
}

/// Rounds behind a figure that is worth keeping.
const ROUNDS: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// How many requests are answered in a second, and how late.
    Serve,
    /// Streamed answers: the time to the first and the last byte, and memory.
    Stream,
    /// New orders that are on disk when they are acknowledged.
    Write,
    /// Thousands of small transactions at once, on SQLite and on PostgreSQL.
    Mix,
    /// The load of step 12 on its service, and on one in Python.
    Load,
}

/// What is also measured on PostgreSQL.
const ON_POSTGRES: [Which; 2] = [Which::Serve, Which::Write];

impl Which {
    fn measure(self, settings: Settings) -> Result<Bench> {
        match self {
            Self::Serve if settings.postgres => postgres::serve(settings),
            Self::Write if settings.postgres => postgres::write(settings),
            Self::Serve => serve::measure(settings),
            Self::Stream => stream::measure(settings),
            Self::Write => write::measure(settings),
            Self::Mix => mix::measure(settings),
            Self::Load => bookstore::measure(settings),
        }
    }
}

/// Set by the first Ctrl-C or SIGTERM. It ends the run before the next turn in the usual
/// way, so that programs are ended and folders removed. The second one ends it at once.
static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.postgres && args.benches.is_empty() {
        args.benches = ON_POSTGRES.to_vec();
    }
    if args.postgres && args.benches.iter().any(|it| !ON_POSTGRES.contains(it)) {
        let error = "only serve and write have a form for --postgres";
        Args::command()
            .error(ErrorKind::ArgumentConflict, error)
            .exit();
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // What a program fails with that Ctrl-C has ended is no news.
        Err(_) if STOPPED.load(Ordering::Relaxed) => {
            eprintln!("bench: stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(3)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&STOPPED))
            .and_then(|_| flag::register(signal, Arc::clone(&STOPPED)))
            .map_err(Error::io("listen for signals"))?;
    }
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { ROUNDS });
    let settings = Settings {
        quick: args.quick,
        rounds: rounds as usize,
        postgres: args.postgres,
    };
    let started = jiff::Timestamp::now().strftime("%F %T").to_string();
    let start = Instant::now();
    let mut benches = Vec::new();
    for which in Which::value_variants() {
        if args.benches.is_empty() || args.benches.contains(which) {
            let mut bench = which.measure(settings)?;
            if rounds < ROUNDS {
                let note = format!("Only a look: {rounds} of {ROUNDS} rounds.");
                bench.notes.insert(0, note);
            }
            benches.push(bench);
        }
    }
    let report = Report {
        started,
        seconds: start.elapsed().as_secs_f64(),
        command: env::args().skip(1).collect::<Vec<_>>().join(" "),
        machine: machine::machine(),
        versions: machine::versions(),
        benches,
    };
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => program::output_folder()?,
    };
    print!("{}", report::write(&report, &folder)?);
    eprintln!("report: {}", folder.display());
    Ok(())
}

/// Each contender once a round, in the order given: A B C A B C …, so that a machine
/// that becomes slower or faster while it measures does so for all of them.
///
/// # Errors
///
/// The first error of `turn`, which ends it, and [`Error::Stopped`].
fn take_turns<C>(
    rounds: usize,
    contenders: &mut [C],
    mut turn: impl FnMut(&mut C) -> Result<()>,
) -> Result<()> {
    for _ in 0..rounds {
        for contender in &mut *contenders {
            if STOPPED.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            turn(contender)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_b_c_a_b_c_until_the_first_error() {
        let mut turns = String::new();
        let ended = take_turns(3, &mut ['A', 'B', 'C'], |name| {
            turns.push(*name);
            if turns == "ABCABCAB" {
                return Err(Error::Environment("enough".to_owned()));
            }
            Ok(())
        });
        assert!(ended.is_err());
        assert_eq!(turns, "ABCABCAB");
    }
}
