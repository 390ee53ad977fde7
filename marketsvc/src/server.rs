//! Connections: how many, for how long, and how all of it stops.
//!
//! `axum::serve` accepts without end and waits for headers without end, so
//! the loop over connections is written out here.

mod turn;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::TcpSocket;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_io_timeout::TimeoutStream;

use self::turn::{RequestBody, ResponseBody, Socket, Turn};

use crate::db::Db;
use crate::db::open::OpenError;
use crate::metrics::Connections;
use crate::{AppState, Config, Error, Limits, app};

/// hyper panics with less.
const LEAST_BUFFER: u32 = 8_192;

/// How many clients beyond the limit are told so at the same time, and how
/// long one may take to hear it.
const REFUSALS: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the listening socket is unusable: {0}")]
    Listener(#[source] io::Error),
}

/// Opens the database, says that it is [`ready`](Config::ready), and serves on
/// `listener` until `shutdown` completes. Then, in this order: `/readyz` says
/// no; after [`stop_notice`](Limits::stop_notice) no connection is accepted any
/// more; requests in flight have [`shutdown_grace`](Limits::shutdown_grace) to
/// finish; and the database is closed.
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
    #[cfg(unix)]
    bound_send_buffers(&listener, limits.connection_buffer).map_err(RunError::Listener)?;
    let db = Db::open(&database, &limits).await?;
    ready(address);
    let state = AppState::new(db.clone(), limits.clone());
    let shutdown = async {
        shutdown.await;
        state.say_stopping();
        time::sleep(limits.stop_notice).await;
    };
    serve(listener, shutdown, &state).await;
    db.close().await;
    Ok(())
}

async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>, state: &AppState) {
    let app = app(state.clone());
    let limits = &state.limits;
    let mut http = http1::Builder::new();
    // It would set a timer for each head. Here one looks after all of them.
    http.header_read_timeout(None).max_buf_size(
        usize::try_from(limits.connection_buffer.max(LEAST_BUFFER)).unwrap_or(usize::MAX),
    );
    let mut heads = time::interval((limits.header_read / 8).max(Duration::from_millis(1)));
    heads.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clients = Clients {
        metrics: state.metrics.connections.clone(),
        ..Clients::default()
    };
    let graceful = GracefulShutdown::new();
    let mut warned = Seldom::default();
    let mut shutdown = pin!(shutdown);
    loop {
        clients.count();
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(ended) = clients.tasks.join_next_with_id() => {
                clients.forget(ended);
                continue;
            }
            _ = heads.tick() => {
                clients.close_late(limits.header_read);
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            // No file descriptors, or no memory.
            Err(error) => {
                if warned.may() {
                    tracing::error!(%error, "cannot accept connections");
                }
                // Asking again at once would only burn the processor. What a
                // client gives back that keeps us waiting comes sooner than
                // what the others do.
                let pause = if clients.evict(limits.patience) {
                    Duration::from_millis(10)
                } else {
                    Duration::from_secs(1)
                };
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(pause) => {}
                }
                continue;
            }
        };
        // The end of an answer is not held back to be sent with more.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_stall));

        if clients.make_room(limits) {
            let turn = Turn::new();
            let socket = Socket::new(stream, Arc::clone(&turn));
            let service = Counted {
                app: app.clone(),
                turn: Arc::clone(&turn),
            };
            let connection = http.serve_connection(TokioIo::new(socket), service);
            clients.spawn(turn, graceful.watch(connection));
            continue;
        }
        if warned.may() {
            tracing::warn!(
                limits.connections,
                "all connections are at work; more are refused"
            );
        }
        let refuse =
            service_fn(|_| async { Ok::<_, Infallible>(Error::Overloaded.into_response()) });
        let mut http = http.clone();
        http.keep_alive(false);
        clients.refuse(http.serve_connection(TokioIo::new(Box::pin(stream)), refuse));
    }

    // New connections are refused from here on, and those without a request
    // are closed.
    drop(listener);
    clients.close_idle();
    tracing::info!("stopping; requests in flight may finish");
    if time::timeout(limits.shutdown_grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were cut off, since they did not finish in time");
    }
    // Ends those that are left, and with them their claims on the database.
    clients.tasks.shutdown().await;
}

/// Bounds the system's buffers for what clients have not taken yet at twice
/// `bytes`; Linux doubles that for its own bookkeeping. Left alone they grow to
/// 4 MB each, and slow readers together take more memory there than here.
/// Connections to come inherit it from the listener.
#[cfg(unix)]
fn bound_send_buffers(listener: &TcpListener, bytes: u32) -> io::Result<()> {
    use std::os::fd::AsFd;
    // A second handle of the same socket, of a type that can set it.
    let socket = listener.as_fd().try_clone_to_owned()?;
    TcpSocket::from_std_stream(socket.into()).set_send_buffer_size(bytes.saturating_mul(2))
}

/// Whether this one connection failed before we took it.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// The open connections.
#[derive(Default)]
struct Clients {
    /// One for each connection, the refused and the closing ones included.
    tasks: JoinSet<()>,
    /// Those that have a place.
    places: HashMap<task::Id, (Arc<Turn>, AbortHandle)>,
    /// Those that are being told that there is no place, the oldest first.
    refused: VecDeque<AbortHandle>,
    metrics: Connections,
}

impl Clients {
    fn spawn<E: Display>(
        &mut self,
        turn: Arc<Turn>,
        connection: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(async move {
            // Broken connections are the client's matter.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        self.places.insert(handle.id(), (turn, handle));
    }

    fn count(&self) {
        let open = i64::try_from(self.places.len()).unwrap_or(i64::MAX);
        self.metrics.open.set(open);
    }

    /// Lets a client hear that there is no place for it. When many are being
    /// told, the one that has not listened for the longest time goes.
    fn refuse<E>(&mut self, connection: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.metrics.refused.inc();
        if self.refused.len() >= REFUSALS
            && let Some(oldest) = self.refused.pop_front()
        {
            oldest.abort();
        }
        self.refused.push_back(self.tasks.spawn(async move {
            let _ = time::timeout(REFUSAL_TIME, connection).await;
        }));
    }

    fn forget(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.places.remove(&id);
    }

    /// Sees to a free place; false when every client is being worked for.
    fn make_room(&mut self, limits: &Limits) -> bool {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        self.places.len() < limits.connections || self.evict(limits.patience)
    }

    /// Closes the connection that is most in the way, if there is one. None
    /// is that has a request which the service is working on.
    fn evict(&mut self, patience: Duration) -> bool {
        loop {
            let claims = self
                .places
                .iter()
                .filter_map(|(id, (turn, _))| Some((turn.claim(patience)?, *id)));
            let Some((_, id)) = claims.max_by_key(|(claim, _)| *claim) else {
                return false;
            };
            // Its client may have sent something meanwhile.
            if self.places[&id].0.close() {
                if let Some((_, task)) = self.places.remove(&id) {
                    task.abort();
                }
                self.metrics.evicted.inc();
                return true;
            }
        }
    }

    /// Closes every connection without a request.
    fn close_idle(&self) {
        self.close_late(Duration::ZERO);
    }

    /// Closes every connection that has waited for so long for a request's head.
    fn close_late(&self, waited: Duration) {
        for (turn, task) in self.places.values() {
            if turn.close_idle(waited) {
                task.abort();
            }
        }
    }
}

/// The service for one connection, which says whose turn it is.
struct Counted {
    app: Router,
    turn: Arc<Turn>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<ResponseBody<Body>>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let turn = Arc::clone(&self.turn);
        if !turn.begin() {
            // The connection's task is about to be aborted.
            return Answer(None);
        }
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&turn)));
        // Always ready, as all routers of axum are.
        let answer = tower::Service::call(&mut self.app.clone(), request);
        Answer(Some((answer, turn)))
    }
}

/// An answer that is awaited; `None` for one that never comes. A connection has
/// room for one, so that this needs no box for each request.
struct Answer(Option<(RouteFuture<Infallible>, Arc<Turn>)>);

impl Future for Answer {
    type Output = Result<Response<ResponseBody<Body>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((answer, turn)) = &mut self.0 else {
            return Poll::Pending;
        };
        let response = ready!(Pin::new(answer).poll(cx))?;
        Poll::Ready(Ok(
            response.map(|body| ResponseBody::new(body, Arc::clone(turn)))
        ))
    }
}

/// At most once a second.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn may(&mut self) -> bool {
        let may = self
            .0
            .is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        if may {
            self.0 = Some(Instant::now());
        }
        may
    }
}
