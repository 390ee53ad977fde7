//! Measures the market service and its alternatives: `./run.sh bench`. README.md beside
//! this folder says what is measured, and how.

mod amount;
mod answers;
mod bookstore;
mod contender;
mod databases;
mod error;
mod http;
mod learn;
mod load;
mod machine;
mod market;
mod mix;
mod model;
mod program;
mod python;
mod report;
mod serve;
mod server;
mod stream;
mod undo;
mod write;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use error::Result;
use model::{Bench, Report};

/// Measures the market service and its alternatives.
///
/// Without arguments it measures everything. Run it when the machine has
/// nothing else to do.
#[derive(Parser)]
#[command(
    name = "bench",
    after_help = "Exit codes: 0 measured, whatever the figures are; 2 wrong usage; \
                  3 the environment is at fault."
)]
struct Args {
    /// What to measure [default: all of them].
    #[arg(value_name = "BENCH")]
    benches: Vec<Which>,
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
}

/// Rounds behind a figure that is worth keeping.
const ROUNDS: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// How many requests are answered in a second, and how late.
    Serve,
    /// Streamed answers: time, memory, and how stopped readers affect others.
    Stream,
    /// New orders that are on disk when they are acknowledged.
    Write,
    /// Thousands of small transactions at once, on SQLite and on PostgreSQL.
    Mix,
    /// The load of step 12 on its service, and on one in Python.
    Load,
    /// How long a learner waits for the first build, and for the verdict after an edit.
    Learn,
}

impl Which {
    fn measure(self, settings: Settings) -> Result<Bench> {
        match self {
            Self::Serve => serve::measure(settings),
            Self::Stream => stream::measure(settings),
            Self::Write => write::measure(settings),
            Self::Mix => mix::measure(settings),
            Self::Load => bookstore::measure(settings),
            Self::Learn => learn::measure(settings),
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(3)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    undo::listen()?;
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { ROUNDS });
    let settings = Settings {
        quick: args.quick,
        rounds: rounds as usize,
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
/// The first error of `turn`, which ends it.
fn take_turns<C>(
    rounds: usize,
    contenders: &mut [C],
    mut turn: impl FnMut(&mut C, usize) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        for contender in &mut *contenders {
            turn(contender, round)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_b_c_a_b_c_until_the_first_error() {
        let mut turns = String::new();
        let ended = take_turns(3, &mut ['A', 'B', 'C'], |name, round| {
            turns.push(*name);
            turns += &round.to_string();
            if (*name, round) == ('B', 2) {
                return Err(Error::Environment("enough".to_owned()));
            }
            Ok(())
        });
        assert!(ended.is_err());
        assert_eq!(turns, "A0B0C0A1B1C1A2B2");
    }
}
