//! Tells a check that hangs from one that waits for a processor.
//!
//! On a machine with twenty busy programs a check of one second may need longer
//! than its limit, and "an await that never completes" would then be false.

use std::pin::pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::time::timeout;

/// How many times its limit a check may take that waits for a processor.
const PATIENCE: u32 = 6;

/// How long the process is observed to see whether it waits for a processor.
const SLICE: Duration = Duration::from_millis(500);

/// Processor times, summed over the current threads of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Processor {
    /// How long the threads have run.
    ran: Duration,
    /// How long the threads were ready to run and had no processor.
    waited: Duration,
}

impl Processor {
    /// Zero on systems that do not report it, such as macOS.
    pub(crate) fn read() -> Self {
        let mut sum = Self::default();
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for thread in threads.flatten() {
            // The thread may have ended meanwhile.
            let text = std::fs::read_to_string(thread.path().join("schedstat"));
            let text = text.unwrap_or_default();
            let mut nanoseconds = text.split_whitespace().flat_map(str::parse);
            sum.ran += Duration::from_nanos(nanoseconds.next().unwrap_or(0));
            sum.waited += Duration::from_nanos(nanoseconds.next().unwrap_or(0));
        }
        sum
    }
}

/// Waits for an event, at most `limit`. If the process then waits for a processor,
/// it gets more time: until it has run for half of `limit`, which is more than a
/// check needs, and at most six times `limit`.
pub(crate) fn receive_within<T>(
    receive: &Receiver<T>,
    limit: Duration,
    processor: impl Fn() -> Processor,
) -> Result<T, RecvTimeoutError> {
    let slice = SLICE.min(limit / 2);
    let first = processor();
    let mut event = receive.recv_timeout(limit.saturating_sub(slice));
    // Slices are counted and not timed: in a starved process, one slice may take as
    // long as several.
    let mut watched = Duration::ZERO;
    while matches!(event, Err(RecvTimeoutError::Timeout)) {
        let before = processor();
        event = receive.recv_timeout(slice);
        let after = processor();
        let starved = after.waited.saturating_sub(before.waited) > slice / 5;
        let ran = after.ran.saturating_sub(first.ran);
        watched += slice;
        if !starved || ran >= limit / 2 || watched > limit * (PATIENCE - 1) {
            break;
        }
    }
    event
}

/// Waits for the end of `work`, for at most `limit`. While programs wait for a processor or
/// a disk for half of the time or more, whichever programs these are, it waits for up to six
/// times as long: what `work` waits for may be another program, such as a database server.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..PATIENCE {
        let before = pressure();
        if let Ok(done) = timeout(limit, &mut work).await {
            return Some(done);
        }
        if pressure().saturating_sub(before) < limit / 2 {
            break;
        }
    }
    None
}

/// For how long programs of the machine have waited for a processor or a disk, since it was
/// started. Zero on systems that do not report it.
fn pressure() -> Duration {
    let total = |resource: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        let mut words = text.split_whitespace();
        words.find_map(|it| it.strip_prefix("total=")?.parse().ok())
    };
    let totals = ["cpu", "io"].map(|it| total(it).unwrap_or(0));
    Duration::from_micros(totals.iter().sum())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    /// What a process says that runs and waits by so much from one look to the next.
    fn always(ran: Duration, waited: Duration) -> impl Fn() -> Processor {
        let looks = Cell::new(0);
        move || {
            looks.set(looks.get() + 1);
            Processor {
                ran: ran * looks.get(),
                waited: waited * looks.get(),
            }
        }
    }

    /// The number of times that a process is looked at before it is given up.
    fn looks(ran: Duration, waited: Duration) -> u32 {
        let (_send, receive) = channel::<()>();
        let process = always(ran, waited);
        let looks = Cell::new(0);
        let event = receive_within(&receive, LIMIT, || {
            looks.set(looks.get() + 1);
            process()
        });
        assert_eq!(event, Err(RecvTimeoutError::Timeout));
        looks.get()
    }

    #[test]
    fn one_that_hangs_is_given_up_at_its_limit() {
        assert_eq!(looks(Duration::ZERO, Duration::ZERO), 3);
        // A loop without an await that always has a processor.
        assert_eq!(looks(LIMIT, Duration::ZERO), 3);
    }

    #[test]
    fn one_that_waits_for_a_processor_gets_more_time() {
        // At the beginning, then before and after each slice, of which the first
        // ends at the limit and the last at six times the limit.
        assert_eq!(looks(Duration::ZERO, LIMIT), 1 + 2 * 11);
        // It runs for an eighth of its limit between two looks.
        assert_eq!(looks(LIMIT / 8, LIMIT), 5);
    }

    #[test]
    fn an_event_after_the_limit_is_received() {
        let (send, receive) = channel();
        let looks = Cell::new(0);
        let process = always(Duration::ZERO, LIMIT);
        let event = receive_within(&receive, LIMIT, || {
            looks.set(looks.get() + 1);
            // After the slice that ends at the limit.
            if looks.get() == 3 {
                send.send("late").expect("a receiver");
            }
            process()
        });
        assert_eq!(event, Ok("late"));
    }

    #[tokio::test]
    async fn work_without_end_is_given_up() {
        assert_eq!(within(LIMIT, async { 1 }).await, Some(1));
        assert_eq!(within(LIMIT, std::future::pending::<()>()).await, None);
    }

    #[test]
    fn an_end_is_no_timeout() {
        let (send, receive) = channel::<()>();
        drop(send);
        let event = receive_within(&receive, LIMIT, Processor::read);
        assert_eq!(event, Err(RecvTimeoutError::Disconnected));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_works_has_run() {
        let before = Processor::read();
        let begun = std::time::Instant::now();
        while Processor::read().ran <= before.ran {
            assert!(begun.elapsed() < Duration::from_mins(1), "{before:?}");
        }
    }
}
