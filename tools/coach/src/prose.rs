//! Text of chapters and hints for a terminal: paragraphs wrapped, code as it is.

/// Columns of a wrapped line. Fixed, so that a text is the same in a pipe.
const WIDTH: usize = 80;

/// Markdown as it is read in a terminal: each line a paragraph, wrapped; lines
/// of a list hang; fenced code indented and left whole, without the fences.
pub fn render(markdown: &str) -> String {
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
    text
}

/// One paragraph with `indent` blanks before each line but the first.
pub fn hanging(paragraph: &str, indent: usize) -> String {
    let lines = wrap(paragraph, WIDTH.saturating_sub(indent));
    lines.join(&format!("\n{}", " ".repeat(indent)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_code_is_not() {
        let long = "word ".repeat(20);
        let markdown =
            format!("\n{long}\n\n- {long}\n\n```rust\nlet `a` = \"{long}\";\n\nb\n```\n");
        let text = render(&markdown);
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
    fn a_hanging_paragraph_keeps_its_indent() {
        let text = hanging(&"word ".repeat(20), 10);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("word") && lines[1].starts_with("          word"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert_eq!(hanging("", 4), "");
    }
}
