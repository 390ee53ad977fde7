//! `list`: the steps at a glance.

use std::fmt::Write as _;

use course::{Progress, Step};

use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

/// Prints each step's number, state, title and minutes, and below what it
/// teaches; then what is left. `>` marks the current step.
pub fn list(project: &Project) -> Result<(), Trouble> {
    let steps = project.steps()?;
    let progress = Progress::load(&project.root);
    let current = progress.current(&steps);
    let chapters = steps.iter().map(Step::chapter);
    let titled = chapters
        .zip(&steps)
        .map(|(chapter, step)| (step.title(&chapter), chapter));
    let titled: Vec<_> = titled.collect();
    let width = titled.iter().map(|(title, _)| title.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    let mut minutes_left = 0;
    for (step, (title, chapter)) in steps.iter().zip(&titled) {
        let mark = if current == Some(step) { '>' } else { ' ' };
        let (state, style) = match (progress.is_done(step), mark) {
            (true, _) => ("done", "32"),
            (_, '>') => ("current", "1"),
            _ => ("todo", "0"),
        };
        let mut minutes = chapter.minutes.clone().unwrap_or_default();
        if state != "done" {
            // Other text than `30` or `about 30` is not counted.
            let number = minutes.trim_start_matches("about ").parse();
            minutes_left += number.unwrap_or(0);
        }
        if !minutes.is_empty() {
            minutes += " min";
        }
        let line = format!(
            "{mark} {}  {state:7}  {title:width$}  {minutes}",
            step.label()
        );
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", screen::styled(style, line.trim_end()));
        if let Some(goal) = &chapter.goal {
            let _ = writeln!(text, "      {}", prose::hanging(goal, 6));
        }
    }
    let is_open = |step: &&Step| !progress.is_done(step);
    let open = steps.iter().filter(is_open).count();
    let _ = write!(
        text,
        "\n{} of {} steps done",
        steps.len() - open,
        steps.len()
    );
    let _ = match minutes_left {
        0 => writeln!(text),
        minutes => writeln!(text, ", {minutes} minutes left"),
    };
    // A learner who began in the middle goes on from there.
    let before = steps
        .iter()
        .take_while(|step| current.is_some_and(|it| it != *step));
    let mut after = steps.iter().skip(before.count());
    let next = after.find(is_open).or_else(|| steps.iter().find(is_open));
    let _ = match next.map(Step::label) {
        Some(label) if current == next => {
            writeln!(text, "Go on with {label}: ./run.sh check")
        }
        Some(label) => writeln!(text, "Go on: ./run.sh checkout {label}"),
        None => Ok(()),
    };
    screen::print(&text);
    Ok(())
}
