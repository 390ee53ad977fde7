//! The questions of a chapter: numbered, with lettered choices, each with its answer
//! folded below it.

/// What begins and ends the fold of an answer.
pub const FOLD: &str = "\n\n<details><summary>Answer</summary>\n\n";
pub const FOLD_END: &str = "\n\n</details>\n";
/// In place of the choices, what ends a question without any.
pub const WRITE: &str = "\n\n*Write your answer down before you open ours.*";

/// A question, as Markdown.
#[derive(Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// What is asked, without its number and with its choices.
    pub asked: &'a str,
    /// How many choices there are: 0 for a question that is answered in words.
    pub choices: usize,
    /// The letters of the right choices, `["a", "c"]`. Empty without choices.
    pub right: Vec<&'a str>,
    /// What is folded.
    pub answer: &'a str,
    /// What follows the fold.
    pub after: &'a str,
}

/// The text of a section before its first question, and its questions, each without its
/// number: `**1.** …`, `**2.** …` in order, each after a blank line. What follows the
/// last question belongs to it.
pub fn split(section: &str) -> (&str, Vec<&str>) {
    let mut parts = Vec::new();
    let mut rest = section;
    while let Some((part, next)) = rest.split_once(&format!("\n\n**{}.** ", parts.len() + 1)) {
        parts.push(part);
        rest = next;
    }
    parts.push(rest);
    (parts[0], parts.split_off(1))
}

impl<'a> Question<'a> {
    /// Reads a question without its number.
    ///
    /// # Errors
    ///
    /// Says what its form lacks.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let lines = || {
            format!(
                "needs the lines `{}` and `{}`, once and between blank lines",
                FOLD.trim(),
                FOLD_END.trim()
            )
        };
        let (asked, rest) = text.split_once(FOLD).ok_or_else(lines)?;
        let (answer, after) = rest.split_once(FOLD_END).ok_or_else(lines)?;
        if [asked, answer, after]
            .iter()
            .any(|part| part.contains("<details") || part.contains("</details"))
        {
            return Err(lines());
        }
        let letters = letters(asked)?;
        if letters.len() == 1 || letters.is_empty() && !asked.ends_with(WRITE) {
            let write = WRITE.trim();
            return Err(format!(
                "needs two choices `- **a)** …`, or the paragraph `{write}`"
            ));
        }
        let right = named(answer);
        let names_choices =
            right.is_sorted_by(|a, b| a < b) && right.iter().all(|it| letters.contains(it));
        if answer.trim().is_empty() || !letters.is_empty() && !names_choices {
            return Err(
                "the answer must begin with the letters of choices: `**b.** …` or `**a and c.** …`"
                    .into(),
            );
        }
        Ok(Self {
            asked,
            choices: letters.len(),
            right: if letters.is_empty() {
                Vec::new()
            } else {
                right
            },
            answer,
            after,
        })
    }
}

/// The letters of the choices.
fn letters(asked: &str) -> Result<Vec<&str>, String> {
    let mut letters = Vec::new();
    let Some((_, choices)) = asked.split_once("\n\n- **") else {
        return Ok(letters);
    };
    for choice in choices.split("\n- **") {
        let (letter, rest) = choice.split_once(")** ").unwrap_or_default();
        let next = char::from(b'a' + u8::try_from(letters.len()).unwrap_or(25));
        if letter != next.to_string() {
            return Err(format!("`- **{next})** …` is expected"));
        }
        let mut more = rest.lines().skip(1).filter(|line| !line.is_empty());
        if more.any(|line| !line.starts_with("  ")) {
            return Err("only choices may follow the first choice".into());
        }
        letters.push(letter);
    }
    Ok(letters)
}

/// What stands in `**b.** …` or `**a and c.** …` before the full stop.
fn named(answer: &str) -> Vec<&str> {
    let (right, _) = answer
        .trim()
        .strip_prefix("**")
        .unwrap_or_default()
        .split_once(".** ")
        .unwrap_or_default();
    right
        .split(" and ")
        .flat_map(|part| part.split(", "))
        .collect()
}
