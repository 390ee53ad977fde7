//! The questions of a chapter become quizzes: each is wrapped so that the book's script
//! can ask it before it shows the answer. Without the script it reads as in the chapter.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use course::pages::sections;
use course::questions::{Question, split};

/// The sections that ask, and what the ids of their questions begin with.
const ASKING: [(&str, &str); 2] = [("Predict", "predict"), ("Test your understanding", "test")];
/// Names the patch of a wrong answer whose check the text below it shows.
const PATCH: &str = "<!-- verify: patch ";

/// `chapter` with its questions wrapped. `misconception` knows what the
/// head of a patch says about its wrong answer; the patch is named as in the chapter.
///
/// # Errors
///
/// A question has not the form of one.
pub fn wrap(chapter: &str, misconception: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut wrapped = chapter.to_owned();
    for (heading, id) in ASKING {
        let sections = sections(chapter).into_iter();
        for section in sections.filter(|it| it.level == 2 && it.heading == heading) {
            let text = format!("\n{}", section.text);
            let quizzes = questions(&text, id, &misconception)
                .map_err(|failure| anyhow!("## {heading}, {failure}"))?;
            wrapped = wrapped.replacen(section.text, &quizzes[1..], 1);
        }
    }
    Ok(wrapped)
}

fn questions(
    section: &str,
    id: &str,
    misconception: &impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let (before, questions) = split(section);
    let mut wrapped = before.to_owned();
    for (index, text) in questions.into_iter().enumerate() {
        let number = index + 1;
        let text = format!("{text}\n");
        let question =
            Question::parse(&text).map_err(|failure| format!("question {number}: {failure}"))?;
        let Question { asked, after, .. } = question;
        let right = question.right.join(" ");
        let answer = cite(question.answer, misconception);
        // Writing into a `String` cannot fail.
        let _ = write!(
            wrapped,
            "\n\n<div class=\"question\" id=\"{id}-{number}\" data-right=\"{right}\">\n\n\
             **{number}.** {asked}\n\n\
             <details class=\"answer\"><summary>Answer</summary>\n\n\
             {answer}\n\n</details>\n\n</div>\n{after}"
        );
    }
    Ok(wrapped)
}

/// The answer, and above each check of a wrong one what is wrong with that one.
fn cite(answer: &str, misconception: impl Fn(&str) -> Option<String>) -> String {
    let mut cited = String::new();
    for line in answer.split_inclusive('\n') {
        let patch = line.trim().strip_prefix(PATCH);
        let patch = patch.and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(mistake) = patch.and_then(&misconception) {
            let _ = write!(
                cited,
                "**Often answered wrongly.** The check below rejects this answer: *{}.*\n\n",
                mistake.trim_end_matches('.')
            );
        }
        cited.push_str(line);
    }
    cited
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAPTER: &str = "\
# 05 · The engine

## Predict

Write down.

**1.** How many?

- **a)** one
- **b)** two

<details><summary>Answer</summary>

**b.** Because.

<!-- verify: patch wrong/05-engine/one.patch -->

```console
$ x
```

</details>

**2.** Why?

*Write your answer down before you open ours.*

<details><summary>Answer</summary>

So.

</details>

## Tasks

<details><summary>Answer</summary>

A task's.

</details>
";

    #[test]
    fn questions_are_wrapped_and_nothing_else() {
        let patches = |patch: &str| {
            (patch == "wrong/05-engine/one.patch").then(|| "there is one for all".to_owned())
        };
        let wrapped = wrap(CHAPTER, patches).expect("questions");
        let expected = CHAPTER
            .replacen(
                "**1.**",
                "<div class=\"question\" id=\"predict-1\" data-right=\"b\">\n\n**1.**",
                1,
            )
            .replacen(
                "**2.**",
                "</div>\n\n\n<div class=\"question\" id=\"predict-2\" data-right=\"\">\n\n**2.**",
                1,
            )
            .replacen("<details>", "<details class=\"answer\">", 2)
            .replacen(
                "<!-- verify",
                "**Often answered wrongly.** The check below rejects this answer: *there is one for all.*\n\n<!-- verify",
                1,
            )
            .replacen("## T", "</div>\n\n\n## T", 1);
        assert_eq!(wrapped, expected);
    }

    #[test]
    fn a_question_of_another_form_is_refused() {
        let failure = wrap(&CHAPTER.replace("**b.**", "**e.**"), |_| None).expect_err("no e");
        assert!(failure.to_string().starts_with("## Predict, question 1: "));
    }
}
