//! How many reading requests are worked on at once.
//!
//! Where more come than can be served, each that is taken makes all others
//! slower, until none is answered in time. So there is a bound, and what comes
//! beyond it is turned away before anything is done for it: those that are
//! taken are still answered in time.
//!
//! One place is for a small request, such as the total of one order. A list of
//! orders needs up to [`MOST_PLACES`].
//!
//! Half of the places are for bursts. From a first request that is turned away
//! until a second has passed without one, only the other half is given out:
//! who is admitted while there is too much to do shares the processor with
//! half as many.
//!
//! A request has its place until its answer's head is ready. It does without
//! while its body is on its way, since that is as slow as its sender likes;
//! afterwards it has to find one again. A streamed answer has none either: it
//! goes at its reader's pace, reads a page at a time, and is bounded by
//! [`Limits::connections`](crate::Limits::connections).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::Error;

/// By how many milliseconds the delays of refusals differ. Clients that were
/// refused together would otherwise come again together.
const REFUSAL_SPREAD: u64 = 16;

/// Without a refusal for so long, all places are given out again.
const CALM: Duration = Duration::from_secs(1);

/// A list needs a place for so many orders.
const ORDERS_FOR_A_PLACE: usize = 8;

/// The most places that a request needs. A list of a thousand orders is more
/// work than six small requests, but it also takes longer when it is alone.
const MOST_PLACES: usize = 6;

/// The places.
#[derive(Debug)]
pub(super) struct Admission {
    free: Arc<Semaphore>,
    all: usize,
    refusal_delay: Duration,
    start: Instant,
    refusals: AtomicU64,
    /// Milliseconds from `start` to the last refusal, or [`NEVER`].
    last_refusal: AtomicU64,
}

const NEVER: u64 = u64::MAX;

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
    /// A refusal is held back for `refusal_delay`. A client that asks again as
    /// soon as it is refused would be refused ten thousands of times in a second,
    /// and take the processor from those that were admitted. Waiting here costs
    /// nothing.
    pub(super) fn new(places: usize, refusal_delay: Duration) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(places)),
            all: places,
            refusal_delay,
            start: Instant::now(),
            refusals: AtomicU64::new(0),
            last_refusal: AtomicU64::new(NEVER),
        }
    }

    /// How many requests have a place.
    pub(super) fn in_flight(&self) -> usize {
        // Each of them keeps the semaphore, and so do we.
        Arc::strong_count(&self.free) - 1
    }

    /// A place for `request`, or as many as it needs, until it is dropped;
    /// nothing when so many are not given out, and it has to be
    /// [refused](Self::refusal).
    pub(super) fn admit(&self, request: &mut Request) -> Option<Place> {
        let query = request.uri().query().unwrap_or_default();
        let permit = self.take(places(query.as_bytes()))?;
        if request.body().is_end_stream() {
            return Some(Place::Kept(permit));
        }
        let place = SharedPlace(Arc::new(Mutex::new(Some(permit))));
        request.extensions_mut().insert(place.clone());
        Some(Place::Shared(place))
    }

    /// What a request is answered with that is not admitted; after a while, for
    /// which nobody else has to wait.
    ///
    /// # Cancel safety
    ///
    /// It is counted as refused as soon as it is polled.
    pub(super) async fn refusal(&self) -> Error {
        let turn = self.refuse();
        sleep(self.refusal_delay + Duration::from_millis(turn % REFUSAL_SPREAD)).await;
        Error::Overloaded
    }

    /// Waits for a request's `body`, and has the place given up meanwhile.
    ///
    /// # Errors
    ///
    /// That of `body`, and [`Error::Overloaded`] when afterwards not as many
    /// are given out as the body needs.
    ///
    /// # Cancel safety
    ///
    /// That of `body`.
    pub(super) async fn without(
        &self,
        place: &SharedPlace,
        body: impl Future<Output = Result<Bytes, Error>>,
    ) -> Result<Bytes, Error> {
        place.set(None);
        let body = body.await?;
        let Some(permit) = self.take(places(&body)) else {
            return Err(self.refusal().await);
        };
        place.set(Some(permit));
        Ok(body)
    }

    fn take(&self, places: usize) -> Option<OwnedSemaphorePermit> {
        let half = self.all.div_ceil(2);
        let kept_back = if self.is_calm() { 0 } else { self.all - half };
        // Where there are fewer than it needs, a request gets what there is.
        let places = places.min(half);
        if self.free.available_permits() < places + kept_back {
            return None;
        }
        let many = u32::try_from(places).ok()?;
        Arc::clone(&self.free).try_acquire_many_owned(many).ok()
    }

    fn is_calm(&self) -> bool {
        let last = self.last_refusal.load(Ordering::Relaxed);
        last == NEVER || self.start.elapsed() >= Duration::from_millis(last) + CALM
    }

    /// Notes a refusal, and tells the log once in a second. Gives how many
    /// there were before.
    fn refuse(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NEVER - 1);
        let last = self.last_refusal.swap(now, Ordering::Relaxed);
        if last == NEVER || last / 1_000 != now / 1_000 {
            tracing::warn!(
                in_flight = self.in_flight(),
                "too much to do: requests are turned away"
            );
        }
        self.refusals.fetch_add(1, Ordering::Relaxed)
    }
}

/// How many places a request needs whose query or body is `text`.
///
/// All requests are small, or read a page at a time, but for those that name a
/// list of orders. How long it is shows in its commas, in a query perhaps
/// percent-encoded, before anything is done for it.
fn places(text: &[u8]) -> usize {
    let plain = text.split(|&byte| byte == b',').count();
    let encoded = text
        .windows(3)
        .filter(|three| three.eq_ignore_ascii_case(b"%2c"));
    let orders = plain + encoded.count();
    orders.div_ceil(ORDERS_FOR_A_PLACE).min(MOST_PLACES)
}

impl SharedPlace {
    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures::future::join_all;

    const REFUSAL_DELAY: Duration = Duration::from_millis(10);

    async fn admit(admission: &Admission, path: &str) -> Result<Place, Error> {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        match admission.admit(&mut request) {
            Some(place) => Ok(place),
            None => Err(admission.refusal().await),
        }
    }

    /// How many of `count` that come together are admitted.
    async fn admitted(admission: &Admission, path: &str, count: usize) -> usize {
        let all = join_all((0..count).map(|_| admit(admission, path))).await;
        all.iter().filter(|place| place.is_ok()).count()
    }

    fn list(orders: usize, comma: &str) -> String {
        format!("/api/orders_total?orders={}", vec!["1"; orders].join(comma))
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_orders_needs_more_places() {
        for (orders, places) in [
            (1, 1),
            (8, 1),
            (9, 2),
            (24, 3),
            (25, 4),
            (48, 6),
            (1_000, 6),
        ] {
            for comma in [",", "%2C", "%2c"] {
                let admission = Admission::new(64, REFUSAL_DELAY);
                let most = admitted(&admission, &list(orders, comma), 64).await;
                assert_eq!(most, 64 / places, "{orders} orders, {comma}");
                assert_eq!(admission.in_flight(), 0);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_in_a_body_needs_as_many_as_one_in_a_query() {
        let admission = Admission::new(8, REFUSAL_DELAY);
        let body = || Body::from_stream(futures::stream::pending::<Result<Bytes, Error>>());
        let mut places = Vec::new();
        for _ in 0..2 {
            let mut request = Request::new(body());
            places.push(admission.admit(&mut request).unwrap());
            let place = request.extensions().get::<SharedPlace>().unwrap().clone();
            let list = async { Ok(Bytes::from(vec![b','; 100])) };
            admission.without(&place, list).await.unwrap();
            places.push(Place::Shared(place));
        }
        assert!(admit(&admission, "/").await.is_err());
        assert_eq!(admission.in_flight(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn where_few_are_given_out_a_list_does_with_them() {
        for all in 1..8 {
            let admission = Admission::new(all, REFUSAL_DELAY);
            let held: Vec<_> = join_all((0..all).map(|_| admit(&admission, "/"))).await;
            assert!(admit(&admission, "/").await.is_err());
            drop(held);
            assert_eq!(
                admitted(&admission, &list(1_000, ","), 1).await,
                1,
                "of {all}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_half_are_given_out_until_it_is_calm() {
        let admission = Admission::new(64, REFUSAL_DELAY);
        // A burst is no overload.
        assert_eq!(admitted(&admission, "/", 64).await, 64);
        assert_eq!(admitted(&admission, "/", 65).await, 64);
        for _ in 0..100 {
            assert_eq!(admitted(&admission, "/", 33).await, 32);
        }
        sleep(CALM / 2).await;
        assert_eq!(admitted(&admission, "/", 33).await, 32);
        sleep(CALM).await;
        assert_eq!(admitted(&admission, "/", 64).await, 64);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_come_late_but_in_time_and_not_together() {
        for delay in [Duration::ZERO, REFUSAL_DELAY] {
            refusals_come_after(delay).await;
        }
    }

    async fn refusals_come_after(delay: Duration) {
        let admission = Admission::new(1, delay);
        let _held = admit(&admission, "/").await.unwrap();
        let start = Instant::now();
        let times = join_all((0..160).map(async |_| {
            assert!(matches!(
                admit(&admission, "/").await,
                Err(Error::Overloaded)
            ));
            start.elapsed()
        }));
        let mut times = times.await;
        times.sort();
        assert!(times[0] >= delay, "{times:?}");
        assert!(times[159] < delay + Duration::from_millis(20), "{times:?}");
        assert!(
            times
                .iter()
                .all(|one| times.iter().filter(|time| *time == one).count() <= 20)
        );
    }
}
