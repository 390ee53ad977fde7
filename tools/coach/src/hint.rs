//! `hint`: help with one task, a little more each time it is asked for.
//!
//! The hints stand in `steps/NN-slug/hints.md`: `## 05.1` for each task, in it
//! `### Nudge`, `### Pointer` and `### Near-answer`. A part `### If "…" fails`
//! before the three is for one frequent mistake: it is shown first when the last
//! check failed with a name that contains the words in quotes.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::{fs, io};

use crate::last::Last;
use crate::progress::Progress;
use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::tasks::{self, Task, tasks, typed};
use crate::trouble::Trouble;

/// What the levels are called in the file, the gentlest first.
const LEVELS: [&str; 3] = ["Nudge", "Pointer", "Near-answer"];

/// Shows the highest hint that was shown before for the task, or the first;
/// with `more` the next one.
///
/// `target` is a step, a task (`05.2`) or nothing, which is the current step.
/// For a step it is the task that failed first at the last check, else the
/// first; of a step whose checks all passed, none.
///
/// # Errors
/// No such step or task, or no hints for it (exit code 2); the file with the
/// hints cannot be read (exit code 3).
pub fn hint(project: &Project, target: Option<&str>, more: bool) -> Result<ExitCode, Trouble> {
    let (step, asked) = match target {
        Some(target) => project.resolve_task(target)?,
        None => (project.current()?.0, None),
    };
    let file = step.folder.join("hints.md");
    let shown_file = typed(project.short(&file));
    let text = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Trouble::usage(format!(
                "{} has no hints: there is no {shown_file}",
                step.slug
            )));
        }
        Err(error) => return Err(Trouble::environment(format!("{shown_file}: {error}"))),
    };
    let tasks = tasks(project, &step);
    let progress = Progress::load(&project.root);
    let failed = progress.failed(&step);
    let (number, why) = match asked {
        Some(number) => (number, None),
        None if failed.is_none() && progress.is_done(&step) => {
            let first = tasks.iter().find_map(Task::number).unwrap_or(1);
            let label = step.label();
            screen::print(&format!(
                "All checks of {label} passed. For a certain task: ./run.sh hint {label}.{first}\n"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        None => match (failed, tasks.iter().find_map(Task::number)) {
            (Some(number), _) if has_task(&text, &tasks, number) => {
                (number, Some("failed first at the last check"))
            }
            (_, Some(number)) => (number, Some("is the first task")),
            (_, None) => (1, Some("is the first task")),
        },
    };
    let id = format!("{}.{number}", step.label());
    let Some(section) = section(&text, number) else {
        return Err(Trouble::usage(format!(
            "{shown_file} has no hints for {id}; it has them for {}",
            join(&ids(&text), step.label())
        )));
    };
    let before = progress.hint_level(&step, number).min(3);
    let level = if more { before + 1 } else { before }.clamp(1, 3);
    let name = LEVELS[level as usize - 1];
    let Some(body) = part(section, name) else {
        return Err(Trouble::usage(format!(
            "{shown_file} has no \"### {name}\" for {id}"
        )));
    };

    let colour = screen::coloured(&io::stdout());
    let mut out = String::new();
    if let Some(why) = why {
        let _ = writeln!(out, "{id} {why}.");
    }
    let task = tasks.iter().find(|task| task.number() == Some(number));
    let place = task.map_or_else(|| format!("TODO({id})"), Task::place);
    let _ = writeln!(out, "{id}, hint {level} of 3: {}", name.to_lowercase());
    let _ = writeln!(out, "{place}\n");
    for (_, name) in Last::load(project, &step)
        .failed
        .iter()
        .filter(|(todo, _)| {
            todo.split(',')
                .any(|it| tasks::number(it.trim()) == Some(number))
        })
    {
        if let Some(body) = if_it_fails(section, name) {
            let _ = writeln!(out, "\"{name}\" failed.");
            out.push_str(&prose::render(body, colour));
            out.push('\n');
            break;
        }
    }
    out.push_str(&prose::render(body, colour));
    let _ = match (level, more && before == 3) {
        (1 | 2, _) => writeln!(out, "\nMore: ./run.sh hint {id} more"),
        (_, false) => writeln!(
            out,
            "\nThat was the last hint. Our solution: ./run.sh diff {}",
            step.label()
        ),
        (_, true) => writeln!(
            out,
            "\nThere is no further hint. Our solution: ./run.sh diff {}",
            step.label()
        ),
    };
    screen::print(&out);
    Progress::update(&project.root, |progress| {
        if progress.hint_level(&step, number) < level {
            progress.set_hint_level(&step, number, level);
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn has_task(hints: &str, tasks: &[Task], number: u32) -> bool {
    tasks.iter().any(|task| task.number() == Some(number)) || section(hints, number).is_some()
}

/// The headings of one level with what stands below each, code left alone.
fn split<'a>(text: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let mut found: Vec<(&str, usize, usize)> = Vec::new();
    let (mut at, mut fenced) = (0, false);
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && let Some(heading) = line.strip_prefix(mark) {
            if let Some(last) = found.last_mut() {
                last.2 = at;
            }
            found.push((heading.trim(), next, text.len()));
        }
        at = next;
    }
    found
        .into_iter()
        .map(|(heading, start, end)| (heading, &text[start..end]))
        .collect()
}

/// Numbers of the tasks that have hints. The number of the step is not looked
/// at, so that a renumbered step keeps its hints.
fn ids(text: &str) -> Vec<u32> {
    split(text, "## ")
        .iter()
        .filter_map(|(heading, _)| tasks::number(heading))
        .collect()
}

fn section(text: &str, number: u32) -> Option<&str> {
    split(text, "## ")
        .into_iter()
        .find_map(|(heading, body)| (tasks::number(heading) == Some(number)).then_some(body))
}

fn part<'a>(section: &'a str, level: &str) -> Option<&'a str> {
    split(section, "### ")
        .into_iter()
        .find_map(|(heading, body)| heading.eq_ignore_ascii_case(level).then_some(body))
        .filter(|body| !body.trim().is_empty())
}

/// The part for a failed check of this name.
fn if_it_fails<'a>(section: &'a str, name: &str) -> Option<&'a str> {
    split(section, "### ")
        .into_iter()
        .find_map(|(heading, body)| name.contains(starter::condition(heading)?).then_some(body))
}

fn join(numbers: &[u32], step: &str) -> String {
    let ids: Vec<String> = numbers
        .iter()
        .map(|number| format!("{step}.{number}"))
        .collect();
    if ids.is_empty() {
        "no task".to_owned()
    } else {
        ids.join(", ")
    }
}
