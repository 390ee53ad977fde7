//! Diagrams can be drawn: Mermaid itself parses them, in Node.

use std::io::Write as _;
use std::process::{Command, Stdio};

use course::program;
use serde_json::json;

use crate::document::Document;
use crate::report::{Outcome, Report, all_of};
use crate::tree::Tree;

const SCRIPT: &str = include_str!("../mermaid.mjs");
/// Where `.ci/run` installs it.
const FOLDER: &str = "target/mermaid";

/// Proves the blocks `mermaid` of `pages`, on a machine that has Node and Mermaid.
pub fn prove(tree: &Tree, pages: &[Document], report: &mut Report) {
    let diagrams: Vec<_> = pages
        .iter()
        .flat_map(|page| page.blocks("mermaid").map(move |block| (page, block)))
        .map(|(page, block)| json!({"at": format!("{}:{}", page.path, block.line), "text": block.text}))
        .collect();
    let count = diagrams.len();
    if count == 0 {
        return;
    }
    let what = format!("{count} diagrams");
    if program::lacks("node") {
        report.not_run("node", &what);
    } else if !tree.root.join(FOLDER).join("node_modules").exists() {
        report.not_run("mermaid", &format!("{what}; .ci/run installs it"));
    } else {
        report.prove(&what, || {
            parse(tree, &serde_json::Value::from(diagrams).to_string())
        });
    }
}

fn parse(tree: &Tree, diagrams: &str) -> Outcome {
    let run = || -> std::io::Result<_> {
        let mut node = Command::new("node")
            .args(["--input-type=module", "--eval", SCRIPT])
            .current_dir(tree.root.join(FOLDER))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Dropped at once, which ends the input.
        node.stdin
            .take()
            .map_or(Ok(()), |mut input| input.write_all(diagrams.as_bytes()))?;
        node.wait_with_output()
    };
    let output = run().map_err(|error| format!("cannot run node: {error}"))?;
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    if !output.status.success() {
        return Err(text(&output.stderr).join("\n"));
    }
    all_of(&text(&output.stdout))
}
