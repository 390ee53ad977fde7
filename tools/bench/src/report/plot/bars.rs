//! Bars, of a plot or made from figures.

use crate::model::{Axis, Bench, Figure, Plot, Series, Unit};
use crate::report::amount::{self, amount, number};
use crate::report::canvas::{self, Align, Canvas, GRID, INK, SERIES};

use super::axes::{Ruler, axis_label, decades};
use super::{
    BOLD, Drawing, LINE, LINEAR_LIMIT, NARROW, Picture, TEXT, TITLE, WIDE, as_f64, colours, draw,
    heading,
};

/// Groups of bars in a chart that is made from figures; the tables have them all.
const GROUPS: usize = 4;

/// Bars in groups.
pub struct Chart {
    title: String,
    axis: Axis,
    groups: Vec<Group>,
}

struct Group {
    /// Above its bars; empty when there is only one group.
    name: String,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    value: f64,
    /// What the samples lie between.
    range: Option<(f64, f64)>,
    colour: usize,
}

/// A plot's own bars. One series of several categories is one group.
pub fn chart(plot: &Plot, contenders: &[&str]) -> Chart {
    let value = |series: &Series, category: usize| {
        let mut points = series.points.iter();
        points
            .find(|point| (point.0 - as_f64(category)).abs() < 0.5)
            .map(|point| point.1)
    };
    let bar = |name: &str, value: Option<f64>, colour: usize| {
        value.map(|value| Bar {
            name: name.to_owned(),
            value,
            range: None,
            colour,
        })
    };
    let categories = || plot.categories.iter().enumerate();
    let groups = if let [series] = plot.series.as_slice() {
        let colours = colours(plot.categories.iter().map(String::as_str), contenders);
        let named = plot
            .categories
            .iter()
            .any(|name| contenders.contains(&name.as_str()));
        vec![Group {
            name: String::new(),
            bars: categories()
                .filter_map(|(number, name)| {
                    // Categories that are no contenders are all of one kind.
                    let colour = if named { colours[number] } else { 0 };
                    bar(name, value(series, number), colour)
                })
                .collect(),
        }]
    } else {
        let colours = colours(plot.series.iter().map(|s| s.name.as_str()), contenders);
        categories()
            .map(|(number, name)| Group {
                name: name.clone(),
                bars: plot
                    .series
                    .iter()
                    .zip(&colours)
                    .filter_map(|(series, colour)| {
                        bar(&series.name, value(series, number), *colour)
                    })
                    .collect(),
            })
            .collect()
    };
    Chart {
        title: plot.title.clone(),
        axis: plot.y.clone(),
        groups,
    }
}

/// A chart for each measure in which contenders can be compared.
pub fn charts(bench: &Bench, contenders: &[&str]) -> Vec<Chart> {
    let mut measures: Vec<(&str, Unit)> = Vec::new();
    for figure in &bench.figures {
        let measure = (figure.measure.as_str(), figure.unit);
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    let chart = |(measure, unit): (&str, Unit)| {
        let mut groups: Vec<Group> = Vec::new();
        let of_measure = |figure: &&Figure| figure.measure == measure && figure.unit == unit;
        for figure in bench.figures.iter().filter(of_measure) {
            let bar = Bar {
                name: figure.contender.clone(),
                value: figure.median(),
                range: (figure.samples.len() > 1).then(|| (figure.low(), figure.high())),
                colour: contenders
                    .iter()
                    .position(|&name| name == figure.contender)
                    .unwrap_or(0),
            };
            match groups.iter_mut().find(|group| group.name == figure.case) {
                Some(group) => group.bars.push(bar),
                None => groups.push(Group {
                    name: figure.case.clone(),
                    bars: vec![bar],
                }),
            }
        }
        groups.retain(|group| group.bars.len() > 1);
        let left_out = groups.len().saturating_sub(GROUPS);
        groups.truncate(GROUPS);
        let mut title = measure.to_owned();
        if left_out > 0 {
            title = format!("{title}: the first {GROUPS} cases, {left_out} more are in the tables");
        }
        if let [group] = groups.as_mut_slice() {
            title = format!("{title}: {}", group.name);
            group.name.clear();
        }
        let values = || {
            let bars = groups.iter().flat_map(|group| &group.bars);
            bars.map(|bar| bar.value).filter(|value| *value > 0.0)
        };
        let (low, high) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
        );
        Chart {
            title,
            axis: Axis {
                label: measure.to_owned(),
                log: high > low * LINEAR_LIMIT,
                unit: Some(unit),
            },
            groups,
        }
    };
    let charts = measures.into_iter().map(chart);
    charts.filter(|chart| !chart.groups.is_empty()).collect()
}

pub fn picture(chart: &Chart) -> Picture {
    let mut described = Vec::new();
    for group in &chart.groups {
        for bar in &group.bars {
            let place = [group.name.as_str(), bar.name.as_str()];
            let place: Vec<_> = place.into_iter().filter(|name| !name.is_empty()).collect();
            described.push(format!("{}: {}", place.join(", "), chart.value(bar)));
        }
    }
    Picture {
        title: chart.title.clone(),
        class: "plot",
        description: format!("{}. {}", axis_label(&chart.axis), described.join("; ")),
        wide: draw_bars(chart, WIDE),
        narrow: draw_bars(chart, NARROW),
    }
}

impl Chart {
    /// What is written at the end of a bar.
    fn value(&self, bar: &Bar) -> String {
        match (self.axis.unit, bar.range) {
            (Some(unit), Some((low, high))) => amount::spread(bar.value, low, high, unit),
            _ => self.median(bar),
        }
    }

    fn median(&self, bar: &Bar) -> String {
        self.axis
            .unit
            .map_or_else(|| number(bar.value), |unit| amount(bar.value, unit))
    }

    fn ruler(&self, ticks: usize) -> Ruler {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let ends = |bar: &Bar| {
            let (low, high) = bar.range.unwrap_or((bar.value, bar.value));
            [low, high]
        };
        let mut ruler = Ruler::new(bars().flat_map(ends), &self.axis, ticks, true);
        if ruler.log {
            // The shortest bar is to be seen as well: the axis begins a good deal
            // below it, at a mark.
            let decades = decades(ruler.low / 10.0, ruler.high, self.axis.unit);
            let start = decades
                .into_iter()
                .rfind(|decade| *decade < ruler.low / 1.3);
            ruler = Ruler::log(
                start.unwrap_or(ruler.low) * 1.15,
                ruler.high / 1.15,
                self.axis.unit,
                ticks,
            );
        }
        ruler
    }
}

/// Height of a bar.
const BAR: f64 = 16.0;

/// Where the bars of a chart are.
struct Layout<'a> {
    chart: &'a Chart,
    ruler: Ruler,
    /// On a phone name and value are above the bar, else beside it.
    narrow: bool,
    width: f64,
    /// Where bars begin, and how long they are at most.
    left: f64,
    across: f64,
    /// From one bar to the next.
    step: f64,
}

fn draw_bars(chart: &Chart, width: f64) -> Drawing {
    let layout = Layout::new(chart, width);
    let title = canvas::wrap(&chart.title, TITLE * BOLD, width);
    let names: Vec<Vec<String>> = chart
        .groups
        .iter()
        .map(|group| canvas::wrap(&group.name, TEXT * BOLD, width))
        .collect();
    let head = as_f64(title.len()) * LINE + 10.0;
    let gap = |name: &[String]| if name.is_empty() { 0.0 } else { 14.0 };
    let mut bottom = head;
    for (group, name) in chart.groups.iter().zip(&names) {
        bottom += as_f64(name.len()) * LINE + as_f64(group.bars.len()) * layout.step + gap(name);
    }
    let caption = canvas::wrap(&axis_label(&chart.axis), TEXT, width);
    let height = bottom + 26.0 + as_f64(caption.len()) * LINE + 4.0;

    draw(width, height, |canvas| {
        heading(canvas, &title);
        layout.axis(canvas, bottom);
        for (number, line) in caption.iter().enumerate() {
            let y = bottom + 26.0 + (as_f64(number) + 0.5) * LINE;
            canvas.text(line, (layout.left, y), TEXT, false, Align::Left);
        }
        let mut y = head;
        for (group, name) in chart.groups.iter().zip(&names) {
            for line in name {
                canvas.text(line, (0.0, y + LINE / 2.0), TEXT, true, Align::Left);
                y += LINE;
            }
            layout.grid(canvas, y, y + as_f64(group.bars.len()) * layout.step);
            for bar in &group.bars {
                layout.bar(canvas, bar, y);
                y += layout.step;
            }
            y += gap(name);
        }
    })
}

impl<'a> Layout<'a> {
    fn new(chart: &'a Chart, width: f64) -> Self {
        let narrow = width < 500.0;
        let bars = || chart.groups.iter().flat_map(|group| &group.bars);
        let widest = |texts: &mut dyn Iterator<Item = String>| {
            texts
                .map(|text| canvas::width_of(&text, TEXT))
                .fold(0.0, f64::max)
        };
        let (left, right) = if narrow {
            (2.0, 24.0)
        } else {
            (
                widest(&mut bars().map(|bar| bar.name.clone())).min(width * 0.4) + 10.0,
                widest(&mut bars().map(|bar| chart.value(bar))) + 10.0,
            )
        };
        Self {
            chart,
            ruler: chart.ruler(if narrow { 4 } else { 7 }),
            narrow,
            width,
            left,
            across: width - left - right,
            step: if narrow {
                LINE + BAR + 10.0
            } else {
                BAR + 10.0
            },
        }
    }

    /// Where a value is on the axis.
    fn x(&self, value: f64) -> f64 {
        let share = if self.ruler.shows(value) {
            self.ruler.share(value).clamp(0.0, 1.0)
        } else {
            0.0
        };
        self.left + self.across * share
    }

    fn axis(&self, canvas: &Canvas, bottom: f64) {
        let mut free = f64::NEG_INFINITY;
        for (value, text) in &self.ruler.ticks {
            let x = self.x(*value);
            canvas.line(&[(x, bottom), (x, bottom + 5.0)], INK, 1.0);
            let half = canvas::width_of(text, TEXT) / 2.0;
            let center = x.max(half).min(self.width - half);
            // A label that would touch the one before it is left out.
            if center - half >= free {
                canvas.text(text, (center, bottom + 15.0), TEXT, false, Align::Middle);
                free = center + half + 6.0;
            }
        }
        let end = self.left + self.across;
        canvas.line(&[(self.left, bottom), (end, bottom)], INK, 1.0);
    }

    fn grid(&self, canvas: &Canvas, top: f64, bottom: f64) {
        // On a phone lines would cross the names.
        if !self.narrow {
            for (value, _) in &self.ruler.ticks {
                let x = self.x(*value);
                canvas.line(&[(x, top), (x, bottom)], GRID, 1.0);
            }
        }
    }

    fn bar(&self, canvas: &Canvas, bar: &Bar, y: f64) {
        let mut value = self.chart.value(bar);
        let top = if self.narrow {
            let middle = y + LINE / 2.0;
            let room = |value: &str| self.width - canvas::width_of(value, TEXT) - 12.0;
            if canvas::width_of(&bar.name, TEXT) > room(&value) {
                value = self.chart.median(bar);
            }
            let name = canvas::fit(&bar.name, TEXT, room(&value));
            canvas.text(&name, (0.0, middle), TEXT, false, Align::Left);
            canvas.text(&value, (self.width, middle), TEXT, false, Align::Right);
            y + LINE
        } else {
            y + 5.0
        };
        let middle = top + BAR / 2.0;
        let mut end = self.x(bar.value);
        let colour = SERIES[bar.colour % SERIES.len()];
        canvas.bar((self.left, top), (end, top + BAR), colour);
        if let Some((low, high)) = bar.range {
            let (low, high) = (self.x(low), self.x(high));
            canvas.line(&[(low, middle), (high, middle)], INK, 1.5);
            for x in [low, high] {
                canvas.line(&[(x, middle - 4.0), (x, middle + 4.0)], INK, 1.5);
            }
            end = end.max(high);
        }
        if !self.narrow {
            let name = canvas::fit(&bar.name, TEXT, self.left - 8.0);
            canvas.text(&name, (self.left - 8.0, middle), TEXT, false, Align::Right);
            canvas.text(&value, (end + 8.0, middle), TEXT, false, Align::Left);
        }
    }
}
