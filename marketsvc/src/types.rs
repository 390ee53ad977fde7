//! Values that several modules use.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::error::Error;

/// An amount of money: 10.5 is 10.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, ToSchema)]
#[schema(value_type = f64, example = 10.5)]
#[sqlx(transparent)]
pub struct Money(
    /// The amount in cents, because sums of integers are exact: `Money(1050)` is 10.50.
    pub i64,
);

impl Money {
    /// Returns the amount that a client sends as the number `10.5`. It is `None` for
    /// a number that is not a whole number of cents, is negative, or is greater than
    /// 1,000,000.
    pub fn from_number(number: f64) -> Option<Self> {
        // Most decimals have no exact `f64`: 0.07 × 100 is 7.000000000000001.
        let cents = (number * 100.0).round();
        if !(0.0..=100_000_000.0).contains(&cents) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation)]
        let money = Self(cents as i64);
        // Only the number that the amount has as JSON is exactly this amount.
        #[expect(clippy::float_cmp)]
        (money.to_number() == number).then_some(money)
    }

    /// Returns the amount as the number that clients receive.
    pub fn to_number(self) -> f64 {
        // This is exact up to 2^52 cents: the division by 100 returns the
        // nearest `f64`, and the JSON writer prints the shortest text that
        // reads back as the same `f64`.
        #[expect(clippy::cast_precision_loss)]
        let cents = self.0 as f64;
        cents / 100.0
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_number())
    }
}

/// A point in time in UTC. The text has the database's format,
/// `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(
    example = "2024-03-18 10:30:00",
    pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
)]
pub struct UtcTime(String);

impl UtcTime {
    /// Returns the text, to bind it to an SQL statement.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    /// Parses `YYYY-MM-DD HH:MM:SS`, or `YYYY-MM-DD` for the first second of
    /// that day.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (time, form) = match DateTime::strptime("%Y-%m-%d %H:%M:%S", text) {
            Ok(time) => (time, "%Y-%m-%d %H:%M:%S"),
            Err(_) => match Date::strptime("%Y-%m-%d", text) {
                Ok(date) => (date.at(0, 0, 0, 0), "%Y-%m-%d"),
                Err(_) => return Err(MALFORMED_TIME),
            },
        };
        // `strptime` also accepts `2024-3-1` and years before 0. SQL compares
        // times as text, and these would sort in the wrong order.
        if time.year() < 0 || time.strftime(form).to_string() != text {
            return Err(MALFORMED_TIME);
        }
        Ok(Self(time.strftime("%Y-%m-%d %H:%M:%S").to_string()))
    }
}

const MALFORMED_TIME: Error =
    Error::BadRequest("a time must have the form YYYY-MM-DD HH:MM:SS or YYYY-MM-DD");

/// Checks that the text of a field has from 1 to `longest` characters, not only blanks, and
/// none that is U+0000.
///
/// # Errors
/// [`Error::Unprocessable`] for `field` otherwise.
pub fn check_text(field: &'static str, text: &str, longest: usize) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::unprocessable(field, "the text must not be empty"));
    }
    if text.contains('\0') {
        // PostgreSQL cannot store it.
        return Err(Error::unprocessable(
            field,
            "the text must not contain the character U+0000",
        ));
    }
    if text.chars().count() > longest {
        return Err(Error::unprocessable(field, "the text is too long"));
    }
    Ok(())
}

/// A `T` that is read from a JSON object only. By itself serde also reads the array
/// `["Emma", 1, 7.5]` as a struct, its values in the order of the fields, and no
/// schema says so.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads a field with [`Object`]: `#[serde(deserialize_with = "object")]`.
///
/// # Errors
/// The error of the deserializer, if the value is not an object with a `T`.
pub fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// Reads an array of objects with [`Object`].
///
/// # Errors
/// The error of the deserializer, if the value is not an array of objects with a `T`.
pub fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}
