//! Requests that no honest client sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use check::{Database, Failure, OrFail, Outcome, RawReply, Service, Then, ensure};

/// How long a hostile request may wait for its answer or the connection's end.
const HANG: Duration = Duration::from_secs(5);

/// The endless body: far more than a service needs to read before it refuses.
const HUGE_BODY: usize = 64 * 1024 * 1024;

/// How many clients go away in the middle of an answer, and how many at once.
const GONE: usize = 200;
const GONE_AT_ONCE: usize = 25;

/// Where [`hostile_input`] attacks.
#[derive(Debug, Clone, Copy)]
pub struct Surface<'a> {
    /// Paths with `{}` for an id: `/api/order_total/{}`.
    pub ids: &'a [&'a str],
    /// Whether the service takes a well-formed id below 1 for one that is merely
    /// unknown. Otherwise it must be a 4xx like all the others.
    pub ids_below_one_are_unknown: bool,
    /// Paths with two `{}` for dates.
    pub dates: &'a [&'a str],
    /// Who takes a JSON body.
    pub bodies: &'a [JsonEndpoint<'a>],
    /// Paths whose answers are long, for clients that go away in the middle. Add
    /// so many rows to the database that an answer has 100 KB or more (2,000
    /// customers will do): a shorter one is in the socket's buffers before its
    /// client can go away.
    pub long_answers: &'a [&'a str],
    /// A path that a service in good health answers with 200.
    pub alive: &'a str,
}

/// An endpoint that takes a JSON body.
#[derive(Debug, Clone, Copy)]
pub struct JsonEndpoint<'a> {
    /// Its method: `POST`.
    pub method: &'a str,
    /// Its path, without anything to fill in.
    pub path: &'a str,
    /// A body that it accepts. Never sent whole and with the right content type.
    pub good: &'a str,
    /// Whether this body with another content type, or none, must be a 4xx.
    pub needs_content_type: bool,
}

const ORDER: &str = r#"{"customer_id":2,"items":[{"id":2,"quantity":4}]}"#;

impl Surface<'static> {
    /// All endpoints as steps 02 to 09 have them.
    pub const STEPS: Self = Self {
        ids: &[
            "/api/orders/{}",
            "/api/order_total/{}",
            "/api/orders_total?orders={}",
            "/api/orders_total?orders=1,{}",
        ],
        ids_below_one_are_unknown: true,
        dates: &["/api/orders_between_dates/{}/{}"],
        bodies: &[
            JsonEndpoint {
                method: "POST",
                path: "/api/add_new_order",
                good: ORDER,
                needs_content_type: true,
            },
            JsonEndpoint {
                method: "GET",
                path: "/api/orders_total",
                good: r#"{"orders":[1,2,3]}"#,
                needs_content_type: false,
            },
        ],
        long_answers: &["/api/customers"],
        alive: "/api/order_total/1",
    };

    /// All endpoints as `marketsvc` has them.
    pub const MARKETSVC: Self = Self {
        ids_below_one_are_unknown: false,
        bodies: &[
            Self::STEPS.bodies[0],
            JsonEndpoint {
                needs_content_type: true,
                ..Self::STEPS.bodies[1]
            },
        ],
        ..Self::STEPS
    };
}

/// Malformed ids, dates and bodies, a body of 64 MiB, half requests, and clients
/// that go away: each gets a 4xx or nothing, at once, and learns nothing of the
/// service's inside. Afterwards the service answers as before and the database
/// holds what it held.
///
/// Most of its time goes into the 200 answers that are begun for clients that go
/// away: with 2,000 customers a second or two in all. It changes nothing, so the
/// database may hold anything.
///
/// # Errors
/// What was not as it should be.
pub async fn hostile_input(
    service: &Service,
    database: &Database,
    surface: &Surface<'_>,
) -> Outcome {
    let before = database.snapshot().await?;
    let attack = Attack {
        service,
        secret: database.path().to_string_lossy().into_owned(),
    };
    attack.ids(surface).await?;
    attack.dates(surface).await?;
    attack.bodies(surface).await?;
    attack.huge_bodies(surface).await?;
    attack.half_requests(surface).await?;
    attack.no_http().await?;
    for path in surface.long_answers {
        attack.gone_clients(path).await?;
    }
    attack.alive(surface, "hostile requests").await?;
    database
        .expect_unchanged("hostile requests, then all rows", &before)
        .await
}

/// What may come back.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    /// A status from 400 to 499.
    Refusal,
    /// The same, or a closed connection.
    RefusalOrNothing,
    /// Anything that is no fault of the service.
    NoFault,
}

struct Attack<'a> {
    service: &'a Service,
    /// The database's file, which no answer may name.
    secret: String,
}

impl Attack<'_> {
    async fn ids(&self, surface: &Surface<'_>) -> Outcome {
        let digits = "9".repeat(9000);
        let letters = "a".repeat(9000);
        let malformed = [
            // No number, no whole number, not in one of the forms of a number.
            "abc",
            "1.5",
            "1e3",
            "0x1",
            "NaN",
            "null",
            "--1",
            "1-",
            "1%2B1",
            "%D9%A1",
            // No SQL of the client's gets through.
            "1%27%20OR%20%271%27=%271",
            "1;DROP%20TABLE%20orders",
            "1)--",
            // Beyond 64 bits on both sides, and very far beyond.
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            &digits,
            &letters,
            // No UTF-8, cut UTF-8, no percent-encoding, control characters.
            "%FF%FE",
            "%C3%28",
            "%E2%82",
            "%C0%AF",
            "%",
            "1%",
            "1%2",
            "%zz",
            "%00",
            "1%00",
            "..%2F..%2Fetc%2Fpasswd",
        ];
        let below_one = if surface.ids_below_one_are_unknown {
            Expect::NoFault
        } else {
            Expect::Refusal
        };
        for path in surface.ids {
            for id in malformed {
                self.get(&path.replace("{}", id), Expect::Refusal).await?;
            }
            for id in ["0", "-1", "-9223372036854775808"] {
                self.get(&path.replace("{}", id), below_one).await?;
            }
            // Bytes as they are, where a client must encode them.
            for id in [
                &b"\xff\xfe"[..],
                b"\xc3\x28",
                b"1\x00",
                b"1 OR 1",
                b"\xe2\x82\xac",
            ] {
                let (start, end) = path.split_once("{}").unwrap_or((path, ""));
                let path = [start.as_bytes(), id, end.as_bytes()].concat();
                self.get_bytes(&path, Expect::Refusal).await?;
            }
        }
        Ok(())
    }

    async fn dates(&self, surface: &Surface<'_>) -> Outcome {
        let long = "2".repeat(9000);
        let good = "2024-03-20";
        for path in surface.dates {
            for date in [
                "yesterday",
                "0",
                "2024",
                "2024-3-1",
                "2024-00-10",
                "2024-13-01",
                "2024-02-30",
                "2024-03-18T10:30:00",
                "2024-03-18%2024:61:61",
                "-2024-03-18",
                "99999-01-01",
                "%2B2024-03-18",
                "2024-03-18%00",
                "2024-03-18%20",
                "2024-03-18%27%20OR%201=1",
                "%FF%FE",
                "%C3%28",
                "%E2%82",
                "%",
                "2024-03-18%2",
                "%zz",
                "%D9%A2%D9%A0%D9%A2%D9%A4-03-18",
                &long,
            ] {
                let first = path.replacen("{}", date, 1).replacen("{}", good, 1);
                self.get(&first, Expect::Refusal).await?;
                let second = path.replacen("{}", good, 1).replacen("{}", date, 1);
                self.get(&second, Expect::Refusal).await?;
            }
        }
        Ok(())
    }

    async fn bodies(&self, surface: &Surface<'_>) -> Outcome {
        let json = "application/json";
        for endpoint in surface.bodies {
            let good = endpoint.good;
            // Cut wherever it can be cut.
            for length in 1..good.len() {
                self.send(endpoint, Some(json), &good.as_bytes()[..length])
                    .await?;
            }
            let lists = "[".repeat(100_000);
            let closed = format!("{lists}{}", "]".repeat(100_000));
            let objects = r#"{"a":"#.repeat(100_000);
            // Deep inside of an object that begins well.
            let inside = format!("{}:{lists}", good.split(':').next().unwrap_or_default());
            let without_names = good.replace('"', "");
            let twice = format!("{good}{good}");
            let overflow = digits_replaced(good, "99999999999999999999");
            let infinite = digits_replaced(good, "1e999");
            let texts = digits_replaced(good, "\"1\"");
            let invalid_utf8 = [b"\xff\xfe", good.as_bytes()].concat();
            let inner_utf8 = good.replace('"', "\"\u{1}").into_bytes();
            let inner_utf8: Vec<u8> = inner_utf8
                .into_iter()
                .map(|byte| if byte == 1 { 0xff } else { byte })
                .collect();
            let utf16: Vec<u8> = good.bytes().flat_map(|byte| [byte, 0]).collect();
            let with_nul = format!("{good}\0");
            for body in [
                lists.as_bytes(),
                closed.as_bytes(),
                objects.as_bytes(),
                inside.as_bytes(),
                without_names.as_bytes(),
                twice.as_bytes(),
                overflow.as_bytes(),
                infinite.as_bytes(),
                texts.as_bytes(),
                &invalid_utf8,
                &inner_utf8,
                &utf16,
                with_nul.as_bytes(),
                b"null",
                b"true",
                b"0",
                b"[]",
                b"{}",
                b"\"",
                b"\"\\ud800\"",
                b"\x00",
                b"-",
                b"customer_id=2&items=2",
            ] {
                self.send(endpoint, Some(json), body).await?;
            }
            if endpoint.needs_content_type {
                for other in [
                    None,
                    Some("text/plain"),
                    Some("application/x-www-form-urlencoded"),
                    Some("application/xml"),
                    Some("multipart/form-data; boundary=x"),
                    Some("application/jsonx"),
                    Some("json"),
                    Some("/"),
                    Some("\u{fe}"),
                ] {
                    self.send(endpoint, other, good.as_bytes()).await?;
                }
            }
        }
        Ok(())
    }

    /// 64 MiB of a body that begins well, announced by its length, and in pieces
    /// whose number nobody knows. Made as it is sent.
    async fn huge_bodies(&self, surface: &Surface<'_>) -> Outcome {
        for endpoint in surface.bodies {
            let start = &endpoint.good[..endpoint.good.len() - 1];
            for chunked in [false, true] {
                let asked = format!(
                    "{} {} with a body of 64 MiB{}",
                    endpoint.method,
                    endpoint.path,
                    if chunked { " in chunks" } else { "" }
                );
                let framing = if chunked {
                    "Transfer-Encoding: chunked".to_owned()
                } else {
                    format!("Content-Length: {HUGE_BODY}")
                };
                let head = format!(
                    "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Content-Type: application/json\r\n{framing}\r\n\r\n",
                    endpoint.method, endpoint.path
                );
                let (reply, taken) = self.stream(&asked, &head, start, chunked).await?;
                self.judge(&asked, &reply, Expect::RefusalOrNothing)?;
                ensure(
                    taken < HUGE_BODY,
                    &asked,
                    "a refusal before all of it is read: memory has a limit",
                    format_args!("all of it was read, then: {}", seen(&reply)),
                )?;
            }
        }
        Ok(())
    }

    /// Sends the endless body until the service answers or closes. What came, and
    /// how many bytes of the body went out.
    async fn stream(
        &self,
        asked: &str,
        head: &str,
        start: &str,
        chunked: bool,
    ) -> Result<(RawReply, usize), Failure> {
        let socket = self.connect(asked).await?;
        let (mut from, mut to) = socket.into_split();
        // Spaces: JSON that goes on for ever without an error.
        let piece = vec![b' '; 64 * 1024];
        let taken = AtomicUsize::new(0);
        let mut write = std::pin::pin!(async {
            to.write_all(head.as_bytes()).await?;
            let mut next = start.as_bytes();
            loop {
                let left = HUGE_BODY - taken.load(Ordering::Relaxed);
                if left == 0 {
                    break;
                }
                next = &next[..next.len().min(left)];
                if chunked {
                    to.write_all(format!("{:x}\r\n", next.len()).as_bytes())
                        .await?;
                }
                to.write_all(next).await?;
                if chunked {
                    to.write_all(b"\r\n").await?;
                }
                taken.fetch_add(next.len(), Ordering::Relaxed);
                next = &piece;
            }
            if chunked {
                to.write_all(b"0\r\n\r\n").await?;
            }
            std::io::Result::Ok(())
        });
        let mut bytes = Vec::new();
        let exchange = async {
            let mut chunk = vec![0; 8192];
            let mut writing = true;
            loop {
                tokio::select! {
                    // A service that has refused need not read on.
                    _ = &mut write, if writing => writing = false,
                    read = from.read(&mut chunk) => match read {
                        Ok(0) | Err(_) => break,
                        Ok(length) => {
                            bytes.extend_from_slice(&chunk[..length]);
                            writing = false;
                        }
                    }
                }
            }
        };
        let closed = timeout(HANG, exchange).await.is_ok();
        let reply = RawReply { bytes, closed };
        Ok((reply, taken.load(Ordering::Relaxed)))
    }

    /// Requests that stop in the middle, of clients that wait, that have closed
    /// their sending half, and that are gone.
    async fn half_requests(&self, surface: &Surface<'_>) -> Outcome {
        let mut halves = vec![
            ("nothing at all".to_owned(), Vec::new()),
            ("half a request line".to_owned(), b"GET /api/or".to_vec()),
            (
                "half a header".to_owned(),
                b"GET / HTTP/1.1\r\nHost: local".to_vec(),
            ),
            (
                "headers without an end".to_owned(),
                b"GET / HTTP/1.1\r\nHost: localhost\r\n".to_vec(),
            ),
        ];
        for endpoint in surface.bodies {
            let (method, path, good) = (endpoint.method, endpoint.path, endpoint.good);
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            );
            let half = &good[..good.len() / 2];
            halves.push((
                format!("{method} {path} with half a body"),
                format!("{head}Content-Length: {}\r\n\r\n{half}", good.len()).into_bytes(),
            ));
            halves.push((
                format!("{method} {path} with a body of which one byte of many comes"),
                format!("{head}Content-Length: 1000\r\n\r\n{{").into_bytes(),
            ));
            halves.push((
                format!("{method} {path} with half a chunk of a body"),
                format!(
                    "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}",
                    good.len()
                )
                .into_bytes(),
            ));
            // The whole body, yet the end of the chunks is missing.
            halves.push((
                format!("{method} {path} with chunks without an end"),
                format!(
                    "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{good}\r\n",
                    good.len()
                )
                .into_bytes(),
            ));
        }

        // Clients that say no more, and stay.
        let mut waiting = Vec::new();
        for (what, bytes) in &halves {
            for _ in 0..5 {
                let mut socket = self.connect(what).await?;
                socket.write_all(bytes).await.or_fail(what)?;
                waiting.push(socket);
            }
        }
        let what = format!(
            "{} clients that stopped in the middle of a request",
            waiting.len()
        );
        self.alive(surface, &what).await?;
        drop(waiting);

        for (what, bytes) in &halves {
            self.service.raw(bytes, Then::Disconnect).await?;
            let asked = format!("{what}, then the end of the request");
            let reply = timeout(HANG, self.service.raw(bytes, Then::CloseWriting));
            let reply = reply.await.map_err(|_| hangs(&asked))??;
            self.judge(&asked, &reply, Expect::RefusalOrNothing)?;
        }
        Ok(())
    }

    /// What is not HTTP, or contradicts itself.
    async fn no_http(&self) -> Outcome {
        let long_header = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(1024 * 1024)
        );
        let long_path = format!(
            "GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "x".repeat(100_000)
        );
        let many_headers = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            "A: b\r\n".repeat(10_000)
        );
        let post = |headers: &str| {
            format!(
                "POST /api/add_new_order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\n{headers}\r\n\r\n{ORDER}"
            )
        };
        for (what, bytes) in [
            (
                "a TLS greeting",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            ),
            ("zero bytes", vec![0; 1000]),
            (
                "a version that there is not",
                b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            ),
            (
                "a request line without a path",
                b"GET HTTP/1.1\r\n\r\n".to_vec(),
            ),
            (
                "a header without a name",
                b"GET / HTTP/1.1\r\n: x\r\n\r\n".to_vec(),
            ),
            ("a header of 1 MiB", long_header.into_bytes()),
            ("a path of 100,000 characters", long_path.into_bytes()),
            ("10,000 headers", many_headers.into_bytes()),
            ("a negative length", post("Content-Length: -1").into_bytes()),
            (
                "a length that overflows",
                post("Content-Length: 99999999999999999999").into_bytes(),
            ),
            (
                "two lengths",
                post("Content-Length: 5\r\nContent-Length: 6").into_bytes(),
            ),
            (
                "a chunk whose size is no number",
                post("Transfer-Encoding: chunked\r\n\r\nxyz").into_bytes(),
            ),
        ] {
            let reply = self.service.raw(&bytes, Then::ReadFor(HANG)).await?;
            self.judge(what, &reply, Expect::RefusalOrNothing)?;
        }
        Ok(())
    }

    /// Clients that go away when they have the first bytes of an answer.
    async fn gone_clients(&self, path: &str) -> Outcome {
        let asked = format!("GET {path} by {GONE} clients that go away in the middle");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for _ in 0..GONE / GONE_AT_ONCE {
            let mut sockets = Vec::new();
            for i in 0..GONE_AT_ONCE {
                let mut socket = self.connect(&asked).await?;
                socket.write_all(request.as_bytes()).await.or_fail(&asked)?;
                sockets.push(socket);
                // And now and then one that does not even wait for the beginning.
                if i % 5 == 0 {
                    self.service.raw(&request, Then::Disconnect).await?;
                }
            }
            for mut socket in sockets {
                let mut bytes = vec![0; 512];
                let read = timeout(HANG, socket.read(&mut bytes)).await;
                let length = read.map_err(|_| hangs(&asked))?.unwrap_or(0);
                bytes.truncate(length);
                let closed = length == 0;
                let reply = RawReply { bytes, closed };
                let fault = reply.status().is_none_or(|status| status >= 500);
                ensure(!fault, &asked, "the beginning of an answer", seen(&reply))?;
            }
        }
        Ok(())
    }

    /// Fails unless the service still answers.
    async fn alive(&self, surface: &Surface<'_>, after: &str) -> Outcome {
        let reply = self.service.get(surface.alive).await?;
        ensure(
            reply.status == 200,
            format_args!("{after}, then GET {}", surface.alive),
            "status 200",
            format_args!("status {}: {}", reply.status, reply.text()),
        )
    }

    async fn get(&self, path: &str, expect: Expect) -> Outcome {
        self.get_bytes(path.as_bytes(), expect).await
    }

    async fn get_bytes(&self, path: &[u8], expect: Expect) -> Outcome {
        let tail = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let request = [b"GET ", path, tail].concat();
        let reply = self.service.raw(&request, Then::ReadFor(HANG)).await?;
        let asked = format!("GET {}", short(path));
        self.judge(&asked, &reply, expect)
    }

    async fn send(
        &self,
        endpoint: &JsonEndpoint<'_>,
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

    async fn connect(&self, asked: &str) -> Result<TcpStream, Failure> {
        let addr = self.service.addr();
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .or_fail(asked)?;
        // So that little of an answer is on its way when its client goes away.
        socket.set_recv_buffer_size(4096).or_fail(asked)?;
        let connecting = timeout(HANG, socket.connect(addr));
        connecting.await.or_fail(asked)?.or_fail(asked)
    }

    fn judge(&self, asked: &str, reply: &RawReply, expect: Expect) -> Outcome {
        if !reply.closed {
            return Err(hangs(asked));
        }
        let (allowed, expected) = match (expect, reply.status()) {
            (Expect::NoFault, status) => (
                status.is_some_and(|status| status < 500),
                "an answer that is no 5xx",
            ),
            (Expect::Refusal, status) => (
                status.is_some_and(|status| (400..500).contains(&status)),
                "status 4xx",
            ),
            (Expect::RefusalOrNothing, None) => (
                reply.bytes.is_empty(),
                "status 4xx, or a connection closed without an answer",
            ),
            (Expect::RefusalOrNothing, Some(status)) => (
                (400..500).contains(&status),
                "status 4xx, or a connection closed without an answer",
            ),
        };
        ensure(allowed, asked, expected, seen(reply))?;
        let text = reply.text();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        expect_no_leak(asked, body, Some(&self.secret))
    }
}

fn hangs(asked: &str) -> Failure {
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
fn seen(reply: &RawReply) -> String {
    let text = reply.text();
    match (reply.status(), text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => format!("status {status}: {body}"),
        _ if text.is_empty() => "a connection closed without an answer".to_owned(),
        _ => text,
    }
}

/// For a failure's text: a long input is told by its beginning and length.
fn short(bytes: &[u8]) -> String {
    let start = bytes[..bytes.len().min(80)].escape_ascii();
    if bytes.len() > 80 {
        format!("{start}… ({} bytes)", bytes.len())
    } else {
        start.to_string()
    }
}

/// `json` with each number replaced.
fn digits_replaced(json: &str, number: &str) -> String {
    let mut text = String::new();
    let mut in_number = false;
    for c in json.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                text.push_str(number);
            }
            in_number = true;
        } else {
            text.push(c);
            in_number = false;
        }
    }
    text
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
    "rusqlite",
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
pub(super) fn expect_no_leak(asked: &str, body: &str, secret: Option<&str>) -> Outcome {
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
