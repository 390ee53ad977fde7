//! Amounts of money.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// An amount of money: 10.5 is 10.50.
// In hundredths, because sums of integers are exact: `Money(1050)` is 10.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, ToSchema)]
#[schema(value_type = f64, example = 10.5)]
#[sqlx(transparent)]
pub struct Money(pub i64);

impl Money {
    /// Returns the amount that a client sends as the number `10.5`. It is `None` for a
    /// number that is not a whole number of hundredths.
    pub fn from_number(number: f64) -> Option<Self> {
        // Most decimals have no exact `f64`: 0.07 × 100 is 7.000000000000001.
        let hundredths = (number * 100.0).round();
        // Up to 2^53, every whole number has an exact `f64`.
        if hundredths.abs() > 9_007_199_254_740_992.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation)]
        let money = Self(hundredths as i64);
        // Only the number that the amount has as JSON is exactly this amount.
        #[expect(clippy::float_cmp)]
        (money.to_number() == number).then_some(money)
    }

    /// Returns the amount as the number that clients receive.
    pub fn to_number(self) -> f64 {
        // The division returns the nearest `f64`, and the JSON writer prints the shortest
        // text that reads back as the same `f64`.
        #[expect(clippy::cast_precision_loss)]
        let hundredths = self.0 as f64;
        hundredths / 100.0
    }
}

/// Returns the amount of a number, as [`Money::from_number`]; `None` if there is no number.
pub fn of(number: impl Into<Option<f64>>) -> Option<Money> {
    number.into().and_then(Money::from_number)
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_number())
    }
}
