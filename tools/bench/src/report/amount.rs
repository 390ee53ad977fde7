//! Quantities as people read them: three significant digits and a unit that fits.

use std::fmt::Display;

use crate::model::Unit;

const KIB: f64 = 1024.0;

/// The unit in which a quantity is written, such as ms for a few thousandths
/// of a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// How many of the base unit one of this is.
    pub size: f64,
    /// What follows the number, with a space in front where one belongs.
    pub suffix: &'static str,
}

/// All scales of a unit, the smallest first.
pub fn scales(unit: Unit) -> &'static [Scale] {
    const fn of(size: f64, suffix: &'static str) -> Scale {
        Scale { size, suffix }
    }
    match unit {
        Unit::PerSecond => const { &[of(1.0, "/s"), of(1e6, " M/s")] },
        Unit::Seconds => const { &[of(1e-6, " µs"), of(1e-3, " ms"), of(1.0, " s")] },
        Unit::Bytes => {
            const {
                &[
                    of(1.0, " B"),
                    of(KIB, " KiB"),
                    of(KIB * KIB, " MiB"),
                    of(KIB * KIB * KIB, " GiB"),
                ]
            }
        }
        Unit::Count => const { &[of(1.0, "")] },
        Unit::Ratio => const { &[of(1.0, " ×")] },
    }
}

/// The scale in which `value` has at least one digit before the point; the
/// smallest one when there is none.
pub fn scale(value: f64, unit: Unit) -> Scale {
    let scales = scales(unit);
    // What three digits round up to 1,000 KiB is 1,000 KiB and not 0.98 MiB.
    let fits = |scale: &&Scale| value.abs() >= scale.size;
    *scales.iter().rev().find(fits).unwrap_or(&scales[0])
}

/// `value` with its unit: `23,400/s`, `1.24 ms`, `57.3 ×`; `-` for what is not
/// a number.
pub fn amount(value: f64, unit: Unit) -> String {
    let scale = scale(value, unit);
    with_suffix(&number(value / scale.size), scale)
}

/// A quantity that was chosen and not measured: without zeros at its end.
pub fn chosen(value: f64, unit: Unit) -> String {
    let scale = scale(value, unit);
    let number = number(value / scale.size);
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    with_suffix(number, scale)
}

/// `low` to `high`, in the unit that fits `median`: `1.19–1.31 ms`.
pub fn range(low: f64, high: f64, median: f64, unit: Unit) -> String {
    let scale = scale(median, unit);
    let text = format!("{}–{}", number(low / scale.size), number(high / scale.size));
    with_suffix(&text, scale)
}

/// The median and, when there are several samples, what they lie between:
/// `1.24 ms (1.19–1.31)`.
pub fn spread(median: f64, low: f64, high: f64, unit: Unit) -> String {
    let scale = scale(median, unit);
    let (low, high) = (number(low / scale.size), number(high / scale.size));
    let median = amount(median, unit);
    if low == high {
        median
    } else {
        format!("{median} ({low}–{high})")
    }
}

fn with_suffix(number: &str, scale: Scale) -> String {
    if number == "-" {
        number.to_owned()
    } else {
        format!("{number}{}", scale.suffix)
    }
}

/// Three significant digits, thousands apart: `0.0123`, `1.23`, `12`, `1,230`; two
/// below a hundredth, which would be too long for its place: `0.0077`. Zeros at the
/// end stay, since they were measured too, but a whole number below a thousand that
/// is exact is written as one.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1000.0 {
        return format!("{value:.0}");
    }
    // Scientific notation rounds to significant digits, and says where the point
    // is afterwards: 999.6 is 1.00e3.
    let digits: usize = if value.abs() < 0.01 { 2 } else { 3 };
    let scientific = format!("{value:.*e}", digits - 1);
    let exponent: isize = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or_default();
    let rounded: f64 = scientific.parse().unwrap_or(value);
    let decimals = (digits - 1).saturating_add_signed(-exponent);
    let text = format!("{rounded:.decimals$}");
    match text.split_once('.') {
        Some((whole, rest)) => format!("{}.{rest}", thousands(whole)),
        None => thousands(text),
    }
}

/// A whole number, thousands apart.
pub fn whole(value: f64) -> String {
    thousands(format_args!("{value:.0}"))
}

/// A whole number with commas between each three digits: `35,000`.
pub fn thousands(number: impl Display) -> String {
    let digits = number.to_string();
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", &*digits), |d| ("-", d));
    let mut text = String::from(sign);
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
    fn three_digits_are_significant() {
        for (value, expected) in [
            (0.0, "0"),
            (0.007_7, "0.0077"),
            (0.009_96, "0.010"),
            (0.012_345, "0.0123"),
            (0.5, "0.500"),
            (1.0, "1"),
            (1.234, "1.23"),
            (9.999, "10.0"),
            (12.0, "12"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (12_345.0, "12,300"),
            (1_000_000.0, "1,000,000"),
            (-1234.5, "-1,230"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(number(value), expected, "{value}");
        }
    }

    #[test]
    fn the_unit_fits() {
        for (value, unit, expected) in [
            (23_412.0, Unit::PerSecond, "23,400/s"),
            (2.0e6, Unit::PerSecond, "2 M/s"),
            (0.000_000_4, Unit::Seconds, "0.400 µs"),
            (0.000_181, Unit::Seconds, "181 µs"),
            (0.001_24, Unit::Seconds, "1.24 ms"),
            (78.4, Unit::Seconds, "78.4 s"),
            (512.0, Unit::Bytes, "512 B"),
            (24.0 * 1024.0 * 1024.0, Unit::Bytes, "24 MiB"),
            (1.5 * 1024.0 * 1024.0 * 1024.0, Unit::Bytes, "1.50 GiB"),
            (35_000.0, Unit::Count, "35,000"),
            (57.31, Unit::Ratio, "57.3 ×"),
            (f64::NAN, Unit::Seconds, "-"),
        ] {
            assert_eq!(amount(value, unit), expected, "{value} {unit:?}");
        }
    }

    #[test]
    fn a_bound_has_no_more_digits_than_it_needs() {
        assert_eq!(chosen(0.9, Unit::Ratio), "0.9 ×");
        assert_eq!(chosen(1.0, Unit::Ratio), "1 ×");
        assert_eq!(chosen(1000.0, Unit::Ratio), "1,000 ×");
        assert_eq!(chosen(0.05, Unit::Seconds), "50 ms");
    }

    #[test]
    fn a_spread_is_in_the_unit_of_its_median() {
        assert_eq!(
            spread(0.0101, 0.000_95, 1.2, Unit::Seconds),
            "10.1 ms (0.950–1,200)"
        );
        assert_eq!(spread(3.0, 3.0, 3.0, Unit::Count), "3");
        assert_eq!(range(0.001, 0.002, 0.0015, Unit::Seconds), "1–2 ms");
    }
}
