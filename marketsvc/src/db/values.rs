//! How values of the domain are read from the JSON that SQLite writes. A value
//! that is not what its column is for can only have come there by another
//! program's hand; it is an error of what was read, and says what the value is.

use serde::de::{Deserialize, Deserializer, Error};

use crate::domain::{Money, UtcTime};

/// A whole number of cents.
pub(super) fn cents<'de, D: Deserializer<'de>>(value: D) -> Result<Money, D::Error> {
    i64::deserialize(value).map(Money::from_cents)
}

/// `YYYY-MM-DD HH:MM:SS`.
pub(super) fn time<'de, D: Deserializer<'de>>(value: D) -> Result<UtcTime, D::Error> {
    // Borrowed: in a time, there is nothing that JSON would have to escape.
    let text = <&str>::deserialize(value)?;
    text.parse()
        .map_err(|cause| D::Error::custom(format_args!("{text:?} {cause}")))
}

#[cfg(test)]
mod tests {
    use serde_json::Deserializer;

    use super::*;

    #[test]
    fn a_value_that_is_none_of_its_column_is_named() {
        let read = |json: &str| time(&mut Deserializer::from_str(json)).map_err(|e| e.to_string());
        assert_eq!(
            read(r#""2024-03-18 10:30:00""#).unwrap().to_string(),
            "2024-03-18 10:30:00"
        );
        let error = read(r#""soon""#).unwrap_err();
        assert!(error.contains("\"soon\" must be a time"), "{error}");
        for other in ["\"so\\non\"", "null", "20240318"] {
            assert!(read(other).is_err(), "{other}");
        }
    }

    #[test]
    fn cents_are_whole_and_exact() {
        let read = |json: &str| cents(&mut Deserializer::from_str(json)).map(Money::cents);
        for exact in [0, 1, (1 << 53) + 1, i64::MIN, i64::MAX] {
            assert_eq!(read(&exact.to_string()).unwrap(), exact);
        }
        // As text or as a float it would be no number of cents; SQLite makes a
        // float of a product that is too large.
        for other in [
            "10.5",
            "9.22337203685478e+18",
            "9223372036854775808",
            "\"1\"",
            "null",
        ] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
