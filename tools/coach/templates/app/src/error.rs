//! The errors of the service, and what clients are told about them.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::db;
use crate::openapi::{FieldProblem, Problem};

/// Everything that can fail while a request is answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service cannot read the request. The client receives the text.
    #[error("{0}")]
    BadRequest(String),
    /// The value of one field is not acceptable. The client receives both texts.
    #[error("{field}: {detail}")]
    Unprocessable { field: &'static str, detail: String },
    /// The path names something that does not exist. The client receives the text.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request contradicts what is stored: a value is taken, or another row refers to
    /// this one. The field is one of the body, or `id`. The client receives both texts.
    #[error("{field}: {detail}")]
    Conflict {
        field: &'static str,
        detail: &'static str,
    },
    /// The path has no endpoint for this method.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// The body of the request is longer than the service reads.
    #[error("the body is too long")]
    BodyTooLarge,
    /// The answer took too long.
    #[error("the request took too long")]
    TimedOut,
    /// A handler panicked. The panic's own message is in the log.
    #[error("the handler panicked")]
    Panicked,
    /// The database failed, or there was no free connection in time.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Creates an [`Error::Unprocessable`].
    pub fn unprocessable(field: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::Unprocessable { field, detail }
    }

    /// Creates an [`Error::Conflict`].
    pub fn conflict(field: &'static str, detail: &'static str) -> Self {
        Self::Conflict { field, detail }
    }

    /// Returns the status and the text for the client. The cause is not part of the text: it
    /// can contain SQL and values, which only the log may show.
    fn public(&self) -> (StatusCode, &str) {
        match self {
            Self::BadRequest(detail) => (StatusCode::BAD_REQUEST, detail),
            Self::Unprocessable { detail, .. } => (StatusCode::UNPROCESSABLE_ENTITY, detail),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, detail),
            Self::Conflict { detail, .. } => (StatusCode::CONFLICT, detail),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "the path has no endpoint for this method; `Allow` names those it has",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is longer than this service reads",
            ),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the answer took too long; try again in a second",
            ),
            Self::Database(error) if db::is_busy(error) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the service is busy; try again in a second",
            ),
            // A constraint that no module explains: one that was added by hand.
            Self::Database(error) if is_violation(error) => {
                (StatusCode::CONFLICT, "the values do not fit what is stored")
            }
            Self::Panicked | Self::Database(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the service could not answer; the cause is in its log",
            ),
        }
    }

    /// Returns the field that the error is about.
    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Unprocessable { field, .. } | Self::Conflict { field, .. } => Some(field),
            _ => None,
        }
    }
}

fn is_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_unique_violation()
            || error.is_foreign_key_violation()
            || error.is_check_violation()
    })
}

/// The response for an error is a problem document (RFC 9457).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, detail) = self.public();
        if status.is_server_error() {
            tracing::error!(error = ?self, "request failed");
        }
        let problem = Problem {
            r#type: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.to_owned(),
            errors: self.field().map(|field| {
                let detail = detail.to_owned();
                vec![FieldProblem { field, detail }]
            }),
        };
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
        Self::BadRequest("an id is a whole number of 64 bits".to_owned())
    }
}

impl From<QueryRejection> for Error {
    fn from(_: QueryRejection) -> Self {
        Self::BadRequest("the part after `?` has a wrong value, or a name twice".to_owned())
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        use JsonRejection::{JsonDataError, JsonSyntaxError};

        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::BodyTooLarge;
        }
        let form = "the body must be JSON of the form that this endpoint takes: in UTF-8 \
             without a byte order mark, with the header `Content-Type: application/json`, each \
             key once, whole numbers without a point or exponent";
        // The text of the rejection names types of Rust, which are no use to a client. It
        // ends with the place, as in "at line 1 column 25".
        let text = rejection.body_text();
        let place = match rejection {
            JsonDataError(_) | JsonSyntaxError(_) => text.rsplit_once(" at line "),
            _ => None,
        };
        Self::BadRequest(match place {
            Some((_, place)) => format!("{form} (line {place})"),
            None => form.to_owned(),
        })
    }
}
