//! Response bodies for lists: each is sent while its pages are being read.

use std::pin::Pin;

use async_stream::try_stream;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use mediatype::names::{_STAR, APPLICATION, JSON, Q};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

use crate::admission::StreamPermit;
use crate::db::Rows;
use crate::error::Error;

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array: `[{…},{…}]`.
    JsonArray,
    /// NDJSON: one JSON object per line. A client can use each line as soon as
    /// it arrives.
    NdJson,
}

impl Format {
    /// The format that the client prefers by `Accept` (RFC 9110, 12.5.1). It gets
    /// lines only if it prefers them to an array: a client that accepts both
    /// equally gets an array, and so does one that accepts neither, since an
    /// answer is of more use to it than a refusal.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let ranges: Vec<MediaType> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(MediaTypeList::new)
            .flatten()
            .collect();
        if preference(&ranges, X_NDJSON) > preference(&ranges, JSON) {
            Self::NdJson
        } else {
            Self::JsonArray
        }
    }

    /// Returns the value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::JsonArray => "application/json",
            Self::NdJson => "application/x-ndjson",
        }
    }

    /// Returns what is before the first row, between two rows, and after the last one.
    fn around(self) -> [&'static str; 3] {
        match self {
            Self::JsonArray => ["[", ",", "]"],
            Self::NdJson => ["", "\n", "\n"],
        }
    }

    /// Returns what is between two rows.
    pub fn separator(self) -> &'static str {
        self.around()[1]
    }
}

const X_NDJSON: Name = Name::new_unchecked("x-ndjson");

/// How much a client that accepts these ranges wants `application/{subtype}`:
/// the weight of the most specific range that covers it, then how specific that
/// range is. `None` if no range covers it, or the weight is 0.
fn preference(ranges: &[MediaType], subtype: Name) -> Option<(f32, usize)> {
    let covering = [
        MediaType::new(_STAR, _STAR),
        MediaType::new(APPLICATION, _STAR),
        MediaType::new(APPLICATION, subtype),
    ];
    let weighted = ranges.iter().filter_map(|range| {
        let specificity = covering.iter().position(|kind| *kind == range.essence())?;
        // A range with a malformed weight counts for nothing.
        let weight = match range.get_param(Q) {
            Some(weight) => weight.as_str().parse().ok()?,
            None => 1.0,
        };
        (0.0..=1.0)
            .contains(&weight)
            .then_some((weight, specificity))
    });
    weighted
        .max_by_key(|(_, specificity)| *specificity)
        .filter(|(weight, _)| *weight > 0.0)
}

/// Returns a response that sends `pages` as one list in the given format. Each page is the
/// JSON of some rows, with the format's separator between them. The body holds `permit` until
/// it has been sent or is dropped.
///
/// # Errors
/// An error that occurs before the first piece of the body is ready. After
/// that, the status has already been sent: a later error is logged and cuts the
/// body off, and the client sees a transfer that ends too early.
///
/// # Cancel safety
/// When the client disconnects, the server drops the body, and `pages` with it.
pub async fn respond(
    format: Format,
    pages: Rows<String>,
    permit: StreamPermit,
) -> Result<Response, Error> {
    let mut pages = pages;
    let pieces: Rows<Bytes> = Box::pin(try_stream! {
        let _permit = permit;
        let [first, between, last] = format.around();
        let mut before = first;
        while let Some(page) = pages.try_next().await? {
            yield format!("{before}{page}").into();
            before = between;
        }
        // A list without rows has a beginning and an end, but no line.
        if before == between {
            yield last.into();
        } else if format == Format::JsonArray {
            yield format!("{first}{last}").into();
        }
    });
    // `next_if` takes the first piece out of the stream only if it is an error.
    // `Pin::new` is allowed because `Rows` is boxed: moving the box later does not
    // move the stream inside it.
    let mut pieces = pieces.peekable();
    if let Some(Err(error)) = Pin::new(&mut pieces).next_if(Result::is_err).await {
        return Err(error);
    }
    let pieces = pieces.inspect_err(|error| tracing::error!(?error, "a response was cut off"));
    Ok((
        [(header::CONTENT_TYPE, format.content_type())],
        Body::from_stream(pieces),
    )
        .into_response())
}
