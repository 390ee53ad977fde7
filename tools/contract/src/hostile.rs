//! Requests that no honest client sends.

mod judge;
mod sockets;

use std::time::Duration;

use check::{Database, Failure, Outcome, RawReply, Service, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

pub(crate) use judge::expect_no_leak;
use judge::seen;

/// How long a hostile request may wait for its answer or the connection's end.
const HANG: Duration = Duration::from_secs(5);

/// The endless body: far more than a service needs to read before it refuses.
const HUGE_BODY: usize = 64 * 1024 * 1024;
const PIECES: usize = 1024;

/// How many clients go away in the middle of an answer, and how many at once.
const GONE: usize = 200;
const GONE_AT_ONCE: usize = 25;

/// Which refusals [`hostile_input`] insists on, at all endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Surface {
    /// Whether an id below 1 and a JSON body with a `GET` but without its content
    /// type must be a 4xx too. Otherwise such an id may be taken for an unknown one.
    strict: bool,
}

impl Surface {
    pub const STEPS: Self = Self { strict: false };
    pub const MARKETSVC: Self = Self { strict: true };
}

/// Paths with `{}` for an id.
const IDS: [&str; 4] = [
    "/api/orders/{}",
    "/api/order_total/{}",
    "/api/orders_total?orders={}",
    "/api/orders_total?orders=1,{}",
];

/// A path whose answer is long, for clients that go away in the middle.
const LONG_ANSWER: &str = "/api/customers";

/// A path that a service in good health answers with 200.
const ALIVE: &str = "/api/order_total/1";

struct JsonEndpoint {
    method: &'static str,
    path: &'static str,
    /// A body that it accepts. Never sent whole and with the right content type.
    good: &'static str,
}

const ORDER: &str = r#"{"customer_id":2,"items":[{"id":2,"quantity":4}]}"#;

const BODIES: [JsonEndpoint; 2] = [
    JsonEndpoint {
        method: "POST",
        path: "/api/add_new_order",
        good: ORDER,
    },
    JsonEndpoint {
        method: "GET",
        path: "/api/orders_total",
        good: r#"{"orders":[1,2,3]}"#,
    },
];

/// Malformed ids, dates and bodies, a body of 64 MiB, half requests, and clients
/// that go away: each gets a 4xx or nothing, at once, and learns nothing of the
/// service's inside. Afterwards the service answers as before and the database
/// holds what it held.
///
/// Let the database have some 2,000 customers: a list of less than 100 KB is in the
/// socket's buffers before its client can go away. Nothing is changed.
pub async fn hostile_input(service: &Service, database: &Database, surface: &Surface) -> Outcome {
    let before = database.snapshot().await?;
    let attack = Attack {
        service,
        secret: database.path().to_string_lossy().into_owned(),
    };
    attack.ids(surface).await?;
    attack.dates().await?;
    attack.bodies(surface).await?;
    attack.huge_bodies().await?;
    attack.half_requests().await?;
    attack.no_http().await?;
    attack.gone_clients().await?;
    attack.alive("hostile requests").await?;
    database
        .expect_unchanged("hostile requests, then all rows", &before)
        .await
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
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
    async fn ids(&self, surface: &Surface) -> Outcome {
        let digits = "9".repeat(9000);
        let letters = "a".repeat(9000);
        let malformed = [
            // No number, no whole number, not in one of the forms of a number.
            "abc",
            "1.5",
            "1e3",
            "0x1",
            "--1",
            "1-",
            "%D9%A1",
            // No SQL of the client's gets through.
            "1%27%20OR%20%271%27=%271",
            "1;DROP%20TABLE%20orders",
            // Beyond 64 bits on both sides, and very far beyond.
            "9223372036854775808",
            "-9223372036854775809",
            &digits,
            &letters,
            // No UTF-8, cut UTF-8, no percent-encoding, control characters.
            "%FF%FE",
            "%C3%28",
            "%E2%82",
            "%C0%AF",
            "1%",
            "1%2",
            "%zz",
            "1%00",
            "..%2F..%2Fetc%2Fpasswd",
        ];
        let below_one = if surface.strict {
            Expect::Refusal
        } else {
            Expect::NoFault
        };
        for path in IDS {
            for id in malformed {
                self.get(&path.replace("{}", id), Expect::Refusal).await?;
            }
            for id in ["0", "-1", "-9223372036854775808"] {
                self.get(&path.replace("{}", id), below_one).await?;
            }
            // Bytes as they are, where a client must encode them.
            for id in [&b"\xff\xfe"[..], b"1\x00", b"1 OR 1", b"\xe2\x82\xac"] {
                let (start, end) = path.split_once("{}").unwrap_or((path, ""));
                let path = [start.as_bytes(), id, end.as_bytes()].concat();
                self.get_bytes(&path, Expect::Refusal).await?;
            }
        }
        Ok(())
    }

    async fn dates(&self) -> Outcome {
        let long = "2".repeat(9000);
        let good = "2024-03-20";
        for date in [
            "yesterday",
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
            "%E2%82",
            "2024-03-18%2",
            "%zz",
            "%D9%A2%D9%A0%D9%A2%D9%A4-03-18",
            &long,
        ] {
            for (before, after) in [(date, good), (good, date)] {
                let path = format!("/api/orders_between_dates/{before}/{after}");
                self.get(&path, Expect::Refusal).await?;
            }
        }
        Ok(())
    }

    async fn bodies(&self, surface: &Surface) -> Outcome {
        let json = "application/json";
        for endpoint in &BODIES {
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
            let numbers = |number| good.replace(|c: char| c.is_ascii_digit(), number);
            let overflow = numbers("99999999999999999999");
            let infinite = numbers("1e999");
            let texts = numbers("\"1\"");
            let invalid_utf8 = [b"\xff\xfe", good.as_bytes()].concat();
            let inner_utf8 = [b"{\"\xff", &good.as_bytes()[2..]].concat();
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
                b"0",
                b"[]",
                b"{}",
                b"\"",
                b"\"\\ud800\"",
                b"\x00",
                b"customer_id=2&items=2",
            ] {
                self.send(endpoint, Some(json), body).await?;
            }
            if surface.strict || endpoint.method == "POST" {
                for other in [
                    None,
                    Some("text/plain"),
                    Some("application/x-www-form-urlencoded"),
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
    async fn huge_bodies(&self) -> Outcome {
        for endpoint in &BODIES {
            let (method, path) = (endpoint.method, endpoint.path);
            // Spaces: JSON that goes on for ever without an error.
            let rest = " ".repeat(HUGE_BODY / PIECES);
            let start = &endpoint.good[..endpoint.good.len() - 1];
            let first = format!("{start}{}", &rest[start.len()..]);
            let framed = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
            let announced = format!("Content-Length: {HUGE_BODY}");
            for (how, framing, first, rest) in [
                ("", &*announced, first.clone(), rest.clone()),
                (
                    " in chunks",
                    "Transfer-Encoding: chunked",
                    framed(&first),
                    framed(&rest),
                ),
            ] {
                let asked = format!("{method} {path} with a body of 64 MiB{how}");
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Content-Type: application/json\r\n{framing}\r\n\r\n"
                );
                let (reply, all) = self.stream(&asked, head + &first, &rest).await?;
                self.judge(&asked, &reply, Expect::RefusalOrNothing)?;
                ensure(
                    !all,
                    &asked,
                    "a refusal before all of it is read: memory has a limit",
                    format_args!("all of it was read, then: {}", seen(&reply)),
                )?;
            }
        }
        Ok(())
    }

    /// Sends the huge body, `rest` again and again after its start, until the
    /// service answers or closes. What came, and whether all of the body went out.
    async fn stream(
        &self,
        asked: &str,
        start: String,
        rest: &str,
    ) -> Result<(RawReply, bool), Failure> {
        let (mut from, mut to) = self.connect(asked).await?.into_split();
        let mut all = false;
        let mut bytes = Vec::new();
        let exchange = async {
            let write = async {
                to.write_all(start.as_bytes()).await?;
                for _ in 1..PIECES {
                    to.write_all(rest.as_bytes()).await?;
                }
                all = true;
                to.write_all(b"0\r\n\r\n").await
            };
            // A service that has refused need not read on.
            tokio::select! {
                _ = write => {}
                _ = from.read_buf(&mut bytes) => {}
            }
            // An error is the end of the connection, too.
            let _ = from.read_to_end(&mut bytes).await;
        };
        let closed = timeout(HANG, exchange).await.is_ok();
        Ok((RawReply { bytes, closed }, all))
    }
}
