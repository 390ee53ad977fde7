//! What the project's pages say can be followed: links, chapters' forms, hints.

use std::path::Path;

use course::Step;

use crate::chapters;
use crate::document::{Block, Document};
use crate::hints;
use crate::links;
use crate::mermaid;
use crate::report::{Outcome, Report, all_of};
use crate::scaffold::{self, OPEN};
use crate::tree::{Tree, has_extension};

/// Its blocks of Rust are compiled by a test of `tools/book`.
const COMPILED: &str = "book/compiler-errors.md";
/// The page that a reader opens first.
const TOP: &str = "README.md";

/// Proves the pages of `steps`, and all others when `whole`.
pub fn prove(tree: &Tree, steps: &[Step], whole: bool, report: &mut Report) {
    let pages = tree.files().filter(|file| {
        let mut steps = steps.iter();
        let selected = whole || steps.any(|step| Path::new(file).starts_with(step.dir()));
        selected && has_extension(file, "md")
    });
    let mut read = Vec::new();
    for page in pages {
        match Document::read(tree, page) {
            Err(failure) => report.prove(page, || Err(failure)),
            Ok(document) => {
                let links = document.links.len();
                report.totals.count("links checked", links);
                report.prove(&format!("{page} and its {links} links"), || {
                    links::resolve(tree, &document)
                        .and(links::shows_as_written(&document))
                        .and(blocks_are_proven(tree, &document))
                });
                read.push(document);
            }
        }
    }
    mermaid::prove(tree, &read, report);
    for step in steps {
        let path = step.readme();
        for file in tree.below(&step.dir()) {
            let file = format!("{}/{file}", step.dir());
            if let Err(open) = scaffold::written(tree, &file) {
                report.prove(&format!("{file} is written"), || Err(open));
            }
        }
        report.prove(&format!("the table of {TOP} names {}", step.slug), || {
            let (text, link) = (tree.read(TOP)?, format!("]({path})"));
            let mut rows = text.lines().filter(|line| line.starts_with('|'));
            let missing = format!("{OPEN}a row of the table that links {path}");
            rows.any(|row| row.contains(&link))
                .then_some(())
                .ok_or(missing)
        });
        report.prove(&format!("{path} has the form of a chapter"), || {
            chapters::form(tree, &Document::read(tree, &path)?, step)
        });
        let path = hints::path(step);
        if let Ok(hints) = Document::read(tree, &path) {
            let levels = hints.sections().into_iter().filter(|it| it.level == 3);
            report.totals.count("hints", levels.count());
        }
        report.prove(&format!("{path}: three levels for each TODO"), || {
            hints::prove(tree, step)
        });
    }
}

/// What looks like commands or code is proven by another part, or says by its
/// language that it is not.
fn blocks_are_proven(tree: &Tree, document: &Document) -> Outcome {
    let steps = tree.steps();
    let executed = document.path == TOP || steps.iter().any(|step| step.readme() == document.path);
    let hints = steps.iter().any(|step| hints::path(step) == document.path);
    let unproven = |block: &&Block| match block.language() {
        "sh" | "bash" | "zsh" | "shell" => true,
        "console" => !executed,
        "rust" => !executed && !hints && document.path != COMPILED,
        _ => false,
    };
    let failures = document.all_blocks().filter(unproven).map(|block| {
        let (line, language) = (block.line, block.language());
        format!("line {line}: a block of `{language}` is not proven here: `console` in a chapter is, `text` need not be")
    });
    all_of(failures)
}
