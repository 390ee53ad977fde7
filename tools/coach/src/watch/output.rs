//! What a run prints, kept within bounds.
//!
//! The head passes through as it comes. What follows is held back, only its
//! end is kept, and that is shown when the run is over: the verdict stands at
//! the end, however much a loop without end has printed before it.

use std::collections::VecDeque;

const HEAD_LINES: usize = 1_500;
const HEAD_BYTES: usize = 192 * 1024;
const TAIL_LINES: usize = 500;
const TAIL_BYTES: usize = 64 * 1024;

/// The output of one run, as it comes in.
#[derive(Default)]
pub struct Capped {
    head_lines: usize,
    head_bytes: usize,
    head_full: bool,
    /// What was shown last has no end of line.
    mid_line: bool,
    tail: VecDeque<u8>,
    /// Of what came after the head, with what the tail no longer has.
    later_lines: usize,
    later_bytes: usize,
}

impl Capped {
    /// Takes what the run has printed and gives what of it is to be shown now.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(self.room(bytes));
        self.head_lines += lines(now);
        self.head_bytes += now.len();
        if let Some(last) = now.last() {
            self.mid_line = *last != b'\n';
        }
        if !later.is_empty() {
            self.head_full = true;
            self.later_lines += lines(later);
            self.later_bytes += later.len();
            // Of a chunk longer than the tail only the end can stay.
            let end = &later[later.len().saturating_sub(TAIL_BYTES)..];
            self.tail.extend(end);
            let over = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..over);
        }
        now
    }

    /// How many of these bytes still belong to the head.
    fn room(&self, bytes: &[u8]) -> usize {
        if self.head_full || self.head_lines == HEAD_LINES {
            return 0;
        }
        let fits = bytes.len().min(HEAD_BYTES - self.head_bytes);
        if let Some(end) = after_line(&bytes[..fits], HEAD_LINES - self.head_lines) {
            return end;
        }
        if fits == bytes.len() {
            return fits;
        }
        // Cut between two lines, if there are two.
        let last_end = bytes[..fits].iter().rposition(|byte| *byte == b'\n');
        last_end.map_or(fits, |index| index + 1)
    }

    /// What is left to show now that the run is over: how much was left out,
    /// and the end. Nothing is kept after this.
    pub fn finish(&mut self) -> Vec<u8> {
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let (later_lines, later_bytes) = (self.later_lines, self.later_bytes);
        (self.later_lines, self.later_bytes) = (0, 0);
        let mut start = 0;
        if tail.len() < later_bytes {
            // The first line has lost its beginning; unless it is the only one.
            start = after_line(&tail, 1)
                .filter(|start| *start < tail.len())
                .unwrap_or(0);
        }
        let excess = lines(&tail[start..]).saturating_sub(TAIL_LINES);
        start += after_line(&tail[start..], excess).unwrap_or(0);
        let shown = &tail[start..];
        let lost_bytes = later_bytes - shown.len();
        if lost_bytes == 0 {
            return shown.to_vec();
        }
        let lost_lines = later_lines - lines(shown);
        let break_line = if self.mid_line { "\n" } else { "" };
        let mut text = format!(
            "{break_line}... {lost_lines} lines ({}) of output left out ...\n",
            size(lost_bytes)
        )
        .into_bytes();
        text.extend_from_slice(shown);
        text
    }
}

/// How many lines end in it.
fn lines(bytes: &[u8]) -> usize {
    ends(bytes).count()
}

/// Where the text goes on after this many lines; `None` after none.
fn after_line(bytes: &[u8], count: usize) -> Option<usize> {
    ends(bytes).nth(count.checked_sub(1)?)
}

/// Where the lines end, each behind its newline.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let numbered = bytes.iter().zip(1..);
    numbered.filter_map(|(byte, end)| (*byte == b'\n').then_some(end))
}

/// A number of bytes in words, "1.2 MB".
fn size(bytes: usize) -> String {
    let tenths = |unit: usize| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is shown of `text` when it comes in pieces of `piece` bytes.
    fn shown(text: &[u8], piece: usize) -> Vec<u8> {
        let mut capped = Capped::default();
        let mut out = Vec::new();
        for chunk in text.chunks(piece) {
            out.extend_from_slice(capped.push(chunk));
            assert!(capped.tail.len() <= TAIL_BYTES);
        }
        out.extend(capped.finish());
        out
    }

    fn numbered(count: usize) -> Vec<u8> {
        (1..=count).fold(Vec::new(), |mut text, number| {
            text.extend(format!("line {number}\n").bytes());
            text
        })
    }

    #[test]
    fn what_fits_is_shown_as_it_is() {
        for count in [0, 1, HEAD_LINES, HEAD_LINES + 1, HEAD_LINES + TAIL_LINES] {
            let text = numbered(count);
            for piece in [1, 7, 8192, 1 << 20] {
                assert_eq!(shown(&text, piece), text, "{count} lines by {piece}");
            }
        }
        assert_eq!(shown(b"no end of line", 3), b"no end of line");
    }

    #[test]
    fn the_middle_of_many_lines_is_left_out() {
        let text = numbered(100_000);
        for piece in [1, 4096, 1 << 20, 1 << 24] {
            let out = String::from_utf8(shown(&text, piece)).unwrap();
            let lines: Vec<&str> = out.lines().collect();
            assert_eq!(lines.len(), HEAD_LINES + 1 + TAIL_LINES, "by {piece}");
            assert_eq!(lines[HEAD_LINES - 1], format!("line {HEAD_LINES}"));
            assert!(
                lines[HEAD_LINES].starts_with("... 98000 lines (1.0 MB)"),
                "{}",
                lines[HEAD_LINES]
            );
            assert_eq!(lines[HEAD_LINES + 1], "line 99501");
            assert_eq!(lines.last(), Some(&"line 100000"));
        }
    }

    #[test]
    fn few_long_lines_are_bounded_by_their_bytes() {
        let line = [vec![b'x'; 10_000], vec![b'\n']].concat();
        let out = shown(&line.repeat(1_000), 8192);
        assert!(out.len() < HEAD_BYTES + TAIL_BYTES + 100);
        let text = String::from_utf8(out).unwrap();
        let (head, tail) = text.split_once("\n... ").unwrap();
        assert!(head.len() > HEAD_BYTES - 20_000);
        // The end consists of whole lines.
        assert!(tail.lines().skip(1).all(|line| line.len() == 10_000));
        assert!(tail.lines().count() > 5);
    }

    #[test]
    fn a_line_without_end_is_bounded_too() {
        let out = shown(&vec![b'x'; 10_000_000], 8192);
        assert!(out.len() < HEAD_BYTES + TAIL_BYTES + 100);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("x\n... 0 lines (9.7 MB) of output left out ...\nx"));
        let mut text = vec![b'x'; 10_000_000];
        text.push(b'\n');
        assert!(shown(&text, 8192).ends_with(b"xx\n"));
    }
}
