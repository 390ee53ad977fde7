//! The files of the workspace that git tracks or would track, and its steps.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Command;

use course::Step;

use crate::{Env, Environment};

/// The working tree without what git ignores.
pub struct Tree {
    pub root: PathBuf,
    files: BTreeSet<String>,
}

impl Tree {
    /// Lists the files of the git working tree at `root`.
    pub fn open(root: &Path) -> Env<Self> {
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .map_err(|error| Environment(format!("cannot run git: {error}")))?;
        if !output.status.success() {
            return Err(Environment(format!(
                "git cannot list the files of {}: {}",
                root.display(),
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        let listed = String::from_utf8(output.stdout)
            .map_err(|_| Environment("a file name is not UTF-8".into()))?;
        // A file deleted but not yet committed is still listed.
        let files = listed
            .split_terminator('\0')
            .filter(|file| root.join(file).symlink_metadata().is_ok())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    /// All files, relative to the root, `/` between folders.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The files below `dir`, relative to it.
    pub fn below(&self, dir: &str) -> Vec<&str> {
        let prefix = format!("{dir}/");
        self.files
            .range::<String, _>((Bound::Included(&prefix), Bound::Unbounded))
            .map_while(|file| file.strip_prefix(&prefix))
            .collect()
    }

    /// Whether `path` is one of the files, or a folder that holds one.
    pub fn has(&self, path: &str) -> bool {
        path.is_empty() || self.files.contains(path) || !self.below(path).is_empty()
    }

    /// Text of one of the files.
    pub fn read(&self, path: &str) -> Result<String, String> {
        if !self.files.contains(path) {
            return Err(format!("{path}: no such file"));
        }
        std::fs::read_to_string(self.root.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    /// The steps in the order of their numbers.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for file in self.below("steps") {
            let slug = file.split('/').next().unwrap_or_default();
            if steps.last().is_none_or(|last| last.slug != slug) {
                steps.extend(Step::at(&self.root.join("steps").join(slug)));
            }
        }
        steps
    }
}

/// Whether `file` ends in `.extension`, in small letters.
pub fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|end| end == extension)
}
