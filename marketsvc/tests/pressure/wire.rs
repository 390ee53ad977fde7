//! HTTP requests over a connection that is kept.

use std::io;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{Request, Response};
use check::{Failure, OrFail};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// `GET path`.
pub fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, String::new())
}

/// `POST path` with a JSON text.
pub fn post(path: &str, body: String) -> Request<Full<Bytes>> {
    request("POST", path, body)
}

fn request(method: &str, path: &str, body: String) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "x")
        .header("content-type", "application/json")
        .body(Full::from(body))
        .expect("a valid request")
}

/// A client that sends one request after another over one connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If the service does not accept the connection.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)?;
        // It ends when the client is dropped. The client sees its errors, too.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole answer. Returns `None` if the connection was
    /// closed before an answer began.
    ///
    /// # Errors
    /// If an answer begins but breaks off.
    pub async fn send(
        &mut self,
        request: &Request<Full<Bytes>>,
    ) -> Result<Option<Response<Bytes>>, Failure> {
        let sent = async {
            self.sender.ready().await?;
            self.sender.send_request(request.clone()).await
        };
        let Ok(response) = sent.await else {
            return Ok(None);
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.or_fail(request.uri())?;
        Ok(Some(Response::from_parts(head, body.to_bytes())))
    }
}
