//! A picture in SVG whose colours can be chosen by the page it is in.
//!
//! Every colour that is drawn is one of [`INK`], [`GRID`] or [`SERIES`]. They are
//! in the picture as plain attributes, which any program that shows SVG
//! understands, and [`style`] replaces them by variables that a page sets for
//! light and for dark.

use std::fmt::Write as _;

use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea, PathElement, RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, FontStyle, IntoFont, ShapeStyle};

/// plotters places everything on whole units; this many of them are one CSS
/// pixel, so that lines are smooth.
const SCALE: f64 = 8.0;

/// plotters makes text this much smaller than it is told.
const SHRINK: f64 = 1.24;

/// Text and axes. Readable on white and on black.
pub const INK: RGBColor = RGBColor(0x6B, 0x72, 0x80);

/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(0xC9, 0xCE, 0xD6);

/// The colours of the series: the ones that Okabe and Ito chose so that people
/// who see fewer colours can tell them apart, darker where white needs it.
pub const SERIES: [RGBColor; 10] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x8A, 0x64),
    RGBColor(0xA9, 0x4E, 0x86),
    RGBColor(0x9A, 0x6F, 0x00),
    RGBColor(0x2E, 0x93, 0xCC),
    RGBColor(0x7A, 0x4B, 0x3A),
    RGBColor(0x4B, 0x4F, 0x58),
    RGBColor(0x6A, 0x3F, 0xB5),
    RGBColor(0x5C, 0x7A, 0x00),
];

/// The same for a dark background.
const DARK: [&str; 10] = [
    "#5CB3F0", "#FF8B45", "#2FD0A0", "#E79CCB", "#E8BE3F", "#A5D8F7", "#CF9A82", "#C6CAD2",
    "#B79CF5", "#B5D14A",
];

/// Lines are also told apart by their dashes, in CSS pixels; steps are not, whose
/// corners would be lost.
const DASHES: [&[f64]; 4] = [&[], &[8.0, 4.0], &[2.0, 4.0], &[10.0, 4.0, 2.0, 4.0]];

/// How the colours of a picture follow the page: rules for a style sheet that
/// sets `color`, `--grid` and `--c0` to `--c9`.
pub fn style() -> String {
    let mut css = format!(
        "svg.plot text{{fill:currentColor}}\
         svg.plot [stroke=\"{ink}\"]{{stroke:currentColor}}\
         svg.plot [stroke=\"{grid}\"]{{stroke:var(--grid)}}\
         svg.plot polyline{{stroke-linejoin:round;stroke-linecap:round}}",
        ink = hex(INK),
        grid = hex(GRID),
    );
    for (number, colour) in SERIES.into_iter().enumerate() {
        let colour = hex(colour);
        // Writing to a String does not fail.
        let _ = write!(
            css,
            "svg.plot [stroke=\"{colour}\"]{{stroke:var(--c{number})}}\
             svg.plot [fill=\"{colour}\"]{{fill:var(--c{number})}}"
        );
        let dashes = DASHES[number % DASHES.len()];
        if !dashes.is_empty() {
            let dashes: Vec<_> = dashes.iter().map(|d| (d * SCALE).to_string()).collect();
            let _ = write!(
                css,
                "svg.plot:not(.steps) polyline[stroke=\"{colour}\"]{{stroke-dasharray:{}}}",
                dashes.join(" ")
            );
        }
    }
    css
}

/// The variables of [`style`] for a light and for a dark page.
pub fn variables() -> (String, String) {
    let list = |grid: &str, colours: &mut dyn Iterator<Item = String>| {
        let mut css = format!("--grid:{grid}");
        for (number, colour) in colours.enumerate() {
            // Writing to a String does not fail.
            let _ = write!(css, ";--c{number}:{colour}");
        }
        css
    };
    (
        list("#DDE1E7", &mut SERIES.into_iter().map(hex)),
        list("#353C47", &mut DARK.into_iter().map(str::to_owned)),
    )
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// How wide a text is at most, in CSS pixels: fonts differ.
pub fn width_of(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' | '(' | ')' => 0.36,
            'm' | 'w' | 'M' | 'W' | '%' | '@' | '×' => 0.95,
            'A'..='Z' => 0.72,
            c if c.is_ascii() => 0.6,
            _ => 0.7,
        })
        .sum();
    ems * size
}

/// `text` in lines that are no wider than `width`; a single word may be.
pub fn wrap(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if width_of(line, size) + width_of(" ", size) + width_of(word, size) <= width =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `text`, or as much of its beginning as `width` has room for.
pub fn fit(text: &str, size: f64, width: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut start = text.to_owned();
    while !start.is_empty() && width_of(&start, size) + width_of("…", size) > width {
        start.pop();
    }
    start.trim_end().to_owned() + "…"
}

/// Where a text begins.
#[derive(Debug, Clone, Copy)]
pub enum Align {
    Left,
    Middle,
    Right,
}

/// What is drawn on; all lengths are CSS pixels from the upper left corner.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

impl<'a> Canvas<'a> {
    /// An empty picture that is written to `svg`.
    pub fn new(svg: &'a mut String, width: f64, height: f64) -> Self {
        let size = |length: f64| u32::try_from(place(length)).unwrap_or(0);
        Self {
            area: SVGBackend::with_string(svg, (size(width), size(height))).into_drawing_area(),
        }
    }

    /// Its width and height in the units of the picture.
    pub fn units(&self) -> (u32, u32) {
        self.area.dim_in_pixel()
    }

    /// A line of text around the height `y`.
    pub fn text(&self, text: &str, (x, y): (f64, f64), size: f64, bold: bool, align: Align) {
        let across = match align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        let weight = if bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let style = (FontFamily::SansSerif, size * SCALE * SHRINK, weight)
            .into_font()
            .color(&INK)
            .pos(Pos::new(across, VPos::Center));
        self.draw(&Text::new(text.to_owned(), (place(x), place(y)), style));
    }

    pub fn line(&self, points: &[(f64, f64)], colour: RGBColor, width: f64) {
        let points: Vec<_> = points.iter().map(|&(x, y)| (place(x), place(y))).collect();
        self.draw(&PathElement::new(points, stroke(colour, width)));
    }

    pub fn bar(&self, from: (f64, f64), to: (f64, f64), colour: RGBColor) {
        let corners = [from, to].map(|(x, y)| (place(x), place(y)));
        self.draw(&Rectangle::new(corners, colour.filled()));
    }

    pub fn dot(&self, (x, y): (f64, f64), radius: f64, colour: RGBColor) {
        self.draw(&Circle::new(
            (place(x), place(y)),
            place(radius),
            colour.filled(),
        ));
    }

    fn draw<E>(&self, element: &E)
    where
        for<'b> &'b E: plotters::element::PointCollection<'b, (i32, i32)>,
        E: plotters::element::Drawable<SVGBackend<'a>>,
    {
        self.area.draw(element).expect("a string takes everything");
    }
}

fn stroke(colour: RGBColor, width: f64) -> ShapeStyle {
    colour.stroke_width(u32::try_from(place(width)).unwrap_or(1))
}

/// A length in the units of the picture.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a picture is a few thousand units wide, and `as` saturates"
)]
fn place(length: f64) -> i32 {
    (length * SCALE).round() as i32
}
