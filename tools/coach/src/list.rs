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
            let _ = writeln!(text, "      {}", prose::hanging(goal, 6, colour));
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
    let (least, most) = open
        .iter()
        .filter_map(|row| minutes(row.chapter.minutes.as_deref()?))
        .fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    if least < most {
        let _ = write!(text, ", {least} to {most} minutes left");
    } else if most > 0 {
        let _ = write!(text, ", {most} minutes left");
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

/// `about 30` or `20 to 30` as the least and the most; `None` for other text.
fn minutes(text: &str) -> Option<(u32, u32)> {
    let text = text.trim_start_matches("about ");
    let (least, most) = ["to", "-", "–"]
        .iter()
        .find_map(|word| text.split_once(word))
        .unwrap_or((text, text));
    Some((least.trim().parse().ok()?, most.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::minutes;

    #[test]
    fn minutes_as_chapters_write_them() {
        assert_eq!(minutes("about 30"), Some((30, 30)));
        assert_eq!(minutes("20 to 30"), Some((20, 30)));
        assert_eq!(minutes("20–30"), Some((20, 30)));
        assert_eq!(minutes("an hour"), None);
    }
}
