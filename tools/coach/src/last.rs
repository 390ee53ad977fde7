//! Which checks failed last, for `hint`: kept beside the progress, in `.progress-last`,
//! for the step checked last.

use std::fs;

use course::Step;
use serde::{Deserialize, Serialize};

use crate::project::Project;

const NAME: &str = ".progress-last";

#[derive(Default, Serialize, Deserialize)]
pub struct Last {
    pub step: String,
    /// The checks that failed: their task, as the check names it, and their name.
    pub failed: Vec<(String, String)>,
}

impl Last {
    /// What is known of this step; nothing if the file cannot be read.
    pub fn load(project: &Project, step: &Step) -> Self {
        fs::read(project.root.join(NAME))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .filter(|last: &Self| last.step == step.slug)
            .unwrap_or_default()
    }

    pub fn store(&self, project: &Project) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = fs::write(project.root.join(NAME), text);
        }
    }
}
