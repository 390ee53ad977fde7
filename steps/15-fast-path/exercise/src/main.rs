//! Starts the service. It prints `listening on http://127.0.0.1:9090` and serves until
//! SIGTERM or Ctrl-C. `--help` lists its settings; `RUST_LOG` sets the log level.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use step15::app;
use step15::config::Config;
use step15::db::base::{Engine, EngineConfig};
use step15::db::init_db;
use step15::listener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::INFO.into())
                .from_env_lossy(),
        )
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(3)
        }
    }
}

/// Runs the service. An error is a message for the person at the terminal.
async fn serve(config: Config) -> Result<(), String> {
    let Config {
        addr,
        database,
        echo,
        limits,
    } = config;
    listener::allow_open_files(limits.max_connections)?;
    let resolved = tokio::net::lookup_host(&addr)
        .await
        .map_err(|error| format!("MARKETSVC_ADDR={addr}: {error}"))?
        .next()
        .ok_or_else(|| format!("MARKETSVC_ADDR={addr}: this name has no address"))?;

    // Bind the port before creating the database: if the port is taken, the
    // service must not leave a new database behind.
    let listener = listener::listen(resolved).map_err(|error| {
        format!("MARKETSVC_ADDR={addr}: {error}; is another service using this port?")
    })?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    init_db::create_or_migrate(&database)
        .await
        .map_err(|error| format!("DATABASE_URL={database}: {}", with_cause(&error)))?;
    let config = EngineConfig {
        echo,
        ..EngineConfig::default()
    };
    let engine = Engine::new(&database, config)
        .map_err(|error| format!("DATABASE_URL={database}: {}", with_cause(&error)))?;

    let stop = stop_signal().map_err(|error| error.to_string())?;
    println!("listening on http://{addr}");
    app::run(listener, stop, engine, limits).await;
    Ok(())
}

/// Returns the text of an error and of what caused it.
fn with_cause(error: &impl Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Begins to listen for Ctrl-C and for SIGTERM, which is what systemd and containers send.
/// Returns a future that completes at the first of them.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
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

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // The service must not stop because it cannot listen for the signal.
            std::future::pending::<()>().await;
        }
    })
}
