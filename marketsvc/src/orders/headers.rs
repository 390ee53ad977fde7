//! The headers with which a client repeats an order safely, and sees what it has done.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use utoipa::IntoParams;

use crate::error::Error;

/// The header with the key of an order: the same key is the same order, regardless of how
/// often it is sent.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that says how much of the database a client has seen.
pub const MARKET_POSITION: HeaderName = HeaderName::from_static("market-position");

/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;

/// The key that a client has sent with its order.
#[derive(Clone, Debug, IntoParams)]
#[into_params(names("Idempotency-Key"), parameter_in = Header)]
pub struct IdempotencyKey(
    /// Names the order. Sent again with the same key, it is not stored again: the answer is
    /// the one of the first time.
    #[param(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "order-1"
    )]
    pub Option<String>,
);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    /// # Errors
    /// [`Error::BadRequest`] if it is not from 1 to 255 visible ASCII characters, once.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Some(key) = only(&parts.headers, &IDEMPOTENCY_KEY, MALFORMED_KEY)? else {
            return Ok(Self(None));
        };
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(1..=LONGEST_KEY).contains(&key.len()) {
            return Err(MALFORMED_KEY);
        }
        Ok(Self(Some(key.to_owned())))
    }
}

/// A position in what PostgreSQL has written (an LSN): `0/3000060`. What is stored later has
/// a greater position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Position {
    type Err = Error;

    /// Parses two hexadecimal numbers of at most 32 bits with a `/` between them.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let half = |digits: &str| {
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let half = u32::from_str_radix(digits, 16);
            half.ok().filter(|_| is_hex).map(u64::from)
        };
        let (high, low) = text.split_once('/').ok_or(MALFORMED_POSITION)?;
        match (half(high), half(low)) {
            (Some(high), Some(low)) => Ok(Self(high << 32 | low)),
            _ => Err(MALFORMED_POSITION),
        }
    }
}

/// How much of the database the client has seen: the `Market-Position` of an answer that it
/// has had, if it sends one.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(names("Market-Position"), parameter_in = Header)]
pub struct Seen(
    /// The `Market-Position` of an earlier answer. What the client reads is not older than that
    /// answer.
    #[param(value_type = String, required = false, min_length = 3, max_length = 17, pattern = "^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$", example = "0/3000060")]
    pub Option<Position>,
);

impl<S: Sync> FromRequestParts<S> for Seen {
    type Rejection = Error;

    /// # Errors
    /// [`Error::BadRequest`] if the header is not one position.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let seen = only(&parts.headers, &MARKET_POSITION, MALFORMED_POSITION)?;
        Ok(Self(seen.map(str::parse).transpose()?))
    }
}

/// Returns the value of a header that occurs at most once; otherwise `malformed`.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    malformed: Error,
) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| malformed),
        (Some(_), Some(_)) => Err(malformed),
    }
}

const MALFORMED_KEY: Error =
    Error::BadRequest("an Idempotency-Key has from 1 to 255 visible ASCII characters");

const MALFORMED_POSITION: Error =
    Error::BadRequest("a Market-Position is two hexadecimal numbers with a `/` between them");
