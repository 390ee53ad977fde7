//! Compares output with what a chapter shows.
//!
//! The wildcards are those of snapbox: `[..]` stands for any characters within
//! a line, a line `...` for any lines, none included. Blanks at the ends of
//! lines and blank lines at the end of the whole do not count.

use similar::TextDiff;
use snapbox::Data;
use snapbox::filter::NormalizeToExpected;

/// Whether `actual` is what `expected` shows.
pub fn matches(expected: &str, actual: &str) -> bool {
    let expected = tidy(expected);
    let actual = tidy(actual);
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    glob(
        &expected,
        &actual,
        |line| *line == "...",
        |shown, came| line_matches(shown, came),
    )
}

/// Whether `actual` can still become what `expected` shows, by more lines.
pub fn may_match(expected: &str, actual: &str) -> bool {
    let lines: Vec<&str> = expected.lines().collect();
    (0..=lines.len()).any(|count| matches(&lines[..count].join("\n"), actual))
}

fn line_matches(expected: &str, actual: &str) -> bool {
    const ANY: char = '\u{0}';
    let expected: Vec<char> = expected.replace("[..]", "\u{0}").chars().collect();
    let actual: Vec<char> = actual.chars().collect();
    glob(
        &expected,
        &actual,
        |letter| *letter == ANY,
        |shown, came| shown == came,
    )
}

/// Whether `pattern` covers all of `text`, where an element that `is_any`
/// accepts covers any number of elements.
fn glob<T, U>(
    pattern: &[T],
    text: &[U],
    is_any: impl Fn(&T) -> bool,
    equal: impl Fn(&T, &U) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last wildcard, with one more
    // element of the text given to it.
    let mut retry = None;
    loop {
        if p < pattern.len() && is_any(&pattern[p]) {
            p += 1;
            retry = Some((p, t));
        } else if p < pattern.len() && t < text.len() && equal(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if p == pattern.len() && t == text.len() {
            return true;
        } else if let Some((after, given)) = retry
            && given < text.len()
        {
            p = after;
            t = given + 1;
            retry = Some((after, t));
        } else {
            return false;
        }
    }
}

/// A unified diff from `expected` to `actual` in which lines that the wildcards
/// of `expected` cover are shown as they are written there.
pub fn difference(expected: &str, actual: &str) -> String {
    let expected = tidy(expected);
    let actual = NormalizeToExpected::new()
        .redact()
        .normalize(Data::text(tidy(actual)), &Data::text(expected.clone()))
        .render()
        .unwrap_or_default();
    TextDiff::from_lines(expected.as_str(), actual.as_str())
        .unified_diff()
        .header("shown", "came")
        .missing_newline_hint(false)
        .to_string()
}

fn tidy(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_what_they_should() {
        for (expected, actual) in [
            ("", ""),
            ("a\nb", "a\nb\n\n"),
            ("a  \nb", "a\nb  "),
            ("...", ""),
            ("...", "a\nb"),
            ("a\n...\nb", "a\nb"),
            ("a\n...\nb", "a\nx\nb\ny\nb"),
            ("took [..] ms", "took 12 ms ms"),
            ("a[..]", "a"),
            ("[{\"id\":1}]", "[{\"id\":1}]"),
            ("a[..]b[..]c", "abbc"),
        ] {
            assert!(matches(expected, actual), "{expected:?} {actual:?}");
        }
    }

    #[test]
    fn the_beginning_of_what_is_shown_may_still_match() {
        for (expected, actual, may) in [
            ("a\nb", "", true),
            ("a\nb", "a", true),
            ("a\nb", "a\nb", true),
            ("a\nb", "b", false),
            ("a\nb", "a\nb\nc", false),
            ("a\n...\nb", "a\nc\nd\ne", true),
            ("a\n...\nb", "c", false),
            ("...", "c", true),
        ] {
            assert_eq!(may_match(expected, actual), may, "{expected:?} {actual:?}");
        }
    }

    #[test]
    fn differences_are_found() {
        for (expected, actual) in [
            ("", "a"),
            ("a", ""),
            ("a\nb", "a"),
            ("a", "a\nb"),
            ("...\nb", "a"),
            ("took [..] ms", "took 12 s"),
            ("a[..]b", "a\nb"),
        ] {
            assert!(!matches(expected, actual), "{expected:?} {actual:?}");
            assert!(!difference(expected, actual).is_empty());
        }
    }
}
