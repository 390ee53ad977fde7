//! What there is to do: a list of reads and writes, the same one for every strategy.

use fastrand::Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Ten rows of `a`, and with a second query their rows of `b`.
    Read,
    /// One transaction: three rows of `a`, with two, one and two rows of `b`.
    Write,
}

/// The first `length` operations of one long list. Of each two, one is a read and one a
/// write, in an order that a random number decides. The list is the same in each run.
pub fn operations(length: usize) -> Vec<Operation> {
    let mut random = Rng::with_seed(1);
    let pairs = std::iter::repeat_with(|| {
        let mut pair = [Operation::Write, Operation::Read];
        random.shuffle(&mut pair);
        pair
    });
    pairs.flatten().take(length).collect()
}

/// How many of the operations are writes.
pub fn writes(operations: &[Operation]) -> usize {
    let write = |operation: &&Operation| **operation == Operation::Write;
    operations.iter().filter(write).count()
}
