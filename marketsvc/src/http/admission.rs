//! How many reading requests are worked on at once.
//!
//! Where more come than can be served, each that is taken makes all others
//! slower, until none is answered in time. So there is a bound, and what comes
//! beyond it is turned away before anything is done for it: those that are
//! taken are served as fast as ever.
//!
//! A request has its place until its answer's head is ready. It does without
//! while its body is on its way, since that is as slow as its sender likes;
//! afterwards it has to find one again. A streamed answer has none either: it
//! goes at its reader's pace, reads a page at a time, and is bounded by
//! [`Limits::connections`](crate::Limits::connections).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::extract::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// How long a refusal is held back. A client that asks again as soon as it is
/// refused would be refused ten thousands of times in a second, and take the
/// processor from those that were admitted. Waiting here costs nothing.
pub(super) const REFUSAL_DELAY: Duration = Duration::from_millis(20);

/// The places.
#[derive(Debug)]
pub(super) struct Admission {
    free: Arc<Semaphore>,
    all: usize,
    start: Instant,
    /// The second since `start` in which the log was last told of a refusal.
    told: AtomicU64,
}

/// A request's place. When its body is still to come, the request itself holds
/// the other end, to give the place up for a while.
#[derive(Debug)]
pub(super) enum Place {
    Kept(#[expect(dead_code, reason = "what counts is when it is dropped")] OwnedSemaphorePermit),
    Shared(#[expect(dead_code, reason = "what counts is when it is dropped")] SharedPlace),
}

/// The place of a request whose body is still to come.
#[derive(Debug, Clone)]
pub(super) struct SharedPlace(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Admission {
    pub(super) fn new(places: usize) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(places)),
            all: places,
            start: Instant::now(),
            told: AtomicU64::new(u64::MAX),
        }
    }

    /// How many places are taken.
    pub(super) fn in_flight(&self) -> usize {
        self.all - self.free.available_permits()
    }

    /// A place for `request`, until it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when all are taken.
    pub(super) fn admit(&self, request: &mut Request) -> Result<Place, Error> {
        let permit = self.take()?;
        if request.body().is_end_stream() {
            return Ok(Place::Kept(permit));
        }
        let place = SharedPlace(Arc::new(Mutex::new(Some(permit))));
        request.extensions_mut().insert(place.clone());
        Ok(Place::Shared(place))
    }

    /// Waits for `work`, and has the place given up meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when afterwards none is free.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub(super) async fn without<T>(
        &self,
        place: &SharedPlace,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        place.set(None);
        let result = work.await;
        place.set(Some(self.take()?));
        Ok(result)
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let second = self.start.elapsed().as_secs();
            if self.told.swap(second, Ordering::Relaxed) != second {
                tracing::warn!(
                    in_flight = self.all,
                    "too much to do: requests are turned away"
                );
            }
            Error::Overloaded
        })
    }
}

impl SharedPlace {
    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}
