//! `list`: the steps at a glance.

use std::fmt::Write as _;

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Prints each step's number, title, minutes and goal.
///
/// # Errors
/// `steps/` cannot be read.
pub fn list(project: &Project) -> Result<(), Trouble> {
    let mut rows = Vec::new();
    for step in project.steps()? {
        let chapter = step.chapter();
        // Without a chapter the folder's name has to do.
        let title = chapter.title.unwrap_or_else(|| {
            let (_, words) = step.slug.split_once('-').unwrap_or(("", &step.slug));
            words.replace('-', " ")
        });
        let minutes = chapter.minutes.map(|minutes| format!("{minutes} min"));
        rows.push((
            step.label().to_owned(),
            title,
            minutes.unwrap_or_default(),
            chapter.goal.unwrap_or_default(),
        ));
    }
    let titles = widest(rows.iter().map(|row| &row.1));
    let minutes = widest(rows.iter().map(|row| &row.2));
    let mut text = String::new();
    for (label, title, time, goal) in &rows {
        let line = format!("{label}  {title:titles$}  {time:>minutes$}  {goal}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if let Some((label, ..)) = rows.first() {
        let _ = writeln!(
            text,
            "\nEach step's page is its README.md in steps/. Check your work: ./run.sh check {label}"
        );
    }
    screen::print(&text);
    Ok(())
}

fn widest<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}
