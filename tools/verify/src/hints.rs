//! The hints beside a chapter: three levels for each TODO, and none gives the
//! solution away.

use std::collections::BTreeMap;
use std::str::FromStr;

use course::pages::{self, LEVELS, Section};
use course::{Check, Side, Step, Verdict, ids};
use proc_macro2::TokenStream;

use crate::document::{Block, Document, in_order};
use crate::exercises::todo_ids;
use crate::regions;
use crate::report::{Outcome, all_of};
use crate::tree::Tree;

/// Where the hints of `step` are.
pub fn path(step: &Step) -> String {
    format!("{}/hints.md", step.dir())
}

/// Proves the hints of `step`.
pub fn prove(tree: &Tree, step: &Step) -> Outcome {
    let hints = Document::read(tree, &path(step))?;
    let mut failures: Vec<String> = form(tree, step, &hints).err().into_iter().collect();
    let mut regions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for region in regions::of_side(tree, step, Side::Solution)? {
        let code = lines_of_code(region.text.lines());
        regions.entry(region.id).or_default().extend(code);
    }
    let sections = hints.sections();
    let mut id = "";
    for (index, section) in sections.iter().enumerate() {
        if section.level == 2 {
            id = section.heading;
        }
        if section.level < 3 {
            continue;
        }
        let end = sections.get(index + 1).map_or(usize::MAX, |next| next.line);
        let at = format!("line {}: {id} {}", section.line, section.heading);
        if section.text.trim().is_empty() {
            failures.push(format!("{at} is empty"));
        }
        let blocks: Vec<&Block> = hints.blocks_between(section.line, end).collect();
        failures.extend(blocks.iter().filter_map(|block| code(block).err()));
        if section.heading == LEVELS[2]
            && let Some(region) = regions.get(id)
            && let Err(failure) = not_the_solution(&blocks, region)
        {
            failures.push(format!("{at} {failure}"));
        }
    }
    for (name, line) in hints.elements.iter().chain(&hints.links) {
        failures.push(format!(
            "line {line}: `{name}`: a terminal shows neither links nor HTML"
        ));
    }
    for line in &hints.tables {
        failures.push(format!("line {line}: a terminal does not show tables"));
    }
    all_of(&failures)
}

/// Each `### If "…" fails` names a check of its task.
pub fn conditions(hints: &Document, verdict: &Verdict) -> Outcome {
    let mut failures = Vec::new();
    let mut id = "";
    for section in hints.sections() {
        if section.level == 2 {
            id = section.heading;
        }
        let words = pages::condition(section.heading);
        let Some(words) = words.filter(|_| is_condition(&section)) else {
            continue;
        };
        let of_the_task = |todo: &str| ids(todo).any(|it| it == id);
        let named = |check: &&Check| of_the_task(&check.todo) && check.name.contains(words);
        if !verdict.checks.iter().any(|check| named(&check)) {
            failures.push(format!(
                "{}:{}: no check of {id} has \"{words}\" in its name",
                hints.path, section.line
            ));
        }
    }
    all_of(&failures)
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
    for section in &sections {
        if !is_condition(section) {
            level = section.level;
        } else if level != 2 {
            return Err(format!(
                "line {}: it must stand before the levels of a task",
                section.line
            ));
        }
    }
    sections.retain(|section| !is_condition(section));
    in_order(&sections, &expected)
}

/// Lines that hold more than blanks and a comment, trimmed.
fn lines_of_code<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let code = lines.map(str::trim).filter(|line| {
        let comment = line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
        !line.is_empty() && !comment
    });
    code.map(str::to_owned).collect()
}

/// A block says its language, and Rust consists of Rust's tokens.
fn code(block: &Block) -> Outcome {
    match block.language() {
        "rust" => TokenStream::from_str(&block.text)
            .map(drop)
            .map_err(|error| format!("line {}: no Rust: {error}", block.line)),
        "" => Err(format!("line {}: the block names no language", block.line)),
        _ => Ok(()),
    }
}

/// The code of a near-answer is shorter than the solution's, or as long, and
/// does not hold all of it.
fn not_the_solution(blocks: &[&Block], region: &[String]) -> Outcome {
    let answer = lines_of_code(blocks.iter().flat_map(|block| block.text.lines()));
    if answer.len() > region.len() {
        return Err(format!(
            "has {} lines of code, the solution {}",
            answer.len(),
            region.len()
        ));
    }
    let whole = tokens(&region.join("\n"));
    let text: String = blocks.iter().map(|block| block.text.as_str()).collect();
    if !region.is_empty() && tokens(&text).contains(&whole) {
        return Err("is the solution, word for word".into());
    }
    Ok(())
}

/// The code without its comments, one blank around each token. What is no Rust
/// stays as it is.
fn tokens(code: &str) -> String {
    let tokens = TokenStream::from_str(code);
    format!(
        " {} ",
        tokens.map_or(code.to_owned(), |tokens| tokens.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(info: &str, text: &str) -> Block {
        Block {
            info: info.into(),
            text: text.into(),
            line: 7,
        }
    }

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
    fn code_is_made_of_tokens() {
        for good in [
            "let x: &'static str = \"a { b\"; // the end }",
            "Ok(done?./* the id */)",
            "for a in b {\n    // …\n}",
            "r#\"a \" b\"#.len()",
        ] {
            assert_eq!(code(&block("rust", good)), Ok(()), "{good}");
        }
        for bad in ["fn f() {", "f(a]", "let x = …;", "\"open", "/* open"] {
            let failure = code(&block("rust", bad)).expect_err(bad);
            assert!(failure.starts_with("line 7: no Rust"), "{failure}");
        }
        assert_eq!(code(&block("text", "…")), Ok(()));
        assert!(code(&block("", "x")).is_err());
    }

    #[test]
    fn a_near_answer_leaves_something_to_do() {
        let region = ["let a = 1;", "f(a)"].map(str::to_owned);
        let judge = |text: &str| not_the_solution(&[&block("rust", text)], &region);
        for good in [
            "let a = /* one */;\nf(a)\n",
            "// first\nlet a = 1;\n\n/* then */\n// call f",
            "",
        ] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("  let a = 1;\n\n  // then\n  f(a)\n", "word for word"),
            ("let a = 1; /* one */ f( a )", "word for word"),
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
