//! The book can be built from the pages of the project, and a reader can use it: a browser
//! opens every page, searches, and answers the questions.

use crate::api::{INSTALLED, lacking, passes};
use crate::cargo::BUILD_LIMIT;
use crate::process;
use crate::report::Report;
use crate::tree::has_extension;
use crate::{Env, Proof};

const READER: &str = include_str!("../book/book.mjs");
/// What the book is made of and judged by, beside the pages and their pictures.
const INPUTS: [&str; 5] = [
    "book",
    "tools/book",
    "tools/verify/book",
    "tools/verify/mermaid.packages",
    "tools/verify/wrong",
];
/// What the browser needs.
const NEEDED: [&str; 4] = [
    "node",
    "node_modules/playwright-core",
    "node_modules/axe-core",
    "chromium",
];

/// Proves the book of the whole project, if it has one. No part of it belongs to one step.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    if !proof.whole || !proof.tree.has("book") {
        return Ok(());
    }
    let shown = |file: &&str| {
        ["md", "svg", "png"]
            .iter()
            .any(|end| has_extension(file, end))
    };
    let pages = proof.tree.files().filter(shown);
    let key = proof.memory.key(pages.chain(INPUTS).map(str::to_owned));
    report.keep(proof.memory, "book", &key, |report| read(proof, report))
}

fn read(proof: &Proof, report: &mut Report) -> Env<()> {
    let (sandbox, root) = (proof.sandbox, &proof.tree.root);
    let mut cargo = sandbox.command("cargo");
    // With the features of the whole workspace, so that nothing is built again.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "book"]);
    let built = process::run(&mut cargo, BUILD_LIMIT, true)?;
    let folder = sandbox.home.join("book");
    let mut done = false;
    report.prove("the book is built, and its links lead somewhere", || {
        if !built.succeeded() {
            return Err(built.stdout);
        }
        let mut book = sandbox.command(&sandbox.build.join("debug/book").to_string_lossy());
        // Of the project itself, beside which Mermaid is installed.
        book.args(["--no-open", "--root"]).arg(root);
        book.env("MDBOOK_BUILD__BUILD_DIR", &folder);
        passes(&mut book)?;
        done = true;
        Ok(())
    });
    let installed = root.join(INSTALLED);
    let what = "the book works in a browser, on a desk and on a phone";
    if let Some(name) = lacking(&installed, &NEEDED) {
        report.not_run(name, &format!("{what}; .ci/run installs it"));
    } else if done {
        report.prove(what, || {
            let mut node = sandbox.command("node");
            node.args(["--no-warnings", "--input-type=module", "--eval", READER])
                .arg(&folder)
                .current_dir(&installed);
            passes(&mut node)
        });
    }
    Ok(())
}
