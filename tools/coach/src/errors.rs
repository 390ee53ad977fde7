//! Errors of the compiler: to which task each leads, and what to read about it.

use std::fs;
use std::path::PathBuf;

use course::{Reread, Side, Step, Task, labelled, pages, regions, slashed};
use serde::Serialize;

use crate::markers::Tasks;
use crate::project::Project;

#[derive(Serialize)]
pub struct Error {
    message: String,
    file: Option<String>,
    line: Option<usize>,
    /// The task that it leads to.
    pub todo: Option<String>,
    reread: Option<Reread>,
    hint: Option<String>,
    /// What the book says of errors with its code.
    #[serde(skip)]
    explained: Option<Reread>,
    /// The task for people: `, in TODO(05.1): what to do`.
    #[serde(skip)]
    because: String,
}

/// An error of the compiler in the step's code.
pub struct CodeError {
    /// Its first line, without the word `error`.
    pub message: String,
    /// `E0308`
    pub code: Option<String>,
    pub rendered: String,
    /// The files in the step's folder that it points to, from the project's
    /// folder, and the lines from 1: first where it is, then those of its notes.
    pub places: Vec<(PathBuf, usize)>,
}

impl CodeError {
    /// The task in whose region it or one of its notes is, and whether it is the error
    /// itself.
    pub fn task(&self, project: &Project) -> Option<(Task, bool)> {
        let mut places = self.places.iter().enumerate();
        places.find_map(|(index, (file, line))| {
            let text = fs::read_to_string(project.root.join(file)).ok()?;
            let mut tasks = regions(&slashed(file), &text).into_iter();
            let task = tasks.find(|task| (task.line..=task.end).contains(line))?;
            Some((task, index == 0))
        })
    }
}

/// Shows errors as the compiler does: all of them, or the first in full and how many
/// more there are.
pub fn render(errors: &[CodeError], all: bool) {
    let shown = if all { errors.len() } else { 1 };
    for error in errors.iter().take(shown) {
        eprint!("{}", error.rendered);
    }
    match errors.len().saturating_sub(shown) {
        0 => {}
        1 => eprintln!("and 1 more error (--all shows it)"),
        more => eprintln!("and {more} more errors (--all shows them)"),
    }
}

/// Leads from an error to a task: the one in whose region it or one of its notes
/// is, else the one in its file that has lost its markers, else the last one that was
/// changed.
pub fn lead(
    project: &Project,
    step: &Step,
    chapter: &str,
    error: CodeError,
    tasks: &Tasks,
) -> Error {
    let found = error.task(project);
    let (file, line) = error.places.into_iter().next().unzip();
    let file = file.map(|file| slashed(&file));
    let lost = tasks.lost.iter();
    let lost: Vec<&Task> = lost.filter(|it| Some(&it.file) == file.as_ref()).collect();
    let (todo, because) = match (found, &lost[..], &tasks.changed) {
        (Some((task, is_there)), ..) => {
            let how = if is_there { "in" } else { "because of" };
            let because = format!(", {how} {}", task.title());
            (Some(task.id), because)
        }
        (None, [lost], _) => (
            Some(lost.id.clone()),
            format!(", where the markers of task {} are gone", lost.id),
        ),
        (None, [_, ..], _) => (None, ", where markers of tasks are gone".to_owned()),
        (None, [], Some(task)) => (
            Some(task.id.clone()),
            format!("; the last task that you changed is {}", task.location()),
        ),
        (None, [], None) => (None, ", in what the step gave you".to_owned()),
    };
    let section = |todo: &String| pages::reread(chapter, &step.readme(), todo);
    Error {
        explained: error.code.and_then(|code| explained(project, code)),
        message: error.message,
        file,
        line,
        reread: todo.as_ref().and_then(section),
        hint: todo.as_ref().map(|todo| format!("./run.sh hint {todo}")),
        todo,
        because,
    }
}

/// The part of the book's index of errors that is about this code.
fn explained(project: &Project, code: String) -> Option<Reread> {
    const INDEX: &str = "book/compiler-errors.md";
    let index = fs::read_to_string(project.root.join(INDEX)).ok()?;
    let mut lines = index.lines();
    let line = lines.position(|line| line.strip_prefix("## ") == Some(&code))? + 1;
    Some(Reread {
        section: code,
        file: INDEX.to_owned(),
        line,
        more: Vec::new(),
    })
}

/// For each task that errors lead to, where the first of them is and what to
/// read. An error that leads to none is only spoken of if all do, and to reset
/// is only advised if it is sure that the error is in no task.
pub fn show(errors: &[Error], step: &Step, side: Side, has_all_markers: bool) {
    let (slug, label) = (&step.slug, step.label());
    let mut seen = Vec::new();
    for error in errors {
        if seen.contains(&&error.todo) || (error.todo.is_none() && !seen.is_empty()) {
            continue;
        }
        seen.push(&error.todo);
        let (Some(file), Some(line)) = (&error.file, error.line) else {
            continue;
        };
        let mut advice = Vec::from([("where", format!("{file}:{line}{}", error.because))]);
        let read = error.explained.iter().chain(&error.reread);
        let read: Vec<_> = read.map(Reread::to_string).collect();
        if !read.is_empty() {
            advice.push(("read", read.join("\n")));
        }
        advice.extend(error.hint.clone().map(|hint| ("hint", hint)));
        // The advice of sqlx does not fit a project with several crates.
        if error
            .message
            .contains("there is no cached data for this query")
        {
            let command = format!(
                "this query is new: let the macro ask a database once, and write down what it \
                 learns:\n\
                 DATABASE_URL=sqlite://marketdb.sqlite SQLX_OFFLINE=false \\\n\
                 SQLX_OFFLINE_DIR=$PWD/steps/{slug}/{side}/.sqlx \\\n\
                 cargo build -q --workspace --bin step{label}-{side}\n\
                 (no marketdb.sqlite yet? ./run.sh run {label} --solution makes it)"
            );
            advice.push(("sqlx", command));
        }
        if error.todo.is_none() && side == Side::Exercise && has_all_markers {
            let commands = format!(
                "./run.sh diff {label} shows what differs from our solution; imports are yours \
                 to change\n./run.sh reset {label} saves your work and puts the exercise back"
            );
            advice.push(("compare", commands));
        }
        let mut text = String::new();
        for (label, lines) in advice {
            // Writing into a String cannot fail.
            let _ = labelled(&mut text, label, &lines);
        }
        eprint!("{text}");
    }
}
