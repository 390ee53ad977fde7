//! Requests to a service over real sockets.

mod reply;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{Failure, OrFail, with_causes};
use crate::trail::{self, Trail, lock};

pub use reply::{RawReply, Reply, StreamReply, Then};

/// How long each wait for a service may take: longer than every timeout that a
/// step sets, shorter than the limit of a check.
const LIMIT: Duration = Duration::from_secs(8);

/// The longest body that the client keeps, in bytes.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// The size of socket buffers in bytes. They are small, so that a client that
/// stops reading holds the service back after about 100 KiB and not after
/// megabytes.
const SOCKET_BUFFER: u32 = 32 * 1024;

/// The request that was sent last, and the name of the thread that sent it. A check that
/// does not end cannot report it.
static LAST_ASKED: Mutex<Option<(String, String)>> = Mutex::new(None);

/// The last request, if it was sent by a thread of this name.
pub(crate) fn last_asked(thread: &str) -> Option<String> {
    let last = lock(&LAST_ASKED).clone();
    last.and_then(|(name, asked)| (name == thread).then_some(asked))
}

/// A service under test, and a client for it that uses a new connection for
/// each request.
///
/// A request fails when no whole answer comes. Each wait is limited to 8 s. Do not use
/// it under paused time: tokio would let the limit pass while the socket has nothing to
/// read.
///
/// When a reply with a status of 500 or more was not expected, or when no whole
/// reply comes, the failure shows the warnings and errors that the service logged
/// for this request.
pub struct Service {
    addr: SocketAddr,
    /// The server's task, which ends when this is dropped; empty for a server that
    /// something else has started.
    _server: JoinSet<()>,
}

impl Service {
    /// Serves `router` on a free port of 127.0.0.1 until dropped. Dropping ends
    /// the requests in flight too.
    ///
    /// # Panics
    /// Outside a tokio runtime, and when no port is free.
    pub fn start(router: Router) -> Self {
        let listener = listen().expect("a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("the port that was just bound");
        let mut server = JoinSet::new();
        server.spawn(serve(listener, router));
        Self {
            addr,
            _server: server,
        }
    }

    /// A service that is already running. Dropping this does not end it.
    pub fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            _server: JoinSet::new(),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `GET path`. The path must be valid; use [`Service::raw`] for others.
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// `GET path` with a JSON body, as the market's clients send it.
    pub async fn get_json_body(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let json = [("content-type", "application/json")];
        self.send(Method::GET, path, &json, body.to_string()).await
    }

    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        let headers = [("content-type", content_type)];
        self.send(Method::POST, path, &headers, body).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.post(path, "application/json", body.to_string()).await
    }

    /// Any request; reads the whole answer, of at most 64 MiB.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        let stream = self.request(method, path, headers, body.into()).await?;
        stream.read_whole().await
    }

    /// `GET path`, to read the body chunk by chunk. As long as you do not read on,
    /// this is a client that has stopped reading; when you drop the reply, it is a
    /// client that has closed its connection.
    pub async fn open(&self, path: &str) -> Result<StreamReply, Failure> {
        self.open_with(path, &[]).await
    }

    pub async fn open_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<StreamReply, Failure> {
        self.request(Method::GET, path, headers, Bytes::new()).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<StreamReply, Failure> {
        let asked = describe(&method, path, headers, &body);
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        *lock(&LAST_ASKED) = Some((thread, asked.clone()));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse::<Uri>().or_fail(&asked)?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().or_fail(&asked)?;
            request
                .headers_mut()
                .append(name, value.parse().or_fail(&asked)?);
        }
        let host: HeaderValue = self.addr.to_string().parse().or_fail(&asked)?;
        request.headers_mut().insert(header::HOST, host);

        let no_answer = |what| Failure::new(&asked, "an HTTP answer", format!("no answer: {what}"));
        let answer = timeout(LIMIT, async {
            let socket = TcpSocket::new_v4().or_fail(&asked)?;
            socket.set_recv_buffer_size(SOCKET_BUFFER).or_fail(&asked)?;
            let socket = socket.connect(self.addr).await.or_fail(&asked)?;
            let trail = Trail::begin(socket.local_addr().or_fail(&asked)?);
            let (mut sender, task) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
                .await
                .or_fail(&asked)?;
            let mut connection = JoinSet::new();
            connection.spawn(task);
            let response = sender.send_request(request).await.map_err(|error| {
                let error = with_causes(&error);
                no_answer(format!(
                    "the connection was closed before a status line was sent: the handler has \
                     panicked, or the body failed before its first bytes ({error})"
                ))
                .with_paragraph(&trail.log())
            })?;
            Ok((response, connection, trail))
        });
        let (response, connection, trail) = answer
            .await
            .map_err(|_| no_answer(format!("none within {} s", LIMIT.as_secs())).hung())??;
        let (head, body) = response.into_parts();
        Ok(StreamReply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            received: 0,
            asked,
            trail,
            _connection: connection,
        })
    }

    /// Sends exactly these bytes over a new connection and reads the reply. Use it
    /// for requests that an HTTP client would not send.
    ///
    /// It reads and writes at the same time. It is not an error when the service
    /// stops reading or closes the connection: the [`RawReply`] says so.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>, then: Then) -> Result<RawReply, Failure> {
        let asked = "a TCP connection to the service";
        let connecting = timeout(LIMIT, TcpStream::connect(self.addr));
        let socket = connecting.await.or_fail(asked)?.or_fail(asked)?;
        let (mut from, mut to) = socket.into_split();
        let mut reply = RawReply {
            bytes: Vec::new(),
            closed: false,
        };

        let write = async {
            let sent = to.write_all(bytes.as_ref()).await.is_ok();
            if sent && matches!(then, Then::CloseWriting) {
                // An error means that the connection is gone already.
                let _ = to.shutdown().await;
            }
            std::future::pending::<()>().await;
        };
        let read = async {
            while !reply.closed && reply.bytes.len() < LONGEST_BODY {
                let length = from.read_buf(&mut reply.bytes).await;
                reply.closed = !length.is_ok_and(|length| length > 0);
            }
        };
        let limit = match then {
            Then::ReadFor(limit) => limit,
            Then::CloseWriting => LIMIT,
        };
        // At the end of the limit, the reply says that the connection is still open.
        tokio::select! {
            () = write => {}
            () = read => {}
            () = tokio::time::sleep(limit) => {}
        }
        Ok(reply)
    }
}

/// `POST /path {"some":"body"} (accept: text/html)`
fn describe(method: &Method, path: &str, headers: &[(&str, &str)], body: &Bytes) -> String {
    let mut text = format!("{method} {path}");
    for (name, value) in headers {
        if (*name, *value) != ("content-type", "application/json") {
            text = format!("{text} ({name}: {value})");
        }
    }
    if !body.is_empty() {
        text = format!("{text} {}", String::from_utf8_lossy(body));
    }
    text
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Accepted connections inherit this size.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

/// As `axum::serve`, except that the connections end together with the server
/// instead of going on as detached tasks, and that failures know what each of them
/// logged.
async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, client)) = accepted else {
                    // Out of file descriptors: let other tasks close some.
                    tokio::task::yield_now().await;
                    continue;
                };
                // Sends each chunk of a stream at once instead of collecting some.
                let _ = socket.set_nodelay(true);
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(trail::CLIENT.scope(client, async move {
                    // An error means that the client has closed the connection, or
                    // that a body broke off. The client sees this, and a check
                    // reads it from the client.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                }));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
