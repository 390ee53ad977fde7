//! Quantities as people read them: three significant digits and a unit that fits.

use std::fmt::Display;

use crate::model::Unit;

const KIB: f64 = 1024.0;

/// The size and the name of the largest scale that leaves a digit before the point;
/// of the smallest scale when none does.
fn scale(value: f64, unit: Unit) -> (f64, &'static str) {
    let scales: &[(f64, &str)] = match unit {
        Unit::PerSecond => &[(1.0, "/s")],
        Unit::Seconds => &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")],
        Unit::Bytes => &[
            (KIB * KIB * KIB, " GiB"),
            (KIB * KIB, " MiB"),
            (KIB, " KiB"),
            (1.0, " B"),
        ],
        Unit::Count => &[(1.0, "")],
        Unit::Ratio => &[(1.0, " ×")],
    };
    let fits = |(size, _): &&(f64, &str)| value.abs() >= *size;
    *scales
        .iter()
        .find(fits)
        .unwrap_or(&scales[scales.len() - 1])
}

/// `value` with its unit: `23,400/s`, `1.24 ms`, `57.3 ×`.
pub fn amount(value: f64, unit: Unit) -> String {
    let (size, name) = scale(value, unit);
    format!("{}{name}", number(value / size))
}

/// The median of the sorted samples and, when they differ, the lowest and the
/// highest: `1.24 ms (1.19–1.31)`.
pub fn spread(median: f64, sorted: &[f64], unit: Unit) -> String {
    let (size, _) = scale(median, unit);
    let ends = [sorted[0], sorted[sorted.len() - 1]].map(|end| number(end / size));
    let median = amount(median, unit);
    if ends[0] == ends[1] {
        median
    } else {
        format!("{median} ({}–{})", ends[0], ends[1])
    }
}

/// Three significant digits, thousands apart: `0.0123`, `1.23`, `12`, `1,230`. A whole
/// number below a thousand is written as one, and so is everything from a hundred up.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1000.0 {
        return format!("{value:.0}");
    }
    // Scientific notation rounds to significant digits: 999.6 is 1.00e3.
    let scientific = format!("{value:.2e}");
    let rounded: f64 = scientific.parse().unwrap_or(value);
    let exponent = scientific.split_once('e').map(|(_, exponent)| exponent);
    let exponent: isize = exponent.and_then(|text| text.parse().ok()).unwrap_or(0);
    let decimals = 2_usize.saturating_add_signed(-exponent);
    if decimals == 0 {
        thousands(rounded)
    } else {
        format!("{rounded:.decimals$}")
    }
}

/// A whole number with commas between each three digits: `35,000`.
pub fn thousands(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_fit() {
        for (value, unit, expected) in [
            (23_412.0, Unit::PerSecond, "23,400/s"),
            (2.0e6, Unit::PerSecond, "2,000,000/s"),
            (0.000_000_4, Unit::Seconds, "0.400 µs"),
            (0.000_181, Unit::Seconds, "181 µs"),
            (0.001_24, Unit::Seconds, "1.24 ms"),
            (78.4, Unit::Seconds, "78.4 s"),
            (512.0, Unit::Bytes, "512 B"),
            (24.0 * KIB * KIB, Unit::Bytes, "24 MiB"),
            (1.5 * KIB * KIB * KIB, Unit::Bytes, "1.50 GiB"),
            (999.6, Unit::Count, "1,000"),
            (0.0, Unit::Count, "0"),
            (0.012_345, Unit::Ratio, "0.0123 ×"),
            (9.999, Unit::Ratio, "10.0 ×"),
        ] {
            assert_eq!(amount(value, unit), expected, "{value} {unit:?}");
        }
    }

    #[test]
    fn a_spread_has_one_unit_and_is_left_out_without_one() {
        let samples = [0.001_19, 0.001_24, 0.001_31];
        assert_eq!(
            spread(0.001_24, &samples, Unit::Seconds),
            "1.24 ms (1.19–1.31)"
        );
        assert_eq!(spread(0.9, &[0.9], Unit::Ratio), "0.900 ×");
    }
}
