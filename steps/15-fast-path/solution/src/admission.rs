//! Which requests are worked on, and for how long: bodies have a limit, and so has the
//! number of requests that run and of lists that are sent.
//!
//! ```text
//! receive the body      413 if it is too long, 408 if it comes too slowly
//! take a request permit 503 if there is none
//!   take a stream permit, if it is a list        503 if there is none
//!   run the handler                              503 if a read takes too long
//! give the request permit back, and send the head of the answer
//! send the body, and then give the stream permit back
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::Limits;
use crate::error::Error;

/// How much of a body that is too long is read and thrown away, in bytes, and for how
/// long. Many clients read the answer only after they have sent everything: if the
/// service closed the connection while they still send, they would never see the 413.
pub const DISCARDED_BYTES: usize = 16 * 1024 * 1024;
pub const DISCARD_TIME: Duration = Duration::from_secs(4);

/// Admits requests within the limits. Clones share the permits.
#[derive(Clone, Debug)]
pub struct Admission {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    limits: Limits,
}

impl Admission {
    /// Creates the permits that `limits` allow.
    pub fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.max_requests)),
            streams: Arc::new(Semaphore::new(limits.max_streams)),
            limits: limits.clone(),
        }
    }

    /// Returns the request with its whole body in memory.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] if the body is longer than the limit; what follows is then
    /// read and thrown away, up to 16 MiB and for at most 4 s. [`Error::BodyTooSlow`] if
    /// the client takes longer than the receive timeout. [`Error::BadRequest`] if the body
    /// breaks off.
    async fn receive(&self, request: Request) -> Result<Request, Error> {
        let (parts, body) = request.into_parts();
        let mut body = body;
        let received = timeout(
            self.limits.receive_timeout,
            Limited::new(&mut body, self.limits.max_body).collect(),
        )
        .await
        .map_err(|_| Error::BodyTooSlow)?;
        match received {
            Ok(received) => Ok(Request::from_parts(parts, Body::from(received.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => {
                discard(body).await;
                Err(Error::BodyTooLarge)
            }
            Err(_) => Err(Error::BadRequest("the body broke off")),
        }
    }

    /// Runs a request. It holds a permit until its answer begins.
    ///
    /// # Errors
    /// [`Error::Overloaded`] at once if all permits are taken. [`Error::TimedOut`] if the
    /// request only reads and has no answer within the request timeout. A request that
    /// writes is not cut off: it may just have been stored, and a client that is told to
    /// try again would store it twice. The timeouts of the database bound each of its waits.
    async fn run(&self, request: Request, next: Next) -> Result<Response, Error> {
        let only_reads = request.method().is_safe();
        let _permit = self.requests.try_acquire().map_err(|_| Error::Overloaded)?;
        if only_reads {
            timeout(self.limits.request_timeout, next.run(request))
                .await
                .map_err(|_| Error::TimedOut)
        } else {
            Ok(next.run(request).await)
        }
    }
}

/// Reads a body and throws it away: [`DISCARDED_BYTES`] at most, and no longer than
/// [`DISCARD_TIME`].
pub async fn discard(body: Body) {
    let mut body = body;
    let mut discarded = 0;
    let _ = timeout(DISCARD_TIME, async {
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded >= DISCARDED_BYTES {
                break;
            }
        }
    })
    .await;
}

/// Receives the body of a request and runs it, if the limits allow.
///
/// # Errors
/// Those of [`Admission`]: the body is too long, too slow or breaks off, all permits are
/// taken, or a read takes too long.
///
/// # Cancel safety
/// A request that is dropped gives its permit back.
pub async fn layer(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let mut request = admission.receive(request).await?;
    request.extensions_mut().insert(admission.clone());
    admission.run(request, next).await
}

/// Allows sending one list. A handler has it as a parameter and gives it to the body of its
/// answer, which holds it until the body has been sent or dropped.
#[derive(Debug)]
pub struct StreamPermit {
    _permit: OwnedSemaphorePermit,
}

/// A handler of a list does not run if all stream permits are taken: the client gets
/// [`Error::TooManyStreams`] at once.
impl<S: Sync> FromRequestParts<S> for StreamPermit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let admission: Option<&Admission> = parts.extensions.get();
        let streams = &admission.ok_or(Error::NoAdmission)?.streams;
        let permit = Arc::clone(streams)
            .try_acquire_owned()
            .map_err(|_| Error::TooManyStreams)?;
        Ok(Self { _permit: permit })
    }
}
