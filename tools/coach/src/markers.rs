//! Tasks whose marker lines are gone: the coach finds a task by them, so without
//! them its advice would be about another task, or about none.

use std::fmt;

use course::{Side, Step, regions, slashed, task_number};

use crate::project::Project;
use crate::reset;

/// A task of the published exercise that the learner's exercise does not have.
pub struct Lost {
    /// `05.1`
    pub id: String,
    /// `TODO(05.1): what to do`
    title: String,
    /// The file in which it was, as one types it in the project's folder.
    pub file: String,
}

impl Lost {
    pub fn number(&self) -> Option<u32> {
        task_number(&self.id)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, title, file } = self;
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
    let folder = step.crate_folder(Side::Exercise);
    let mut lost = Vec::new();
    for (name, text) in reset::as_published(project, step).unwrap_or_default() {
        let file = slashed(project.short(&folder.join(name)));
        for region in regions(&text) {
            if !is_there(region.id) {
                lost.push(Lost {
                    id: region.id.to_owned(),
                    title: region.title(),
                    file: file.clone(),
                });
            }
        }
    }
    lost.sort_by_key(Lost::number);
    lost
}
