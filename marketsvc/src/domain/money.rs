//! Amounts of money.

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

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
    /// The digits are exact to the cent. Up to 2^46 units (70 trillion), doubles
    /// are less than a cent apart, and the one nearest to n/100 is printed as
    /// n/100. Above, an amount is written digit by digit.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cents = self.cents.unsigned_abs();
        if cents <= 100 << 46 {
            #[expect(clippy::cast_precision_loss, reason = "exact, as said above")]
            return serializer.serialize_f64(self.cents as f64 / 100.0);
        }
        let digits = format!("{}.{:02}", self.cents / 100, cents % 100);
        let number = RawValue::from_string(digits).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a person writes for so many cents, without any binary fraction.
    fn by_hand(cents: i64) -> String {
        let sign = if cents < 0 { "-" } else { "" };
        let (units, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
        if rest.is_multiple_of(10) && cents.unsigned_abs() <= 100 << 46 {
            format!("{sign}{units}.{}", rest / 10)
        } else {
            format!("{sign}{units}.{rest:02}")
        }
    }

    fn json(cents: i64) -> String {
        serde_json::to_string(&Money::from_cents(cents)).unwrap()
    }

    /// Of both signs.
    fn expect_exact(cents: i64) {
        assert_eq!(json(cents), by_hand(cents));
        assert_eq!(json(-cents - 1), by_hand(-cents - 1));
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
        // whose steps grow with them, up to the largest there is.
        let mut cents = Some(0_i64);
        while let Some(amount) = cents {
            expect_exact(amount);
            let step = if amount < 100_000 {
                1
            } else {
                amount / 4_001 + 1
            };
            cents = amount.checked_add(step);
        }
        // Where doubles become too coarse for cents, and where for integers.
        for edge in [100 << 46, 1 << 53, i64::MAX - 5_000] {
            (edge - 5_000..=edge + 5_000).for_each(expect_exact);
        }
    }
}
