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
    let (expected, actual) = (tidy(expected), tidy(actual));
    let [expected, actual] = [&expected, &actual].map(|it| it.lines().collect::<Vec<_>>());
    covers(&expected, &actual)
}

fn covers(expected: &[&str], actual: &[&str]) -> bool {
    let Some((line, rest)) = expected.split_first() else {
        return actual.is_empty();
    };
    if *line == "..." {
        return (0..=actual.len()).any(|skipped| covers(rest, &actual[skipped..]));
    }
    let came = actual.split_first();
    came.is_some_and(|(came, more)| line_matches(line, came) && covers(rest, more))
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let parts: Vec<&str> = expected.split("[..]").collect();
    let [first, ref middle @ .., last] = parts[..] else {
        return expected == actual;
    };
    let mut rest = actual.strip_prefix(first);
    for part in middle {
        rest = rest.and_then(|rest| Some(rest.split_once(part)?.1));
    }
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// Whether `actual` can still become what `expected` shows, by more lines.
pub fn may_match(expected: &str, actual: &str) -> bool {
    let lines: Vec<&str> = expected.lines().collect();
    (0..=lines.len()).any(|count| matches(&lines[..count].join("\n"), actual))
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
    let lines = text.trim_end().lines().map(str::trim_end);
    lines.flat_map(|line| [line, "\n"]).collect()
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
