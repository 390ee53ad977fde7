//! The hints beside a chapter: three levels for each TODO, and none gives the
//! solution away.

use std::collections::BTreeMap;

use course::pages::{self, LEVELS, Section};
use course::{Check, Side, Step, Verdict, ids};

use crate::document::{Document, in_order};
use crate::exercises::todo_ids;
use crate::regions;
use crate::report::{Outcome, all_of};
use crate::tree::Tree;

pub fn path(step: &Step) -> String {
    format!("{}/hints.md", step.dir())
}

pub fn prove(tree: &Tree, step: &Step) -> Outcome {
    let hints = Document::read(tree, &path(step))?;
    let mut failures: Vec<String> = form(tree, step, &hints).err().into_iter().collect();
    let mut regions: BTreeMap<String, String> = BTreeMap::new();
    for region in regions::of_side(tree, step, Side::Solution)? {
        *regions.entry(region.id).or_default() += &region.text;
    }
    for (id, section) in with_ids(&hints) {
        let at = format!("line {}: {id} {}", section.line, section.heading);
        if section.text.trim().is_empty() {
            failures.push(format!("{at} is empty"));
        }
        if section.heading == LEVELS[2]
            && let Some(region) = regions.get(id)
            && let Err(failure) = not_the_solution(section.text, region)
        {
            failures.push(format!("{at} {failure}"));
        }
    }
    for block in hints.all_blocks().filter(|block| block.info.is_empty()) {
        failures.push(format!("line {}: the block names no language", block.line));
    }
    for (name, line) in hints.elements.iter().chain(&hints.links) {
        failures.push(format!(
            "line {line}: `{name}`: a terminal shows neither links nor HTML"
        ));
    }
    all_of(failures)
}

/// The sections of the third level, each with the id above it.
fn with_ids(hints: &Document) -> Vec<(&str, Section<'_>)> {
    let mut id = "";
    let mut found = Vec::new();
    for section in hints.sections() {
        match section.level {
            3 => found.push((id, section)),
            _ => id = section.heading,
        }
    }
    found
}

/// Each `### If "…" fails` names a check of its task.
pub fn conditions(hints: &Document, verdict: &Verdict) -> Outcome {
    let mut failures = Vec::new();
    for (id, section) in with_ids(hints) {
        let Some(words) = pages::condition(section.heading) else {
            continue;
        };
        let of_the_task = |todo: &str| ids(todo).any(|it| it == id);
        let named = |check: &Check| of_the_task(&check.todo) && check.name.contains(words);
        if !verdict.checks.iter().any(named) {
            failures.push(format!(
                "{}:{}: no check of {id} has \"{words}\" in its name",
                hints.path, section.line
            ));
        }
    }
    all_of(failures)
}

/// Whether it is `### If "…" fails`, which may stand before the levels of a task.
pub fn is_condition(section: &Section) -> bool {
    section.level == 3 && pages::condition(section.heading).is_some()
}

/// The title, a section for each TODO in order, and in it the three levels.
fn form(tree: &Tree, step: &Step, hints: &Document) -> Outcome {
    let mut expected = vec![format!("# Hints for step {}", step.label())];
    for id in todo_ids(tree, step)? {
        expected.push(format!("## {id}"));
        expected.extend(LEVELS.map(|level| format!("### {level}")));
    }
    let mut sections = hints.sections();
    let mut level = 0;
    // Above the levels of a task, as many as there are mistakes.
    sections.retain(|section| {
        let is_free = level == 2 && is_condition(section);
        level = if is_free { 2 } else { section.level };
        !is_free
    });
    in_order(&sections, &expected)
}

/// The lines that hold more than blanks and a comment, without their blanks.
fn code(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.replace(char::is_whitespace, ""));
    let comment =
        |line: &String| line.starts_with("//") || line.starts_with("/*") && line.ends_with("*/");
    lines
        .filter(|line| !line.is_empty() && !comment(line))
        .collect()
}

/// The code of a near-answer is shorter than the solution's, or as long, and
/// does not hold all of it.
fn not_the_solution(hint: &str, region: &str) -> Outcome {
    let hint = Document::parse("", hint.to_owned());
    let blocks: String = hint.all_blocks().map(|block| block.text.as_str()).collect();
    let (answer, region) = (code(&blocks), code(region));
    let (lines, most) = (answer.len(), region.len());
    if lines > most {
        return Err(format!("has {lines} lines of code, the solution {most}"));
    }
    if most > 0 && answer.concat().contains(&region.concat()) {
        return Err("is the solution, word for word".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_a_check_of_its_task() {
        let verdict = serde_json::from_str(
            r#"{"step":"","passed":1,"failed":1,"checks":[
                {"todo":"05.1","name":"one","status":"passed"},
                {"todo":"05.2, 05.3","name":"two of them","status":"failed"}]}"#,
        )
        .expect("a verdict");
        let judge = |id: &str, heading: &str| {
            let text = format!("# Hints for step 05\n\n## {id}\n\n### {heading}\n\ntext\n");
            conditions(&Document::parse("hints.md", text), &verdict)
        };
        for (id, good) in [
            ("05.1", "If \"one\" fails"),
            ("05.3", "If \"two of\" fails"),
            ("05.1", "Nudge"),
        ] {
            assert_eq!(judge(id, good), Ok(()), "{good}");
        }
        for (id, bad) in [("05.1", "If \"two\" fails"), ("05.2", "If \"One\" fails")] {
            let failure = judge(id, bad).expect_err(bad);
            assert!(failure.contains("hints.md:5: no check of"), "{failure}");
        }
    }

    #[test]
    fn a_near_answer_leaves_something_to_do() {
        let judge = |text: &str| {
            not_the_solution(
                &format!("1\n2\n3\n\n```rust\n{text}\n```\n"),
                "let a = 1;\nf(a)",
            )
        };
        for good in [
            "let a = /* one */;\nf(a)\n",
            "// first\nlet a = 1;\n\n/* then */\n// call f",
            "",
        ] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("  let a = 1;\n\n  // then\n  f(a)\n", "word for word"),
            ("let a = 1; f( a )", "word for word"),
            (
                "let a = 1;\nlet b = a;\nf(b)",
                "3 lines of code, the solution 2",
            ),
        ] {
            let failure = judge(bad).expect_err(bad);
            assert!(failure.contains(reason), "{failure}");
        }
    }
}
