//! Whose turn it is on a connection: the client's or the service's.
//!
//! When all places for connections are taken, the next client is given the
//! place of one that keeps the service waiting. That takes knowing who does,
//! and a close that can never hit a request which has been admitted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a connection that has just been accepted or answered keeps its
/// place in any case: its request may be on the way.
const FRESH: Duration = Duration::from_millis(50);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For a request's head, since then: no request is admitted.
    Idle(Instant),
    /// For the client to send the rest of a body, or to take more of an
    /// answer, since then.
    Stalled(Instant),
    /// For the client to take the end of an answer, since then.
    Sent(Instant),
    /// For the service.
    Working,
    /// For its end; no request is admitted any more.
    Closed,
}

/// The state of one connection. Its task and the loop that accepts share it.
#[derive(Debug)]
pub struct Turn(Mutex<State>);

/// How much a connection is in the way: those without a request before those
/// with one, and then the one that has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    idle: bool,
    waited: Duration,
}

impl Turn {
    /// A connection that has just been accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Idle(Instant::now()))))
    }

    /// Admits a request; false when the connection has been closed meanwhile.
    pub fn begin(&self) -> bool {
        self.set(State::Working)
    }

    /// Why the connection may be closed in favour of another: it has no
    /// request and did not get one in [`FRESH`], or its client has kept the
    /// service waiting for `patience`.
    pub fn claim(&self, patience: Duration) -> Option<Claim> {
        let (idle, since, limit) = match *self.state() {
            State::Idle(since) => (true, since, FRESH),
            State::Stalled(since) | State::Sent(since) => (false, since, patience),
            State::Working | State::Closed => return None,
        };
        let waited = since.elapsed();
        (waited >= limit).then_some(Claim { idle, waited })
    }

    /// Closes the connection for requests, unless it is the service's turn:
    /// then it returns false.
    pub fn close(&self) -> bool {
        self.close_if(|state| state != State::Working)
    }

    /// As [`close`](Self::close), and only when for so long no request was
    /// admitted and no byte of an answer was left to be sent.
    pub fn close_idle(&self, waited: Duration) -> bool {
        self.close_if(|state| matches!(state, State::Idle(since) if since.elapsed() >= waited))
    }

    fn close_if(&self, may: impl FnOnce(State) -> bool) -> bool {
        let mut state = self.state();
        let closes = *state != State::Closed && may(*state);
        if closes {
            *state = State::Closed;
        }
        closes
    }

    /// The connection has no more bytes to write.
    fn flushed(&self) {
        let mut state = self.state();
        if let State::Sent(_) = *state {
            *state = State::Idle(Instant::now());
        }
    }

    fn set(&self, next: State) -> bool {
        let mut state = self.state();
        let open = *state != State::Closed;
        if open {
            *state = next;
        }
        open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state is a plain value; no panic leaves half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body. While it is waited for, it is the client's turn.
pub struct RequestBody<B> {
    body: B,
    turn: Arc<Turn>,
    /// When the first byte was waited for. A client that sends its bytes one
    /// by one does not begin anew with each.
    since: Option<Instant>,
}

impl<B> RequestBody<B> {
    pub fn new(body: B, turn: Arc<Turn>) -> Self {
        Self {
            body,
            turn,
            since: None,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let state = if frame.is_pending() {
            State::Stalled(*self.since.get_or_insert_with(Instant::now))
        } else {
            State::Working
        };
        self.turn.set(state);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        // A handler that has given the rest up goes on to its answer.
        if self.since.is_some() {
            self.turn.set(State::Working);
        }
    }
}

/// An answer's body. From a piece that was handed over until the next one is
/// asked for it is the client's turn, for the connection asks only when there
/// is room to put it.
pub struct ResponseBody<B> {
    body: B,
    turn: Arc<Turn>,
}

impl<B> ResponseBody<B> {
    pub fn new(body: B, turn: Arc<Turn>) -> Self {
        Self { body, turn }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.turn.set(State::Working);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.turn.set(State::Stalled(Instant::now()));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.turn.set(State::Sent(Instant::now()));
    }
}

/// A connection's socket, which notices when an answer has been written to
/// its end.
pub struct Socket<S> {
    stream: Pin<Box<S>>,
    turn: Arc<Turn>,
}

impl<S> Socket<S> {
    pub fn new(stream: S, turn: Arc<Turn>) -> Self {
        Self {
            stream: Box::pin(stream),
            turn,
        }
    }
}

impl<S: AsyncRead> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The HTTP side flushes only when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_flush(cx))?;
        self.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body as AnyBody;
    use futures::future::poll_fn;
    use futures::{FutureExt, StreamExt, stream};
    use std::convert::Infallible;
    use tokio::io::{AsyncWriteExt, sink};
    use tokio::time::advance;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A body of one piece that then only waits.
    fn without_an_end() -> AnyBody {
        let piece = stream::iter([Ok::<_, Infallible>("piece")]);
        AnyBody::from_stream(piece.chain(stream::pending()))
    }

    /// What the next piece is, if it is there.
    fn next(body: &mut (impl Body<Data = Bytes> + Unpin)) -> Option<bool> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))
            .now_or_never()
            .map(|frame| frame.is_some())
    }

    fn is_idle(turn: &Turn) -> Option<bool> {
        turn.claim(PATIENCE).map(|claim| claim.idle)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_may_go_when_none_came_at_once() {
        let turn = Turn::new();
        assert_eq!(is_idle(&turn), None);
        advance(FRESH).await;
        assert_eq!(is_idle(&turn), Some(true));
        assert!(!turn.close_idle(PATIENCE));
        assert!(turn.begin());
        advance(PATIENCE * 100).await;
        assert_eq!(is_idle(&turn), None);
        assert!(!turn.close() && !turn.close_idle(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_close_no_request_is_admitted() {
        let turn = Turn::new();
        assert!(turn.close());
        assert!(!turn.begin() && !turn.close());
        advance(PATIENCE).await;
        assert_eq!(is_idle(&turn), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_waited_for_since_its_first_wait() {
        let turn = Turn::new();
        assert!(turn.begin());
        let mut body = RequestBody::new(without_an_end(), Arc::clone(&turn));
        assert_eq!(next(&mut body), Some(true));
        assert_eq!(next(&mut body), None);
        advance(PATIENCE / 2).await;
        assert_eq!(next(&mut body), None);
        assert_eq!(is_idle(&turn), None);
        advance(PATIENCE / 2).await;
        assert_eq!(is_idle(&turn), Some(false));
        assert!(!turn.close_idle(Duration::ZERO));
        // The handler gives up, and it is the service's turn.
        drop(body);
        assert_eq!(is_idle(&turn), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_between_its_pieces_and_until_it_is_flushed() {
        let turn = Turn::new();
        assert!(turn.begin());
        let mut socket = Socket::new(sink(), Arc::clone(&turn));
        let mut body = ResponseBody::new(without_an_end(), Arc::clone(&turn));
        assert_eq!(next(&mut body), Some(true));
        socket.flush().await.unwrap();
        advance(PATIENCE).await;
        assert_eq!(is_idle(&turn), Some(false));
        // Asked for more, it is the service that is slow.
        assert_eq!(next(&mut body), None);
        advance(PATIENCE).await;
        assert_eq!(is_idle(&turn), None);
        drop(body);
        advance(PATIENCE).await;
        assert_eq!(is_idle(&turn), Some(false));
        assert!(!turn.close_idle(Duration::ZERO));
        socket.flush().await.unwrap();
        advance(FRESH).await;
        assert_eq!(is_idle(&turn), Some(true));
        assert!(!turn.close_idle(PATIENCE));
        advance(PATIENCE).await;
        assert!(turn.close_idle(PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_go_first_and_then_those_who_wait_longest() {
        let long_stalled = Turn::new();
        long_stalled.begin();
        long_stalled.set(State::Stalled(Instant::now()));
        advance(PATIENCE).await;
        let long_idle = Turn::new();
        advance(PATIENCE).await;
        let idle = Turn::new();
        let stalled = Turn::new();
        stalled.set(State::Stalled(Instant::now()));
        advance(PATIENCE).await;
        let claims = [stalled, long_stalled, idle, long_idle].map(|turn| turn.claim(PATIENCE));
        assert!(claims.is_sorted() && claims[0].is_some(), "{claims:?}");
    }
}
