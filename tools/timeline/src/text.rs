//! The picture for a terminal: a line per lane, 80 columns wide.

use std::fmt::Write as _;

use crate::draw::{Axis, Curve, End, Lane, Picture};

/// Columns of the names, and of the time axis after its first column.
const NAME: usize = 14;
const TIME: usize = 60;

/// The heights of a track, from nothing to its greatest value.
const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub fn draw(picture: &Picture) -> String {
    #[allow(clippy::cast_precision_loss)] // 60
    let axis = Axis::new(picture.end, TIME as f64, 6.0);
    let mut out = format!("{}\n\n", picture.title);
    let mut used = String::new();
    let lanes = picture.lanes.iter().map(|lane| (lane, task(lane, &axis)));
    let connections = &picture.connections;
    let connections = connections
        .iter()
        .map(|lane| (lane, connection(lane, &axis)));
    for (lane, cells) in lanes.chain(connections) {
        row(&mut out, &lane.name, &cells);
        used.extend(cells);
    }
    scale(&mut out, &axis);
    for track in &picture.tracks {
        row(&mut out, &track.name, &heights(track, picture, &axis));
        let _ = writeln!(out, "{:NAME$}at most {}", "", track.greatest());
    }
    let meanings = [
        "[ begins",
        "] ends",
        "| begins and ends",
        "x is dropped",
        "! panics",
        "> goes on",
        "* says something",
        "# executes a statement",
    ];
    let known = |meaning: &&str| meaning.starts_with(|mark| used.contains(mark));
    let meanings: Vec<&str> = meanings.into_iter().filter(known).collect();
    let _ = writeln!(out, "\n{}", meanings.join("   "));
    out
}

fn row(out: &mut String, name: &str, cells: &[char]) {
    let name: String = name.chars().take(NAME - 1).collect();
    let cells: String = cells.iter().collect();
    let _ = writeln!(out, "{name:<NAME$}{}", cells.trim_end());
}

fn task(lane: &Lane, axis: &Axis) -> Vec<char> {
    let mut cells = vec![' '; TIME + 1];
    for bar in &lane.bars {
        let from = axis.column(bar.from);
        let to = bar.to.map_or(TIME, |to| axis.column(to));
        let end = match bar.end {
            End::Open => '>',
            End::Done if from == to => '|',
            End::Done => ']',
            End::Dropped => 'x',
            End::Panicked => '!',
        };
        // Where the piece before ends in this column its end is kept, since how
        // it ended is to be seen. This one begins a column later if it can.
        let begin = match cells[from] {
            ' ' => Some(from),
            _ if from + 1 < to => Some(from + 1),
            _ if from == to => continue,
            _ => None,
        };
        let inside = begin.map_or(to, |begin| begin + 1);
        cells[inside.min(to)..to].fill('-');
        if let Some(begin) = begin {
            cells[begin] = '[';
        }
        cells[to] = end;
    }
    for (at, _) in &lane.events {
        let cell = &mut cells[axis.column(*at)];
        // How a piece of work ends matters more than what it says.
        if matches!(cell, ' ' | '-') {
            *cell = '*';
        }
    }
    cells
}

fn connection(lane: &Lane, axis: &Axis) -> Vec<char> {
    let mut cells = vec![' '; TIME + 1];
    if let (Some(first), Some(last)) = (lane.busy.first(), lane.busy.last()) {
        cells[axis.column(first.0)..=axis.column(last.1)].fill('-');
    }
    for (from, to) in &lane.busy {
        cells[axis.column(*from)..=axis.column(*to)].fill('#');
    }
    cells
}

fn scale(out: &mut String, axis: &Axis) {
    let mut marks = vec!['-'; TIME + 1];
    let mut numbers = String::new();
    for (place, text) in axis.numbers() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 60
        let place = place.round() as usize;
        marks[place] = '+';
        numbers = format!("{numbers:place$}{text}");
    }
    row(out, "", &marks);
    let _ = writeln!(out, "{:NAME$}{numbers} ms", "");
}

/// The greatest value in each column, as a height.
fn heights(track: &Curve, picture: &Picture, axis: &Axis) -> Vec<char> {
    let full = u128::from(track.greatest().max(picture.full).max(1));
    let columns = track.columns(axis, picture.end).into_iter();
    // A little is not nothing.
    let eighths = columns.map(|value| (u128::from(value) * 8).div_ceil(full));
    let heights = eighths.map(|eighths| HEIGHTS[usize::try_from(eighths).unwrap_or(8)]);
    heights.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::draw::Bar;

    #[test]
    fn an_end_is_seen_where_the_next_piece_begins() {
        let ms = Duration::from_millis;
        let drawn = |pieces: &[(u64, u64, End)]| {
            let bars = pieces.iter().map(|&(from, to, end)| Bar {
                from: ms(from),
                to: Some(ms(to)),
                end,
                blocking: false,
                label: None,
            });
            let lane = Lane {
                bars: bars.collect(),
                ..Lane::default()
            };
            let axis = Axis::new(ms(60), 60.0, 6.0);
            let cells = task(&lane, &axis);
            cells.into_iter().collect::<String>().trim_end().to_owned()
        };
        let pieces = [
            (0, 5, End::Done),
            (5, 10, End::Dropped),
            (10, 15, End::Panicked),
            (15, 20, End::Done),
        ];
        assert_eq!(drawn(&pieces), "[----][---x[---![---]");
        // No room for its begin, and none for itself.
        let pieces = [(0, 5, End::Dropped), (5, 6, End::Done)];
        assert_eq!(drawn(&pieces), "[----x]");
        let pieces = [(0, 5, End::Dropped), (5, 5, End::Done)];
        assert_eq!(drawn(&pieces), "[----x");
    }

    #[test]
    fn a_picture_as_text() {
        let ms = Duration::from_millis;
        let bar = |from, to: Option<u64>, end| Bar {
            from: ms(from),
            to: to.map(ms),
            end,
            blocking: false,
            label: None,
        };
        let lane = |name: &str, bars| Lane {
            name: name.to_owned(),
            bars,
            ..Lane::default()
        };
        let mut talks = lane("talks", vec![bar(0, Some(60), End::Done)]);
        talks.events = vec![(ms(30), "half".to_owned()), (ms(60), "end".to_owned())];
        let picture = Picture {
            title: "a test".to_owned(),
            lanes: vec![
                talks,
                lane("ends badly", vec![bar(10, Some(20), End::Dropped)]),
                lane(
                    "twice",
                    vec![bar(0, Some(0), End::Done), bar(50, None, End::Open)],
                ),
            ],
            connections: vec![Lane {
                name: "connection 1".to_owned(),
                busy: vec![(ms(10), ms(12)), (ms(20), ms(20))],
                ..Lane::default()
            }],
            tracks: vec![Curve {
                name: "rows".to_owned(),
                values: vec![(ms(0), 0), (ms(30), 1), (ms(40), 100)],
            }],
            full: 0,
            order: Vec::new(),
            end: ms(60),
        };
        let drawn = draw(&picture);
        let expected = [
            "a test",
            "",
            "talks         [-----------------------------*-----------------------------]",
            "ends badly              [---------x",
            "twice         |                                                 [--------->",
            "connection 1            ###-------#",
            "              +---------+---------+---------+---------+---------+---------+",
            "              0         10        20        30        40        50        60 ms",
            "rows                                        ▁▁▁▁▁▁▁▁▁▁█████████████████████",
            "              at most 100",
            "",
            "[ begins   ] ends   | begins and ends   x is dropped   > goes on   * says something   # executes a statement",
        ];
        assert_eq!(drawn.lines().collect::<Vec<_>>(), expected, "{drawn}");
    }
}
