//! How a request of an attack is sent and its answer judged.

use check::{Failure, OrFail, Outcome, RawReply, Then, ensure};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{ALIVE, Attack, Expect, HANG, JsonEndpoint};

impl Attack<'_> {
    /// Fails unless the service still answers.
    pub(super) async fn alive(&self, after: &str) -> Outcome {
        let reply = self.service.get(ALIVE).await?;
        ensure(
            reply.status == 200,
            format_args!("{after}, then GET {ALIVE}"),
            "status 200",
            format_args!("status {}: {}", reply.status, reply.text()),
        )
    }

    pub(super) async fn get(&self, path: &str, expect: Expect) -> Outcome {
        self.get_bytes(path.as_bytes(), expect).await
    }

    pub(super) async fn get_bytes(&self, path: &[u8], expect: Expect) -> Outcome {
        let tail = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let request = [b"GET ", path, tail].concat();
        let reply = self.service.raw(&request, Then::ReadFor(HANG)).await?;
        let asked = format!("GET {}", short(path));
        self.judge(&asked, &reply, expect)
    }

    pub(super) async fn send(
        &self,
        endpoint: &JsonEndpoint,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Outcome {
        let (method, path) = (endpoint.method, endpoint.path);
        let kind =
            content_type.map_or_else(String::new, |kind| format!("Content-Type: {kind}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let reply = self.service.raw(&request, Then::ReadFor(HANG)).await?;
        let kind = content_type.unwrap_or("none");
        let asked = format!("{method} {path} (content type {kind}) {}", short(body));
        // A service may refuse and close before it has read all of a body, and
        // then the client's system may throw the answer away.
        let expect = if body.len() > 10_000 {
            Expect::RefusalOrNothing
        } else {
            Expect::Refusal
        };
        self.judge(&asked, &reply, expect)
    }

    pub(super) async fn connect(&self, asked: &str) -> Result<TcpStream, Failure> {
        let socket = TcpSocket::new_v4().or_fail(asked)?;
        // So that little of an answer is on its way when its client goes away.
        socket.set_recv_buffer_size(4096).or_fail(asked)?;
        let connecting = timeout(HANG, socket.connect(self.service.addr()));
        connecting.await.or_fail(asked)?.or_fail(asked)
    }

    pub(super) fn judge(&self, asked: &str, reply: &RawReply, expect: Expect) -> Outcome {
        if !reply.closed {
            return Err(hangs(asked));
        }
        let status = reply.status();
        let refused = status.is_some_and(|status| (400..500).contains(&status));
        let (allowed, expected) = match expect {
            Expect::NoFault => (
                status.is_some_and(|status| status < 500),
                "an answer that is not a 5xx",
            ),
            Expect::Refusal => (refused, "status 4xx"),
            Expect::RefusalOrNothing => (
                refused || reply.bytes.is_empty(),
                "status 4xx, or a connection closed without an answer",
            ),
        };
        ensure(allowed, asked, expected, seen(reply))?;
        let text = reply.text();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        expect_no_leak(asked, body, Some(&self.secret))
    }
}

pub(super) fn hangs(asked: &str) -> Failure {
    Failure::new(
        asked,
        format_args!(
            "an answer, or the connection's end, within {} s",
            HANG.as_secs()
        ),
        "neither",
    )
}

/// Status and body, without the headers.
pub(super) fn seen(reply: &RawReply) -> String {
    let text = reply.text();
    match (reply.status(), text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => format!("status {status}: {body}"),
        _ if text.is_empty() => "a connection closed without an answer".to_owned(),
        _ => text,
    }
}

/// For a failure's text: a long input is told by its beginning and length.
pub(super) fn short(bytes: &[u8]) -> String {
    let start = bytes[..bytes.len().min(80)].escape_ascii();
    if bytes.len() > 80 {
        format!("{start}… ({} bytes)", bytes.len())
    } else {
        start.to_string()
    }
}

/// What tells of SQL, of Rust and its libraries, and of the machine. None of it
/// is in a request that the checks send.
const TELLTALES: &[&str] = &[
    // SQL and the schema.
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "WHERE ",
    "CONSTRAINT",
    "FOREIGN KEY",
    "constraint failed",
    "order_items",
    "price_cents",
    "no such table",
    "no such column",
    "syntax error",
    "database is locked",
    "sqlite",
    "SQLite",
    "sqlx",
    // Rust.
    "panicked",
    "RUST_BACKTRACE",
    "unwrap()",
    ".rs:",
    "::",
    "i64",
    "u64",
    "i32",
    "u32",
    "f64",
    "Option<",
    "Result<",
    "Vec<",
    "Err(",
    "struct ",
    "RowNotFound",
    "PoolTimedOut",
    // Libraries.
    "axum",
    "hyper",
    "serde",
    "tokio",
    "tower",
    "jiff",
    "chrono",
    "Deserialize",
    "deserialize",
    // Paths.
    "src/",
    "/home/",
    "/tmp/",
    "/var/",
    "/root/",
    "/usr/",
    "/Users/",
    "market-check-",
];

/// Fails when an answer's body tells what is inside of the service.
pub(crate) fn expect_no_leak(asked: &str, body: &str, secret: Option<&str>) -> Outcome {
    let found = TELLTALES
        .iter()
        .copied()
        .chain(secret)
        .find(|word| body.contains(word));
    match found {
        None => Ok(()),
        Some(word) => Err(Failure::new(
            asked,
            "an answer without SQL, paths, or names of Rust and its libraries",
            format_args!("\"{word}\" in {body}"),
        )),
    }
}
