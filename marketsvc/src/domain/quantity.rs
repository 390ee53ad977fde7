//! How many of an item stand in an order.

use super::Invalid;

/// A count of pieces, 1 to 1,000,000. The upper end is far above any order
/// and keeps price × quantity × lines well inside 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(i64);

impl Quantity {
    const MAX: i64 = 1_000_000;

    /// The number of pieces.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = Invalid;

    fn try_from(number: i64) -> Result<Self, Invalid> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Invalid(
                "a whole number from 1 to 1000000, without a point or exponent",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_from_one_to_a_million() {
        for number in [1, 2, Quantity::MAX] {
            assert_eq!(Quantity::try_from(number).unwrap().get(), number);
        }
        for number in [i64::MIN, -4, 0, Quantity::MAX + 1, i64::MAX] {
            assert!(Quantity::try_from(number).is_err(), "{number}");
        }
    }
}
