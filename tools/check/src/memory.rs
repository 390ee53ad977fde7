//! How much memory a piece of work uses at its peak.

use peak_alloc::PeakAlloc;

use crate::suite::RUNNING;

/// Counts the bytes of every allocation of the process, in each binary that uses
/// this crate.
#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

/// Runs `work`. Returns its result and the largest number of bytes that the process
/// held meanwhile, above the number at the start.
///
/// The whole process is counted, including the buffers of the check: read a streamed
/// answer chunk by chunk and drop each. Measure one piece of work at a time, since
/// two would share a peak. The memory of SQLite itself (its page cache) is allocated
/// by C code and not counted.
///
/// In a [`Suite`](crate::Suite), it first waits until all tasks of earlier checks
/// are gone: memory that they free meanwhile would hide as much of the peak.
pub async fn peak_during<T>(work: impl Future<Output = T>) -> (T, usize) {
    // An error would mean that the sender is gone, and it is static.
    let _ = RUNNING.subscribe().wait_for(|checks| *checks <= 1).await;
    COUNTER.reset_peak_usage();
    let before = COUNTER.current_usage();
    let result = work.await;
    (result, COUNTER.peak_usage().saturating_sub(before))
}

pub fn in_use() -> usize {
    COUNTER.current_usage()
}
