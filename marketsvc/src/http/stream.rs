//! Answers of any length: pages of rows become a body, piece by piece.
//!
//! While one piece is on its way to the client, the next is read from the
//! database, and never more than that one. A client that stops reading costs
//! two pages of memory and no database connection, since a page's connection
//! is back in the pool before the page is sent.
//!
//! Each page is read at its own moment. A row that is committed while an
//! answer is on its way is in it when its key lies beyond what was read so
//! far, else not. No row is in an answer twice, because keys only grow from page
//! to page; and since this service never changes a key or deletes a row, none
//! that was there at the start is left out.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, Stream, StreamExt, stream};
use mediatype::names::{_STAR, APPLICATION, JSON, Q};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};
use tokio::sync::mpsc;
use tracing::{Level, Span, enabled};

use super::guard::milliseconds;
use crate::Error;
use crate::trace::{Trace, part_of_request};

/// How the rows of a list are written, by the request's `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one array.
    Array,
    /// `application/x-ndjson`: one object for each line. A reader can use a
    /// row as soon as it has its line.
    Lines,
}

impl Format {
    /// What stands between two rows.
    pub fn separator(self) -> &'static str {
        match self {
            Self::Array => ",",
            Self::Lines => "\n",
        }
    }

    /// Puts a page into the body: `rows` are separated from each other, and
    /// this adds what goes before or after them. The page may be the `first`
    /// one, the `last` one, or both.
    pub fn page(self, first: bool, last: bool, rows: impl Into<Vec<u8>>) -> Bytes {
        let mut rows = rows.into();
        match self {
            Self::Array => {
                rows.insert(0, if first { b'[' } else { b',' });
                if last {
                    rows.push(b']');
                }
            }
            Self::Lines => rows.push(b'\n'),
        }
        rows.into()
    }

    /// What ends a body of which no page was the last; `empty` when it has
    /// none.
    pub fn end(self, empty: bool) -> Bytes {
        Bytes::from_static(match (self, empty) {
            (Self::Array, true) => b"[]",
            (Self::Array, false) => b"]",
            (Self::Lines, _) => b"",
        })
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        })
    }

    /// The format that the client prefers by `Accept` (RFC 9110, 12.5.1). It gets
    /// lines only if it prefers them to an array: a client that accepts both
    /// equally gets an array, and so does one that accepts neither, since an
    /// answer is of more use to it than a refusal.
    fn accepted(headers: &HeaderMap) -> Self {
        let ranges: Vec<MediaType> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(MediaTypeList::new)
            .flatten()
            .collect();
        if preference(&ranges, X_NDJSON) > preference(&ranges, JSON) {
            Self::Lines
        } else {
            Self::Array
        }
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

impl<S: Sync> FromRequestParts<S> for Format {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::accepted(&parts.headers))
    }
}

/// Answers with `pieces` as the body.
///
/// The first piece is awaited before the status line is sent, so that a
/// database which fails at once is answered with a proper error. If it fails
/// later, the status line is gone: the connection is then closed without the
/// mark that ends a body, by which every HTTP client knows that the answer is
/// not whole, and the cause is in the log.
///
/// An answer of one piece, as most are, is sent whole, with its length. To
/// stream it would be a task more, and another write to the socket for its end.
///
/// # Errors
///
/// The error of the first piece.
///
/// # Cancel safety
///
/// Dropping the future, or later the body, stops the reading.
pub async fn respond(
    format: Format,
    pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
) -> Result<Response, Error> {
    let mut pieces = Box::pin(pieces);
    let first = pieces.next().await.transpose()?.unwrap_or_default();
    // Begins to read the second piece; the task that goes on with it asks again.
    let body = match pieces.next().now_or_never() {
        Some(None) => Body::from(first),
        Some(Some(second)) => streamed(stream::iter([Ok(first), second]), pieces),
        None => streamed(stream::iter([Ok(first)]), pieces),
    };
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    Ok((headers, body).into_response())
}

/// A body of the pieces that are `ready`, and then of `others`.
fn streamed<S>(ready: impl Stream<Item = Result<Bytes, Error>> + Send + 'static, others: S) -> Body
where
    S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
{
    let others = one_ahead(others);
    let mut end = End {
        how: "its reader went away",
        start: Instant::now(),
        trace: Trace::at_hand(),
    };
    Body::from_stream(async_stream::stream! {
        let mut pieces = pin!(ready.chain(others));
        while let Some(piece) = pieces.next().await {
            if let Err(error) = &piece {
                end.cut_off(error);
                yield piece;
                return;
            }
            yield piece;
        }
        end.how = "whole";
        drop(end);
    })
}

/// Writes to the log how a streamed answer ended.
struct End {
    how: &'static str,
    /// When its head was ready.
    start: Instant,
    trace: Option<Trace>,
}

impl End {
    fn cut_off(&mut self, error: &Error) {
        self.how = "it was cut off";
        self.span()
            .in_scope(|| tracing::error!(?error, "an answer was cut off"));
    }

    fn span(&self) -> Span {
        self.trace.as_ref().map_or_else(Span::none, Trace::span)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !enabled!(target: "marketsvc::request", Level::DEBUG) {
            return;
        }
        self.span().in_scope(|| {
            tracing::debug!(
                target: "marketsvc::request",
                end = self.how,
                duration_ms = milliseconds(self.start.elapsed()),
                statements = self.trace.as_ref().map(Trace::statements),
                "streamed"
            );
        });
    }
}

/// The same items, of which the next one is already being made while the
/// last one is used. Ends after the first error.
fn one_ahead<S>(items: S) -> impl Stream<Item = Result<Bytes, Error>> + Send
where
    S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(1);
    let task = tokio::spawn(part_of_request(async move {
        let mut items = pin!(items);
        // A place in the channel comes before the item, so that there is never
        // an item which waits for one.
        while let Ok(place) = sender.reserve().await {
            let item = tokio::select! {
                item = items.next() => item,
                // The client is gone; what it asked for need not be read.
                () = sender.closed() => return,
            };
            let Some(item) = item else { return };
            let failed = item.is_err();
            place.send(item);
            if failed {
                return;
            }
        }
    }));
    async_stream::stream! {
        while let Some(item) = receiver.recv().await {
            yield item;
        }
        // A panic also closes the channel, and must not look like the end.
        if let Err(error) = task.await {
            yield Err(error.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the items that were made.
    fn counted(made: &Arc<AtomicUsize>) -> impl Stream<Item = Result<Bytes, Error>> + use<> {
        let made = Arc::clone(made);
        stream::repeat_with(move || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from_static(b"x"))
        })
    }

    #[tokio::test]
    async fn reads_one_ahead_and_no_further() {
        let made = Arc::new(AtomicUsize::new(0));
        let mut items = Box::pin(one_ahead(counted(&made)));
        for taken in 1..=5 {
            items.next().await.unwrap().unwrap();
            // On this one thread, the producer runs until it has to wait.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(made.load(Ordering::SeqCst), taken + 1);
        }
    }

    #[tokio::test]
    async fn stops_reading_when_dropped() {
        let made = Arc::new(AtomicUsize::new(0));
        let alive = Arc::downgrade(&made);
        let mut items = Box::pin(one_ahead(counted(&made)));
        items.next().await.unwrap().unwrap();
        drop((items, made));
        while alive.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let items = stream::iter([1, 0]).map(|n: u8| {
            assert!(n > 0, "on purpose");
            Ok(Bytes::from_static(b"x"))
        });
        let items: Vec<_> = one_ahead(items).collect().await;
        assert_eq!(items.len(), 2);
        assert!(matches!(items[1], Err(Error::Panicked)), "{items:?}");
    }

    #[tokio::test]
    async fn an_error_is_the_last_item() {
        let items = stream::iter([Ok(Bytes::new()), Err(Error::TooSlow), Ok(Bytes::new())]);
        let items: Vec<_> = one_ahead(items).collect().await;
        assert!(
            matches!(items[..], [Ok(_), Err(Error::TooSlow)]),
            "{items:?}"
        );
    }
}
