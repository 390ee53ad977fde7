//! What a run has found: the JSON report is this, and the tables are made from it.

use serde::Serialize;

/// One run of the program.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When it began: UTC, `2026-11-22 02:30:00`.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The arguments that it was started with.
    pub command: String,
    /// Processor, cores, memory and system, in a line.
    pub machine: String,
    /// Of the project and of the programs that took part.
    pub versions: Vec<String>,
    pub benches: Vec<Bench>,
}

/// One of the parts: `serve`, `stream`, …
#[derive(Debug, Default, Serialize)]
pub struct Bench {
    pub name: String,
    /// What it measures, in a sentence.
    pub summary: String,
    pub figures: Vec<Figure>,
    pub aims: Vec<Aim>,
    pub notes: Vec<String>,
    /// What could not be measured here, and what to install for it.
    pub skipped: Vec<String>,
}

impl Bench {
    pub fn new(name: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a round's sample to the figure, which the first sample creates.
    pub fn record(&mut self, case: &str, contender: &str, measure: &str, unit: Unit, sample: f64) {
        let mut figures = self.figures.iter_mut();
        match figures.find(|figure| figure.is(case, contender, measure)) {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure {
                case: case.to_owned(),
                contender: contender.to_owned(),
                measure: measure.to_owned(),
                unit,
                samples: vec![sample],
            }),
        }
    }

    /// The figure's median, if it was measured.
    pub fn median(&self, case: &str, contender: &str, measure: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        let figure = figures.find(|figure| figure.is(case, contender, measure))?;
        Some(figure.median())
    }

    /// How many times the median of `contender` is that of `other`.
    pub fn ratio(&self, case: &str, measure: &str, contender: &str, other: &str) -> Option<f64> {
        Some(self.median(case, contender, measure)? / self.median(case, other, measure)?)
    }

    /// Adds a promise and the figure that was measured for it, if there is one.
    pub fn aim(&mut self, unit: Unit, text: &str, bound: Bound, measured: Option<f64>) {
        self.aims.push(Aim {
            text: text.to_owned(),
            unit,
            bound,
            measured,
        });
    }
}

/// One quantity of one contender in one case.
#[derive(Debug, Serialize)]
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
    fn is(&self, case: &str, contender: &str, measure: &str) -> bool {
        (&*self.case, &*self.contender, &*self.measure) == (case, contender, measure)
    }

    /// The middle sample, or between the two in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        f64::midpoint(sorted[middle], sorted[(sorted.len() - 1) / 2])
    }

    pub fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    Count,
    Ratio,
}

/// What the project promises, and whether this run kept it.
#[derive(Debug, Serialize)]
pub struct Aim {
    pub text: String,
    /// Of `bound` and `measured`.
    pub unit: Unit,
    pub bound: Bound,
    /// `None`: not measured in this run.
    pub measured: Option<f64>,
}

impl Aim {
    /// Whether the promise was kept, if that was measured.
    pub fn kept(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.bound {
            Bound::AtLeast(bound) => measured >= bound,
            Bound::AtMost(bound) => measured <= bound,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
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
        assert_eq!(bench.ratio("case", "rate", "b", "a"), Some(2.8));
    }

    #[test]
    fn an_aim_is_kept_at_its_bound_and_open_without_a_figure() {
        let mut bench = Bench::new("serve", "");
        for (bound, measured) in [
            (Bound::AtLeast(40.0), Some(40.0)),
            (Bound::AtLeast(40.0), Some(39.9)),
            (Bound::AtMost(1.5), Some(1.6)),
            (Bound::AtMost(1.5), None),
        ] {
            bench.aim(Unit::Ratio, "", bound, measured);
        }
        let kept: Vec<_> = bench.aims.iter().map(Aim::kept).collect();
        assert_eq!(kept, [Some(true), Some(false), Some(false), None]);
    }
}
