//! Connections: how many, for how long, and how all of it stops.
//!
//! `axum::serve` accepts without end and waits for headers without end, so
//! the loop over connections is written out here.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time;
use tokio_io_timeout::TimeoutStream;

use crate::db::Db;
use crate::db::open::OpenError;
use crate::{AppState, Config, Limits, app};

/// Most bytes of one connection that wait to be parsed or to be sent. Bounds
/// a request's head (beyond it: 431) and what a client that reads slowly
/// costs, besides its pages.
const CONNECTION_BUFFER: usize = 64 * 1024;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the listening socket is unusable: {0}")]
    Listener(#[source] io::Error),
}

/// Opens the database, says that it is [`ready`](Config::ready), and serves on
/// `listener` until `shutdown` completes. Then no connection is
/// accepted any more, requests in flight have
/// [`shutdown_grace`](Limits::shutdown_grace) to finish, and the database is
/// closed.
///
/// # Errors
///
/// [`RunError`] when it cannot start. Once it listens, nothing but `shutdown`
/// ends it.
pub async fn run(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    config: Config,
) -> Result<(), RunError> {
    let address = listener.local_addr().map_err(RunError::Listener)?;
    let Config {
        database,
        limits,
        ready,
    } = config;
    let db = Db::open(&database, &limits).await?;
    ready(address);
    let state = AppState {
        db: db.clone(),
        limits: limits.clone(),
    };
    serve(listener, shutdown, app(state), &limits).await;
    db.close().await;
    Ok(())
}

async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    app: Router,
    limits: &Limits,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // Also runs while a kept-alive connection waits for its next request.
        .header_read_timeout(limits.header_read)
        .max_buf_size(CONNECTION_BUFFER);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, slot) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
            // Forget those that have ended.
            Some(_) = connections.join_next() => continue,
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_stall));
        let connection = http.serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(app.clone()),
        );
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // Broken connections are the client's matter.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }

    // New connections are refused from here on.
    drop(listener);
    tracing::info!("stopping; requests in flight may finish");
    if time::timeout(limits.shutdown_grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were cut off, since they did not finish in time");
    }
    // Ends those that are left, and with them their claims on the database.
    connections.shutdown().await;
}

/// The next connection, when there is room for one.
///
/// # Cancel safety
///
/// No connection is lost when this is dropped.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // The end of an answer is not held back to be sent with more.
                let _ = stream.set_nodelay(true);
                return (stream, slot);
            }
            // This one connection failed before we took it.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            // No file descriptors, or no memory. Connections that end give
            // some back; asking again at once would only burn the processor.
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again in a second");
                time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
