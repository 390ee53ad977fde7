//! Measures the market service and what people would use instead:
//! `./run.sh bench`. What is measured and how: README.md beside this folder.

mod answers;
mod contender;
mod databases;
mod driver;
mod error;
mod interrupt;
mod machine;
mod market;
mod model;
mod program;
mod python;
mod rounds;
mod serve;
mod server;
mod settings;
mod stream;
mod write;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use error::{Error, Result};
use model::{Bench, Report};
use settings::Settings;

/// Measures the market service and what people would use instead.
///
/// Without arguments it measures everything; run it when the machine has
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
    /// Fewer and shorter rounds: a look at everything in a few minutes.
    #[arg(long)]
    quick: bool,
    /// How often each contender has its turn [default: 5, with --quick 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Where the figures go [default: report.json in the target folder's bench].
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where databases are made [default: the system's temporary folder].
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Requests a second and their latency.
    Serve,
    /// Streamed answers: time, memory, and what stopped readers do to others.
    Stream,
    /// New orders that are on disk when they are acknowledged.
    Write,
}

impl Which {
    fn measure(self, settings: &Settings) -> Result<Bench> {
        match self {
            Self::Serve => serve::measure(settings),
            Self::Stream => stream::measure(settings),
            Self::Write => write::measure(settings),
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
    interrupt::listen()?;
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    let settings = Settings {
        quick: args.quick,
        rounds: rounds as usize,
        dir: args.dir.clone(),
    };
    let started = jiff::Timestamp::now().strftime("%F %T").to_string();
    let start = Instant::now();
    let mut report = Report {
        started,
        seconds: 0.0,
        command: env::args().skip(1).collect::<Vec<_>>().join(" "),
        machine: machine::machine(),
        versions: machine::versions(),
        benches: Vec::new(),
    };
    for which in Which::value_variants() {
        if args.benches.is_empty() || args.benches.contains(which) {
            report.benches.push(which.measure(&settings)?);
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    write(&report, args)
}

fn write(report: &Report, args: &Args) -> Result<()> {
    let path = match &args.json {
        Some(path) => path.clone(),
        None => settings::output_folder()?.join("report.json"),
    };
    let text = serde_json::to_string_pretty(report).expect("a report is plain data");
    fs::write(&path, text + "\n").map_err(Error::io(format!("write {}", path.display())))?;
    println!("{}", path.display());
    Ok(())
}
