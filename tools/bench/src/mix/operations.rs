//! What every contender does, in which order: the same list for all of them.
//!
//! Whether operation `i` is a write is computed from `i` alone, so that a
//! program that cannot read a list (`pgbench`) can follow it all the same, and a
//! shorter list is the beginning of a longer one.

use std::fmt::Write as _;

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

/// Operation `place` is a write if this bit of its hash is set.
pub const BIT: u32 = 32;

/// The first `length` operations.
pub fn list(length: usize) -> Vec<Operation> {
    (0..length as u64)
        .map(|place| {
            if fnv1a(place.to_le_bytes(), SEED) >> BIT & 1 == 1 {
                Operation::Write
            } else {
                Operation::Read
            }
        })
        .collect()
}

/// `w` or `r` for each operation.
pub fn letters(operations: &[Operation]) -> String {
    let letter = |operation: &Operation| match operation {
        Operation::Write => 'w',
        Operation::Read => 'r',
    };
    operations.iter().map(letter).collect()
}

/// Of a list as [`letters`]; two contenders with the same checksum have done the
/// same operations.
pub fn checksum(letters: &str) -> String {
    let mut text = String::new();
    let _ = write!(text, "{:016x}", fnv1a(letters.bytes(), 0));
    text
}

/// FNV-1a, 64 bits; the same as `hash_fnv1a` of `pgbench` for a number as eight
/// bytes, the lowest first.
fn fnv1a(bytes: impl IntoIterator<Item = u8>, seed: u64) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(operations: &[Operation]) -> usize {
        let write = |operation: &&Operation| **operation == Operation::Write;
        operations.iter().filter(write).count()
    }

    #[test]
    fn half_are_writes_in_both_lengths() {
        assert_eq!(writes(&list(3_500)), 1_750);
        assert_eq!(writes(&list(35_000)), 17_500);
    }

    #[test]
    fn a_shorter_list_is_the_beginning_of_a_longer_one() {
        assert_eq!(list(35_000)[..100], list(100));
    }

    #[test]
    fn neighbours_differ_as_often_as_by_chance() {
        // 35,000 tosses of a coin change sides 17,500 times, give or take 94.
        let list = list(35_000);
        let changes = list.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((17_000..18_000).contains(&changes), "{changes}");
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Known answers of the published function.
        assert_eq!(fnv1a(*b"", 0), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(*b"a", 0), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum("foobar"), "85944171f73967e8");
    }

    #[test]
    fn letters_tell_lists_apart() {
        use Operation::{Read, Write};
        assert_eq!(letters(&[Write, Read, Read]), "wrr");
        assert_ne!(checksum("wrr"), checksum("rwr"));
    }
}
