//! What every contender does, in which order: the same list for all of them.
//!
//! Whether operation `i` is a write is computed from `i` alone, so that a
//! program that cannot read a list (`pgbench`) can follow it as well, and a
//! shorter list is the beginning of a longer one.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// One transaction: three rows of `a` with two, one and two rows of `b`.
    Write,
    /// Ten rows of `a`, and in a second query their rows of `b`.
    Read,
}

/// Half of the first 3,500 operations are writes with this seed, and half of
/// the first 35,000.
pub const SEED: u64 = 208;

/// An operation is a write if this bit of its hash is set.
pub const BIT: u32 = 32;

/// The first `length` operations.
pub fn list(length: usize) -> Vec<Operation> {
    let hashes = (0..length as u64).map(|place| fnv1a(place.to_le_bytes()));
    hashes
        .map(|hash| match hash >> BIT & 1 {
            1 => Operation::Write,
            _ => Operation::Read,
        })
        .collect()
}

pub fn writes(list: &[Operation]) -> usize {
    let write = |operation: &&Operation| **operation == Operation::Write;
    list.iter().filter(write).count()
}

/// FNV-1a, 64 bits, as `hash_fnv1a` of `pgbench` computes it for a number as eight
/// bytes, the lowest first.
fn fnv1a(bytes: [u8; 8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ SEED, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
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
    fn neighbours_differ_as_often_as_by_chance() {
        // 35,000 tosses of a coin change sides 17,500 times, give or take 94.
        let list = list(35_000);
        let changes = list.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((17_000..18_000).contains(&changes), "{changes}");
    }
}
