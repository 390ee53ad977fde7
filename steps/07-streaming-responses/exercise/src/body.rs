//! Lists as response bodies that are written while they are read.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use serde::Serialize;

use crate::db::base::Rows;
use crate::error::Error;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array: `[{…},{…}]`.
    JsonArray,
    /// One JSON object a line: a client can use each as soon as it is there.
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

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::JsonArray => "application/json",
            Self::NdJson => "application/x-ndjson",
        }
    }
}

/// Rows are sent in pieces of about this many bytes: a piece for each row would
/// be a system call for each row.
const PIECE_BYTES: usize = 8 * 1024;

/// The rows as the pieces of one JSON array.
pub fn json_array<T>(rows: Rows<T>) -> Rows<Bytes>
where
    T: Serialize + Send + 'static,
{
    // TODO(07.1): yield `[`, the rows separated by `,`, and `]`, in pieces
    let _ = (rows, PIECE_BYTES); // remove this line and the next
    todo!("yield `[`, the rows separated by `,`, and `]`, in pieces")
    // END TODO(07.1)
}

/// The rows as the pieces of a text with one JSON object a line.
pub fn ndjson<T>(rows: Rows<T>) -> Rows<Bytes>
where
    T: Serialize + Send + 'static,
{
    // TODO(07.2): yield each row and a line feed, in pieces
    let _ = (rows, PIECE_BYTES); // remove this line and the next
    todo!("yield each row and a line feed, in pieces")
    // END TODO(07.2)
}

/// Answers with `rows` in the given format.
///
/// # Errors
/// An error before the first piece of the body is ready. Once a piece has been
/// sent there is no status left to choose: a later error is logged and breaks the
/// body off, and the client sees a transfer that has no end.
///
/// # Cancel safety
/// A client that goes away drops the body, and with it `rows`.
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
