//! The picture as a file of its own: no script, no font, no other file.

use std::fmt::Write as _;
use std::time::Duration;

use crate::draw::{Axis, Bar, Curve, End, Lane, Picture};

/// Pixels. The names are left of the time axis.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 116.0;
const RIGHT: f64 = 24.0;
const HEAD: f64 = 44.0;
const BAR: f64 = 14.0;
const ROW: f64 = 24.0;
/// A row whose lane says something, with its words below the bar.
const TALKING_ROW: f64 = 38.0;
const TRACK: f64 = 72.0;
/// A line of the legend, and how many letters fit in it.
const LINE: f64 = 14.0;
const LETTERS: usize = 118;

/// About the width of a letter of the words, which are 11 high; rather too wide,
/// so that words do not run into each other.
const LETTER: f64 = 6.2;

/// Light, and dark where the reader has chosen that.
const STYLE: &str = "
  .ground { fill: #ffffff }
  .text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .title { font-weight: 600; font-size: 14px }
  .word { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .bar { fill: #b6d7ff; stroke: #0a58ca; stroke-width: 1 }
  .stopped { fill: #ffd8d3; stroke: #b42318; stroke-width: 1 }
  .poll { fill: #0a58ca }
  .stopped-poll { fill: #b42318 }
  .sign { fill: #b42318; font: bold 18px sans-serif }
  .work { fill: #2da44e }
  .track { fill: #d4b9f5; stroke: #6f42c1; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 }
    .text { fill: #e6edf3 }
    .word { fill: #9da7b3 }
    .grid { stroke: #30363d }
    .bar { fill: #123a6b; stroke: #79b8ff }
    .stopped { fill: #5c1a17; stroke: #ff8e83 }
    .poll { fill: #79b8ff }
    .stopped-poll { fill: #ff8e83 }
    .sign { fill: #ff8e83 }
    .work { fill: #3fb950 }
    .track { fill: #3b2a5e; stroke: #b392f0 }
  }
";

/// A picture. Its element `metadata` holds what happened, a line each, in order and
/// without times: what has to agree between two runs of a program.
pub fn draw(picture: &Picture) -> String {
    let axis = Axis::new(picture.end, WIDTH - LEFT - RIGHT, 8.0);
    let mut lanes = String::new();
    let mut y = HEAD;
    let mut all_said = true;
    for lane in &picture.lanes {
        y += task(&mut lanes, lane, &axis, y, &mut all_said);
    }
    for (number, lane) in picture.connections.iter().enumerate() {
        y += if number == 0 { 8.0 } else { 0.0 };
        connection(&mut lanes, lane, &axis, y);
        y += ROW;
    }
    for track in &picture.tracks {
        y += 8.0;
        area(&mut lanes, track, picture, &axis, y);
        y += TRACK;
    }
    let mut body = String::new();
    grid(&mut body, &axis, y);
    body += &lanes;
    y += 50.0;
    for line in legend(picture, all_said) {
        word(&mut body, (12.0, y), "", &line);
        y += LINE;
    }
    let end = picture.end.as_millis();
    let what = if picture.lanes.is_empty() {
        format!("Quantities over {end} ms.")
    } else {
        format!("Lanes over {end} ms, one for each piece of work.")
    };
    let order = picture.order.join("\n");
    let what = format!("{what} {}", order.replace('\n', "; "));
    document(&picture.title, &what, &order, (WIDTH, y), &body)
}

/// An SVG document of this width and height, with a description and what happened.
pub fn document(
    title: &str,
    what: &str,
    order: &str,
    (width, height): (f64, f64),
    body: &str,
) -> String {
    let [title, what, order] = [title, what, order].map(escaped);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title what\">\n\
         <title id=\"title\">{title}</title>\n\
         <desc id=\"what\">{what}</desc>\n\
         <metadata>\n{order}\n</metadata>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"text title\" x=\"12\" y=\"24\">{title}</text>\n\
         {body}</svg>\n"
    )
}

fn grid(out: &mut String, axis: &Axis, bottom: f64) {
    for (place, text) in axis.numbers() {
        let x = LEFT + place;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>",
            HEAD - 6.0
        );
        word(out, (x, bottom + 16.0), MIDDLE, &text);
    }
    word(out, (LEFT - 12.0, bottom + 16.0), END_ANCHOR, "time in ms");
}

pub const END_ANCHOR: &str = " text-anchor=\"end\"";
const MIDDLE: &str = " text-anchor=\"middle\"";

pub fn word(out: &mut String, at: (f64, f64), anchor: &str, word: &str) {
    text(out, "text word", at, anchor, word);
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{text}</text>"
    );
}

/// About as wide as these words.
fn width(words: &str) -> f64 {
    LETTER * f64::from(u16::try_from(words.chars().count()).unwrap_or(u16::MAX))
}

pub fn block(out: &mut String, class: &str, (x, y): (f64, f64), width: f64, height: f64) {
    let width = width.max(1.5);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    );
}

/// A block for each piece of time, `inset` lower than a bar at both edges.
fn blocks<'a>(
    out: &mut String,
    class: &str,
    pieces: impl Iterator<Item = &'a (Duration, Duration)>,
    axis: &Axis,
    (y, inset): (f64, f64),
) {
    for (from, to) in pieces {
        let x = LEFT + axis.place(*from);
        let width = LEFT + axis.place(*to) - x;
        block(out, class, (x, y + inset), width, BAR - 2.0 * inset);
    }
}

fn name(out: &mut String, name: &str, y: f64) {
    text(out, "text", (LEFT - 12.0, y + BAR - 3.0), END_ANCHOR, name);
}

/// Draws the lane with its top at `y` and returns its height. `all_said` is
/// false afterwards if it says something for whose words there is no room.
fn task(out: &mut String, lane: &Lane, axis: &Axis, y: f64, all_said: &mut bool) -> f64 {
    name(out, &lane.name, y);
    for bar in &lane.bars {
        piece(out, lane, bar, axis, y);
    }
    let mut free = 0.0;
    for (index, (at, text)) in lane.events.iter().enumerate() {
        let x = LEFT + axis.place(*at);
        let _ = writeln!(
            out,
            "<circle class=\"text\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\"><title>{} ms: {}</title></circle>",
            y + BAR / 2.0,
            at.as_millis(),
            escaped(text),
        );
        // Of several things said at one moment the last has the words.
        let last = lane.events.get(index + 1).is_none_or(|next| next.0 != *at);
        let width = width(text);
        let from = (x - 3.0).min(WIDTH - 8.0 - width);
        // Words that do not fit stay in the element `title`.
        if last && from >= free {
            word(out, (from, y + BAR + 11.0), "", text);
            free = from + width + 4.0;
        } else {
            *all_said = false;
        }
    }
    let talks = !lane.events.is_empty();
    if talks { TALKING_ROW } else { ROW }
}

fn piece(out: &mut String, lane: &Lane, bar: &Bar, axis: &Axis, y: f64) {
    let from = LEFT + axis.place(bar.from);
    let to = LEFT + axis.place(bar.to.unwrap_or(Duration::MAX));
    let (class, poll_class, how, sign) = match bar.end {
        End::Open => ("bar", "poll", "goes on", None),
        End::Done => ("bar", "poll", "done", None),
        End::Dropped => (
            "stopped",
            "stopped-poll",
            "dropped before its end",
            Some("×"),
        ),
        End::Panicked => ("stopped", "stopped-poll", "panicked", Some("!")),
    };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\">\
         <title>{}: {}</title></rect>",
        (to - from).max(2.0),
        escaped(&lane.name),
        escaped(bar.label.as_deref().unwrap_or(how)),
    );
    if let Some(label) = bar.label.as_ref().filter(|label| width(label) < to - from) {
        word(out, (f64::midpoint(from, to), y + BAR - 3.0), MIDDLE, label);
    }
    let within = |(start, end): &&(Duration, Duration)| {
        *start >= bar.from && bar.to.is_none_or(|to| *end <= to)
    };
    blocks(
        out,
        poll_class,
        lane.busy.iter().filter(within),
        axis,
        (y, 3.0),
    );
    if let Some(sign) = sign {
        text(out, "sign", (to, y + BAR - 1.0), MIDDLE, sign);
    }
}

fn connection(out: &mut String, lane: &Lane, axis: &Axis, y: f64) {
    name(out, &lane.name, y);
    if let (Some(first), Some(last)) = (lane.busy.first(), lane.busy.last()) {
        let middle = y + BAR / 2.0;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\"/>",
            LEFT + axis.place(first.0),
            LEFT + axis.place(last.1),
        );
    }
    blocks(out, "work", lane.busy.iter(), axis, (y, 2.0));
}

fn area(out: &mut String, track: &Curve, picture: &Picture, axis: &Axis, y: f64) {
    name(out, &track.name, y + 20.0);
    let floor = y + TRACK - 12.0;
    let greatest = track.greatest();
    let full = greatest.max(picture.full).max(1);
    #[allow(clippy::cast_precision_loss)] // a height in a picture
    let top = |value: u64| floor - (TRACK - 24.0) * value as f64 / full as f64;
    let (mut path, mut level) = (format!("M{LEFT:.1} {floor:.1}"), floor);
    let mut x = LEFT;
    for value in track.columns(axis, picture.end) {
        let next = top(value);
        if (next - level).abs() > 0.05 {
            let _ = write!(path, " L{x:.1} {level:.1} L{x:.1} {next:.1}");
            level = next;
        }
        x += 1.0;
    }
    x -= 1.0;
    let _ = writeln!(
        out,
        "<path class=\"track\" d=\"{path} L{x:.1} {level:.1} L{x:.1} {floor:.1} Z\"/>"
    );
    let most = format!("at most {greatest}");
    word(out, (LEFT - 12.0, y + 46.0), END_ANCHOR, &most);
}

/// Explains the signs that the picture has, in lines.
fn legend(picture: &Picture, all_said: bool) -> Vec<String> {
    let has = |what: fn(&Bar) -> bool| {
        let mut bars = picture.lanes.iter().flat_map(|lane| &lane.bars);
        bars.any(what)
    };
    let words = [
        (
            has(|bar| !bar.blocking && bar.label.is_none()),
            "a bar: a future, from its first poll to its end; in it, a stroke: a poll",
        ),
        (
            has(|bar| bar.blocking),
            "a bar filled throughout: a call that blocks, its thread is taken",
        ),
        (
            has(|bar| bar.label.is_some()),
            "a bar: a call, from its beginning to its end; not all have room for their word",
        ),
        (has(|bar| bar.end == End::Dropped), "a cross: dropped"),
        (has(|bar| bar.end == End::Panicked), "! : a panic"),
        (
            !picture.connections.is_empty(),
            "green: a statement is executed",
        ),
        (
            !all_said,
            "a dot: a line that is printed; not all have room for their words",
        ),
    ];
    let mut lines: Vec<String> = Vec::new();
    for (_, word) in words.into_iter().filter(|(is_there, _)| *is_there) {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() + 3 <= LETTERS => {
                *line += " · ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_are_escaped_and_the_order_is_kept_apart() {
        let picture = Picture {
            title: "a < b".to_owned(),
            lanes: vec![Lane {
                name: "\"quoted\" & more".to_owned(),
                events: vec![(Duration::ZERO, "x > y".to_owned())],
                ..Lane::default()
            }],
            order: vec!["one: begins".to_owned(), "one: a & b".to_owned()],
            ..Picture::default()
        };
        let drawn = draw(&picture);
        assert!(drawn.contains("<title id=\"title\">a &lt; b</title>"));
        assert!(drawn.contains("&quot;quoted&quot; &amp; more</text>"));
        assert!(drawn.contains(">x &gt; y</text>"));
        assert!(drawn.contains("<metadata>\none: begins\none: a &amp; b\n</metadata>"));
    }

    #[test]
    fn words_that_would_run_into_each_other_are_left_out() {
        let word = |ms, text: &str| (Duration::from_millis(ms), text.to_owned());
        let picture = Picture {
            lanes: vec![Lane {
                events: vec![
                    word(0, "long words at the start"),
                    word(1, "hidden"),
                    word(90, "seen"),
                ],
                ..Lane::default()
            }],
            end: Duration::from_millis(100),
            ..Picture::default()
        };
        let drawn = draw(&picture);
        assert!(drawn.contains(">long words at the start</text>"));
        assert!(!drawn.contains(">hidden</text>") && drawn.contains(": hidden</title>"));
        assert!(drawn.contains(">seen</text>"));
        assert!(drawn.contains("not all have room"));
    }

    #[test]
    fn the_legend_explains_what_is_there_and_no_more() {
        let lines = |blocking, end| {
            let bar = Bar {
                from: Duration::ZERO,
                to: None,
                end,
                blocking,
                label: None,
            };
            let lane = Lane {
                bars: vec![bar],
                ..Lane::default()
            };
            let picture = Picture {
                lanes: vec![lane],
                ..Picture::default()
            };
            legend(&picture, true).join("\n")
        };
        assert!(lines(false, End::Done).ends_with("a stroke: a poll"));
        assert!(lines(false, End::Dropped).ends_with("a cross: dropped"));
        let blocking = lines(true, End::Done);
        assert!(blocking.contains("a call that blocks") && !blocking.contains("poll"));
    }
}
