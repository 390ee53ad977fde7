//! What both drawings share: the picture as data, and the scale of its axis.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct Picture {
    pub title: String,
    /// The work of the program, from the first lane to begin to the last.
    pub lanes: Vec<Lane>,
    /// The connections to the database.
    pub connections: Vec<Lane>,
    pub tracks: Vec<Track>,
    /// Everything in the order in which it happened, a line each, without times.
    pub order: Vec<String>,
    pub end: Duration,
}

#[derive(Debug, Default)]
pub struct Lane {
    pub name: String,
    pub bars: Vec<Bar>,
    /// When it was polled, or a connection at work: from, to.
    pub busy: Vec<(Duration, Duration)>,
    pub events: Vec<(Duration, String)>,
}

/// Two polls with less between them are drawn as one. It also keeps a program
/// with many polls from filling the memory that it may want to draw.
const APART: Duration = Duration::from_micros(50);

impl Lane {
    /// Notes that it was busy `from`..=`to`, after all that was noted before.
    pub fn note_busy(&mut self, from: Duration, to: Duration) {
        match self.busy.last_mut() {
            Some(last) if from <= last.1 + APART => last.1 = last.1.max(to),
            _ => self.busy.push((from, to)),
        }
    }
}

#[derive(Debug)]
pub struct Bar {
    pub from: Duration,
    /// `None` while it goes on.
    pub to: Option<Duration>,
    pub end: End,
    /// A call that blocks its thread, rather than a future that is polled.
    pub blocking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The recording ended first.
    Open,
    Done,
    Dropped,
    Panicked,
}

/// A quantity over time: each value holds from its time to the next.
#[derive(Debug, Default)]
pub struct Track {
    pub name: String,
    pub values: Vec<(Duration, u64)>,
    /// The value that is as high as the track; that is its greatest where it is less.
    pub full: u64,
}

impl Track {
    pub fn greatest(&self) -> u64 {
        let values = self.values.iter().map(|(_, value)| *value);
        values.max().unwrap_or(0)
    }

    pub fn full(&self) -> u64 {
        self.full.max(self.greatest()).max(1)
    }

    /// The same with at most one value in each of `count` parts of `0..=end`, which is
    /// the greatest of that part.
    pub fn thinned(&self, end: Duration, count: u32) -> Self {
        let width = (end / count).max(Duration::from_nanos(1));
        let part = |at: Duration| at.as_nanos() / width.as_nanos();
        let mut values: Vec<(Duration, u64)> = Vec::new();
        let mut last = 0;
        for (at, value) in &self.values {
            match values.last_mut() {
                Some(kept) if part(kept.0) == part(*at) => kept.1 = kept.1.max(*value),
                _ => {
                    // The part before has ended with `last`, which holds until here.
                    if let Some(kept) = values.last()
                        && kept.1 != last
                        && part(kept.0) + 1 < part(*at)
                    {
                        values.push((kept.0 + width, last));
                    }
                    values.push((*at, *value));
                }
            }
            last = *value;
        }
        if let Some(kept) = values.last()
            && kept.1 != last
        {
            values.push((end, last));
        }
        Self {
            name: self.name.clone(),
            values,
            full: self.full,
        }
    }
}

/// The time axis: `places` steps wide, with a number every so often.
pub struct Axis {
    places: f64,
    end: f64,
    /// The distance of two numbers, in ms.
    step: f64,
}

impl Axis {
    /// Covers `0..=end` with `places` steps, which are columns or pixels, and at
    /// most `numbers` intervals.
    pub fn new(end: Duration, places: f64, numbers: f64) -> Self {
        // A program of no length still has an axis.
        let end = (end.as_secs_f64() * 1000.0).max(0.001);
        let mut step = 1e-3;
        let mut factors = [2.0, 2.5, 2.0].into_iter().cycle();
        while end / step > numbers {
            step *= factors.next().unwrap_or(10.0);
        }
        Self { places, end, step }
    }

    /// Where `at` lies, from 0 to `places`.
    pub fn place(&self, at: Duration) -> f64 {
        self.places * (at.as_secs_f64() * 1000.0 / self.end).clamp(0.0, 1.0)
    }

    /// The numbers on the axis, as text in ms, and where each belongs.
    pub fn numbers(&self) -> Vec<(f64, String)> {
        let marks = (0_u32..).map(|count| f64::from(count) * self.step);
        marks
            .take_while(|at| *at <= self.end * 1.000_001)
            .map(|at| {
                // Steps below a millisecond need their decimals.
                let text = format!("{at:.3}");
                let text = text.trim_end_matches('0').trim_end_matches('.');
                (self.places * at / self.end, text.to_owned())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_numbers() {
        let texts = |ms| -> Vec<String> {
            Axis::new(Duration::from_micros(ms), 60.0, 6.0)
                .numbers()
                .into_iter()
                .map(|(_, text)| text)
                .collect()
        };
        assert_eq!(texts(60_000), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(texts(115_000), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(texts(250), ["0", "0.05", "0.1", "0.15", "0.2", "0.25"]);
    }

    #[test]
    fn polls_close_to_each_other_are_one() {
        let mut lane = Lane::default();
        let us = Duration::from_micros;
        for (from, to) in [(0, 10), (15, 20), (20, 20), (500, 510)] {
            lane.note_busy(us(from), us(to));
        }
        assert_eq!(lane.busy, [(us(0), us(20)), (us(500), us(510))]);
    }

    #[test]
    fn a_program_of_no_length_has_an_axis() {
        let axis = Axis::new(Duration::ZERO, 60.0, 6.0);
        assert!(axis.place(Duration::ZERO).abs() < f64::EPSILON);
        assert!(!axis.numbers().is_empty());
    }
}
