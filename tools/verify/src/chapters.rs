//! What the chapters and the top README show is true.

use course::{Side, Step};

use crate::cargo::{self, Package};
use crate::console;
use crate::document::{Block, Document, TRY, in_order};
use crate::exercises::todo_ids;
use crate::minutes::{Estimate, FILES, LABEL};
use crate::parity::CHANGED;
use crate::process;
use crate::questions;
use crate::regions::{self, Source};
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Environment, Proof};

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

/// Packages whose programs no page shows; one that does would only wait for it.
const NOT_SHOWN: [&str; 2] = ["tools/bench", "tools/verify"];

/// Begins the line that says what the learner has made work.
const NOW: &str = "Now works: ";

/// Proves the chapters of `steps`, and the top README when `whole`.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let Proof { tree, memory, .. } = *proof;
    let top = proof.whole.then(|| (None, "README.md".to_owned()));
    let chapters = proof.steps.iter().map(|step| (Some(step), step.readme()));
    let mut open = Vec::new();
    for (step, path) in chapters.chain(top) {
        let document = match Document::read(tree, &path) {
            Ok(document) => document,
            Err(failure) => {
                report.prove(&path, || Err(failure));
                continue;
            }
        };
        for block in document.blocks("rust") {
            let file = named_file(block).unwrap_or("a rust block without a file");
            report.prove(&format!("{path}:{} {file}", block.line), || {
                occurs(tree, step, block)
            });
        }
        let key = memory.page(&document, step);
        report
            .totals
            .count("console blocks run", document.blocks("console").count());
        if !report.recall(memory, &format!("chapters/{path}"), &key) {
            open.push((document, step, key));
        }
    }
    if !open.is_empty() {
        let steps: Vec<&Step> = open.iter().filter_map(|(_, step, _)| *step).collect();
        warm_up(proof.sandbox, &steps)?;
    }
    for (document, step, key) in open {
        let before = report.so_far();
        console::run(proof, &document, step, report)?;
        report.keep(memory, &format!("chapters/{}", document.path), &key, before);
    }
    Ok(())
}

/// Builds what the commands will ask for, so that none of them waits for it.
/// What does not compile is reported where it is used.
fn warm_up(sandbox: &Sandbox, steps: &[&Step]) -> Env<()> {
    let mut command = sandbox.command("cargo");
    command.args(["build", "--quiet", "--keep-going", "--workspace"]);
    for (folder, name) in sandbox.programs() {
        let wanted = match folder.strip_prefix("steps/") {
            Some(below) => steps.iter().any(|step| below.starts_with(&step.slug)),
            None => !NOT_SHOWN.contains(&folder.as_str()),
        };
        if wanted {
            command.args(["--bin", &name]);
        }
    }
    let built = process::run(&mut command, cargo::BUILD_LIMIT, true)?;
    if built.status.is_none() {
        return Err(Environment("cargo build does not end".into()));
    }
    let sides: Vec<Package> = steps
        .iter()
        .flat_map(|step| [Side::Exercise, Side::Solution].map(|side| Package::side(step, side)))
        .collect();
    cargo::build_checks(sandbox, &sides)?;
    Ok(())
}

/// Title, goal, minutes, files, sections and questions of a chapter.
pub fn form(tree: &Tree, chapter: &Document, step: &Step) -> Outcome {
    let mut failures = Vec::new();
    let title = format!("# {} · ", step.label());
    if !chapter.text.starts_with(&title) {
        failures.push(format!("line 1: must begin with `{title}`"));
    }
    let mut sections = chapter.sections();
    let head = sections.first().map_or("", |first| first.text);
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    sections.retain(|section| section.level == 2);
    match field("Goal: ") {
        Some(goal) if !goal.trim().is_empty() => {}
        _ => failures.push("a line `Goal: …` is missing below the title".into()),
    }
    let wanted = Estimate::of(tree, chapter, step)?.stated();
    match field(LABEL).and_then(|line| line.split_once(FILES)) {
        Some((stated, files)) => {
            if stated != wanted {
                failures.push(format!(
                    "`{LABEL}{stated}` must be `{LABEL}{wanted}`: cargo run -p verify -- minutes {} --write",
                    step.label()
                ));
            }
            failures.extend(touched_files(tree, step, files).err());
        }
        None => failures.push(format!(
            "a line `{LABEL}{wanted}{FILES}`exercise/src/…`, …` is missing below the title"
        )),
    }

    let wanted = SECTIONS.map(|section| format!("## {section}"));
    failures.extend(in_order(&sections, &wanted).err());
    failures.extend(last_lines(chapter).err());
    let tasks = chapter.section("Tasks").unwrap_or_default();
    for id in todo_ids(tree, step)? {
        if !tasks.contains(&format!("TODO({id})")) {
            failures.push(format!("`## Tasks` does not mention TODO({id})"));
        }
    }
    failures.extend(questions::form(chapter, "Predict", 2, true).err());
    failures.extend(questions::form(chapter, "Test your understanding", 3, false).err());
    all_of(&failures)
}

/// After the passing check: `Now works: …` and `Try by hand: …`, which the coach
/// prints, each a paragraph of one line.
fn last_lines(chapter: &Document) -> Outcome {
    let range = chapter.lines_of("Done when").unwrap_or(0..0);
    let check = chapter
        .blocks_between(range.start, range.end)
        .find(|block| block.text.starts_with("$ ./run.sh check "));
    let lines: Vec<&str> = chapter.text.lines().collect();
    let end = range.end.min(lines.len() + 1);
    let mut failures = Vec::new();
    for start in [NOW, TRY] {
        let found: Vec<usize> = (range.start..end)
            .filter(|line| lines[line - 1].starts_with(start))
            .collect();
        let [line] = found.as_slice() else {
            failures.push(format!(
                "`## Done when` has {} lines `{start}…`, it needs one",
                found.len()
            ));
            continue;
        };
        let blank = |number: usize| lines.get(number - 1).is_none_or(|line| line.is_empty());
        let text = lines[line - 1];
        let paragraph = blank(line - 1) && blank(line + 1);
        let follows = check.is_some_and(|check| check.line < *line);
        let sentence = text.ends_with('.') && text.len() > NOW.len() + 1;
        let commands = text.matches('`').count() > 1;
        for (broken, rule) in [
            (!paragraph, "be a paragraph of one line"),
            (!follows, "follow the passing check"),
            (start == NOW && !sentence, "be a sentence"),
            (start == TRY && !commands, "name a command in backquotes"),
        ] {
            if broken {
                failures.push(format!("line {line}: `{start}…` must {rule}"));
            }
        }
    }
    all_of(&failures)
}

/// The files named as those to touch exist, and are those that hold a TODO.
fn touched_files(tree: &Tree, step: &Step, named: &str) -> Outcome {
    let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    let mut failures = Vec::new();
    for file in &named {
        if !tree.has(&format!("{}/{file}", step.dir())) {
            failures.push(format!("Files: there is no `{file}` in {}", step.dir()));
        }
    }
    for region in regions::of_side(tree, step, Side::Exercise)? {
        let shown = format!("exercise/{}", region.file);
        if !named.contains(&shown.as_str()) {
            failures.push(format!("Files: `{shown}` has a TODO and is not named"));
        }
    }
    failures.dedup();
    all_of(&failures)
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
    let text = step
        .map(|step| format!("{}/{file}", step.dir()))
        .filter(|path| tree.has(path))
        .map_or_else(|| tree.read(file), |path| tree.read(&path))?;
    let number = step.map_or("", |step| step.label());
    let code: Vec<&str> = block.text.lines().skip(1).collect();
    code_occurs(&code, &text, number).map_err(|line| {
        format!("{file} does not hold these lines, or not after the ones before:\n{line}")
    })
}

/// Whether the parts of `code`, cut at lines `// …`, follow one another in
/// `text`. Otherwise the part that does not.
fn code_occurs(code: &[&str], text: &str, number: &str) -> Outcome {
    // Code is shown as it is read: with the markers of tasks or without.
    let marked = code.iter().any(|line| line.contains("TODO("));
    let whole: Vec<&str> = match Source::parse(text, number) {
        Ok(source) if !marked => source.plain(),
        _ => text.lines().collect(),
    };
    let mut rest = whole.as_slice();
    let mut parts = 0;
    for part in code.split(|line| matches!(line.trim(), "// …" | "// ...")) {
        let part = dedent(part);
        let start = part.iter().position(|line| !line.is_empty());
        let end = part.iter().rposition(|line| !line.is_empty());
        let (Some(start), Some(end)) = (start, end) else {
            continue;
        };
        let part = &part[start..=end];
        parts += 1;
        let place = rest
            .windows(part.len())
            .position(|window| dedent(window) == part)
            .ok_or_else(|| part.join("\n"))?;
        rest = &rest[place + part.len()..];
    }
    if parts == 0 {
        return Err("(no code)".into());
    }
    Ok(())
}

/// `lines` without the indentation that they have in common.
fn dedent<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indent = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or_default();
    lines
        .iter()
        .map(|line| line.get(indent..).unwrap_or_default().trim_end())
        .collect()
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
            ("fn f() {\n        three();", "fn f() {\n        three();"),
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
