//! The questions of a chapter have their form.

use course::questions::{self, Question};

use crate::document::Document;
use crate::report::{Outcome, all_of};

/// Proves the questions of `## section`: at least `least`, and after the last
/// answer only directives, unless `text_after`.
pub fn form(chapter: &Document, section: &str, least: usize, text_after: bool) -> Outcome {
    let Some(text) = chapter.section(section) else {
        return Ok(()); // The missing section is reported elsewhere.
    };
    let text = format!("\n{text}\n");
    let (before, questions) = questions::split(&text);
    let count = questions.len();
    let mut failures = Vec::new();
    if count < least {
        failures.push(format!(
            "`## {section}` has {count} questions `**1.** …` in order, at least {least} are needed"
        ));
    }
    if before.contains("<details") {
        failures.push(format!("`## {section}` has an answer before question 1"));
    }
    for (index, text) in questions.into_iter().enumerate() {
        let number = index + 1;
        if let Err(failure) = question(&format!("{text}\n"), text_after && number == count) {
            failures.push(format!("`## {section}`, question {number}: {failure}"));
        }
    }
    all_of(failures)
}

fn question(text: &str, text_after: bool) -> Outcome {
    let question = Question::parse(text)?;
    let mut after = question.after.lines().filter(|line| !line.is_empty());
    if !text_after && after.any(|line| !line.starts_with("<!-- verify:")) {
        return Err("only directives may follow its answer".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
## Predict

Write your answers down.

**1.** How many?

```text
**7.** is code
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
**2.** | **3.** | has 1 questions
**2.** Why | 2. Why | has 1 questions
.\n\n**1.** | .\n**1.** | has 0 questions
- **b)** | - **c)** | question 1: `- **b)** …`
- **b)** two,\n  or so\n- **c)** three\n |  | two choices
  or so | or so | only choices may follow
*Write your answer down | *Think | needs two choices
**a and c.** | **a and d.** | letters of choices
**a and c.** | **c and a.** | letters of choices
**a and c.** | One and three: | question 1: the answer
\nBecause.\n |  | needs the lines
<details><s | <details open><s | needs the lines `<details><summary>
</details>\n\nMore | More | needs the lines `<details>
More. | <details>More</details> | needs the lines `<details>
Write your answers down. | <details> | before question 1
<!-- verify: solved --> | It is one. | question 1: only directives";

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
        fails(GOOD, 2, false, "question 2: only directives");
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
