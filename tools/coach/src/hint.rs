//! `hint`: help with one task, a little more each time it is asked for.
//!
//! The hints stand in `steps/NN-slug/hints.md`: `## 05.1` for each task, in it
//! `### Nudge`, `### Pointer` and `### Near-answer`. A part `### If "…" fails`
//! before the three is for one frequent mistake: it is shown first when the last
//! check failed with a name that contains the words in quotes.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::{fs, io};

use course::pages::{self, LEVELS, Section};
use course::{Progress, Side, Task, ids, task_number};

use crate::last::Last;
use crate::markers::{self, Tasks};
use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

/// Shows the highest hint that was shown before for the task, or the first;
/// with `more` the next one.
///
/// `target` is a step, a task (`05.2`) or nothing, which is the current step.
/// For a step it is the first task that failed when it was last checked, else the
/// first; of a step whose checks all passed, none.
pub fn hint(project: &Project, target: Option<&str>, more: bool) -> Result<ExitCode, Trouble> {
    let (step, asked) = match target {
        Some(target) => project.resolve_task(target)?,
        None => (project.current()?.0, None),
    };
    let file = format!("{}/hints.md", step.dir());
    let text = fs::read_to_string(step.folder.join("hints.md"));
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Trouble::usage(format!("{} has no hints: there is no {file}", step.slug))
        }
        _ => Trouble::at(&file)(error),
    })?;
    let hints = pages::hints(&text);
    let tasks = step.tasks(&project.root, Side::Exercise);
    let gone = Tasks::of(project, &step).lost;
    let first = hints.first().map_or(1, |(task, _)| *task);
    let progress = Progress::load(&project.root);
    let failed = progress.failed(&step);
    let (number, why) = match asked {
        Some(number) => (number, None),
        None if failed.is_none() && progress.is_done(&step) => {
            let label = step.label();
            screen::print(&format!(
                "All checks of {label} passed. For a certain task: ./run.sh hint {label}.{first}\n"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        None => match failed {
            Some(number) => (number, Some("is the first task that failed")),
            None => (first, Some("is the first task")),
        },
    };
    let id = format!("{}.{number}", step.label());
    let parts = hints.iter().find(|(task, _)| *task == number);
    let parts = parts.map(|(_, parts)| &parts[..]).unwrap_or_default();
    let before = progress.hint_level(&step, number).min(3);
    let level = if more { before + 1 } else { before }.clamp(1, 3);
    let name = LEVELS[level as usize - 1];
    let part = parts
        .iter()
        .find(|part| part.heading.eq_ignore_ascii_case(name));
    let part =
        part.ok_or_else(|| Trouble::usage(format!("{file} has no hint \"{name}\" for {id}")))?;

    let mut out = String::new();
    if let Some(why) = why {
        let _ = writeln!(out, "{id} {why}.");
    }
    // A task may have several regions, in several files.
    let regions = tasks.iter().filter(|task| task.number() == Some(number));
    let regions: Vec<_> = regions.map(Task::location).collect();
    let location = match gone.iter().find(|lost| lost.number() == Some(number)) {
        Some(lost) => markers::advice(lost),
        None if regions.is_empty() => format!("TODO({id})"),
        None => regions.join("\n"),
    };
    let _ = writeln!(out, "{id}, hint {level} of 3: {}", name.to_lowercase());
    let _ = writeln!(out, "{location}\n");
    let last = Last::load(project, &step);
    if let Some((name, body)) = for_the_mistake(parts, &last, number) {
        let _ = writeln!(out, "\"{name}\" failed.");
        out.push_str(&prose::render(body));
        out.push('\n');
    }
    out.push_str(&prose::render(part.text));
    let solution = format!("Our solution: ./run.sh diff {}", step.label());
    let _ = match (level, more && before == 3) {
        (1 | 2, _) => writeln!(out, "\nMore: ./run.sh hint {id} more"),
        (_, false) => writeln!(out, "\nThat was the last hint. {solution}"),
        (_, true) => writeln!(out, "\nThere is no further hint. {solution}"),
    };
    screen::print(&out);
    Progress::update(&project.root, |progress| {
        progress.set_hint_level(&step, number, level);
    });
    Ok(ExitCode::SUCCESS)
}

/// The first check of the task that failed last and has a part of its own in the
/// hints, with this part.
fn for_the_mistake<'a>(
    parts: &[Section<'a>],
    last: &'a Last,
    number: u32,
) -> Option<(&'a str, &'a str)> {
    let of_task = |todo: &str| ids(todo).any(|id| task_number(id) == Some(number));
    let mut failed = last.failed.iter().filter(|(todo, _)| of_task(todo));
    failed.find_map(|(_, name)| {
        let fits = |part: &&Section| {
            pages::condition(part.heading).is_some_and(|words| name.contains(words))
        };
        Some((name.as_str(), parts.iter().find(fits)?.text))
    })
}
