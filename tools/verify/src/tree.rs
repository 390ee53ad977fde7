//! The files of the workspace that git tracks or would track, and its steps.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Env, Environment};

/// The working tree without what git ignores.
pub struct Tree {
    pub root: PathBuf,
    files: BTreeSet<String>,
}

/// A numbered step below `steps/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Two digits: `05`.
    pub number: String,
    /// Its directory below `steps/`: `05-engine`.
    pub slug: String,
}

/// The two services of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Exercise,
    Solution,
}

impl Side {
    /// The directory below the step and the end of the package name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exercise => "exercise",
            Self::Solution => "solution",
        }
    }
}

impl Step {
    fn from_slug(slug: &str) -> Option<Self> {
        let (number, title) = slug.split_once('-')?;
        let numeric = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        (numeric && !title.is_empty()).then(|| Self {
            number: number.to_owned(),
            slug: slug.to_owned(),
        })
    }

    /// Whether `wanted` means this step: `5`, `05` or `05-engine`.
    pub fn is(&self, wanted: &str) -> bool {
        let wanted = wanted.trim_end_matches('/');
        let wanted = wanted.strip_prefix("steps/").unwrap_or(wanted);
        wanted == self.slug || wanted == self.number || format!("0{wanted}") == self.number
    }

    /// `steps/05-engine`
    pub fn dir(&self) -> String {
        format!("steps/{}", self.slug)
    }

    /// `steps/05-engine/exercise`
    pub fn side(&self, side: Side) -> String {
        format!("steps/{}/{}", self.slug, side.name())
    }

    /// `step05-exercise`
    pub fn package(&self, side: Side) -> String {
        format!("step{}-{}", self.number, side.name())
    }

    /// `steps/05-engine/README.md`
    pub fn chapter(&self) -> String {
        format!("steps/{}/README.md", self.slug)
    }
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
                steps.extend(Step::from_slug(slug));
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

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn a_step_is_named_by_number_or_slug() {
        let step = Step::from_slug("05-engine").expect("a slug");
        for wanted in ["5", "05", "05-engine", "steps/05-engine/"] {
            assert!(step.is(wanted), "{wanted}");
        }
        for wanted in ["6", "0", "05-eng", "005", ""] {
            assert!(!step.is(wanted), "{wanted}");
        }
        assert_eq!(step.package(super::Side::Exercise), "step05-exercise");
    }

    #[test]
    fn only_two_digits_and_a_title_make_a_step() {
        for slug in ["5-engine", "05", "05-", "xx-engine", "README.md"] {
            assert_eq!(Step::from_slug(slug), None, "{slug}");
        }
    }
}
