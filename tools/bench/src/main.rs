//! Measures the market service: `cargo run --release -p bench -- stream`.
//! What is measured and how: README.md beside this folder.

mod service;
mod stream;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Figures of the market service.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Streamed answers: time, memory, and what stopped readers do to others.
    Stream(stream::Args),
}

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    let result = match command {
        Command::Stream(args) => stream::measure(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(3)
        }
    }
}
