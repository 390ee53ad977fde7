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
    /// What it was, where pieces of a lane differ.
    pub label: Option<String>,
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

    /// From when to when it has which value.
    pub fn levels(&self, end: Duration) -> impl Iterator<Item = (Duration, Duration, u64)> {
        let ends = self.values.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain([end]);
        self.values
            .iter()
            .zip(ends)
            .map(|((from, value), to)| (*from, to, *value))
    }

    /// The same with at most one value for each of `count` parts of `0..=end`: the
    /// greatest that it has in that part.
    pub fn thinned(&self, end: Duration, count: u32) -> Self {
        let mut rest = self.values.iter().peekable();
        let mut values: Vec<(Duration, u64)> = Vec::new();
        let mut last = 0;
        for part in 0..count {
            let until = end * (part + 1) / count;
            let mut greatest = last;
            while let Some((_, value)) = rest.next_if(|(at, _)| *at < until) {
                greatest = greatest.max(*value);
                last = *value;
            }
            if values.last().is_none_or(|(_, value)| *value != greatest) {
                values.push((end * part / count, greatest));
            }
        }
        let last = rest.last().map_or(last, |(_, value)| *value);
        values.push((end, last));
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
    fn a_part_of_a_track_has_its_greatest_value() {
        let ms = Duration::from_millis;
        let track = Track {
            values: vec![(ms(0), 1), (ms(1), 9), (ms(2), 0), (ms(30), 5), (ms(40), 0)],
            ..Track::default()
        };
        let thin = track.thinned(ms(40), 4).values;
        assert_eq!(thin, [(ms(0), 9), (ms(10), 0), (ms(30), 5), (ms(40), 0)]);
    }

    #[test]
    fn a_program_of_no_length_has_an_axis() {
        let axis = Axis::new(Duration::ZERO, 60.0, 6.0);
        assert!(axis.place(Duration::ZERO).abs() < f64::EPSILON);
        assert!(!axis.numbers().is_empty());
    }
}
