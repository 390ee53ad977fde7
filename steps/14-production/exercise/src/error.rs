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
    /// The request is well formed, but the value of one field is not
    /// acceptable. The client receives both texts.
    #[error("{field}: {detail}")]
    Unprocessable {
        /// The path of the field in the body: `customer_id`, `items[1].id`.
        field: String,
        /// The reason why the value is not acceptable.
        detail: &'static str,
    },
    /// The path names something that does not exist. The client receives the text.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request is acceptable, but not beside what is stored: a name is taken, or
    /// something still refers to the row. The client receives both texts.
    #[error("{field}: {detail}")]
    Conflict {
        /// The field of the body, or `id` for the one in the path.
        field: &'static str,
        /// The reason why the request was refused.
        detail: &'static str,
    },
    /// The body of the request is longer than the service reads.
    #[error("the body is too long")]
    BodyTooLarge,
    /// The client took too long to send the body of the request.
    #[error("the body came too slowly")]
    BodyTooSlow,
    /// The path has no endpoint for this method.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// As many requests as may run at the same time are running.
    #[error("too many requests")]
    Overloaded,
    /// As many lists as may be sent at the same time are being sent.
    #[error("too many streams")]
    TooManyStreams,
    /// A request that only reads had no answer in time.
    #[error("the request took too long")]
    TimedOut,
    /// The service is stopping, or its database does not answer.
    #[error("the service is not ready")]
    NotReady,
    /// A handler panicked. The panic's own message is in the log.
    #[error("the handler panicked")]
    Panicked,
    /// A handler takes a `StreamPermit`, but no layer has permits.
    #[error("the request was not admitted")]
    NoAdmission,
    /// A handler takes a `Session`, but no layer has made one.
    #[error("the request has no session")]
    NoSession,
    /// The session of a request was used after its end.
    #[error("the session has ended")]
    SessionEnded,
    /// SQLite rejected a statement, the database could not be opened, or no
    /// connection became free in time.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A row could not be written as JSON.
    #[error("a row could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// One of several spawned tasks panicked.
    #[error("a task panicked")]
    Task(#[from] tokio::task::JoinError),
    /// A migration failed, or the database is newer than this program.
    #[error("the database could not be set up")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database at the URL is not one that this program can use. The text says why.
    #[error("{0}")]
    Unusable(&'static str),
    /// The database file could not be created.
    #[error("the database file could not be created")]
    File(#[from] std::io::Error),
}

impl Error {
    /// Creates an [`Error::Unprocessable`] for `field`.
    pub fn unprocessable(field: impl Into<String>, detail: &'static str) -> Self {
        Self::Unprocessable {
            field: field.into(),
            detail,
        }
    }

    /// Creates an [`Error::Conflict`] for `field`.
    pub fn conflict(field: &'static str, detail: &'static str) -> Self {
        Self::Conflict { field, detail }
    }

    /// Returns a word for the log that says what kind of error this is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad request",
            Self::Unprocessable { .. } => "unprocessable",
            Self::NotFound(_) => "not found",
            Self::Conflict { .. } => "conflict",
            Self::Database(error) if is_busy(error) => "busy",
            Self::Database(_) => "database failed",
            Self::BodyTooLarge | Self::BodyTooSlow | Self::MethodNotAllowed => "refused",
            Self::Overloaded | Self::TooManyStreams => "overloaded",
            Self::TimedOut => "timed out",
            Self::NotReady
            | Self::Panicked
            | Self::NoAdmission
            | Self::NoSession
            | Self::SessionEnded
            | Self::Json(_)
            | Self::Task(_)
            | Self::Migration(_)
            | Self::Unusable(_)
            | Self::File(_) => "failed",
        }
    }

    /// Returns the field that the error is about, and what is wrong with it.
    fn field(&self) -> Option<(&str, &'static str)> {
        match self {
            Self::Unprocessable { field, detail } => Some((field, detail)),
            Self::Conflict { field, detail } => Some((field, detail)),
            _ => None,
        }
    }

    /// Returns the status and the text for the client. The cause is not part of
    /// the text: it can contain SQL, paths and values, which only the log may
    /// show.
    fn public(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(detail) => (StatusCode::BAD_REQUEST, detail),
            Self::Unprocessable { detail, .. } => (StatusCode::UNPROCESSABLE_ENTITY, detail),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, detail),
            Self::Conflict { detail, .. } => (StatusCode::CONFLICT, detail),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is longer than this service reads",
            ),
            Self::BodyTooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "the path has no endpoint for this method; `Allow` names those it has",
            ),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many lists are being sent; try again in a second",
            ),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the answer took too long; try again in a second",
            ),
            Self::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the service is stopping, or its database does not answer in time",
            ),
            Self::Overloaded => BUSY,
            Self::Database(error) if is_busy(error) => BUSY,
            Self::Database(error) if is_constraint_violation(error) => (
                StatusCode::BAD_REQUEST,
                "the database does not accept these values",
            ),
            Self::Panicked
            | Self::NoAdmission
            | Self::NoSession
            | Self::SessionEnded
            | Self::Database(_)
            | Self::Json(_)
            | Self::Task(_)
            | Self::Migration(_)
            | Self::Unusable(_)
            | Self::File(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the service could not answer; the cause is in its log",
            ),
        }
    }
}

const BUSY: (StatusCode, &str) = (
    StatusCode::SERVICE_UNAVAILABLE,
    "the service is busy; try again in a second",
);

/// Returns whether no connection became free within the acquire timeout, or
/// another writer held the lock for longer than the busy timeout.
fn is_busy(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut => true,
        // The primary code SQLITE_BUSY is 5. Extended codes carry more detail
        // in their higher bits, so compare the lowest byte only.
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| code & 0xff == 5),
        _ => false,
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
        // The client does not see the cause of a 5xx, so log it. The errors of `shed` have no
        // other cause, and an overloaded service would log thousands of them in a second.
        let shed = matches!(
            self,
            Self::Overloaded | Self::TooManyStreams | Self::NotReady
        );
        if status.is_server_error() && !shed {
            tracing::error!(error = ?self, "request failed");
        }
        let mut problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        if let Some((field, detail)) = self.field() {
            problem["errors"] = json!([{ "field": field, "detail": detail }]);
        }
        let mut response = (status, Json(problem)).into_response();
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
        Self::BadRequest("the body could not be read")
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        Self::BadRequest(match rejection {
            JsonRejection::MissingJsonContentType(_) => {
                "the body must be sent with the header `Content-Type: application/json`"
            }
            JsonRejection::BytesRejection(_) => "the body could not be read",
            _ => {
                "the body is not JSON of the form that this endpoint takes: UTF-8 text \
                 without a byte order mark, each key once, whole numbers without a \
                 point or exponent"
            }
        })
    }
}
