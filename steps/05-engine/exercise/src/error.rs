//! The errors of the service, and what the client is told about them.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Everything that can fail in this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service cannot read the request. The client receives the text.
    #[error("{0}")]
    BadRequest(&'static str),
    /// SQLite rejected a statement, the database could not be opened, or no
    /// connection became free in time.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// One of several spawned tasks panicked.
    #[error("a task panicked")]
    Task(#[from] tokio::task::JoinError),
    /// The tables of a new database could not be created.
    #[error("the database could not be set up")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database file could not be created.
    #[error("the database file could not be created")]
    File(#[from] std::io::Error),
}

impl Error {
    /// Returns the status and the text for the client. The cause is not part of
    /// the text: it can contain SQL, paths and values, which only the log may
    /// show.
    fn public(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(detail) => (StatusCode::BAD_REQUEST, detail),
            // TODO(05.5): answer 503 if no connection becomes free in time
            // END TODO(05.5)
            Self::Database(error) if is_constraint_violation(error) => (
                StatusCode::BAD_REQUEST,
                "the database does not accept these values",
            ),
            Self::Database(_) | Self::Task(_) | Self::Migration(_) | Self::File(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the service could not answer; the cause is in its log",
            ),
        }
    }
}

fn is_constraint_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_foreign_key_violation()
            || error.is_unique_violation()
            || error.is_check_violation()
    })
}

/// The response for an error is a problem document (RFC 9457).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, detail) = self.public();
        // The client does not see the cause of a 5xx, so log it.
        if status.is_server_error() {
            tracing::error!(error = ?self, "request failed");
        }
        let problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // TODO(05.6): tell the client when to retry after a 503: Retry-After, in seconds
        // END TODO(05.6)
        response
    }
}

impl From<PathRejection> for Error {
    fn from(_: PathRejection) -> Self {
        Self::BadRequest(
            "the path has a value of the wrong kind; an id is a whole number without a \
             point or exponent",
        )
    }
}

impl From<QueryRejection> for Error {
    fn from(_: QueryRejection) -> Self {
        Self::BadRequest(
            "the part after `?` is not of the form that this endpoint takes, each name once",
        )
    }
}

impl From<BytesRejection> for Error {
    fn from(_: BytesRejection) -> Self {
        Self::BadRequest("the body could not be read, or is larger than 2 MB")
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        Self::BadRequest(match rejection {
            JsonRejection::MissingJsonContentType(_) => {
                "the body must be sent with the header `Content-Type: application/json`"
            }
            JsonRejection::BytesRejection(_) => {
                "the body could not be read, or is larger than 2 MB"
            }
            _ => {
                "the body is not JSON of the form that this endpoint takes: UTF-8 text \
                 without a byte order mark, each key once, whole numbers without a \
                 point or exponent"
            }
        })
    }
}
