//! What every contender does, in which order: the same list for all of them.

use fastrand::Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// One transaction: three rows of `a` with two, one and two rows of `b`.
    Write,
    /// Ten rows of `a`, and in a second query their rows of `b`.
    Read,
}

/// The first `length` operations. Of each two one is a write, at random the first or the
/// second, so that half of any list are writes.
pub fn list(length: usize) -> Vec<Operation> {
    let mut random = Rng::with_seed(1);
    let pairs = std::iter::repeat_with(|| {
        let mut pair = [Operation::Write, Operation::Read];
        random.shuffle(&mut pair);
        pair
    });
    pairs.flatten().take(length).collect()
}

pub fn writes(list: &[Operation]) -> usize {
    let write = |operation: &&Operation| **operation == Operation::Write;
    list.iter().filter(write).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_are_writes_in_both_lengths() {
        assert_eq!(writes(&list(3_500)), 1_750);
        assert_eq!(writes(&list(35_000)), 17_500);
        assert_eq!(list(35_000)[..100], list(100));
    }

    #[test]
    fn which_of_two_writes_changes_as_by_chance() {
        // 17,500 tosses of a coin show heads 8,750 times, give or take 66.
        let list = list(35_000);
        let first = list.chunks(2).filter(|pair| pair[0] == Operation::Write);
        assert!((8_500..9_000).contains(&first.count()));
    }
}
