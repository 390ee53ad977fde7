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
use tokio::time::timeout;

use crate::error::{Error, Result};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a small answer may take; only turns a hang into an error.
const PATIENCE: Duration = Duration::from_secs(30);

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
        f.write_str(&shown(text.trim_end()))
    }
}

/// A kept-alive connection.
pub struct Connection {
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// # Errors
    ///
    /// Those of the socket.
    pub async fn open(addr: SocketAddr) -> std::result::Result<Self, Failure> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        // Its errors come out of the sender as well.
        tokio::spawn(connection);
        let host = HeaderValue::from_str(&addr.to_string())?;
        Ok(Self { host, sender })
    }

    /// Sends one request; the body of the answer can be read then.
    ///
    /// # Errors
    ///
    /// When the connection ends before the head of the answer has come.
    pub async fn send(
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
        self.sender.ready().await?;
        Ok(self.sender.send_request(message).await?)
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When the connection ends before the answer does, and after [`PATIENCE`].
    pub async fn ask(
        &mut self,
        request: &Request,
    ) -> std::result::Result<(StatusCode, Bytes), Failure> {
        timeout(PATIENCE, async {
            let response = self.send(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        })
        .await?
    }
}

/// How a long answer came.
#[derive(Debug)]
pub struct Reading {
    /// From the request to the first byte of the body.
    pub first_byte: Duration,
    /// To the last byte.
    pub total: Duration,
    /// How many `{` there were.
    pub braces: u64,
}

/// Reads a whole answer and throws it away.
///
/// # Errors
///
/// Why there was none that is whole.
pub async fn read_all(
    connection: &mut Connection,
    request: &Request,
) -> std::result::Result<Reading, Failure> {
    let start = Instant::now();
    let response = connection.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string().into());
    }
    let mut body = response.into_body();
    let (mut first_byte, mut braces) = (None, 0);
    while let Some(frame) = body.frame().await {
        let bytes = frame?.into_data().unwrap_or_default();
        first_byte.get_or_insert_with(|| start.elapsed());
        braces += count_braces(&bytes);
    }
    let total = start.elapsed();
    Ok(Reading {
        first_byte: first_byte.unwrap_or(total),
        total,
        braces,
    })
}

#[expect(clippy::naive_bytecount, reason = "the compiler makes it fast enough")]
fn count_braces(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'{').count() as u64
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

/// At most 200 characters of it.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => text[..end].to_owned() + "…",
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is read of a server that answers one request with these pieces.
    fn read(pieces: &'static [&'static str]) -> std::result::Result<Reading, Failure> {
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
        runtime().unwrap().block_on(async {
            let mut connection = Connection::open(addr).await?;
            read_all(&mut connection, &Request::get("/")).await
        })
    }

    #[test]
    fn whole_answers_are_read_and_their_objects_counted() {
        let sized = &[
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{",
            "},{",
            "{}}]",
        ];
        let chunked = &[
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
            "\r\n",
            "4\r\n[{},\r\n3\r\n{}]\r\n0",
            "\r\n\r\n",
        ];
        for (pieces, braces) in [(&sized[..], 3), (&chunked[..], 2)] {
            let reading = read(pieces).unwrap();
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
            assert!(read(pieces).is_err(), "{pieces:?}");
        }
    }
}
