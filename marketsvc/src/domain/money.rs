//! Amounts of money.

use serde::{Serialize, Serializer};

/// An amount in whole cents. Sums of integers are exact; sums of fractions of
/// a unit in binary are not (0.1 + 0.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    cents: i64,
}

impl Money {
    /// An amount of `cents` hundredths of a unit.
    pub fn from_cents(cents: i64) -> Self {
        Self { cents }
    }

    /// The amount in hundredths of a unit.
    pub fn cents(self) -> i64 {
        self.cents
    }
}

impl Serialize for Money {
    /// Writes a JSON number of whole units: 1050 cents are `10.5`.
    ///
    /// The division happens once, on the finished amount, and is exact to the
    /// cent for up to 2^53 cents (90 trillion units): the double nearest to
    /// n/100 is printed as n/100.
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact up to 2^53, as said above"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cents as f64 / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a person writes for so many cents, without any binary fraction.
    fn by_hand(cents: i64) -> String {
        let sign = if cents < 0 { "-" } else { "" };
        let (units, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
        if rest.is_multiple_of(10) {
            format!("{sign}{units}.{}", rest / 10)
        } else {
            format!("{sign}{units}.{rest:02}")
        }
    }

    fn json(cents: i64) -> String {
        serde_json::to_string(&Money::from_cents(cents)).unwrap()
    }

    #[test]
    fn is_a_json_number_of_units() {
        assert_eq!(json(3000), "30.0");
        assert_eq!(json(1050), "10.5");
        assert_eq!(json(1), "0.01");
        assert_eq!(json(0), "0.0");
    }

    #[test]
    fn is_exact_to_the_cent_over_its_whole_range() {
        // Every amount up to 1,000 units, then a walk of about 40,000 amounts
        // whose steps grow with them, up to 10^13 units (above which JSON
        // switches to exponents, with the same value).
        let mut cents = 0_i64;
        while cents < 1_000_000_000_000_000 {
            assert_eq!(json(cents), by_hand(cents));
            assert_eq!(json(-cents - 1), by_hand(-cents - 1));
            cents += if cents < 100_000 {
                1
            } else {
                cents / 4_001 + 1
            };
        }
    }
}
