//! What the chapters and the top README show is true.

use course::{Chapter, Side, Step};

use crate::cargo;
use crate::console;
use crate::document::{Block, Document, in_order};
use crate::exercises::todo_ids;
use crate::minutes::{self, FILES, LABEL};
use crate::parity::CHANGED;
use crate::process;
use crate::questions;
use crate::regions::{self, Source};
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Proof};

/// The `##` headings of a chapter, all and in this order.
const SECTIONS: [&str; 9] = [
    "Start",
    "Why",
    "Concepts",
    "Predict",
    "Tasks",
    "Done when",
    "Test your understanding",
    "For readers of the Python workshop",
    CHANGED,
];

/// Proves the chapters of `steps`, and the top README when `whole`.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let Proof { tree, memory, .. } = *proof;
    let top = proof.whole.then(|| (None, "README.md".to_owned()));
    let chapters = proof.steps.iter().map(|step| (Some(step), step.readme()));
    let mut open = Vec::new();
    for (step, path) in chapters.chain(top) {
        let Ok(document) = Document::read(tree, &path) else {
            continue; // The missing chapter is reported by `texts`.
        };
        for block in document.blocks("rust") {
            let file = named_file(block).unwrap_or("a rust block without a file");
            report.prove(&format!("{path}:{} {file}", block.line), || {
                occurs(tree, step, block)
            });
        }
        let console = document.blocks("console").count();
        report.totals.count("console blocks run", console);
        let key = memory.page(&document, step);
        if !report.recall(memory, &format!("chapters/{path}"), &key) {
            open.push((document, step, key));
        }
    }
    let steps: Vec<&Step> = open.iter().filter_map(|(_, step, _)| *step).collect();
    warm_up(proof.sandbox, &steps)?;
    for (document, step, key) in open {
        report.keep(
            memory,
            &format!("chapters/{}", document.path),
            &key,
            |report| console::run(proof, &document, step, report),
        )?;
    }
    Ok(())
}

/// Builds what most commands ask for, so that none of them waits for it, nor says so.
/// What does not compile is reported where it is used.
fn warm_up(sandbox: &Sandbox, steps: &[&Step]) -> Env<()> {
    let mut command = sandbox.command("cargo");
    command.args(["build", "--quiet", "--keep-going", "--workspace"]);
    command.args(["--bin", "coach", "--bin", "marketsvc"]);
    let mut sides = Vec::new();
    for step in steps {
        sides.extend([(*step, Side::Exercise), (*step, Side::Solution)]);
        command.args(["--bin", &step.package(Side::Exercise)]);
    }
    process::run(&mut command, cargo::BUILD_LIMIT, true)?;
    cargo::build_checks(sandbox, &sides).map(drop)
}

/// Title, goal, minutes, files, sections and questions of a chapter.
pub fn form(tree: &Tree, chapter: &Document, step: &Step) -> Outcome {
    let mut failures = Vec::new();
    let title = format!("# {} · ", step.label());
    if !chapter.text.starts_with(&title) {
        failures.push(format!("line 1: must begin with `{title}`"));
    }
    let said = Chapter::parse(&chapter.text);
    if said.goal.unwrap_or_default().is_empty() {
        failures.push("a line `Goal: …` is missing below the title".into());
    }
    let [_, _, minutes] = minutes::estimate(tree, chapter, step)?;
    let wanted = minutes::stated(minutes);
    let mut lines = chapter.text.lines();
    let line = lines.find_map(|line| line.strip_prefix(LABEL)?.split_once(FILES));
    let (stated, files) = line.unwrap_or_default();
    if stated != wanted {
        failures.push(format!(
            "`{LABEL}{stated}` must be `{LABEL}{wanted}` and go on{FILES}…: cargo run -p verify -- minutes {} --write",
            step.label()
        ));
    }
    failures.extend(touched_files(tree, step, files).err());

    let mut sections = chapter.sections();
    sections.retain(|section| section.level == 2);
    let wanted = SECTIONS.map(|section| format!("## {section}"));
    failures.extend(in_order(&sections, &wanted).err());
    if !said.now_works.is_some_and(|it| it.ends_with('.')) {
        failures.push("`## Done when` needs a sentence `Now works: …`".into());
    }
    if said
        .try_by_hand
        .is_none_or(|it| it.matches('`').count() < 2)
    {
        failures.push("`## Done when` needs `Try by hand: …` with a command in backquotes".into());
    }
    let tasks = chapter.section("Tasks").unwrap_or_default();
    for id in todo_ids(tree, step)? {
        if !tasks.contains(&format!("TODO({id})")) {
            failures.push(format!("`## Tasks` does not mention TODO({id})"));
        }
    }
    failures.extend(questions::form(chapter, "Predict", 2, true).err());
    failures.extend(questions::form(chapter, "Test your understanding", 3, false).err());
    all_of(failures)
}

/// The files named as those to touch are those that hold a TODO, and others that exist.
fn touched_files(tree: &Tree, step: &Step, named: &str) -> Outcome {
    let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    let gone = named
        .iter()
        .filter(|file| !tree.has(&format!("{}/{file}", step.dir())));
    let gone = gone.map(|file| format!("Files: there is no `{file}` in {}", step.dir()));
    let mut failures: Vec<String> = gone.collect();
    for region in regions::of_side(tree, step, Side::Exercise)? {
        let shown = format!("exercise/{}", region.file);
        if !named.contains(&shown.as_str()) {
            failures.push(format!("Files: `{shown}` has a TODO and is not named"));
        }
    }
    all_of(failures)
}

/// The file that the first line of a rust block names.
fn named_file(block: &Block) -> Option<&str> {
    let file = block.text.lines().next()?.strip_prefix("// ")?.trim();
    let plain = file.contains('.') && !file.contains(char::is_whitespace);
    plain.then_some(file)
}

/// The code of a rust block stands in the file that it names.
fn occurs(tree: &Tree, step: Option<&Step>, block: &Block) -> Outcome {
    let file = named_file(block)
        .ok_or("its first line must name the file: `// solution/src/…`, or a path from the root")?;
    let below = step.map(|step| format!("{}/{file}", step.dir()));
    let path = below.filter(|path| tree.has(path));
    let text = tree.read(path.as_deref().unwrap_or(file))?;
    let number = step.map_or("", |step| step.label());
    let code: Vec<&str> = block.text.lines().skip(1).collect();
    code_occurs(&code, &text, number).map_err(|line| {
        format!("{file} does not hold these lines, or not after the ones before:\n{line}")
    })
}

/// Whether the parts of `code`, cut at lines `// …`, follow one another in
/// `text`, with any indentation. Otherwise the part that does not.
fn code_occurs(code: &[&str], text: &str, number: &str) -> Outcome {
    // Code is shown as it is read: with the markers of tasks or without.
    let marked = code.iter().any(|line| line.contains("TODO("));
    let whole: Vec<&str> = match Source::parse(text, number) {
        Ok(source) if !marked => source.plain(),
        _ => text.lines().collect(),
    };
    let trimmed = |lines: &[&str]| {
        let lines = lines.iter().map(|line| line.trim());
        lines.collect::<Vec<_>>().join("\n")
    };
    let whole = format!("\n{}\n", trimmed(&whole));
    let mut rest = whole.as_str();
    let mut parts = 0;
    for part in code.split(|line| matches!(line.trim(), "// …" | "// ...")) {
        let part = trimmed(part).trim().to_owned();
        if !part.is_empty() {
            parts += 1;
            let at = rest.find(&format!("\n{part}\n"));
            rest = &rest[at.ok_or_else(|| part.clone())? + part.len() + 1..];
        }
    }
    if parts == 0 {
        return Err("(no code)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
struct A;

impl A {
    // TODO(05.1): write f
    fn f() {
        one();

        two();
        three();
    }
    // END TODO(05.1)
}
";

    fn found(code: &str) -> Outcome {
        let code: Vec<&str> = code.lines().collect();
        code_occurs(&code, FILE, "05")
    }

    #[test]
    fn code_is_found_with_any_indentation() {
        for code in [
            "struct A;",
            "one();\n\ntwo();",
            "impl A {\n    fn f() {\n",
            "fn f() {\n    // …\n    three();\n}",
            "// TODO(05.1): write f\nfn f() {",
            "    three();\n}\n\n// …\n\n}",
        ] {
            assert_eq!(found(code), Ok(()), "{code:?}");
        }
    }

    #[test]
    fn code_that_is_not_there_is_named() {
        for (code, part) in [
            ("one();\ntwo();", "one();\ntwo();"),
            ("three();\n// …\none();", "one();"),
            ("fn f() {\n        three();", "fn f() {\nthree();"),
            ("// …", "(no code)"),
            ("// TODO(05.2): write f", "// TODO(05.2): write f"),
        ] {
            assert_eq!(found(code), Err(part.to_owned()), "{code:?}");
        }
    }

    #[test]
    fn a_rust_block_names_its_file() {
        let block = |text: &str| Block {
            info: "rust".into(),
            text: text.into(),
            line: 1,
        };
        let file = block("// solution/src/a.rs\nx");
        assert_eq!(named_file(&file), Some("solution/src/a.rs"));
        for text in ["", "fn main() {}", "// a comment.", "// …\nx"] {
            assert_eq!(named_file(&block(text)), None, "{text:?}");
        }
    }
}
