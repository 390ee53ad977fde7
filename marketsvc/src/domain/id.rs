//! The numbers of customers, orders and items. One type each, so that the
//! compiler refuses an order's number where a customer's is meant.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::Invalid;

const RULE: Invalid =
    Invalid("a whole number from 1 to 9223372036854775807, without a point or exponent");

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The number, at least 1.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Invalid;

            fn try_from(number: i64) -> Result<Self, Invalid> {
                if number >= 1 { Ok(Self(number)) } else { Err(RULE) }
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// Reads decimal digits only: no sign, no spaces.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                // i64 would also take "+1".
                if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(RULE);
                }
                text.parse::<i64>().map_err(|_| RULE)?.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// The number of a customer.
    CustomerId
);
id!(
    /// The number of an order.
    OrderId
);
id!(
    /// The number of an item that the market sells.
    ItemId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_digits_from_one_to_the_largest() {
        for (text, number) in [("1", 1), ("007", 7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(text.parse::<OrderId>().unwrap().get(), number, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let long = "9".repeat(9_000);
        for text in [
            "",
            "0",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "one",
            "١",
            "9223372036854775808",
            &long,
        ] {
            assert_eq!(text.parse::<OrderId>(), Err(RULE), "{text}");
        }
        assert_eq!(OrderId::try_from(i64::MIN), Err(RULE));
    }
}
