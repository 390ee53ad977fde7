//! Which checks failed when they were last run, for `hint`: kept beside the progress, in
//! `.progress-last`, for the step checked last.

use std::fs;

use course::{Check, Step, ids, task_number};
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

    /// Takes over what `checks` say. Of those that have not run now, the last run counts.
    pub fn update(&mut self, step: &Step, checks: &[Check]) {
        step.slug.clone_into(&mut self.step);
        self.failed
            .retain(|(_, name)| checks.iter().all(|check| check.name != *name));
        let failed = checks.iter().filter(|check| check.failed());
        let failed = failed.map(|check| (check.todo.clone(), check.name.clone()));
        self.failed.extend(failed);
        let first = |todo: &str| ids(todo).next().and_then(task_number);
        self.failed.sort_by_key(|(todo, _)| first(todo));
    }

    pub fn store(&self, project: &Project) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = fs::write(project.root.join(NAME), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use course::Status;
    use serde_json::json;

    use super::*;

    fn check(todo: &str, status: Status) -> Check {
        let name = format!("the check of {todo}");
        let check = json!({"todo": todo, "name": name, "status": status});
        serde_json::from_value(check).expect("a check")
    }

    #[test]
    fn a_part_of_the_checks_changes_only_what_it_has_run() {
        let step = Step::at(Path::new("12-load")).expect("a step");
        let mut last = Last::default();
        let mut first = |checks: &[(&str, Status)]| {
            let checks = checks.iter().map(|(todo, status)| check(todo, *status));
            last.update(&step, &checks.collect::<Vec<_>>());
            last.failed.first().map(|(todo, _)| todo.clone())
        };
        let (passed, failed) = (Status::Passed, Status::Failed);
        let all = [
            ("12.2", failed),
            ("12.3", failed),
            ("12.10", Status::NotRun),
        ];
        assert_eq!(first(&all).as_deref(), Some("12.2"));
        assert_eq!(first(&[("12.2", passed)]).as_deref(), Some("12.3"));
        // Nothing has run: it did not compile.
        assert_eq!(first(&[]).as_deref(), Some("12.3"));
        assert_eq!(first(&[("12.3", passed)]).as_deref(), Some("12.10"));
        assert_eq!(
            first(&[("12.3, 12.4", failed)]).as_deref(),
            Some("12.3, 12.4")
        );
        assert_eq!(first(&[("12.1", failed)]).as_deref(), Some("12.1"));
    }
}
