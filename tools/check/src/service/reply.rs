//! What comes back from a service.

use std::fmt::Display;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{LIMIT, LONGEST_BODY};
use crate::failure::{Failure, Outcome, equal_json, json_error, with_causes};
use crate::trail::Trail;

/// What [`Service::raw`] does after its bytes are written.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// Read until the service closes the connection, at most this long. A service
    /// closes it after its answer when the request has `Connection: close`.
    ReadFor(Duration),
    /// Close the sending half, then read until the service closes. A service may
    /// take this for a client that is gone, and not answer.
    CloseWriting,
}

#[derive(Debug, Clone)]
pub struct RawReply {
    /// All bytes that were received, at most 64 MiB.
    pub bytes: Vec<u8>,
    pub closed: bool,
}

impl RawReply {
    /// The status of the first answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        let status = self.bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        std::str::from_utf8(status).ok()?.parse().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub(super) asked: String,
    pub(super) trail: Trail,
}

impl Reply {
    pub fn asked(&self) -> &str {
        &self.asked
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let error = json_error(&self.body, &error);
            let got = format!("status {}, {error}", self.status);
            self.failed("a JSON body", got)
        })
    }

    /// Fails unless the status is `status`; returns the reply otherwise.
    pub fn expect_status(&self, status: u16) -> Result<&Self, Failure> {
        if self.status == status {
            return Ok(self);
        }
        Err(self.failure(format_args!("status {status}")))
    }

    /// Fails unless the status is `status` and the body is the JSON value
    /// `expected`.
    pub fn expect_json(&self, status: u16, expected: &Value) -> Result<(), Failure> {
        if self.status != status {
            return Err(self.failure(format_args!("status {status}: {expected}")));
        }
        equal_json(&self.asked, expected, &self.json()?)
    }

    /// The failure of a check that expected something else than this reply. It
    /// shows status and body, and what the service logged if the status is 500 or
    /// more.
    pub fn failure(&self, expected: impl Display) -> Failure {
        self.failed(expected, format!("status {}: {}", self.status, self.text()))
    }

    fn failed(&self, expected: impl Display, got: String) -> Failure {
        let failure = Failure::new(&self.asked, expected, got);
        with_log_of_fault(failure, self.status, &self.trail)
    }
}

/// A status of 500 or more hides its cause from the client, and the log has it.
fn with_log_of_fault(failure: Failure, status: u16, trail: &Trail) -> Failure {
    if status < 500 {
        return failure;
    }
    failure.with_paragraph(&trail.log())
}

/// An answer whose body has not been read yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct StreamReply {
    pub status: u16,
    pub headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) received: usize,
    pub(super) asked: String,
    pub(super) trail: Trail,
    pub(super) _connection: JoinSet<hyper::Result<()>>,
}

impl StreamReply {
    pub fn asked(&self) -> &str {
        &self.asked
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails unless the status is `status`. Does not read the body.
    pub fn expect_status(&self, status: u16) -> Outcome {
        if self.status == status {
            return Ok(());
        }
        let expected = format!("status {status}");
        let failure = Failure::new(&self.asked, expected, format!("status {}", self.status));
        Err(with_log_of_fault(failure, self.status, &self.trail))
    }

    /// The next bytes of the body, `None` at its proper end. An error when the
    /// body breaks off, or when no byte is received for 8 s.
    ///
    /// # Cancel safety
    /// Cancel safe: no bytes are lost.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let Ok(frame) = timeout(LIMIT, self.body.frame()).await else {
                let what = format!("no further byte was received for {} s", LIMIT.as_secs());
                return Some(Err(self.incomplete(&what).hung()));
            };
            match frame? {
                Ok(frame) => {
                    // Trailers are not part of the body.
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len();
                        return Some(Ok(data));
                    }
                }
                Err(error) => {
                    let what = format!("the body broke off: {}", with_causes(&error));
                    return Some(Err(self.incomplete(&what)));
                }
            }
        }
    }

    fn incomplete(&self, what: &str) -> Failure {
        let (status, received) = (self.status, self.received);
        let plural = if received == 1 { "" } else { "s" };
        let got = format!(
            "status {status} and {received} byte{plural} of the body were received, then {what}"
        );
        Failure::new(&self.asked, "the whole body", got).with_paragraph(&self.trail.log())
    }

    pub async fn read_whole(mut self) -> Result<Reply, Failure> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next_chunk().await {
            body.extend_from_slice(&chunk?);
            if body.len() > LONGEST_BODY {
                let expected = format!("a body of at most {LONGEST_BODY} bytes");
                return Err(Failure::new(&self.asked, expected, "a longer one"));
            }
        }
        self.trail.end();
        Ok(Reply {
            status: self.status,
            headers: self.headers,
            body: body.freeze(),
            asked: self.asked,
            trail: self.trail,
        })
    }
}
