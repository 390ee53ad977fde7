//! What a run has found: the JSON report is this, and tables and plots are
//! drawn from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// When it began: UTC, `2026-11-22 02:30:00`.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The arguments that it was started with.
    pub command: String,
    pub machine: Machine,
    /// By program or library, for those that took part.
    pub versions: BTreeMap<String, String>,
    pub benches: Vec<Bench>,
}

/// Where it ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// In bytes; 0 where it is not known.
    pub memory: u64,
    pub system: String,
}

/// One of the verbs: `serve`, `stream`, …
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bench {
    pub name: String,
    /// What it asks, in a sentence.
    pub summary: String,
    pub figures: Vec<Figure>,
    pub aims: Vec<Aim>,
    pub plots: Vec<Plot>,
    pub notes: Vec<String>,
    /// What could not be measured here, and what to install for it.
    pub skipped: Vec<String>,
}

impl Bench {
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            figures: Vec::new(),
            aims: Vec::new(),
            plots: Vec::new(),
            notes: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Adds a round's sample to the figure, which the first sample creates.
    pub fn record(&mut self, case: &str, contender: &str, measure: &str, unit: Unit, sample: f64) {
        if let Some(place) = self.place(case, contender, measure) {
            self.figures[place].samples.push(sample);
        } else {
            self.figures.push(Figure {
                case: case.to_owned(),
                contender: contender.to_owned(),
                measure: measure.to_owned(),
                unit,
                samples: vec![sample],
            });
        }
    }

    /// The figure's median, if it was measured.
    pub fn median(&self, case: &str, contender: &str, measure: &str) -> Option<f64> {
        let place = self.place(case, contender, measure)?;
        Some(self.figures[place].median())
    }

    /// A line or a row of bars for each contender, through its medians: each
    /// point is an x, a case and a measure.
    pub fn series(&self, points: &[(f64, &str, &str)]) -> Vec<Series> {
        let mut series: Vec<Series> = Vec::new();
        for (x, case, measure) in points {
            let figures = self.figures.iter();
            for figure in figures.filter(|one| one.case == *case && one.measure == *measure) {
                let point = (*x, figure.median());
                match series.iter_mut().find(|one| one.name == figure.contender) {
                    Some(one) => one.points.push(point),
                    None => series.push(Series {
                        name: figure.contender.clone(),
                        points: vec![point],
                    }),
                }
            }
        }
        series
    }

    fn place(&self, case: &str, contender: &str, measure: &str) -> Option<usize> {
        self.figures.iter().position(|figure| {
            figure.case == case && figure.contender == contender && figure.measure == measure
        })
    }

    /// Adds a promise about a ratio and what was found; `None` where it could not
    /// be looked at.
    pub fn aim(&mut self, text: impl Into<String>, bound: Bound, measured: Option<f64>) {
        self.aim_in(Unit::Ratio, text, bound, measured);
    }

    /// The same about another quantity.
    pub fn aim_in(
        &mut self,
        unit: Unit,
        text: impl Into<String>,
        bound: Bound,
        measured: Option<f64>,
    ) {
        self.aims.push(Aim {
            text: text.into(),
            unit,
            bound,
            measured,
        });
    }
}

/// One quantity of one contender in one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// "`order_total`, 32 connections, 100,000 orders".
    pub case: String,
    /// "marketsvc".
    pub contender: String,
    /// "rate".
    pub measure: String,
    pub unit: Unit,
    /// One a round, in the order in which they were taken; never empty.
    pub samples: Vec<f64>,
}

impl Figure {
    /// The middle sample, or between the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    pub fn low(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn high(&self) -> f64 {
        self.samples
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    Count,
    Ratio,
}

/// What the project promises, and whether this run kept it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Aim {
    pub text: String,
    /// Of `bound` and `measured`.
    pub unit: Unit,
    pub bound: Bound,
    /// `None`: not looked at in this run.
    pub measured: Option<f64>,
}

impl Aim {
    /// Whether the promise was kept, if that was looked at.
    pub fn kept(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.bound {
            Bound::AtLeast(bound) => measured >= bound,
            Bound::AtMost(bound) => measured <= bound,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub style: Style,
    /// Names of the bars' groups; empty unless `style` is [`Style::Bars`].
    pub categories: Vec<String>,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Axis {
    pub label: String,
    /// Logarithmic.
    pub log: bool,
    pub unit: Option<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    Lines,
    /// A value holds until the next one.
    Steps,
    Bars,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    /// Of bars, x is the place of the group in `categories`.
    pub points: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_gather_in_one_figure() {
        let mut bench = Bench::new("serve", "");
        for sample in [3.0, 1.0, 10.0, 2.0] {
            bench.record("case", "a", "rate", Unit::PerSecond, sample);
        }
        bench.record("case", "b", "rate", Unit::PerSecond, 7.0);
        assert_eq!(bench.figures.len(), 2);
        assert_eq!(bench.median("case", "a", "rate"), Some(2.5));
        assert_eq!(bench.median("case", "b", "rate"), Some(7.0));
        assert_eq!(bench.median("case", "c", "rate"), None);
        let figure = &bench.figures[0];
        assert!(figure.low() <= 1.0 && figure.high() >= 10.0);
    }

    #[test]
    fn a_line_has_the_points_that_were_measured() {
        let mut bench = Bench::new("serve", "");
        for (case, contender, sample) in [("1", "a", 1.0), ("2", "a", 2.0), ("2", "b", 3.0)] {
            bench.record(case, contender, "rate", Unit::PerSecond, sample);
            bench.record(case, contender, "p50", Unit::Seconds, 0.0);
        }
        let lines = bench.series(&[(0.0, "1", "rate"), (1.0, "2", "rate")]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].points, [(0.0, 1.0), (1.0, 2.0)]);
        assert_eq!(lines[1].points, [(1.0, 3.0)]);
    }

    #[test]
    fn an_aim_is_kept_at_its_bound_and_open_without_a_figure() {
        let mut bench = Bench::new("serve", "");
        bench.aim("at least", Bound::AtLeast(40.0), Some(40.0));
        bench.aim("at least", Bound::AtLeast(40.0), Some(39.9));
        bench.aim("at most", Bound::AtMost(1.5), Some(1.6));
        bench.aim("at most", Bound::AtMost(1.5), None);
        let kept: Vec<_> = bench.aims.iter().map(Aim::kept).collect();
        assert_eq!(kept, [Some(true), Some(false), Some(false), None]);
    }
}
