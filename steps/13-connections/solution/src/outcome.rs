//! What has become of all operations.

use crate::error::Error;
use crate::plan::Operation;

/// Counts the operations that have ended. Only those that succeeded are reads or writes.
#[derive(Debug, Default)]
pub struct Outcome {
    pub reads: usize,
    pub writes: usize,
    pub failures: usize,
    /// The first error that was given to [`note`](Self::note).
    pub first_failure: Option<Error>,
}

impl Outcome {
    /// Notes the result of one operation.
    pub fn note(&mut self, operation: Operation, result: Result<(), Error>) {
        // TODO(13.3): count the success by its kind, or the failure, and keep the first error
        match (result, operation) {
            (Ok(()), Operation::Read) => self.reads += 1,
            (Ok(()), Operation::Write) => self.writes += 1,
            (Err(error), _) => {
                self.failures += 1;
                self.first_failure.get_or_insert(error);
            }
        }
        // END TODO(13.3)
    }

    /// Adds what has become of other operations. Their error is kept only if there is none
    /// yet.
    pub fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}
