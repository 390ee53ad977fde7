//! Attacks below HTTP: requests that do not end, bytes that are not HTTP, clients
//! that go away.

use check::{OrFail, Outcome, RawReply, Then, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::judge::{hangs, seen};
use super::{Attack, Expect, GONE, GONE_AT_ONCE, HANG, Surface, surface::ORDER};

impl Attack<'_> {
    /// Requests that stop in the middle, of clients that wait, that have closed
    /// their sending half, and that are gone.
    pub(super) async fn half_requests(&self, surface: &Surface<'_>) -> Outcome {
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
    pub(super) async fn no_http(&self) -> Outcome {
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
    pub(super) async fn gone_clients(&self, path: &str) -> Outcome {
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
}
