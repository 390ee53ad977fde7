//! What the values of fields must be like. Each function takes the value, or an option: a
//! field that is `null` is always acceptable here.

use std::fmt::Display;
use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime};

use crate::error::Error;
use crate::money;

/// Checks that a text has from 1 to `longest` characters and not only blanks.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`. So is a text with the character U+0000, which
/// PostgreSQL does not store.
pub fn text<'a>(
    field: &'static str,
    value: impl Into<Option<&'a str>>,
    longest: usize,
) -> Result<(), Error> {
    let Some(text) = value.into() else {
        return Ok(());
    };
    if text.trim().is_empty() {
        return Err(Error::unprocessable(field, "the text must not be empty"));
    }
    if text.chars().count() > longest {
        let detail = format!("the text must have at most {longest} characters");
        return Err(Error::unprocessable(field, detail));
    }
    if text.contains('\0') {
        let detail = "the text must not have the character U+0000";
        return Err(Error::unprocessable(field, detail));
    }
    Ok(())
}

/// Checks that a whole number is in `range`.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`.
pub fn int(
    field: &'static str,
    value: impl Into<Option<i64>>,
    range: RangeInclusive<i64>,
) -> Result<(), Error> {
    within(field, value.into(), &range)
}

/// Checks that a number is in `range`.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`.
pub fn float(
    field: &'static str,
    value: impl Into<Option<f64>>,
    range: RangeInclusive<f64>,
) -> Result<(), Error> {
    within(field, value.into(), &range)
}

fn within<N: PartialOrd + Display>(
    field: &'static str,
    value: Option<N>,
    range: &RangeInclusive<N>,
) -> Result<(), Error> {
    match value {
        Some(number) if !range.contains(&number) => {
            let (least, most) = (range.start(), range.end());
            let detail = format!("the number must be from {least} to {most}");
            Err(Error::unprocessable(field, detail))
        }
        _ => Ok(()),
    }
}

/// Checks that an amount of money is in `range`, and has at most two decimals.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`.
pub fn money(
    field: &'static str,
    value: impl Into<Option<f64>>,
    range: RangeInclusive<f64>,
) -> Result<(), Error> {
    let amount = value.into();
    within(field, amount, &range)?;
    if amount.is_some() && money::of(amount).is_none() {
        let detail = "the amount must have at most two decimals";
        return Err(Error::unprocessable(field, detail));
    }
    Ok(())
}

/// Checks that a text is a day that exists, as `2024-03-18`.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`.
pub fn date<'a>(field: &'static str, value: impl Into<Option<&'a str>>) -> Result<(), Error> {
    let form = "%Y-%m-%d";
    let read = |text: &str| Some(Date::strptime(form, text).ok()?.strftime(form).to_string());
    let value = value.into();
    let detail = "the date must be YYYY-MM-DD";
    as_written(field, value, value.and_then(read), detail)
}

/// Checks that a text is a time that exists, as `2024-03-18 10:30:00`. It is in UTC.
///
/// # Errors
/// [`Error::Unprocessable`] for `field`.
pub fn time<'a>(field: &'static str, value: impl Into<Option<&'a str>>) -> Result<(), Error> {
    let form = "%Y-%m-%d %H:%M:%S";
    let read = |text: &str| Some(DateTime::strptime(form, text).ok()?.strftime(form).to_string());
    let value = value.into();
    let detail = "the time must be YYYY-MM-DD HH:MM:SS, in UTC";
    as_written(field, value, value.and_then(read), detail)
}

/// Checks that `text` is what was read from it, written again. SQL compares the texts, so
/// `2024-3-18` and years before 0 would come in the wrong order.
fn as_written(
    field: &'static str,
    text: Option<&str>,
    read: Option<String>,
    detail: &str,
) -> Result<(), Error> {
    if text != read.as_deref() || text.is_some_and(|text| text.starts_with('-')) {
        return Err(Error::unprocessable(field, detail));
    }
    Ok(())
}
