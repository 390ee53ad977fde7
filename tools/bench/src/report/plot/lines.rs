//! Lines and steps over time.

use crate::model::{Axis, Plot, Series, Style};
use crate::report::amount::{amount, number};
use crate::report::canvas::{self, Align, Canvas, GRID, INK, SERIES};

use super::axes::{Ruler, axis_label};
use super::{
    BOLD, Drawing, LINE, NARROW, Picture, TEXT, TITLE, WIDE, as_f64, colours, draw, heading,
};

pub fn picture(plot: &Plot, contenders: &[&str]) -> Picture {
    let described: Vec<String> = plot
        .series
        .iter()
        .map(|series| describe(plot, series))
        .collect();
    Picture {
        title: plot.title.clone(),
        class: match plot.style {
            Style::Steps => "plot steps",
            Style::Lines | Style::Bars => "plot",
        },
        description: format!(
            "{} against {}. {}",
            axis_label(&plot.y),
            axis_label(&plot.x),
            described.join("; ")
        ),
        wide: draw_lines(plot, contenders, WIDE, 300.0),
        narrow: draw_lines(plot, contenders, NARROW, 260.0),
    }
}

/// A series in words: where it ends and how high it gets.
fn describe(plot: &Plot, series: &Series) -> String {
    let text = |value: f64, axis: &Axis| {
        axis.unit
            .map_or_else(|| number(value), |unit| amount(value, unit))
    };
    let highest = series
        .points
        .iter()
        .map(|point| point.1)
        .fold(f64::NAN, f64::max);
    series.points.last().map_or_else(
        || format!("{}: nothing", series.name),
        |&(x, y)| {
            format!(
                "{}: {} at {}, at most {}",
                series.name,
                text(y, &plot.y),
                text(x, &plot.x),
                text(highest, &plot.y)
            )
        },
    )
}

fn draw_lines(plot: &Plot, contenders: &[&str], width: f64, inner: f64) -> Drawing {
    let colours = colours(plot.series.iter().map(|s| s.name.as_str()), contenders);
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let y = Ruler::new(points().map(|point| point.1), &plot.y, 6, true);
    let labels = y.ticks.iter().map(|tick| canvas::width_of(&tick.1, TEXT));
    let left = labels.fold(24.0, f64::max) + 10.0;
    // Half a label is to the right of the last mark.
    let right = 34.0;
    let across = width - left - right;
    let x = Ruler::new(
        points().map(|point| point.0),
        &plot.x,
        if width < 500.0 { 4 } else { 8 },
        true,
    );
    let title = canvas::wrap(&plot.title, TITLE * BOLD, width);
    let names: Vec<&str> = plot.series.iter().map(|s| s.name.as_str()).collect();
    let legend = Legend::new(&names, width);
    let head = as_f64(title.len()) * LINE + legend.height() + LINE + 10.0;
    let height = head + inner + 2.0 * LINE + 12.0;

    draw(width, height, |canvas| {
        heading(canvas, &title);
        let mut top = as_f64(title.len()) * LINE + 4.0;
        legend.draw(canvas, top, &colours);
        top += legend.height();
        canvas.text(
            &axis_label(&plot.y),
            (0.0, top + LINE / 2.0),
            TEXT,
            false,
            Align::Left,
        );
        let bottom = head + inner;
        for (value, text) in &y.ticks {
            let height = bottom - inner * y.share(*value);
            canvas.line(&[(left, height), (left + across, height)], GRID, 1.0);
            canvas.text(text, (left - 8.0, height), TEXT, false, Align::Right);
        }
        canvas.line(&[(left, bottom), (left + across, bottom)], INK, 1.0);
        let mut free = f64::NEG_INFINITY;
        for (value, text) in &x.ticks {
            let place = left + across * x.share(*value);
            canvas.line(&[(place, bottom), (place, bottom + 5.0)], INK, 1.0);
            let half = canvas::width_of(text, TEXT) / 2.0;
            // A label that would touch the one before it is left out.
            if place - half > free {
                canvas.text(text, (place, bottom + 16.0), TEXT, false, Align::Middle);
                free = place + half + 6.0;
            }
        }
        canvas.text(
            &axis_label(&plot.x),
            (left + across / 2.0, bottom + 16.0 + LINE),
            TEXT,
            false,
            Align::Middle,
        );
        for (series, colour) in plot.series.iter().zip(&colours) {
            let colour = SERIES[colour % SERIES.len()];
            let mut path: Vec<(f64, f64)> = series
                .points
                .iter()
                .filter(|point| x.shows(point.0) && y.shows(point.1))
                .map(|point| {
                    (
                        left + across * x.share(point.0),
                        bottom - inner * y.share(point.1),
                    )
                })
                .collect();
            let few = path.len() <= 12;
            if few && plot.style == Style::Lines {
                for point in &path {
                    canvas.dot(*point, 3.5, colour);
                }
            }
            if plot.style == Style::Steps {
                path = steps(&path);
            }
            canvas.line(&thin(&path), colour, 2.2);
        }
    })
}

/// A value holds until the next one.
fn steps(path: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps = Vec::with_capacity(path.len() * 2);
    for point in path {
        if let Some(&(_, before)) = steps.last() {
            steps.push((point.0, before));
        }
        steps.push(*point);
    }
    steps
}

/// The same line for the eye with fewer points: of those in one column of half a
/// pixel the first, the lowest, the highest and the last remain.
fn thin(path: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut thin = Vec::new();
    for column in path.chunk_by(|a, b| (a.0 * 2.0).floor().total_cmp(&(b.0 * 2.0).floor()).is_eq())
    {
        if column.len() <= 4 {
            thin.extend_from_slice(column);
            continue;
        }
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut ends: Vec<_> = [
            column.iter().min_by(by_height),
            column.iter().max_by(by_height),
        ]
        .into_iter()
        .flatten()
        .collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        thin.push(column[0]);
        thin.extend(ends);
        thin.extend(column.last());
    }
    thin
}

/// Names and colours of the series, above the data.
struct Legend<'a> {
    /// Each with its place: from the left, and its line.
    entries: Vec<(&'a str, f64, usize)>,
    lines: usize,
}

impl<'a> Legend<'a> {
    const SAMPLE: f64 = 28.0;

    fn new(names: &[&'a str], width: f64) -> Self {
        let (mut x, mut line) = (0.0, 0);
        let mut entries = Vec::new();
        for name in names {
            let needed = Self::SAMPLE + 8.0 + canvas::width_of(name, TEXT);
            if x > 0.0 && x + needed > width {
                x = 0.0;
                line += 1;
            }
            entries.push((*name, x, line));
            x += needed + 16.0;
        }
        let lines = if names.is_empty() { 0 } else { line + 1 };
        Self { entries, lines }
    }

    fn height(&self) -> f64 {
        as_f64(self.lines) * LINE + 6.0
    }

    fn draw(&self, canvas: &Canvas, top: f64, colours: &[usize]) {
        for ((name, x, line), colour) in self.entries.iter().zip(colours) {
            let y = top + (as_f64(*line) + 0.5) * LINE;
            let colour = SERIES[colour % SERIES.len()];
            canvas.line(&[(*x, y), (x + Self::SAMPLE, y)], colour, 3.0);
            canvas.text(name, (x + Self::SAMPLE + 8.0, y), TEXT, false, Align::Left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinner_line_keeps_its_ends_and_extremes() {
        let path: Vec<(f64, f64)> = (0..10_000)
            .map(f64::from)
            .map(|n| (n / 1000.0, (n * 7919.0) % 997.0))
            .collect();
        let thin = thin(&path);
        assert!(thin.len() <= 4 * 21, "{}", thin.len());
        assert_eq!((thin.first(), thin.last()), (path.first(), path.last()));
        let ends = |path: &[(f64, f64)]| {
            let heights = || path.iter().map(|point| point.1);
            (
                heights().fold(f64::MAX, f64::min),
                heights().fold(f64::MIN, f64::max),
            )
        };
        assert_eq!(ends(&thin), ends(&path));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_step_holds_until_the_next() {
        assert_eq!(
            steps(&[(0.0, 1.0), (2.0, 3.0), (5.0, 0.0)]),
            [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0), (5.0, 3.0), (5.0, 0.0)]
        );
    }
}
