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
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    all: usize,
    start: Instant,
    /// The second since `start` in which the log was told of a refusal.
    told: AtomicU64,
}

/// A request's place, or its right to ask for one again.
#[derive(Debug, Clone)]
pub(super) struct Place {
    admission: Admission,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Admission {
    pub(super) fn new(places: usize) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Places {
            free: Arc::new(Semaphore::new(places)),
            all: places,
            start: Instant::now(),
            told: AtomicU64::new(u64::MAX),
        }))
    }

    /// How many places are taken.
    pub(super) fn in_flight(&self) -> usize {
        self.0.all - self.0.free.available_permits()
    }

    /// A place for `request`, until all clones of it are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when all are taken.
    pub(super) fn admit(&self, mut request: Request) -> Result<(Request, Place), Error> {
        let place = Place {
            admission: self.clone(),
            permit: Arc::new(Mutex::new(Some(self.take()?))),
        };
        // Only then is there something to do without it.
        if !request.body().is_end_stream() {
            request.extensions_mut().insert(place.clone());
        }
        Ok((request, place))
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.0.free).try_acquire_owned().map_err(|_| {
            let second = self.0.start.elapsed().as_secs();
            if self.0.told.swap(second, Ordering::Relaxed) != second {
                tracing::warn!(
                    in_flight = self.0.all,
                    "too much to do: requests are turned away"
                );
            }
            Error::Overloaded
        })
    }
}

impl Place {
    /// Gives the place away while `work` is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when afterwards there is none.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub(super) async fn without<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        self.set(None);
        let result = work.await;
        self.set(Some(self.admission.take()?));
        Ok(result)
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}
