//! Accepts connections, serves HTTP on them, and stops.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::config::Limits;
use crate::metrics::Metrics;

/// The longest head of a request, and how much of a response hyper collects before it
/// writes, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long the service waits before it accepts again after the system had no file or no
/// memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on the connections that `listener` accepts, until `stop` completes.
/// Then it accepts no more, and gives the requests that have begun the grace period to
/// end. Connections that are still open then are closed.
///
/// # Cancel safety
/// Dropping the future closes all connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) {
    let http = http(limits);
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        metrics
            .connections
            .set(i64::try_from(connections.len()).unwrap_or(i64::MAX));
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < limits.max_connections => accepted,
        };
        let (socket, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                after_accept_error(&error).await;
                continue;
            }
        };
        let connection = http.serve_connection(patient(socket, limits), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(?error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests are cut off: they did not end within the grace period");
    }
    connections.shutdown().await;
}

/// How HTTP is spoken.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER);
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.receive_timeout)
        .half_close(true);
    http
}

/// Gives a socket the write timeout: a client that reads nothing for so long loses its
/// connection.
fn patient(socket: TcpStream, limits: &Limits) -> TokioIo<Pin<Box<TimeoutStream<TcpStream>>>> {
    // The end of a response is sent at once, and not kept back until there is more.
    let _ = socket.set_nodelay(true);
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(limits.write_timeout));
    TokioIo::new(Box::pin(socket))
}

/// Waits after an error of `accept`, if it is one that the next connection would get, too.
async fn after_accept_error(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};

    // These clients have gone before they were accepted.
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(%error, "connections cannot be accepted");
        sleep(ACCEPT_PAUSE).await;
    }
}
