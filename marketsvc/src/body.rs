//! Response bodies for lists: each is written while the rows are being read.

use std::pin::Pin;

use async_stream::{stream, try_stream};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use mediatype::names::{_STAR, APPLICATION, JSON, Q};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};
use serde::Serialize;

use crate::admission::StreamPermit;
use crate::db::base::Rows;
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
}

impl Format {
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

/// About how many bytes each piece of a body has. A piece for each row would
/// cost a system call for each row.
const PIECE_BYTES: usize = 8 * 1024;

/// Returns a stream of pieces, which together are one JSON array of the rows.
///
/// # Errors
/// The stream yields the error of `rows`, or [`Error::Json`] if a row cannot be
/// written as JSON.
pub fn json_array<T>(rows: Rows<T>) -> Rows<Bytes>
where
    T: Serialize + Send + 'static,
{
    let mut rows = rows;
    Box::pin(try_stream! {
        let mut piece = vec![b'['];
        let mut first = true;
        while let Some(row) = rows.try_next().await? {
            if !first {
                piece.push(b',');
            }
            first = false;
            serde_json::to_writer(&mut piece, &row)?;
            if piece.len() >= PIECE_BYTES {
                // `take` leaves an empty piece behind.
                yield std::mem::take(&mut piece).into();
            }
        }
        piece.push(b']');
        yield piece.into();
    })
}

/// Returns a stream of pieces, which together are one JSON object per line for
/// each row.
///
/// # Errors
/// The stream yields the error of `rows`, or [`Error::Json`] if a row cannot be
/// written as JSON.
pub fn ndjson<T>(rows: Rows<T>) -> Rows<Bytes>
where
    T: Serialize + Send + 'static,
{
    let mut rows = rows;
    Box::pin(try_stream! {
        let mut piece = Vec::new();
        while let Some(row) = rows.try_next().await? {
            serde_json::to_writer(&mut piece, &row)?;
            piece.push(b'\n');
            if piece.len() >= PIECE_BYTES {
                // `take` leaves an empty piece behind.
                yield std::mem::take(&mut piece).into();
            }
        }
        yield piece.into();
    })
}

/// Returns a stream of pieces, which together are one list in the given format. Each page
/// has the JSON of some rows, with the format's separator between them.
///
/// # Errors
/// The stream yields the error of `pages`.
pub fn joined(format: Format, pages: Rows<String>) -> Rows<Bytes> {
    let mut pages = pages;
    Box::pin(try_stream! {
        let [first, between, last] = format.around();
        let mut before = first;
        while let Some(page) = pages.try_next().await? {
            yield format!("{before}{page}").into();
            before = between;
        }
        // A list without rows has a beginning and an end, but no line.
        let end = match (before == first, format) {
            (true, Format::NdJson) => String::new(),
            (true, Format::JsonArray) => format!("{first}{last}"),
            (false, _) => last.to_owned(),
        };
        yield end.into();
    })
}

/// As [`respond`], for rows that the database has written as JSON: see [`joined`].
///
/// # Errors
/// As [`respond`].
///
/// # Cancel safety
/// As [`respond`].
pub async fn respond_pages(
    format: Format,
    pages: Rows<String>,
    permit: StreamPermit,
) -> Result<Response, Error> {
    send(format, joined(format, pages), permit).await
}

/// Returns a response that sends `rows` in the given format. Its body holds `permit` until
/// it has been sent or is dropped.
///
/// # Errors
/// An error that occurs before the first piece of the body is ready. After
/// that, the status has already been sent: a later error is logged and cuts the
/// body off, and the client sees a transfer that ends too early.
///
/// # Cancel safety
/// When the client disconnects, the server drops the body, and `rows` with it.
pub async fn respond<T>(
    format: Format,
    rows: Rows<T>,
    permit: StreamPermit,
) -> Result<Response, Error>
where
    T: Serialize + Send + 'static,
{
    let pieces = match format {
        Format::JsonArray => json_array(rows),
        Format::NdJson => ndjson(rows),
    };
    send(format, pieces, permit).await
}

/// Returns a response that sends the pieces.
async fn send(
    format: Format,
    pieces: Rows<Bytes>,
    permit: StreamPermit,
) -> Result<Response, Error> {
    // `next_if` takes the first piece out of the stream only if it is an error.
    // `Pin::new` is allowed because `Rows` is boxed: moving the box later does not
    // move the stream inside it.
    let mut pieces = pieces.peekable();
    if let Some(Err(error)) = Pin::new(&mut pieces).next_if(Result::is_err).await {
        return Err(error);
    }
    let pieces = pieces.inspect_err(|error| tracing::error!(?error, "a response was cut off"));
    let pieces = stream! {
        let _permit = permit;
        for await piece in pieces {
            yield piece;
        }
    };
    Ok((
        [(header::CONTENT_TYPE, format.content_type())],
        Body::from_stream(pieces),
    )
        .into_response())
}
