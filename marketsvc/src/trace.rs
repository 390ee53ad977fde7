//! Whose work it is: the id of the request at hand, and what it has cost so
//! far, in statements.
//!
//! A statement is one text of SQL that the database is given, and with that one
//! line of `sqlx::query` in the log. One that serves several requests at once
//! counts once in each of them.
//!
//! Work that a request hands to another task stays part of it, in the count as
//! in the log, when the task runs [`part_of_request`]. Work that is shared by
//! many requests belongs to none of them; it takes along their [`Trace`]s and
//! tells them of each [`shared_statement`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::HeaderValue;
use futures::future::Either;
use tracing::{Instrument, Span};

tokio::task_local! {
    static AT_HAND: Trace;
}

/// What is known of one request. Clones are about the same request.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: HeaderValue,
    statements: AtomicU32,
}

impl Trace {
    /// A request that has cost nothing yet.
    pub fn new(id: HeaderValue) -> Self {
        let statements = AtomicU32::new(0);
        Self(Arc::new(Inner { id, statements }))
    }

    /// That of the request at hand, if there is one.
    pub fn at_hand() -> Option<Self> {
        AT_HAND.try_with(Clone::clone).ok()
    }

    /// The request's id.
    pub fn id(&self) -> &str {
        self.0.id.to_str().unwrap_or_default()
    }

    /// As [`id`](Self::id), for the answer.
    pub fn into_id(self) -> HeaderValue {
        // By now there is seldom another clone.
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.id.clone(), |inner| inner.id)
    }

    /// How many statements there were.
    pub fn statements(&self) -> u32 {
        self.0.statements.load(Ordering::Relaxed)
    }

    /// A span `request` with the id, whatever the log's level is.
    pub fn span(&self) -> Span {
        tracing::error_span!("request", id = self.id())
    }

    /// Runs `work` as this request's.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub fn of<W: Future>(&self, work: W) -> impl Future<Output = W::Output> + use<W> {
        AT_HAND.scope(self.clone(), work)
    }

    fn count(&self) {
        self.0.statements.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a statement for the request at hand, if there is one.
pub fn statement() {
    // Fails outside of a request, where nobody counts.
    let _ = AT_HAND.try_with(Trace::count);
}

/// Counts a statement that serves many requests, in each of them once, also
/// when it serves one of them in several ways.
pub fn shared_statement<'a>(requests: impl IntoIterator<Item = &'a Trace>) {
    let mut requests: Vec<_> = requests.into_iter().collect();
    requests.sort_unstable_by_key(|request| Arc::as_ptr(&request.0));
    requests.dedup_by_key(|request| Arc::as_ptr(&request.0));
    requests.into_iter().for_each(Trace::count);
}

/// Makes `work`, which is about to be given to another task, part of the
/// request at hand.
///
/// # Cancel safety
///
/// That of `work`.
pub fn part_of_request<W: Future>(work: W) -> impl Future<Output = W::Output> {
    let work = work.in_current_span();
    match Trace::at_hand() {
        Some(trace) => Either::Left(trace.of(work)),
        None => Either::Right(work),
    }
}

/// What a line of the log has to be written in, so that it has the id of the
/// request at hand: nothing when a span is there already.
pub fn span_at_hand() -> Span {
    if Span::current().is_none() {
        AT_HAND
            .try_with(Trace::span)
            .unwrap_or_else(|_| Span::none())
    } else {
        Span::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Trace {
        Trace::new(HeaderValue::from_static("x"))
    }

    #[tokio::test]
    async fn statements_count_for_their_request_in_whichever_task_they_are() {
        // Nobody's.
        statement();
        let request = request();
        let work = async {
            statement();
            let part = tokio::spawn(part_of_request(async { statement() }));
            part.await.unwrap();
            // This task is not part of it.
            tokio::spawn(async { statement() }).await.unwrap();
        };
        request.of(work).await;
        assert_eq!(request.statements(), 2);
    }

    #[tokio::test]
    async fn a_shared_statement_counts_once_in_each_request() {
        let (one, two) = (request(), request());
        let again = one.of(async { Trace::at_hand() }).await.unwrap();
        shared_statement([&again, &two, &one]);
        assert_eq!((one.statements(), two.statements()), (1, 1));
    }
}
