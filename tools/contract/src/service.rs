//! Asking a service over real sockets.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::failure::{Failure, OrFail, equal_json, with_causes};

/// How long each wait for a service may take: longer than any timeout that a
/// step sets, shorter than the limit of a check.
const LIMIT: Duration = Duration::from_secs(8);

/// Longest body that is kept, in bytes.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// Socket buffers in bytes. Small, so that a client that stops reading is felt
/// by the service after some 100 KiB and not after megabytes.
const SOCKET_BUFFER: u32 = 32 * 1024;

/// The request that was sent last, for a check that does not come to its end: its
/// code cannot say any more what it has asked.
static LAST_ASKED: Mutex<Option<String>> = Mutex::new(None);

/// Takes the request that was sent last since this was called, if any.
pub(crate) fn take_last_asked() -> Option<String> {
    LAST_ASKED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// A service under test, and a client for it that uses a new connection for
/// each request.
///
/// Each wait is limited to 8 s. Do not use it where time is paused: tokio would
/// let the limit pass while the socket has nothing to read.
pub struct Service {
    addr: SocketAddr,
    /// What keeps its server running; `None` when others do.
    _server: Option<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    /// Serves `router` on a free port of 127.0.0.1 until dropped. Dropping ends
    /// the requests in flight too.
    ///
    /// # Panics
    /// Outside a tokio runtime, and when the system gives no port.
    pub fn start(router: Router) -> Self {
        let listener = listen().expect("a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("the port that was just bound");
        let task = tokio::spawn(serve(listener, router));
        Self {
            addr,
            _server: Some(AbortOnDrop(task.abort_handle())),
        }
    }

    /// A service that runs already and that dropping does not end.
    pub fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            _server: None,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `GET path`. The path must be a valid one: for others there is
    /// [`Service::raw`].
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.get_with(path, &[]).await
    }

    /// `GET path` with these headers.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// `GET path` with a JSON body, as the workshop's clients send it.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get_json_body(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let json = [("content-type", "application/json")];
        self.send(Method::GET, path, &json, body.to_string()).await
    }

    /// `POST path` with any body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        let headers = [("content-type", content_type)];
        self.send(Method::POST, path, &headers, body).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.post(path, "application/json", body.to_string()).await
    }

    /// Any request; reads the whole answer, of at most 64 MiB.
    ///
    /// # Errors
    /// When no whole answer comes.
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

    /// `GET path`, to read the body chunk by chunk. Not reading on makes a client
    /// that has stopped reading; dropping the reply makes one that has gone.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn open(&self, path: &str) -> Result<StreamReply, Failure> {
        self.open_with(path, &[]).await
    }

    /// [`Service::open`] with headers.
    ///
    /// # Errors
    /// When no answer comes.
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
        *LAST_ASKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked.clone());
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

        let no_answer = |what: &dyn Display| {
            Failure::new(&asked, "an HTTP answer", format_args!("no answer: {what}"))
        };
        let answer = timeout(LIMIT, async {
            let socket = self.connect().await.or_fail(&asked)?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(socket)
                .await
                .or_fail(&asked)?;
            let connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| no_answer(&with_causes(&error)))?;
            Ok((response, connection))
        });
        let (response, connection) = answer
            .await
            .map_err(|_| no_answer(&format_args!("none within {} s", LIMIT.as_secs())))??;
        let (head, body) = response.into_parts();
        Ok(StreamReply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            asked,
            _connection: connection,
        })
    }

    async fn connect(&self) -> std::io::Result<TokioIo<TcpStream>> {
        let socket = match self.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        Ok(TokioIo::new(socket.connect(self.addr).await?))
    }

    /// Sends these very bytes over a connection of their own and reads what comes
    /// back: for requests that no HTTP client would send.
    ///
    /// Reads and writes at the same time, and does not mind when the service
    /// stops reading or cuts the connection: that is an answer too.
    ///
    /// # Errors
    /// When the service does not accept the connection.
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
            if matches!(then, Then::Disconnect) {
                return;
            }
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut chunk = vec![0; 8192];
            while reply.bytes.len() < LONGEST_BODY {
                match from.read(&mut chunk).await {
                    Ok(0) | Err(_) => {
                        reply.closed = true;
                        break;
                    }
                    Ok(length) => reply.bytes.extend_from_slice(&chunk[..length]),
                }
            }
        };
        let limit = match then {
            Then::ReadFor(limit) => limit,
            Then::CloseWriting | Then::Disconnect => LIMIT,
        };
        // The end of the limit is no failure: the reply says that it is open.
        let _ = timeout(limit, async {
            tokio::select! {
                () = write => {}
                () = read => {}
            }
        })
        .await;
        Ok(reply)
    }
}

/// What [`Service::raw`] does when its bytes are written.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// Read until the service closes the connection, at most this long. To have
    /// it close at once, send `Connection: close`.
    ReadFor(Duration),
    /// Close the sending half, then read until the service closes. To a service
    /// this looks like a client that is gone, so there may be no answer.
    CloseWriting,
    /// Close the connection without reading.
    Disconnect,
}

/// What came back on a raw connection.
#[derive(Debug, Clone)]
pub struct RawReply {
    /// All bytes that came, of at most 64 MiB.
    pub bytes: Vec<u8>,
    /// Whether the service closed the connection.
    pub closed: bool,
}

impl RawReply {
    /// The status of the first answer, if one came.
    pub fn status(&self) -> Option<u16> {
        let status = self.bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        std::str::from_utf8(status).ok()?.parse().ok()
    }

    /// All that came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    asked: String,
}

impl Reply {
    /// The request, as failures print it.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a JSON value.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let got = format!("status {}, {error}:\n{}", self.status, self.text());
            Failure::new(&self.asked, "a JSON body", got)
        })
    }

    /// Fails unless the status is `status`; gives the reply back to go on with.
    ///
    /// # Errors
    /// A [`Failure`] with the status and the body that came.
    pub fn expect_status(&self, status: u16) -> Result<&Self, Failure> {
        if self.status == status {
            return Ok(self);
        }
        let expected = format!("status {status}");
        Err(Failure::new(&self.asked, expected, self.summary()))
    }

    /// Fails unless the status is `status` and the body is the JSON value
    /// `expected`.
    ///
    /// # Errors
    /// A [`Failure`] with both sides.
    pub fn expect_json(&self, status: u16, expected: &Value) -> Result<(), Failure> {
        if self.status != status {
            let expected = format!("status {status}: {expected}");
            return Err(Failure::new(&self.asked, expected, self.summary()));
        }
        equal_json(&self.asked, expected, &self.json()?)
    }

    fn summary(&self) -> String {
        format!("status {}: {}", self.status, self.text())
    }
}

/// An answer whose body is still on its way. Dropping it closes the connection.
#[derive(Debug)]
pub struct StreamReply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    asked: String,
    _connection: AbortOnDrop,
}

impl StreamReply {
    /// The request, as failures print it.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next bytes of the body, `None` at its proper end. An error when the
    /// body breaks off, or when nothing comes within 8 s.
    ///
    /// # Cancel safety
    /// Cancel safe: no bytes are lost.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, Failure>> {
        let failed = |got: String| Failure::new(&self.asked, "the whole body", got);
        loop {
            let Ok(frame) = timeout(LIMIT, self.body.frame()).await else {
                let got = format!("no further byte of the body within {} s", LIMIT.as_secs());
                return Some(Err(failed(got)));
            };
            match frame? {
                Ok(frame) => {
                    // Trailers are no part of the body.
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => {
                    let got = format!("the body broke off: {}", with_causes(&error));
                    return Some(Err(failed(got)));
                }
            }
        }
    }

    /// Reads on to the end.
    ///
    /// # Errors
    /// When the body breaks off, stalls for 8 s, or is longer than 64 MiB.
    pub async fn read_whole(mut self) -> Result<Reply, Failure> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next_chunk().await {
            body.extend_from_slice(&chunk?);
            if body.len() > LONGEST_BODY {
                let expected = format!("a body of at most {LONGEST_BODY} bytes");
                return Err(Failure::new(&self.asked, expected, "a longer one"));
            }
        }
        Ok(Reply {
            status: self.status,
            headers: self.headers,
            body: body.freeze(),
            asked: self.asked,
        })
    }
}

impl std::fmt::Debug for AbortOnDrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AbortOnDrop")
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
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

/// As `axum::serve`, except that the connections end with it and do not live on
/// as tasks of their own.
async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else {
                    // Out of file descriptors: let other tasks give some back.
                    tokio::task::yield_now().await;
                    continue;
                };
                // Chunks of a stream leave at once instead of waiting to be full.
                let _ = socket.set_nodelay(true);
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    // An error is the client's going away, or a body that broke
                    // off: the client sees it, and a check asks the client.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
