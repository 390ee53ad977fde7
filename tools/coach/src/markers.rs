//! Tasks whose marker lines are gone: the coach finds a task by them, so without
//! them its advice would be about another task, or about none.

use std::fmt;

use course::{Side, Step, Task};

use crate::last;
use crate::project::Project;

/// A task of the published exercise that the learner's exercise does not have.
pub struct Lost(pub Task);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Task { id, file, .. }, title) = (&self.0, self.0.title());
        write!(
            f,
            "the markers of task {id} are gone from {file}.\nThe coach finds a task by its two \
             marker lines. Put both back around your code:\n    // {title}\n    // END TODO({id})"
        )
    }
}

/// The tasks of which one marker or both are gone, in the order of their numbers;
/// none if it is not known how the exercise was published.
pub fn lost(project: &Project, step: &Step) -> Vec<Lost> {
    let tasks = step.tasks(&project.root, Side::Exercise);
    let is_there = |id: &str| {
        tasks
            .iter()
            .any(|task| task.id == id && task.end > task.line)
    };
    let published = last::published(project, step);
    let mut lost: Vec<Lost> = published
        .into_iter()
        .filter(|task| !is_there(&task.id))
        .map(Lost)
        .collect();
    lost.sort_by_key(|lost| lost.0.number());
    lost
}
