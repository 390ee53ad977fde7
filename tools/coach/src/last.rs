//! What the last check of an exercise saw: in which order the tasks were changed,
//! and which checks failed.
//!
//! It is kept beside the progress, in `.progress-last`, for the step checked last.
//! Without the file, advice is only less exact.

use std::cmp::Reverse;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use course::{Side, Step, Task, regions, slashed};
use serde::{Deserialize, Serialize};

use crate::project::Project;
use crate::reset;

const NAME: &str = ".progress-last";

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Last {
    /// The step's folder.
    step: String,
    /// The tasks with a hash of what stood in their regions, the one changed last
    /// at the end.
    tasks: Vec<(String, u64)>,
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
        let mut tasks: Vec<(Task, u64)> = step
            .tasks(&project.root, Side::Exercise)
            .into_iter()
            .map(|task| {
                let mut hash = DefaultHasher::new();
                task.text.hash(&mut hash);
                (task, hash.finish())
            })
            .collect();
        // `None` is what has changed since the last check; those stay in their order.
        let age = |task: &Task, hash: u64| {
            let known = |it: &(String, u64)| it.0 == task.id && it.1 == hash;
            self.tasks.iter().rev().position(known)
        };
        tasks.sort_by_key(|(task, hash)| Reverse(age(task, *hash).map_or(0, |age| age + 1)));
        self.tasks = tasks
            .iter()
            .map(|(task, hash)| (task.id.clone(), *hash))
            .collect();
        let published = published(project, step);
        tasks.into_iter().map(|(task, _)| task).rfind(|task| {
            let same = |it: &Task| it.id == task.id && it.text == task.text;
            !published.iter().any(same)
        })
    }

    /// Keeps it for the next check.
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
