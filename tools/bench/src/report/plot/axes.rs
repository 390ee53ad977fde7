//! Where a value is on an axis, and what is written along it.

use crate::model::{Axis, Unit};
use crate::report::amount::{self, Scale};

use super::as_f64;

/// One axis: from which value to which, and where lines and labels are.
pub struct Ruler {
    pub log: bool,
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Ruler {
    /// An axis that holds all of `values`, with about `ticks` labels.
    pub fn new(
        values: impl Iterator<Item = f64>,
        axis: &Axis,
        ticks: usize,
        from_zero: bool,
    ) -> Self {
        let shown = |value: &f64| value.is_finite() && (!axis.log || *value > 0.0);
        let (low, high) = values
            .filter(shown)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        if axis.log {
            Self::log(low, high, axis.unit, ticks)
        } else {
            let low = if from_zero { low.min(0.0) } else { low };
            Self::linear(low, high, axis.unit, ticks)
        }
    }

    fn linear(low: f64, high: f64, unit: Option<Unit>, ticks: usize) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let scale = unit.map_or(PLAIN, |unit| amount::scale(high.abs().max(low.abs()), unit));
        let step = nice((high - low) / scale.size / as_f64(ticks.max(2)));
        let mut marks = Vec::new();
        let mut number = (low / scale.size / step).ceil();
        // A little more than the end, for what rounding takes away.
        while number * step <= high / scale.size * (1.0 + 1e-9) {
            let value = number * step;
            marks.push((value * scale.size, label(value, scale, step)));
            number += 1.0;
        }
        Self {
            log: false,
            low,
            high: high + (high - low) * 0.04,
            ticks: marks,
        }
    }

    pub fn log(low: f64, high: f64, unit: Option<Unit>, ticks: usize) -> Self {
        let (low, high) = (low / 1.15, high * 1.15);
        let all: Vec<f64> = decades(low, high, unit);
        let mut marks: Vec<f64> = all
            .iter()
            .copied()
            .filter(|value| (low..=high).contains(value))
            .collect();
        if marks.len() < 3 {
            marks = all
                .iter()
                .flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| decade * factor))
                .filter(|value| (low..=high).contains(value))
                .collect();
        }
        let every = marks.len().div_ceil(ticks.max(2)).max(1);
        let text = |value: f64| amount::chosen(value, unit.unwrap_or(Unit::Count));
        Self {
            log: true,
            low,
            high,
            ticks: marks
                .into_iter()
                .step_by(every)
                .map(|value| (value, text(value)))
                .collect(),
        }
    }

    /// Where a value is: 0 at the low end, 1 at the high one.
    pub fn share(&self, value: f64) -> f64 {
        let place = |value: f64| if self.log { value.ln() } else { value };
        (place(value) - place(self.low)) / (place(self.high) - place(self.low))
    }

    /// Whether this value has a place on the axis at all.
    pub fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }
}

const PLAIN: Scale = Scale {
    size: 1.0,
    suffix: "",
};

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|nice| *nice >= step * (1.0 - 1e-9))
        .unwrap_or(step)
}

/// As many decimals as the steps between the labels have.
fn label(value: f64, scale: Scale, step: f64) -> String {
    if value.abs() < step / 2.0 {
        return "0".to_owned();
    }
    let text = if step >= 1.0 {
        amount::whole(value)
    } else {
        let decimals =
            usize::from(step < 1.0) + usize::from(step < 0.0999) + usize::from(step < 0.00999);
        format!("{value:.decimals$}")
    };
    text + scale.suffix
}

/// The powers of ten around `low` and `high`, of bytes those of each unit.
pub fn decades(low: f64, high: f64, unit: Option<Unit>) -> Vec<f64> {
    let mut decades = Vec::new();
    if unit == Some(Unit::Bytes) {
        for scale in amount::scales(Unit::Bytes) {
            decades.extend([1.0, 10.0, 100.0].map(|factor| factor * scale.size));
        }
    } else {
        let mut power = low.log10().floor();
        while power <= high.log10().ceil() {
            decades.push(10_f64.powf(power));
            power += 1.0;
        }
    }
    decades
}

/// What an axis says of itself.
pub fn axis_label(axis: &Axis) -> String {
    match (axis.label.is_empty(), axis.log) {
        (true, true) => "logarithmic scale".to_owned(),
        (false, true) => format!("{}, logarithmic scale", axis.label),
        (_, false) => axis.label.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool, unit: Option<Unit>) -> Vec<String> {
        let axis = Axis {
            label: String::new(),
            log,
            unit,
        };
        let ruler = Ruler::new(values.iter().copied(), &axis, 5, true);
        ruler.ticks.into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn labels_are_round_and_in_one_unit() {
        assert_eq!(
            labels(&[0.0, 0.92], false, None),
            ["0", "0.2", "0.4", "0.6", "0.8"]
        );
        assert_eq!(
            labels(&[3.0, 30.0], false, Some(Unit::Seconds)),
            ["0", "10 s", "20 s", "30 s"]
        );
        let mib = 1_048_576.0;
        assert_eq!(
            labels(&[mib, 700.0 * mib], false, Some(Unit::Bytes)),
            ["0", "200 MiB", "400 MiB", "600 MiB"]
        );
        assert_eq!(
            labels(&[0.001, 50.0], true, Some(Unit::Seconds)),
            ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]
        );
        assert_eq!(
            labels(&[20.0 * mib, 700.0 * mib], true, Some(Unit::Bytes)),
            ["20 MiB", "50 MiB", "100 MiB", "200 MiB", "500 MiB"]
        );
    }

    #[test]
    fn values_are_between_the_ends_of_their_axis() {
        for log in [false, true] {
            let axis = Axis {
                label: String::new(),
                log,
                unit: None,
            };
            let ruler = Ruler::new([1.0, 10.0, 100.0].into_iter(), &axis, 5, true);
            let shares = [1.0, 10.0, 100.0].map(|value| ruler.share(value));
            assert!(shares.is_sorted() && shares[0] >= 0.0 && shares[2] <= 1.0);
            if log {
                let (first, second) = (shares[1] - shares[0], shares[2] - shares[1]);
                assert!((first - second).abs() < 1e-9, "{shares:?}");
            }
        }
    }
}
