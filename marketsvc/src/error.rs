//! Every way in which a request can fail, and what its sender is told.
//!
//! Answers are problems after RFC 9457. They carry what the sender can act
//! on; the cause of a fault of ours goes to the log and nowhere else.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::FieldError;
use crate::trace;

/// Why a request failed. One failed statement may be the answer of several
/// requests, so errors can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// 400: the request cannot be read as what the endpoint takes.
    #[error("{0}")]
    BadRequest(String),
    /// 404: there is no such thing, or no such path.
    #[error("{0}")]
    NotFound(String),
    /// 405: the path exists, but not for this method.
    #[error("this path does not take this method; the header Allow names those that it takes")]
    MethodNotAllowed,
    /// 408: the client did not send the whole body in time.
    #[error("the request's body did not arrive in time")]
    BodyTooSlow,
    /// 413: the body is larger than the limit, in bytes.
    #[error("the request's body may have at most {0} bytes")]
    BodyTooLarge(usize),
    /// 415: there is a body, and it is not declared as JSON.
    #[error("the body must be JSON and be sent with `Content-Type: application/json`")]
    NotJson,
    /// 422: understood, and refused; nothing was stored.
    #[error("the request was refused and nothing was stored")]
    Refused(Vec<FieldError>),
    /// 503: every connection was in use, or another writer held the database,
    /// for longer than a request may wait.
    #[error("the service has too much to do; try again in a moment")]
    Busy(#[source] Arc<sqlx::Error>),
    /// 503, at once: as many new orders are waiting already as may.
    #[error("the service has too much to do; try again in a moment")]
    QueueFull,
    /// 503: no more requests are admitted now, or every connection is at work.
    #[error("the service has too much to do; try again in a moment")]
    Overloaded,
    /// 503: the service is not ready for requests, for this reason.
    #[error("{0}")]
    NotReady(&'static str),
    /// 503: reading did not finish in time.
    #[error("the answer took too long; try again in a moment")]
    TooSlow,
    /// 500: the database failed.
    #[error("something went wrong on our side")]
    Database(#[source] Arc<sqlx::Error>),
    /// 500: our code panicked; the panic's own message is in the log.
    #[error("something went wrong on our side")]
    Panicked,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let busy = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            // SQLITE_BUSY and SQLITE_LOCKED.
            error => matches!(sqlite_code(error), Some(5 | 6)),
        };
        let error = Arc::new(error);
        if busy {
            Self::Busy(error)
        } else {
            Self::Database(error)
        }
    }
}

/// SQLite's primary code for why a statement failed: the lowest byte of the
/// extended one.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

impl From<tokio::task::JoinError> for Error {
    /// A task that was part of a request is only ever cancelled together with
    /// the request, so what is left is a panic.
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Panicked
    }
}

impl Error {
    /// The status line that this error is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy(_)
            | Self::QueueFull
            | Self::Overloaded
            | Self::NotReady(_)
            | Self::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(_) | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Writes the cause to the log, if the fault is ours. Called once for each
    /// error, where it leaves the program.
    pub fn log(&self) {
        if !self.status().is_server_error() {
            return;
        }
        let _entered = trace::span_at_hand().entered();
        match self {
            Self::Busy(cause) => tracing::warn!(%cause, "answered 503: no connection came free"),
            // Meant to cost little, and there may be thousands in a second.
            Self::QueueFull => tracing::debug!("answered 503: the queue of orders is full"),
            Self::TooSlow => tracing::warn!("answered 503: the request took too long"),
            Self::Database(cause) => tracing::error!(%cause, "the database failed"),
            // The panic hook has written the message already.
            Self::Panicked => tracing::error!("a request panicked"),
            _ => {}
        }
    }
}

/// The body of an error, after RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let errors = match &self {
            Self::Refused(errors) => errors.as_slice(),
            _ => &[],
        };
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            errors,
        };
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects what is written to it and to its clones.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What an error writes to the log.
    fn logged(error: &Error) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || error.log());
        let lines = lines.0.lock().unwrap();
        String::from_utf8(lines.clone()).unwrap()
    }

    #[test]
    fn faults_of_ours_are_in_the_log_with_their_cause_and_others_are_not() {
        for (error, level, parts) in [
            (
                Error::from(sqlx::Error::PoolTimedOut),
                "WARN",
                ["answered 503", "pool timed out"],
            ),
            (Error::TooSlow, "WARN", ["answered 503", "too long"]),
            (
                Error::from(sqlx::Error::RowNotFound),
                "ERROR",
                ["the database failed", "no rows returned"],
            ),
            (Error::Panicked, "ERROR", ["a request", "panicked"]),
        ] {
            let text = logged(&error);
            assert_eq!(text.lines().count(), 1, "{text}");
            for part in [level, parts[0], parts[1]] {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
        }
        for error in [Error::NotJson, Error::Refused(Vec::new())] {
            assert_eq!(logged(&error), "");
        }
    }
}
