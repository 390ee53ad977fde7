//! Attacks below HTTP: requests that do not end, bytes that are not HTTP, clients
//! that go away.

use check::{OrFail, Outcome, RawReply, Then, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::judge::{hangs, seen};
use super::{Attack, BODIES, Expect, GONE, GONE_AT_ONCE, HANG, LONG_ANSWER, ORDER};

impl Attack<'_> {
    /// Requests that stop in the middle, of clients that wait, that have closed
    /// their sending half, and that are gone.
    pub(super) async fn half_requests(&self) -> Outcome {
        let mut halves: Vec<(String, String)> = [
            ("nothing at all", ""),
            ("half a request line", "GET /api/or"),
            ("half a header", "GET / HTTP/1.1\r\nHost: local"),
            (
                "headers without an end",
                "GET / HTTP/1.1\r\nHost: localhost\r\n",
            ),
        ]
        .map(|(what, bytes)| (what.to_owned(), bytes.to_owned()))
        .into();
        for endpoint in &BODIES {
            let (method, path, good) = (endpoint.method, endpoint.path, endpoint.good);
            let (length, half) = (good.len(), &good[..good.len() / 2]);
            let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
            for (what, rest) in [
                (
                    "half a body",
                    format!("Content-Length: {length}\r\n\r\n{half}"),
                ),
                (
                    "a body of which one byte of many comes",
                    "Content-Length: 1000\r\n\r\n{".to_owned(),
                ),
                ("half a chunk of a body", format!("{chunk}{half}")),
                // The whole body, yet the end of the chunks is missing.
                ("chunks without an end", format!("{chunk}{good}\r\n")),
            ] {
                halves.push((
                    format!("{method} {path} with {what}"),
                    format!(
                        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\
                         Content-Type: application/json\r\n{rest}"
                    ),
                ));
            }
        }

        // Clients that say no more, and stay.
        let mut waiting = Vec::new();
        for (what, bytes) in &halves {
            for _ in 0..5 {
                let mut socket = self.connect(what).await?;
                socket.write_all(bytes.as_bytes()).await.or_fail(what)?;
                waiting.push(socket);
            }
        }
        let what = format!(
            "{} clients that stopped in the middle of a request",
            waiting.len()
        );
        self.alive(&what).await?;
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
    pub(super) async fn no_http(&self) -> Outcome {
        let get = |path: &str, headers: &str| {
            format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        };
        let post = |headers: &str| {
            format!(
                "POST /api/add_new_order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\n{headers}\r\n\r\n{ORDER}"
            )
        };
        let long_header = format!("X: {}\r\n", "x".repeat(1024 * 1024));
        for (what, bytes) in [
            (
                "a TLS greeting",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            ),
            ("zero bytes", vec![0; 1000]),
            (
                "a version that does not exist",
                b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            ),
            (
                "a request line without a path",
                b"GET HTTP/1.1\r\n\r\n".to_vec(),
            ),
            ("a header without a name", get("", ": x\r\n").into()),
            ("a header of 1 MiB", get("", &long_header).into()),
            (
                "a path of 100,000 characters",
                get(&"x".repeat(100_000), "").into(),
            ),
            ("10,000 headers", get("", &"A: b\r\n".repeat(10_000)).into()),
            ("a negative length", post("Content-Length: -1").into()),
            (
                "a length that overflows",
                post("Content-Length: 99999999999999999999").into(),
            ),
            (
                "two lengths",
                post("Content-Length: 5\r\nContent-Length: 6").into(),
            ),
            (
                "a chunk whose size is not a number",
                post("Transfer-Encoding: chunked\r\n\r\nxyz").into(),
            ),
        ] {
            let reply = self.service.raw(&bytes, Then::ReadFor(HANG)).await?;
            self.judge(what, &reply, Expect::RefusalOrNothing)?;
        }
        Ok(())
    }

    /// Clients that go away when they have the first bytes of an answer.
    pub(super) async fn gone_clients(&self) -> Outcome {
        let asked = format!("GET {LONG_ANSWER} by {GONE} clients that go away in the middle");
        let request = format!("GET {LONG_ANSWER} HTTP/1.1\r\nHost: localhost\r\n\r\n");
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
                let begun = reply.status().is_some_and(|status| status < 500);
                ensure(begun, &asked, "the beginning of an answer", seen(&reply))?;
            }
        }
        Ok(())
    }
}
