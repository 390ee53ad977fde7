//! Requests over HTTP/1.1, and what comes back.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time;

use crate::error::{Error, Result};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `GET path`, or `POST path` with a body.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    uri: Uri,
    body: Bytes,
}

impl Request {
    /// # Panics
    ///
    /// If `path` is not a path.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            uri: path.parse().expect("a path and perhaps a query"),
            body: Bytes::new(),
        }
    }

    /// # Panics
    ///
    /// If `path` is not a path.
    pub fn post(path: &str, body: &Value) -> Self {
        Self {
            method: Method::POST,
            body: body.to_string().into(),
            ..Self::get(path)
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let text = format!("{} {} {body}", self.method, self.uri);
        f.write_str(&shown(text.trim_end().to_owned()))
    }
}

/// A kept-alive connection that is made again when it has ended.
pub struct Connection {
    addr: SocketAddr,
    host: HeaderValue,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// # Panics
    ///
    /// Never: an address is ASCII.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            host: HeaderValue::from_str(&addr.to_string()).expect("an address is ASCII"),
            sender: None,
        }
    }

    /// # Errors
    ///
    /// Those of the socket.
    pub async fn connect(&mut self) -> std::result::Result<(), Failure> {
        let socket = TcpStream::connect(self.addr).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        // Its errors come out of the sender as well.
        tokio::spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    async fn send(
        &mut self,
        request: &Request,
    ) -> std::result::Result<Response<Incoming>, Failure> {
        let mut message = hyper::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = request.uri.clone();
        let headers = message.headers_mut();
        headers.insert(HOST, self.host.clone());
        if !request.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        let open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !open {
            self.connect().await?;
        }
        let sender = self.sender.as_mut().expect("it is connected");
        Ok(sender.send_request(message).await?)
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When the connection ends before the answer does.
    pub async fn ask(
        &mut self,
        request: &Request,
    ) -> std::result::Result<(StatusCode, Bytes), Failure> {
        let response = self.send(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// How a long answer came.
#[derive(Debug)]
pub struct Reading {
    /// From the request, connection included, to the first byte of the body.
    pub first_byte: Duration,
    /// To the last byte.
    pub total: Duration,
    /// How many `{` there were.
    pub braces: u64,
}

/// Reads a whole answer over a connection of its own and throws it away.
///
/// # Errors
///
/// Why there was none that is whole, within `limit`.
pub fn read_all(
    addr: SocketAddr,
    path: &str,
    limit: Duration,
) -> std::result::Result<Reading, Failure> {
    let read = async {
        let start = Instant::now();
        let response = Connection::new(addr).send(&Request::get(path)).await?;
        if response.status() != StatusCode::OK {
            return Err(response.status().to_string().into());
        }
        let mut body = response.into_body();
        let (mut first_byte, mut braces) = (None, 0);
        while let Some(frame) = body.frame().await {
            let bytes = frame?.into_data().unwrap_or_default();
            first_byte.get_or_insert_with(|| start.elapsed());
            braces += bytecount(&bytes);
        }
        let total = start.elapsed();
        Ok(Reading {
            first_byte: first_byte.unwrap_or(total),
            total,
            braces,
        })
    };
    runtime()?.block_on(async { time::timeout(limit, read).await? })
}

#[expect(clippy::naive_bytecount, reason = "the compiler makes it fast enough")]
fn bytecount(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'{').count() as u64
}

/// How long a small answer takes over a connection of its own, or `None` when it does
/// not come within `limit`.
///
/// # Errors
///
/// When another status than 200 comes, or nothing more.
pub fn time(addr: SocketAddr, path: &str, limit: Duration) -> Result<Option<Duration>> {
    let start = Instant::now();
    let request = Request::get(path);
    let mut connection = Connection::new(addr);
    let failed = |why: &dyn fmt::Display| Err(Error::Environment(format!("GET {path}: {why}")));
    runtime()?.block_on(async {
        match time::timeout(limit, connection.ask(&request)).await {
            Ok(Ok((StatusCode::OK, _))) => Ok(Some(start.elapsed())),
            Ok(Ok((status, body))) => failed(&answer(status, &body)),
            Ok(Err(error)) => failed(&error),
            Err(_) => Ok(None),
        }
    })
}

/// All on one thread, since it shares the machine with the server that it measures.
///
/// # Errors
///
/// When the system refuses.
pub fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))
}

/// The beginning of an answer, for a message.
pub fn answer(status: StatusCode, body: &[u8]) -> String {
    shown(format!("{status} {}", String::from_utf8_lossy(body)))
}

/// At most 200 characters of it.
pub fn shown(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const LATER: Duration = Duration::from_mins(1);

    /// Answers one request with these pieces.
    fn server(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            for piece in pieces {
                socket.write_all(piece.as_bytes()).unwrap();
            }
        });
        addr
    }

    #[test]
    fn whole_answers_are_read_and_their_objects_counted() {
        for (pieces, braces) in [
            (
                &[
                    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{",
                    "},{",
                    "{}}]",
                ] as &[_],
                3,
            ),
            (
                &[
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
                    "\r\n",
                    "4\r\n[{},\r\n3\r\n{}]\r\n0",
                    "\r\n\r\n",
                ],
                2,
            ),
        ] {
            let reading = read_all(server(pieces), "/", LATER).unwrap();
            assert!(reading.first_byte <= reading.total);
            assert_eq!(reading.braces, braces);
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_or_failed_is_an_error() {
        let pieces: [&[&str]; 5] = [
            &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[{"],
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[{},\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"],
            &["HTTP/1.1 500 Oh\r\ncontent-length: 1\r\n\r\nx"],
            &[],
        ];
        for pieces in pieces {
            assert!(read_all(server(pieces), "/", LATER).is_err(), "{pieces:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // It is accepted by the system and never read.
        assert_eq!(time(addr, "/", Duration::from_millis(10)).unwrap(), None);
        let addr = server(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
        assert!(time(addr, "/", LATER).unwrap().is_some());
    }
}
