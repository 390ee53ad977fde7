//! Starts the service: `./run.sh run NN`, or `./run.sh run NN --solution`. It
//! prints `listening on http://127.0.0.1:9090` and serves until you press
//! Ctrl-C. With `MARKETSVC_ECHO=1` it logs each SQL statement; `RUST_LOG` sets
//! the log level.

use std::env;
use std::io::IsTerminal;
use std::process::ExitCode;

use step12::app;
use step12::db::base::{Engine, EngineConfig};
use step12::db::init_db;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::INFO.into())
                .from_env_lossy(),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(3)
        }
    }
}

/// Runs the service. An error is a message for the person at the terminal.
async fn serve() -> Result<(), String> {
    let addr = env::var("MARKETSVC_ADDR").unwrap_or_else(|_| "127.0.0.1:9090".to_owned());
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://marketdb.sqlite".to_owned());

    // Bind the port before creating the database: if the port is taken, the
    // service must not leave a new database behind.
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!("MARKETSVC_ADDR={addr}: {error}; is another service using this port?")
    })?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    init_db::create_or_migrate(&url)
        .await
        .map_err(|error| format!("DATABASE_URL={url}: {error:?}"))?;
    let config = EngineConfig {
        echo: env::var("MARKETSVC_ECHO").is_ok_and(|value| value == "1"),
        ..EngineConfig::default()
    };
    let engine =
        Engine::new(&url, config).map_err(|error| format!("DATABASE_URL={url}: {error:?}"))?;

    println!("listening on http://{addr}");
    app::run(listener, ctrl_c(), engine)
        .await
        .map_err(|error| error.to_string())
}

async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        // The signal handler could not be installed, so wait forever: the
        // service must not shut down for that reason.
        std::future::pending::<()>().await;
    }
}
