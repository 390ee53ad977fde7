//! Reading requests. The framework's own refusals are replaced by the
//! service's [`Error`], so that every answer has the same shape and none
//! names a type or a library.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time;

use super::AppState;
use super::admission::SharedPlace;
use crate::Error;

/// The one variable part of a path, parsed as `T`. Malformed ones are 400.
#[derive(Debug)]
pub struct PathValue<T>(pub T);

impl<T, S> FromRequestParts<S> for PathValue<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| not_text())?;
        parse("the last part of the path", &text).map(Self)
    }
}

/// The two variable parts of a path, in its order. Malformed ones are 400.
#[derive(Debug)]
pub struct PathPair<T>(pub T, pub T);

impl<T, S> FromRequestParts<S> for PathPair<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| not_text())?;
        Ok(Self(
            parse("the last part of the path but one", &first)?,
            parse("the last part of the path", &second)?,
        ))
    }
}

fn not_text() -> Error {
    Error::BadRequest("the path is not percent-encoded UTF-8".to_owned())
}

fn parse<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|error| Error::BadRequest(format!("{what} {error}")))
}

/// A JSON body, or `None` for an empty one.
///
/// 415 when a body is not declared as JSON, 413 when it is larger than
/// `Limits::body_bytes`, 408 when it takes longer than `Limits::body_read`,
/// 400 when it is not JSON; 503 when a reading request finds no place any more.
#[derive(Debug)]
pub struct JsonBody(pub Option<Value>);

impl FromRequest<AppState> for JsonBody {
    type Rejection = Error;

    async fn from_request(mut request: Request, state: &AppState) -> Result<Self, Error> {
        let limits = &state.limits;
        let declared_json = declares_json(request.headers());
        // A body that announces its size is refused before it is sent.
        if content_length(request.headers()).is_some_and(|length| length > limits.body_bytes) {
            return Err(Error::BodyTooLarge(limits.body_bytes));
        }
        DefaultBodyLimit::max(limits.body_bytes).apply(&mut request);
        let place = request.extensions().get::<SharedPlace>().cloned();
        let body = async {
            time::timeout(limits.body_read, Bytes::from_request(request, state))
                .await
                .map_err(|_| Error::BodyTooSlow)?
                .map_err(|rejection| match rejection {
                    BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                        Error::BodyTooLarge(limits.body_bytes)
                    }
                    _ => Error::BadRequest("the body could not be read to its end".to_owned()),
                })
        };
        let body = match place {
            Some(place) => state.admission.without(&place, body).await?,
            None => body.await?,
        };
        if body.is_empty() {
            return Ok(Self(None));
        }
        if !declared_json {
            return Err(Error::NotJson);
        }
        let value = serde_json::from_slice(&body).map_err(|error| {
            Error::BadRequest(format!(
                "the body is not JSON in UTF-8 without a byte order mark: {error}"
            ))
        })?;
        // Of a key that is given twice, `Value` keeps the last one.
        match serde_json::from_slice::<Keys>(&body) {
            Err(error) if error.to_string().starts_with("duplicate field") => {
                Err(Error::BadRequest(format!("the body has a {error}")))
            }
            _ => Ok(Self(Some(value))),
        }
    }
}

/// The keys that bodies have, to be read for the sake of serde's own error about
/// keys that are given twice. Its other errors are found, and better described,
/// where the values are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    #[serde(rename = "customer_id")]
    _customer: IgnoredAny,
    #[serde(rename = "orders")]
    _orders: IgnoredAny,
    #[serde(rename = "items")]
    _items: Vec<LineKeys>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LineKeys {
    #[serde(rename = "id")]
    _item: IgnoredAny,
    #[serde(rename = "quantity")]
    _quantity: IgnoredAny,
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// `application/json`, with any parameters.
fn declares_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
