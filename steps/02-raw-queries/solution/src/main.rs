//! Starts the service: `./run.sh run NN`, or `./run.sh run NN --solution`. It
//! prints `listening on http://127.0.0.1:9090` and serves until you press
//! Ctrl-C.

use std::env;
use std::io::IsTerminal;
use std::process::ExitCode;

use step02_solution::db::base::Engine;
use step02_solution::db::init_db;
use step02_solution::server;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
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
    init_db::create_if_missing(&url)
        .await
        .map_err(|error| format!("DATABASE_URL={url}: {error:?}"))?;
    let engine = Engine::new(&url).map_err(|error| format!("DATABASE_URL={url}: {error:?}"))?;

    println!("listening on http://{addr}");
    server::run(listener, ctrl_c(), engine)
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
