//! How much memory a piece of work holds at its peak.

use peak_alloc::PeakAlloc;

/// Counts the bytes of every allocation of the process. It stands in this
/// crate, so each binary that uses `contract` counts without further ado.
#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

/// Runs `work` and returns its result with the most bytes that the process held
/// at one time meanwhile, above what it held at the start.
///
/// The whole process is counted, the test's own buffers included: read a
/// streamed answer chunk by chunk and drop each. One measurement at a time;
/// two at once share a peak. Memory of SQLite itself (its page cache) comes from
/// C and is not counted.
pub async fn peak_during<T>(work: impl Future<Output = T>) -> (T, usize) {
    COUNTER.reset_peak_usage();
    let before = COUNTER.current_usage();
    let result = work.await;
    (result, COUNTER.peak_usage().saturating_sub(before))
}

/// How many bytes the process holds now, as [`peak_during`] counts them.
pub fn in_use() -> usize {
    COUNTER.current_usage()
}
