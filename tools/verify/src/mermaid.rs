//! Diagrams can be drawn: Mermaid itself parses them, in Node.

use std::fs::{self, File};
use std::process::Command;

use course::program;
use serde_json::{Value, json};

use crate::document::Document;
use crate::process;
use crate::report::{Report, all_of};
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
    if diagrams.is_empty() {
        return;
    }
    let what = format!("{} diagrams", diagrams.len());
    let folder = tree.root.join(FOLDER);
    if program::lacks("node") {
        report.not_run("node", &what);
    } else if !folder.join("node_modules").exists() {
        report.not_run("mermaid", &format!("{what}; .ci/run installs it"));
    } else {
        report.prove(&what, || {
            let file = folder.join(format!("diagrams-{}.json", std::process::id()));
            let written = fs::write(&file, Value::from(diagrams).to_string());
            let input = written.and_then(|()| File::open(&file));
            let mut node = Command::new("node");
            node.args(["--input-type=module", "--eval", SCRIPT])
                .current_dir(folder)
                .stdin(input.map_err(|error| error.to_string())?);
            let faults = process::output(&mut node);
            let _ = fs::remove_file(file);
            let faults = faults?;
            all_of(faults.lines().map(str::to_owned))
        });
    }
}
