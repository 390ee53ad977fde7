//! Tasks whose marker lines are gone: the coach finds a task by them, so without
//! them its advice would be about another task, or about none.

use course::{Side, Step, Task};

use crate::last;
use crate::project::Project;

/// What to do about a task of [`lost`].
pub fn advice(task: &Task) -> String {
    let (Task { id, file, .. }, title) = (task, task.title());
    format!(
        "the markers of task {id} are gone from {file}.\nThe coach finds a task by its two \
         marker lines. Put both back around your code:\n    // {title}\n    // END TODO({id})"
    )
}

/// The tasks of which one marker or both are gone, in the order of their numbers;
/// none if it is not known how the exercise was published.
pub fn lost(project: &Project, step: &Step) -> Vec<Task> {
    let tasks = step.tasks(&project.root, Side::Exercise);
    let is_there = |id: &str| {
        tasks
            .iter()
            .any(|task| task.id == id && task.end > task.line)
    };
    let mut lost = last::published(project, step);
    lost.retain(|task| !is_there(&task.id));
    lost.sort_by_key(Task::number);
    lost
}
