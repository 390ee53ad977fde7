//! The learner's tasks beside the published ones: which have lost their marker lines, by
//! which the coach finds a task, and which were changed.

use std::fs;

use course::{Side, Step, Task, regions, slashed};

use crate::project::Project;
use crate::reset;

/// What the exercise's regions say of its tasks. Nothing is known of an exercise if it is
/// not known how it was published.
#[derive(Default)]
pub struct Tasks {
    /// Those of which one marker or both are gone, in the order of their numbers.
    pub lost: Vec<Task>,
    /// The one that was changed last, of those that are not as published.
    pub changed: Option<Task>,
}

impl Tasks {
    pub fn of(project: &Project, step: &Step) -> Self {
        let folder = step.crate_folder(Side::Exercise);
        let files = reset::as_published(project, step).unwrap_or_default();
        let published = files.iter().flat_map(|(name, text)| {
            let file = slashed(project.short(&folder.join(name)));
            regions(&file, text)
        });
        let mut lost: Vec<Task> = published.collect();
        let tasks = step.tasks(&project.root, Side::Exercise);
        let is_published = |task: &&Task| {
            let same = |it: &Task| it.id == task.id && it.text == task.text;
            lost.iter().any(same)
        };
        // The one in the file that was saved last; of several there, the last.
        let modified = |task: &&Task| {
            let file = fs::metadata(project.root.join(&task.file));
            file.and_then(|it| it.modified()).ok()
        };
        let changed = tasks.iter().filter(|task| !is_published(task));
        let changed = changed.max_by_key(modified).cloned();
        let is_whole = |id: &str| tasks.iter().any(|it| it.id == id && it.end > it.line);
        lost.retain(|task| !is_whole(&task.id));
        lost.sort_by_key(Task::number);
        Self { lost, changed }
    }
}

/// What to do about a task that is lost.
pub fn advice(task: &Task) -> String {
    let (Task { id, file, .. }, title) = (task, task.title());
    format!(
        "the markers of task {id} are gone from {file}.\nThe coach finds a task by its two \
         marker lines. Put both back around your code:\n    // {title}\n    // END TODO({id})"
    )
}
