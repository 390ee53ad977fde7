//! The crate under test, as the learner knows its files.

use std::path::{Path, PathBuf};

use course::{Task, slashed};

/// The crate under test, an exercise or a solution.
pub(crate) struct Source {
    /// The workspace's folder. Paths in a report start here.
    pub(crate) root: PathBuf,
    pub(crate) manifest_dir: PathBuf,
}

impl Source {
    pub(crate) fn new(manifest_dir: &Path) -> Self {
        let is_root = |dir: &&Path| {
            std::fs::read_to_string(dir.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
        };
        let root = manifest_dir.ancestors().find(is_root);
        Self {
            root: root.unwrap_or(manifest_dir).to_owned(),
            manifest_dir: manifest_dir.to_owned(),
        }
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        slashed(path.strip_prefix(&self.root).unwrap_or(path))
    }

    /// The regions of the task with this id, in the order of their files.
    pub(crate) fn regions(&self, id: &str) -> Vec<Task> {
        let mut regions = course::tasks(&self.root, &self.manifest_dir);
        regions.retain(|task| task.id == id);
        regions
    }
}
