//! Requests that no honest client sends.

mod judge;
mod sockets;
mod surface;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use check::{Database, Failure, Outcome, RawReply, Service, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

pub(crate) use judge::expect_no_leak;
use judge::{digits_replaced, seen};
pub use surface::{JsonEndpoint, Surface};

/// How long a hostile request may wait for its answer or the connection's end.
const HANG: Duration = Duration::from_secs(5);

/// The endless body: far more than a service needs to read before it refuses.
const HUGE_BODY: usize = 64 * 1024 * 1024;

/// How many clients go away in the middle of an answer, and how many at once.
const GONE: usize = 200;
const GONE_AT_ONCE: usize = 25;

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
}
