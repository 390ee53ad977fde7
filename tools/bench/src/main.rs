//! Measures the market service and what people would use instead:
//! `./run.sh bench`. What is measured and how: README.md beside this folder.

mod answers;
mod contender;
mod databases;
mod driver;
mod error;
mod interrupt;
mod learn;
mod machine;
mod market;
mod mix;
mod model;
mod postgres;
mod program;
mod python;
mod report;
mod rounds;
mod serve;
mod server;
mod settings;
mod stream;
mod write;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use error::Result;
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
    /// How often each contender has its turn [default: 5, with --quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Where the figures go [default: report.json in the target folder's bench].
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the page goes [default: report.html in the target folder's bench].
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure nothing; show the figures that an earlier run has written there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["benches", "quick", "rounds", "json", "dir"])]
    from: Option<PathBuf>,
    /// The tables as Markdown, for a README.
    #[arg(long)]
    markdown: bool,
    /// Where databases are made [default: the system's temporary folder].
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Only for mix")]
    mix: mix::Options,
}

/// Turns of each contender behind a figure that is worth keeping.
const ROUNDS: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Requests a second and their latency.
    Serve,
    /// Streamed answers: time, memory, and what stopped readers do to others.
    Stream,
    /// New orders that are on disk when they are acknowledged.
    Write,
    /// Thousands of small transactions at once, on SQLite and on PostgreSQL.
    Mix,
    /// What a learner waits for: the first build, and the verdict after an edit.
    Learn,
}

impl Which {
    fn measure(self, settings: &Settings, args: &Args) -> Result<Bench> {
        match self {
            Self::Serve => serve::measure(settings),
            Self::Stream => stream::measure(settings),
            Self::Write => write::measure(settings),
            Self::Mix => mix::measure(settings, &args.mix),
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
    if let Some(file) = &args.from {
        return show(&report::load(file)?, args);
    }
    interrupt::listen()?;
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { ROUNDS });
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
            let mut bench = which.measure(&settings, args)?;
            if !args.quick && rounds < ROUNDS {
                let note = format!("A look only: {rounds} of {ROUNDS} rounds were asked for.");
                bench.notes.insert(0, note);
            }
            report.benches.push(bench);
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    // The figures first: whatever happens to the page, they are there.
    let json = file(args.json.as_ref(), "report.json")?;
    report::save(&report, &json)?;
    show(&report, args)?;
    eprintln!("figures: {}", json.display());
    Ok(())
}

/// Prints the tables, and writes the page and the plots.
fn show(report: &Report, args: &Args) -> Result<()> {
    let html = file(args.html.as_ref(), "report.html")?;
    let plots = settings::output_folder()?.join("plots");
    report::render(report, &html, &plots)?;
    let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let text = if args.markdown {
        report::markdown(report)
    } else {
        report::text(report, colour)
    };
    print!("{text}");
    eprintln!("page:    {}\nplots:   {}", html.display(), plots.display());
    Ok(())
}

/// The file that was asked for, else the one in the target folder.
fn file(asked: Option<&PathBuf>, name: &str) -> Result<PathBuf> {
    asked.map_or_else(
        || Ok(settings::output_folder()?.join(name)),
        |file| Ok(file.clone()),
    )
}
