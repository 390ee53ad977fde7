//! How long a chapter takes, estimated from its length and its tasks.

use std::fs;
use std::process::ExitCode;

use clap::Args;
use course::Step;

use crate::document::Document;
use crate::exercises::todo_ids;
use crate::tree::Tree;
use crate::{Env, Only};

/// Fitted to the minutes that readers needed: see the README.
const PER_THOUSAND_WORDS: usize = 15;
const PER_TASK: usize = 10;

/// Begins and ends the estimate in the line below the goal.
pub const LABEL: &str = "Minutes: ";
pub const FILES: &str = " · Files: ";

#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pub only: Only,
    /// Set the line `Minutes: …` of the chapters
    #[arg(long)]
    pub write: bool,
}

/// The words of a chapter, its tasks, and the minutes that they take.
pub fn estimate(tree: &Tree, chapter: &Document, step: &Step) -> Result<[usize; 3], String> {
    let count = |text: &str| text.split_whitespace().count();
    // The estimate must not depend on itself.
    let lines = chapter.text.lines().filter(|line| !line.starts_with(LABEL));
    // The fences are words too.
    let code = chapter
        .all_blocks()
        .map(|block| count(&block.text) + count(&block.info).max(1) + 1);
    let words = lines.map(count).sum::<usize>() - code.sum::<usize>();
    let tasks = todo_ids(tree, step)?.len();
    let exact = words * PER_THOUSAND_WORDS + tasks * PER_TASK * 1000;
    Ok([words, tasks, (exact + 2500) / 5000 * 5])
}

/// What the chapter says.
pub fn stated(minutes: usize) -> String {
    format!("about {minutes} (an estimate)")
}

/// Prints the estimates, and writes them into the chapters.
pub fn print(tree: &Tree, steps: &[Step], write: bool) -> Env<ExitCode> {
    println!("step  words  tasks  minutes");
    for step in steps {
        let path = step.readme();
        let chapter = Document::read(tree, &path)?;
        let [words, tasks, minutes] = estimate(tree, &chapter, step)?;
        println!("{:4}  {words:5}  {tasks:5}  {minutes:7}", step.label());
        if write
            && let Some((head, rest)) = chapter.text.split_once(LABEL)
            && let Some((_, rest)) = rest.split_once(FILES)
        {
            let text = format!("{head}{LABEL}{}{FILES}{rest}", stated(minutes));
            fs::write(tree.root.join(path), text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
