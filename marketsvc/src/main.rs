//! Starts the market service, or fills its database.
//!
//! `cargo run` prints `listening on http://127.0.0.1:9090` and serves until
//! Ctrl-C. `cargo run -- seed --customers 1000 --orders 100` adds bulk data.
//! Exit codes: 2 for a wrong flag or setting, 3 when the port or the database
//! cannot be used.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use marketsvc::config::{self, ConfigError, Setting};
use marketsvc::db::{Db, bulk};
use marketsvc::logging::{self, Lines};
use marketsvc::{Config, Limits};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};

/// A market's HTTP service over SQLite.
#[derive(Parser)]
#[command(version, after_help = LOGGING)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(
        long,
        env = "MARKETSVC_ADDR",
        hide_env_values = true,
        value_name = "IP:PORT"
    )]
    #[arg(default_value = "127.0.0.1:9090", value_parser = Setting(config::address))]
    addr: SocketAddr,
    /// The database, created with sample data when missing.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    #[arg(default_value = "sqlite://marketdb.sqlite", value_parser = Setting(config::database))]
    database_url: PathBuf,
    /// Threads that serve requests, besides those of SQLite.
    ///
    /// The default leaves SQLite one of the cores. A single thread hands
    /// nothing over to another one: with two cores, totals come 1.2 to 1.5
    /// times as fast as with two threads, lists of orders 0.9 times.
    #[arg(
        long,
        env = "MARKETSVC_THREADS",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value_t = config::threads_for_this_machine(), value_parser = Setting(config::threads))]
    threads: usize,
    #[command(flatten)]
    limits: Limits,
    #[command(subcommand)]
    command: Option<Command>,
}

const LOGGING: &str = "\
The log goes to standard error. RUST_LOG says what is in it:
  info                    starts, stops, faults and a line for each request (the default)
  info,sqlx::query=debug  and its SQL
  warn                    faults only";

#[derive(Subcommand)]
enum Command {
    /// Add made-up customers and orders to the database, the same ones each time.
    Seed {
        /// How many customers, each with an address.
        #[arg(long, default_value_t = 0, value_name = "N")]
        customers: u32,
        /// How many orders, of one to four items each.
        #[arg(long, default_value_t = 0, value_name = "N")]
        orders: u32,
    },
}

const WRONG_USAGE: u8 = 2;
const ENVIRONMENT_AT_FAULT: u8 = 3;

/// One line on standard error, and the exit code.
struct Exit(u8, String);

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self(WRONG_USAGE, error.to_string())
    }
}

fn environment(error: impl Display) -> Exit {
    Exit(ENVIRONMENT_AT_FAULT, error.to_string())
}

fn main() -> ExitCode {
    match arguments().and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit(code, message)) => {
            eprintln!("marketsvc: {}", message.replace('\n', " "));
            ExitCode::from(code)
        }
    }
}

fn arguments() -> Result<Args, Exit> {
    Args::try_parse().map_err(|error| {
        if error.kind() != ErrorKind::ValueValidation {
            // Help, the version, or a flag that there is not.
            error.exit();
        }
        let message = error.to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        Exit(WRONG_USAGE, message.trim_end().to_owned())
    })
}

fn start(args: Args) -> Result<(), Exit> {
    args.limits.check()?;
    let filter = config::log_filter()?;
    // Dropped last, and before an error is printed.
    let (lines, _flush) = Lines::to(io::stderr()).map_err(environment)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
        .init();
    logging::panics();
    let Args {
        addr,
        database_url: database,
        threads,
        limits,
        command,
    } = args;
    let runtime = runtime(threads).map_err(environment)?;
    match command {
        None => {
            let config = Config {
                limits,
                ..Config::new(database)
            };
            runtime.block_on(serve(addr, config))
        }
        Some(Command::Seed { customers, orders }) => {
            runtime.block_on(seed(&database, &limits, customers, orders))
        }
    }
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = match threads {
        // The one that waits for the end does all the work.
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}

async fn serve(address: SocketAddr, config: Config) -> Result<(), Exit> {
    // The signals before the port: whoever sees the port open can stop us.
    let shutdown = shutdown_signal().map_err(environment)?;
    // The port before the database: without the port there is no need of one.
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Exit(ENVIRONMENT_AT_FAULT, bind_error(address, &error)))?;
    marketsvc::run(listener, shutdown, config)
        .await
        .map_err(environment)
}

fn bind_error(address: SocketAddr, error: &io::Error) -> String {
    let hint = "or choose another address with MARKETSVC_ADDR or --addr (port 0 takes a free one)";
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is taken by another program, perhaps by a service that is still running: stop it, {hint}"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address} is not allowed for this user: take a port from 1024 up, {hint}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is not an address of this computer: take 127.0.0.1, {hint}")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// Completes when the program is told to stop, by Ctrl-C or SIGTERM.
#[cfg(unix)]
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes when the program is told to stop, by Ctrl-C.
#[cfg(not(unix))]
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

async fn seed(database: &Path, limits: &Limits, customers: u32, orders: u32) -> Result<(), Exit> {
    if customers == 0 && orders == 0 {
        return Err(Exit(
            WRONG_USAGE,
            "nothing to add: say how much, as in seed --customers 1000 --orders 100".to_owned(),
        ));
    }
    bulk::check(customers, orders).map_err(|error| Exit(WRONG_USAGE, error))?;
    let db = Db::open(database, limits).await.map_err(environment)?;
    let added = bulk::add(&db, customers, orders, |done| eprintln!("{done}")).await;
    db.close().await;
    println!("{}: {}", database.display(), added.map_err(environment)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_address_cannot_be_used_comes_with_what_to_do() {
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        for (kind, why, remedy) in [
            (
                io::ErrorKind::AddrInUse,
                "taken by another program",
                "stop it",
            ),
            (
                io::ErrorKind::PermissionDenied,
                "not allowed for this user",
                "a port from 1024 up",
            ),
            (
                io::ErrorKind::AddrNotAvailable,
                "not an address of this computer",
                "127.0.0.1",
            ),
            (io::ErrorKind::OutOfMemory, "cannot listen", "out of memory"),
        ] {
            let message = bind_error(address, &io::Error::from(kind));
            for part in ["192.0.2.1:80", why, remedy] {
                assert!(message.contains(part), "{kind}: {message}");
            }
        }
    }
}
