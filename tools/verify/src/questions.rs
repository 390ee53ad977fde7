//! The questions of a chapter: numbered, with lettered choices, each with its
//! answer folded below it.

use std::ops::Range;

use crate::document::Document;
use crate::report::{Outcome, all_of};

const FOLD: &str = "<details><summary>Answer</summary>";
const END: &str = "</details>";
/// In place of the choices.
const WRITE: &str = "*Write your answer down before you open ours.*";

/// Proves the questions of `## section`: at least `least`, and after the last
/// answer only directives, unless `text_after`.
pub fn form(chapter: &Document, section: &str, least: usize, text_after: bool) -> Outcome {
    let Some(range) = chapter.lines_of(section) else {
        return Ok(()); // The missing section is reported elsewhere.
    };
    let mut lines = chapter.lines_between(range.start, range.end);
    for block in chapter.blocks_between(range.start, range.end) {
        let inside = block.line + 1 - range.start..;
        for line in lines[inside]
            .iter_mut()
            .take(block.text.lines().count() + 1)
        {
            *line = "  code"; // As part of a choice would be indented.
        }
    }
    let starts: Vec<usize> = (0..lines.len())
        .filter(|at| number(lines[*at]).is_some())
        .collect();
    let mut failures = Vec::new();
    if starts.len() < least {
        failures.push(format!(
            "`## {section}` has {} questions `**1.** …`, at least {least} are needed",
            starts.len()
        ));
    }
    let before = starts.first().map_or(lines.as_slice(), |at| &lines[..*at]);
    if before.iter().any(|line| line.contains("<details")) {
        failures.push(format!(
            "`## {section}` has a folded answer before question 1"
        ));
    }
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(lines.len());
        let text_after = text_after && index + 1 == starts.len();
        if let Err((at, failure)) = question(&lines, *start..end, index + 1, text_after) {
            let line = range.start + at;
            failures.push(format!("line {line}: question {}: {failure}", index + 1));
        }
    }
    all_of(&failures)
}

/// The number of a line `**1.** …`.
fn number(line: &str) -> Option<usize> {
    line.strip_prefix("**")?.split_once(".** ")?.0.parse().ok()
}

/// The letter of a line `- **a)** …`.
fn choice(line: &str) -> Option<&str> {
    Some(line.strip_prefix("- **")?.split_once(")** ")?.0)
}

/// `Err` holds the index of a line and what is wrong there.
fn question(
    lines: &[&str],
    range: Range<usize>,
    wanted: usize,
    text_after: bool,
) -> Result<(), (usize, String)> {
    let ensure = |good: bool, at: usize, failure: &str| {
        good.then_some(()).ok_or_else(|| (at, failure.to_owned()))
    };
    let blank = |at: usize| lines.get(at).is_none_or(|line| line.is_empty());
    let start = range.start;
    let numbered = number(lines[start]) == Some(wanted) && (start == 0 || blank(start - 1));
    ensure(
        numbered,
        start,
        "must begin with its number, below a blank line",
    )?;
    let only = |part: &str, whole: &str| {
        let found: Vec<usize> = range
            .clone()
            .filter(|at| lines[*at].contains(part))
            .collect();
        match found[..] {
            [at] if lines[at] == whole && blank(at - 1) && blank(at + 1) => Ok(at),
            _ => Err((
                *found.last().unwrap_or(&start),
                format!("needs one line `{whole}`, between blank lines"),
            )),
        }
    };
    let fold = only("<details", FOLD)?;
    let end = only("</details", END)?;

    let mut letters = Vec::new();
    let mut last = start;
    for at in (start + 1..fold).filter(|at| !blank(*at)) {
        if let Some(letter) = choice(lines[at]) {
            let next = char::from(b'a' + u8::try_from(letters.len()).unwrap_or(25));
            let good = letter == next.to_string() && (!letters.is_empty() || blank(at - 1));
            ensure(good, at, &format!("`- **{next})** …` is expected"))?;
            letters.push(letter);
        } else {
            let good = letters.is_empty() || lines[at].starts_with("  ");
            ensure(good, at, "only choices may follow the first choice")?;
        }
        last = at;
    }
    match letters.len() {
        0 => ensure(
            lines[last] == WRITE && blank(last - 1),
            fold,
            &format!("needs choices `- **a)** …`, or the paragraph `{WRITE}`"),
        )?,
        count => ensure(count > 1, last, "needs two choices at least")?,
    }

    let answer = (fold + 1..end)
        .find(|at| !blank(*at))
        .ok_or((fold, "its answer is empty".to_owned()))?;
    let begins = || {
        let (right, _) = lines[answer].strip_prefix("**")?.split_once(".** ")?;
        let right = right.replace(" and ", ", ");
        let right: Vec<&str> = right.split(", ").collect();
        Some(right.is_sorted_by(|a, b| a < b) && right.iter().all(|one| letters.contains(one)))
    };
    ensure(
        letters.is_empty() || begins() == Some(true),
        answer,
        "the answer must begin with the letters of choices: `**b.** …` or `**a and c.** …`",
    )?;
    let rest = (end + 1..range.end)
        .find(|at| !text_after && !blank(*at) && !lines[*at].starts_with("<!-- verify:"));
    rest.map_or(Ok(()), |at| {
        Err((at, "only directives may follow its answer".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
## Predict

Write your answers down.

**1.** How many?

```text
<details> **7.** is code
```

- **a)** one
- **b)** two,
  or so
- **c)** three

<details><summary>Answer</summary>

**a and c.** Because.

</details>

<!-- verify: solved -->

**2.** Why?

*Write your answer down before you open ours.*

<details><summary>Answer</summary>

Because.

</details>

More.

## Tasks
";

    /// What is broken in it: from | to | a part of the failure.
    const BROKEN: &str = r"
**2.** | **3.** | line 24: question 2: must begin
**2.** Why | 2. Why | has 1 questions
.\n\n**1.** | .\n**1.** | below a blank line
- **b)** | - **c)** | line 12: question 1: `- **b)** …`
- **b)** two,\n  or so\n- **c)** three\n |  | two choices
  or so | or so | only choices may follow
*Write your answer down | *Think | needs choices
**a and c.** | **a and d.** | letters of choices
**a and c.** | **c and a.** | letters of choices
**a and c.** | One and three: | line 18: question 1: the answer
\nBecause.\n |  | answer is empty
<details><s | <details open><s | needs one line `<details><summary>
</details>\n\nMore | More | needs one line `</details>`
More. | <details>More</details> | needs one line `<details>
Write your answers down. | <details> | before question 1
<!-- verify: solved --> | It is one. | line 22: question 1: only directives";

    fn judge(text: &str, least: usize, text_after: bool) -> Outcome {
        let document = Document::parse("a.md", text.to_owned());
        form(&document, "Predict", least, text_after)
    }

    #[test]
    fn questions_have_one_form() {
        assert_eq!(judge(GOOD, 2, true), Ok(()));
        let fails = |text: &str, least, text_after, reason: &str| {
            let failure = judge(text, least, text_after).expect_err(reason);
            assert!(failure.contains(reason), "{reason}: {failure}");
        };
        fails(GOOD, 3, true, "has 2 questions");
        fails(GOOD, 2, false, "line 34: question 2: only directives");
        for case in BROKEN.lines().skip(1) {
            let case: Vec<String> = case
                .split(" | ")
                .map(|part| part.replace("\\n", "\n"))
                .collect();
            assert!(GOOD.contains(&case[0]), "{case:?}");
            fails(&GOOD.replacen(&case[0], &case[1], 1), 2, true, &case[2]);
        }
    }
}
