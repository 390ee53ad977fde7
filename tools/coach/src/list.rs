//! `list`: the steps at a glance.

use std::fmt::Write as _;
use std::io;

use course::{Chapter, Progress, Step};

use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

struct Row<'a> {
    step: &'a Step,
    chapter: Chapter,
    done: bool,
    current: bool,
}

/// Prints each step's number, state, title and minutes, and below what it
/// teaches; then what is left. `>` marks the current step.
pub fn list(project: &Project) -> Result<(), Trouble> {
    let steps = project.steps()?;
    let progress = Progress::load(&project.root);
    let current = progress.current(&steps);
    let row = |step| Row {
        done: progress.is_done(step),
        current: current == Some(step),
        chapter: step.chapter(),
        step,
    };
    let rows: Vec<Row> = steps.iter().map(row).collect();
    let colour = screen::coloured(&io::stdout());
    let title = |row: &Row| row.step.title(&row.chapter);
    let width = rows.iter().map(|row| title(row).chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let mark = if row.current { '>' } else { ' ' };
        let (state, style) = match (row.done, row.current) {
            (true, _) => ("done", "32"),
            (_, true) => ("current", "1"),
            _ => ("todo", "0"),
        };
        let minutes = row.chapter.minutes.as_ref().map(|it| format!("{it} min"));
        let line = format!(
            "{mark} {}  {:7}  {:width$}  {}",
            row.step.label(),
            state,
            title(row),
            minutes.unwrap_or_default()
        );
        let line = line.trim_end();
        let _ = if colour && state != "todo" {
            writeln!(text, "\x1b[{style}m{line}\x1b[0m")
        } else {
            writeln!(text, "{line}")
        };
        if let Some(goal) = &row.chapter.goal {
            let _ = writeln!(text, "      {}", prose::hanging(goal, 6));
        }
    }
    text.push_str(&summary(&rows));
    screen::print(&text);
    Ok(())
}

/// What is done, what is left, and what to do now.
fn summary(rows: &[Row]) -> String {
    let open: Vec<&Row> = rows.iter().filter(|row| !row.done).collect();
    let mut text = format!("\n{} of {} steps done", rows.len() - open.len(), rows.len());
    // `about 30`; other text is not counted.
    let minutes = open.iter().filter_map(|row| {
        let minutes = row.chapter.minutes.as_deref()?;
        minutes.trim_start_matches("about ").parse::<u32>().ok()
    });
    match minutes.sum() {
        0 => {}
        minutes => text += &format!(", {minutes} minutes left"),
    }
    text.push('\n');
    let current = rows.iter().position(|row| row.current);
    // Who began in the middle goes on from there.
    let after = |at: usize| rows[at..].iter().find(|row| !row.done);
    let next = current.and_then(after).or(open.first().copied());
    let _ = match (current.map(|at| &rows[at]), next) {
        (Some(row), _) if !row.done => {
            writeln!(text, "Go on with {}: ./run.sh check", row.step.label())
        }
        (_, Some(next)) => writeln!(text, "Go on: ./run.sh checkout {}", next.step.label()),
        (_, None) => Ok(()),
    };
    text
}
