//! Text of chapters and hints for a terminal: paragraphs wrapped, code as it is.

/// Columns of a wrapped line. Fixed, so that a text is the same in a pipe.
const WIDTH: usize = 80;

/// Markdown as it is read in a terminal: each line a paragraph, wrapped; lines
/// of a list hang; fenced code indented and left whole, without the fences.
/// With `colour`, what stands in backquotes is coloured and loses them.
pub fn render(markdown: &str, colour: bool) -> String {
    let mut text = String::new();
    let mut fenced = false;
    for line in markdown.trim_matches('\n').lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            text.push_str(format!("    {line}").trim_end());
            text.push('\n');
        } else {
            for line in wrap(line.trim_end(), WIDTH) {
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    if colour { spans(&text) } else { text }
}

/// One paragraph with `indent` blanks before each line but the first.
pub fn hanging(paragraph: &str, indent: usize, colour: bool) -> String {
    let lines = wrap(paragraph, WIDTH.saturating_sub(indent));
    let text = lines.join(&format!("\n{}", " ".repeat(indent)));
    if colour { spans(&text) } else { text }
}

/// A line as it is, with what stands in backquotes coloured if `colour`.
pub fn coloured(line: &str, colour: bool) -> String {
    if colour { spans(line) } else { line.to_owned() }
}

/// Breaks a line at blanks; a word that is longer than a line has one of its
/// own. The further lines of `- item` and `1. item` stand below the item's text.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let blanks = line.len() - line.trim_start().len();
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else {
        return vec![String::new()];
    };
    let is_mark = matches!(first, "-" | "*")
        || first
            .strip_suffix('.')
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let indent = blanks + if is_mark { first.len() + 1 } else { 0 };
    let mut lines = vec![" ".repeat(blanks) + first];
    for word in words {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() <= width {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(" ".repeat(indent) + word);
        }
    }
    lines
}

/// Colours what stands in backquotes outside of indented code, which has its own
/// backquotes. A span may go over the end of a line.
fn spans(text: &str) -> String {
    let mut out = String::new();
    for block in text.split_inclusive("\n\n") {
        let quotes = block.matches('`').count();
        if quotes == 0 || quotes % 2 == 1 || block.starts_with("    ") {
            out.push_str(block);
            continue;
        }
        for (index, part) in block.split('`').enumerate() {
            if index % 2 == 1 {
                // Each line on its own, so that a pager may cut between them.
                let lines: Vec<String> = part
                    .split('\n')
                    .map(|line| format!("\x1b[36m{line}\x1b[0m"))
                    .collect();
                out.push_str(&lines.join("\n"));
            } else {
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_code_is_not() {
        let long = "word ".repeat(20);
        let markdown =
            format!("\n{long}\n\n- {long}\n\n```rust\nlet `a` = \"{long}\";\n\nb\n```\n");
        let text = render(&markdown, false);
        let sixteen = "word ".repeat(16);
        assert_eq!(
            text,
            format!(
                "{}\nword word word word\n\n- {}\n  {}\n\n    let `a` = \"{long}\";\n\n    b\n",
                sixteen.trim_end(),
                "word ".repeat(15).trim_end(),
                "word ".repeat(5).trim_end(),
            )
        );
    }

    #[test]
    fn colour_replaces_backquotes_only_in_prose() {
        let markdown = "call `a` now\n\n```rust\nlet x = \"`\";\n```\n\nodd ` quote\n";
        assert_eq!(
            render(markdown, true),
            "call \x1b[36ma\x1b[0m now\n\n    let x = \"`\";\n\nodd ` quote\n"
        );
        assert!(render(markdown, false).starts_with("call `a` now\n"));
    }

    #[test]
    fn a_hanging_paragraph_keeps_its_indent() {
        let text = hanging(&"word ".repeat(20), 10, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("word") && lines[1].starts_with("          word"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert_eq!(hanging("", 4, false), "");
    }
}
