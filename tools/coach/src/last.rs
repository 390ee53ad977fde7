//! What the last check of an exercise saw: in which order the tasks were changed,
//! and which checks failed.
//!
//! It is kept beside the progress, in `.progress-last`, for the step checked last.
//! Without the file, advice is only less exact.

use std::cmp::Reverse;
use std::fs;

use course::{Side, Step, Task, regions, slashed};
use serde::{Deserialize, Serialize};

use crate::project::Project;
use crate::reset;

const NAME: &str = ".progress-last";

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Last {
    step: String,
    /// The tasks with what stood in their regions, the one changed last at the end.
    tasks: Vec<(String, String)>,
    /// The checks that failed: their task, as the check names it, and their name.
    pub failed: Vec<(String, String)>,
}

impl Last {
    /// What is known of this step.
    pub fn load(project: &Project, step: &Step) -> Self {
        fs::read(project.root.join(NAME))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .filter(|last: &Self| last.step == step.slug)
            .unwrap_or_default()
    }

    /// Takes over what the tasks hold now, and gives the one that was changed
    /// last, of those that are not as published.
    pub fn notice(&mut self, project: &Project, step: &Step) -> Option<Task> {
        self.step.clone_from(&step.slug);
        let mut tasks = step.tasks(&project.root, Side::Exercise);
        // `None` is what has changed since the last check; those stay in their order.
        let age = |task: &Task| {
            let known = |it: &(String, String)| it.0 == task.id && it.1 == task.text;
            self.tasks.iter().rev().position(known)
        };
        tasks.sort_by_key(|task| Reverse(age(task).map_or(0, |age| age + 1)));
        let seen = tasks
            .iter()
            .map(|task| (task.id.clone(), task.text.clone()));
        self.tasks = seen.collect();
        let published = published(project, step);
        tasks.into_iter().rfind(|task| {
            let same = |it: &Task| it.id == task.id && it.text == task.text;
            !published.iter().any(same)
        })
    }

    pub fn store(&self, project: &Project) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = fs::write(project.root.join(NAME), text);
        }
    }
}

/// The tasks of the published exercise; none if it is not known how it was published.
pub fn published(project: &Project, step: &Step) -> Vec<Task> {
    let folder = step.crate_folder(Side::Exercise);
    let files = reset::as_published(project, step).unwrap_or_default();
    let tasks = files.iter().flat_map(|(name, text)| {
        let file = slashed(project.short(&folder.join(name)));
        regions(&file, text)
    });
    tasks.collect()
}
