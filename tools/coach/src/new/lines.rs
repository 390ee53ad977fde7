//! Lines that are inserted between two markers of a file that exists, and nothing else
//! of it is touched.

use std::fmt;
use std::path::{Path, PathBuf};

use course::slashed;

/// Lines for one place of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Insertion {
    pub file: PathBuf,
    marker: String,
    /// Kept in order among the lines that are there, or put behind them.
    sorted: bool,
    lines: Vec<String>,
}

/// Reads blocks of `@sorted FILE MARKER` or `@last FILE MARKER` and the lines that follow.
///
/// # Errors
/// The line that belongs to no block, or the head of a block that is wrong.
pub fn parse(text: &str) -> Result<Vec<Insertion>, String> {
    let mut found: Vec<Insertion> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&words[..], found.last_mut()) {
            (["@sorted" | "@last", file, marker], _) => found.push(Insertion {
                file: PathBuf::from(file),
                marker: (*marker).to_owned(),
                sorted: words[0] == "@sorted",
                lines: Vec::new(),
            }),
            ([first, ..], Some(last)) if !first.starts_with('@') => {
                last.lines.push(line.to_owned());
            }
            _ => return Err(line.to_owned()),
        }
    }
    // What has nothing to insert needs no place.
    found.retain(|insertion| !insertion.lines.is_empty());
    Ok(found)
}

impl Insertion {
    /// The file with the lines in it; `None` if the markers are not there, or are not
    /// one pair in the right order. A file that has the lines already stays as it is:
    /// they were put there by hand.
    pub fn apply(&self, text: &str) -> Option<String> {
        let end_of_line = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut there: Vec<&str> = text.split_inclusive('\n').collect();
        let Some((begin, end)) = self.markers(&there) else {
            return self.is_in(&there).then(|| text.to_owned());
        };
        let at = if self.sorted {
            if self.is_in(&there[begin..end]) {
                return Some(text.to_owned());
            }
            let new = &self.lines[0];
            // Only a line that is indented alike begins an entry; others are the rest of one.
            let is_greater = |line: &str| {
                let text = line.trim();
                indent(line) == indent(new)
                    && !text.is_empty()
                    && !text.starts_with(['}', ')', ']'])
                    && !belongs_to_next(text)
                    && text > new.trim()
            };
            let first = (begin + 1..end).find(|at| is_greater(there[*at]));
            let mut at = first.unwrap_or(end);
            while first.is_some() && at > begin + 1 && belongs_to_next(there[at - 1].trim()) {
                at -= 1;
            }
            at
        } else {
            end
        };
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| format!("{line}{end_of_line}"))
            .collect();
        there.splice(at..at, lines.iter().map(String::as_str));
        Some(there.concat())
    }

    /// Where the two markers are.
    fn markers(&self, lines: &[&str]) -> Option<(usize, usize)> {
        let only = |word: &str| {
            let is_it = |line: &str| {
                let mut words = comment(line.trim())?.split_whitespace();
                let first = words.next()? == word;
                (first && words.next()?.trim_end_matches(':') == self.marker).then_some(())
            };
            let mut found = (0..lines.len()).filter(|at| is_it(lines[*at]).is_some());
            found.next().filter(|_| found.next().is_none())
        };
        let (begin, end) = (only("begin")?, only("end")?);
        (begin < end).then_some((begin, end))
    }

    /// Whether the lines are there, one after another.
    fn is_in(&self, there: &[&str]) -> bool {
        there.windows(self.lines.len()).any(|some| {
            let mut pairs = some.iter().zip(&self.lines);
            pairs.all(|(old, new)| old.trim() == new.trim())
        })
    }
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// Whether this is a comment or an attribute of the line below it.
fn belongs_to_next(line: &str) -> bool {
    comment(line).is_some() || line.starts_with("#[")
}

/// What a comment of Rust, SQL or a settings file says.
fn comment(line: &str) -> Option<&str> {
    ["//", "--", "#"]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))
        // `#[derive]` is no comment.
        .filter(|rest| !rest.starts_with(['[', '!']))
}

/// What to do by hand.
impl fmt::Display for Insertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.file.extension().and_then(|end| end.to_str()) {
            Some("rs") => "//",
            Some("sql") => "--",
            _ => "#",
        };
        let Self { file, marker, .. } = self;
        let file = slashed(Path::new(file));
        writeln!(
            f,
            "in {file}, between the lines `{prefix} begin {marker}` and `{prefix} end {marker}`:"
        )?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(head: &str, lines: &[&str]) -> Insertion {
        let text = format!("@{head}\n\n{}\n", lines.join("\n"));
        parse(&text).unwrap().remove(0)
    }

    fn modules(line: &str) -> Insertion {
        one("sorted src/lib.rs modules", &[line])
    }

    #[test]
    fn a_line_goes_where_its_order_is_and_nothing_else_changes() {
        let before = "mod a;\n    // begin modules: sorted\n    bookmark,\n    zebra, // mine\n    \
             // end modules\nmod z;";
        let after = modules("    book,").apply(before).unwrap();
        let expected = before.replace("    bookmark", "    book,\n    bookmark");
        assert_eq!(after, expected);
        let after = modules("    bookmarks,").apply(before).unwrap();
        assert_eq!(
            after,
            before.replace("    zebra", "    bookmarks,\n    zebra")
        );
        let after = modules("    zoo,").apply(before).unwrap();
        assert_eq!(after, before.replace("    // end", "    zoo,\n    // end"));
        // Once is enough.
        assert_eq!(modules("bookmark,").apply(before).unwrap(), before);
    }

    #[test]
    fn line_ends_comments_and_attributes_stay() {
        let before = "// begin modules\r\n// about a\r\na;\r\n\r\n// about c\r\n#[cfg(c)]\r\nc;\r\n\
             // end modules\r\n";
        let after = modules("b;").apply(before).unwrap();
        assert_eq!(after, before.replace("// about c", "b;\r\n// about c"));
        assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    }

    /// Never into the middle of an expression or of an import.
    #[test]
    fn an_entry_of_several_lines_stays_whole() {
        let before =
            "// begin modules\nuse a::{\n    z,\n};\nuse y::{\n    a,\n};\n// end modules\n";
        let after = modules("use b;").apply(before).unwrap();
        assert_eq!(after, before.replace("use y", "use b;\nuse y"));
        let after = modules("use z;").apply(before).unwrap();
        assert_eq!(after, before.replace("// end", "use z;\n// end"));
    }

    #[test]
    fn several_lines_go_last() {
        let before = "x\n// begin fields\n    z: 1,\n// end fields\n";
        let insertion = one("last src/x.rs fields", &["    /// New", "    a: 2,"]);
        let after = insertion.apply(before).unwrap();
        assert_eq!(
            after,
            before.replace("// end", "    /// New\n    a: 2,\n// end")
        );
    }

    #[test]
    fn without_a_pair_of_markers_there_is_no_place() {
        let good = "// begin modules\n// end modules\n";
        assert!(modules("a").apply(good).is_some());
        for bad in [
            String::new(),
            "begin modules\nend modules\n".into(),
            "// begin modules\n".into(),
            "// end modules\n// begin modules\n".into(),
            format!("{good}// begin modules\n"),
            good.replace("modules", "modules2"),
        ] {
            assert_eq!(modules("a;").apply(&bad), None, "{bad}");
            // Put there by hand, it is as good.
            let by_hand = format!("{bad}  a;\n");
            assert_eq!(modules("a;").apply(&by_hand), Some(by_hand));
        }
    }

    #[test]
    fn blocks_are_read() {
        let text = "@sorted src/a.rs m\n  x;\n\n@last b.sql n\n@last c.rs o\ny\nz\n";
        let found = parse(text).unwrap();
        assert_eq!(found.len(), 2, "a block without lines is left out");
        assert!(found[0].sorted && !found[1].sorted);
        assert_eq!(found[1].lines, ["y", "z"]);
        let told = found[1].to_string();
        assert_eq!(
            told,
            "in c.rs, between the lines `// begin o` and `// end o`:\ny\nz\n"
        );
        assert_eq!(parse("x\n"), Err("x".into()));
        assert_eq!(parse("@some a b\n"), Err("@some a b".into()));
    }
}
