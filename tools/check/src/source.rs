//! The crate under test, as the learner knows its files.

use std::path::{Path, PathBuf};

use course::{slashed, tidy};

/// The crate under test, an exercise or a solution.
pub(crate) struct Source {
    /// The workspace's folder. Paths in a report start here.
    pub(crate) root: PathBuf,
    pub(crate) manifest_dir: PathBuf,
}

impl Source {
    pub(crate) fn new(manifest_dir: &Path) -> Self {
        Self {
            root: tidy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")),
            manifest_dir: manifest_dir.to_owned(),
        }
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        slashed(path.strip_prefix(&self.root).unwrap_or(path))
    }
}
