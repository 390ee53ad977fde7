//! The files of the workspace that git tracks or would track, and its steps.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Command;

use course::Step;

use crate::{Env, process};

/// The working tree without what git ignores.
pub struct Tree {
    pub root: PathBuf,
    files: BTreeSet<String>,
}

impl Tree {
    /// Lists the files of the git working tree at `root`.
    pub fn open(root: &Path) -> Env<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others"])
            .arg("--exclude-standard")
            .current_dir(root);
        let listed = process::output(&mut git)?;
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
        course::steps(&self.root).unwrap_or_default()
    }
}

/// Whether `file` ends in `.extension`, in small letters.
pub fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|end| end == extension)
}
