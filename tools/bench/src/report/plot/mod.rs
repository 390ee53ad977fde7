//! Plots as SVG: lines, steps and bars, readable without the page around them.

mod axes;
mod bars;
mod lines;

use crate::model::{Bench, Figure, Style};

use super::canvas::{self, Align, Canvas, SERIES};
use super::escape;

/// Text of a picture, in CSS pixels.
const TEXT: f64 = 14.0;
const TITLE: f64 = 16.0;

/// How much wider bold text is.
const BOLD: f64 = 1.12;

/// From one line of text to the next.
const LINE: f64 = 21.0;

/// The widths in which a picture is drawn: for a page, and for a phone.
const WIDE: f64 = 920.0;
const NARROW: f64 = 350.0;

/// Contenders that differ by more than this share only a logarithmic axis.
pub const LINEAR_LIMIT: f64 = 20.0;

/// A plot, drawn.
pub struct Picture {
    pub title: String,
    /// Names in the style sheet: `plot` or `plot steps`.
    class: &'static str,
    /// What is to be seen, for those who do not see it.
    description: String,
    wide: Drawing,
    narrow: Drawing,
}

/// What is inside of an `svg` element, and its size in units of its own.
struct Drawing {
    body: String,
    width: f64,
    height: f64,
    units: (u32, u32),
}

impl Picture {
    /// As elements of an HTML page, which shows the one that fits: with class
    /// `wide` and with class `narrow`. `id` is unique in the page.
    pub fn inline(&self, id: &str) -> String {
        let class = self.class;
        let wide = self.svg(
            &self.wide,
            &format!("{class} wide"),
            &format!("{id}-wide"),
            "",
        );
        let narrow = self.svg(
            &self.narrow,
            &format!("{class} narrow"),
            &format!("{id}-narrow"),
            "",
        );
        wide + &narrow
    }

    /// As a file of its own, which follows the light or dark of whoever shows it.
    pub fn file(&self) -> String {
        let (light, dark) = canvas::variables();
        let style = format!(
            "<style>svg{{color-scheme:light dark;color:#1B1F26;{light};\
             font-family:system-ui,sans-serif}}\
             @media(prefers-color-scheme:dark){{svg{{color:#E8EBF0;{dark}}}}}{}</style>\n",
            canvas::style()
        );
        self.svg(&self.wide, self.class, "plot", &style)
    }

    fn svg(&self, drawing: &Drawing, class: &str, id: &str, style: &str) -> String {
        let Drawing {
            body,
            width,
            height,
            units,
        } = drawing;
        // A page knows what an svg element is, and has a margin; a file needs both.
        let (namespace, margin) = if style.is_empty() {
            ("", 0)
        } else {
            (" xmlns=\"http://www.w3.org/2000/svg\"", units.0 / 50)
        };
        let from = -i64::from(margin);
        format!(
            "<svg{namespace} class=\"{class}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"{from} {from} {} {}\">\n\
             <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n{style}{body}</svg>\n",
            units.0 + 2 * margin,
            units.1 + 2 * margin,
            escape(&self.title),
            escape(&self.description),
        )
    }
}

/// The plots of a bench; one that has none gets bars of its figures.
pub fn pictures(bench: &Bench) -> Vec<Picture> {
    let contenders = contenders(&bench.figures);
    if bench.plots.is_empty() {
        return bars::charts(bench, &contenders)
            .iter()
            .map(bars::picture)
            .collect();
    }
    bench
        .plots
        .iter()
        .map(|plot| match plot.style {
            Style::Bars => bars::picture(&bars::chart(plot, &contenders)),
            Style::Lines | Style::Steps => lines::picture(plot, &contenders),
        })
        .collect()
}

/// The contenders of `figures`, as they come.
pub fn contenders(figures: &[Figure]) -> Vec<&str> {
    let mut names = Vec::new();
    for figure in figures {
        if !names.contains(&figure.contender.as_str()) {
            names.push(&figure.contender);
        }
    }
    names
}

/// A colour for each name, all different while there are enough: a contender has
/// its own in all plots of its bench, other names have those that are left.
fn colours<'a>(names: impl Iterator<Item = &'a str>, contenders: &[&str]) -> Vec<usize> {
    let count = SERIES.len();
    let places: Vec<Option<usize>> = names
        .map(|name| contenders.iter().position(|&contender| contender == name))
        .collect();
    let own = |place: &Option<usize>| place.filter(|place| *place < count);
    let taken: Vec<usize> = places.iter().filter_map(own).collect();
    let mut free = (0..count).filter(|colour| !taken.contains(colour));
    places
        .iter()
        .enumerate()
        .map(|(number, place)| own(place).or_else(|| free.next()).unwrap_or(number % count))
        .collect()
}

fn heading(canvas: &Canvas, title: &[String]) {
    for (number, line) in title.iter().enumerate() {
        canvas.text(
            line,
            (0.0, (as_f64(number) + 0.5) * LINE),
            TITLE,
            true,
            Align::Left,
        );
    }
}

/// What `content` draws, without the element around it.
fn draw(width: f64, height: f64, content: impl FnOnce(&Canvas)) -> Drawing {
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, width, height);
    let units = canvas.units();
    content(&canvas);
    drop(canvas);
    let start = svg.find('>').map_or(0, |end| end + 1);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    Drawing {
        body: svg[start..end].trim_start().to_owned(),
        width,
        height,
        units,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_kept_and_different() {
        let all: Vec<String> = (0..14).map(|number| format!("c{number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let of = |names: &[&str]| colours(names.iter().copied(), &all);
        assert_eq!(of(&["c3", "c0"]), [3, 0]);
        assert_eq!(of(&["c0", "c10", "c2", "another"]), [0, 1, 2, 3]);
        assert!(of(&all).iter().all(|colour| *colour < SERIES.len()));
    }
}
