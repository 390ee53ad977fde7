//! The settings of the service: flags of its program, each with a default.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Command, FromArgMatches, Parser};

/// The market's HTTP service. It runs until SIGTERM or Ctrl-C, and then finishes the
/// requests that it has begun.
#[derive(Clone, Debug, Parser)]
pub struct Config {
    /// Where the service listens
    #[arg(long, env = "MARKETSVC_ADDR", default_value = "127.0.0.1:9090")]
    pub addr: String,
    /// The database: a file, which is created with the sample data if it is missing, or a
    /// server; several URLs with commas between them are the servers of one cluster
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://marketdb.sqlite")]
    pub database: String,
    /// Log every SQL statement
    #[arg(long, env = "MARKETSVC_ECHO", value_parser = FalseyValueParser::new())]
    pub echo: bool,
    #[command(flatten)]
    pub limits: Limits,
}

/// What the service allows its clients, and how long it waits for them. Times are in
/// seconds on the command line.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Open connections of clients; further ones wait until one of them is closed
    #[arg(long, default_value_t = 4096, value_parser = count)]
    pub max_connections: usize,
    /// Requests that are worked on at the same time; further ones are answered with 503
    #[arg(long, default_value_t = 512, value_parser = count)]
    pub max_requests: usize,
    /// Lists that are sent at the same time; further ones are answered with 503
    #[arg(long, default_value_t = 256, value_parser = count)]
    pub max_streams: usize,
    /// The longest body of a request, in bytes; a longer one is answered with 413
    #[arg(long, default_value_t = 64 * 1024, value_parser = count)]
    pub max_body: usize,
    /// How long a client may take to send the head of a request, and again to send its body
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub receive_timeout: Duration,
    /// How long a read may take until its answer begins; then it is answered with 503
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub request_timeout: Duration,
    /// How long a client may read nothing of its answer; then its connection is closed
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub write_timeout: Duration,
    /// How long, after a signal, /readyz says 503 while connections are still accepted
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub notice: Duration,
    /// How long, after that, the requests that have begun may take to end; closing the
    /// database then gets the same time again
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub grace: Duration,
    /// Serve `/book/extensive_query`, which can take every connection to the database
    #[arg(long)]
    pub demo: bool,
}

/// The values that the flags have if nobody sets them.
impl Default for Limits {
    fn default() -> Self {
        let command = Self::augment_args(Command::new("limits"));
        let flags = command.get_matches_from(["limits"]);
        Self::from_arg_matches(&flags).unwrap_or_else(|error| error.exit())
    }
}

/// The largest number that a limit may have. tokio's semaphores have a limit of their own.
const MOST: usize = 1_000_000_000;

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|_| "not a whole number")?;
    if count > MOST {
        return Err(format!("at most {MOST}"));
    }
    Ok(count)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
