//! What both drawings share: the picture as data, and the scale of its axis.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct Picture {
    pub title: String,
    /// The work of the program, from the first lane to begin to the last.
    pub lanes: Vec<Lane>,
    /// The connections to the database.
    pub connections: Vec<Lane>,
    pub tracks: Vec<Curve>,
    /// The value that is as high as a track; its greatest where that is more.
    pub full: u64,
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

#[derive(Debug, Default)]
pub struct Bar {
    pub from: Duration,
    /// `None` while it goes on.
    pub to: Option<Duration>,
    pub end: End,
    /// A call that blocks its thread, rather than a future that is polled.
    pub blocking: bool,
    /// What it was, where pieces of a lane differ.
    pub label: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The recording ended first.
    #[default]
    Open,
    Done,
    Dropped,
    Panicked,
}

/// A quantity over time: from which time on it had which value.
#[derive(Debug, Clone)]
pub struct Curve {
    pub name: String,
    pub values: Vec<(Duration, u64)>,
}

impl Curve {
    pub(crate) fn greatest(&self) -> u64 {
        let values = self.values.iter().map(|(_, value)| *value);
        values.max().unwrap_or(0)
    }

    /// Its greatest value in each column of the axis, which ends at `end`.
    pub(crate) fn columns(&self, axis: &Axis, end: Duration) -> Vec<u64> {
        let mut columns = vec![0; axis.column(end) + 1];
        let ends = self.values.iter().skip(1).map(|(at, _)| *at);
        for ((from, value), to) in self.values.iter().zip(ends.chain([end])) {
            for column in &mut columns[axis.column(*from)..=axis.column(to)] {
                *column = (*column).max(*value);
            }
        }
        columns
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

    /// The column that is nearest to that.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to `places`
    pub fn column(&self, at: Duration) -> usize {
        self.place(at).round() as usize
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
    fn a_column_of_a_track_has_its_greatest_value() {
        let ms = Duration::from_millis;
        let track = Curve {
            name: String::new(),
            values: vec![(ms(0), 1), (ms(1), 9), (ms(2), 0), (ms(30), 5), (ms(40), 0)],
        };
        let axis = Axis::new(ms(40), 4.0, 4.0);
        assert_eq!(track.columns(&axis, ms(40)), [9, 0, 0, 5, 5]);
    }

    #[test]
    fn a_program_of_no_length_has_an_axis() {
        let axis = Axis::new(Duration::ZERO, 60.0, 6.0);
        assert!(axis.place(Duration::ZERO).abs() < f64::EPSILON);
        assert!(!axis.numbers().is_empty());
    }
}
