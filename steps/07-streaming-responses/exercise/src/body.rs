//! Response bodies for lists: each is written while the rows are being read.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use serde::Serialize;

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
    /// What the client asks for in `Accept`; an array unless it asks for
    /// `application/x-ndjson`.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let ndjson = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|media| media.split(';').next())
            .any(|media| media.trim() == "application/x-ndjson");
        if ndjson {
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
    // TODO(07.1): yield `[`, the rows separated by `,`, and `]`, in pieces
    let _ = (rows, PIECE_BYTES); // remove this line and the next
    todo!("yield `[`, the rows separated by `,`, and `]`, in pieces")
    // END TODO(07.1)
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
    // TODO(07.2): yield each row and a line feed, in pieces
    let _ = (rows, PIECE_BYTES); // remove this line and the next
    todo!("yield each row and a line feed, in pieces")
    // END TODO(07.2)
}

/// Returns a response that sends `rows` in the given format.
///
/// # Errors
/// An error that occurs before the first piece of the body is ready. After
/// that, the status has already been sent: a later error is logged and cuts the
/// body off, and the client sees a transfer that ends too early.
///
/// # Cancel safety
/// When the client disconnects, the server drops the body, and `rows` with it.
pub async fn respond<T>(format: Format, rows: Rows<T>) -> Result<Response, Error>
where
    T: Serialize + Send + 'static,
{
    // TODO(07.3): check the first piece, then return a body that is streamed
    let _ = format; // remove these lines: they hold all rows in memory
    let rows: Vec<T> = rows.try_collect().await?;
    Ok(Json(rows).into_response())
    // END TODO(07.3)
}
