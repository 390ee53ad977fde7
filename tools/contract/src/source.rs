//! The source under test and its chapter, as the learner knows them.

use std::path::{Path, PathBuf};

/// The crate under test, an exercise or a solution.
pub(crate) struct Source {
    /// The workspace's folder. Paths in a report start here.
    pub(crate) root: PathBuf,
    pub(crate) manifest_dir: PathBuf,
}

/// A line of the source.
pub(crate) struct SourceLine {
    /// Relative to the workspace's root.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(manifest_dir: &Path) -> Self {
        let is_root = |dir: &&Path| {
            std::fs::read_to_string(dir.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
        };
        let root = manifest_dir
            .ancestors()
            .find(is_root)
            .unwrap_or(manifest_dir);
        Self {
            root: root.to_owned(),
            manifest_dir: manifest_dir.to_owned(),
        }
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }

    /// The line that opens `TODO(todo)`. The learner starts reading there; the
    /// fault may be in another line.
    pub(crate) fn find_todo(&self, todo: &str) -> Option<SourceLine> {
        let mark = format!("TODO({todo})");
        let end = format!("END {mark}");
        let mut files = Vec::new();
        rust_files(&self.manifest_dir.join("src"), &mut files);
        files.sort();
        files.iter().find_map(|path| {
            let content = std::fs::read_to_string(path).ok()?;
            let opens = |line: &&str| line.contains(&mark) && !line.contains(&end);
            let (index, line) = content.lines().enumerate().find(|(_, line)| opens(line))?;
            Some(SourceLine {
                file: self.relative(path),
                line: index + 1,
                text: line.trim().trim_start_matches('/').trim().to_owned(),
            })
        })
    }
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Heading and line of the section of a chapter that describes a task: the first
/// section below `## Tasks` that contains `TODO(todo)`.
pub(crate) fn section(chapter: &str, todo: &str) -> Option<(String, usize)> {
    let mark = format!("TODO({todo})");
    let (mut tasks, mut fenced, mut heading) = (false, false, None);
    for (index, line) in chapter.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && line.starts_with("## ") {
            tasks = line.trim() == "## Tasks";
        }
        if tasks && !fenced && line.starts_with("##") {
            let title = line.trim_start_matches('#').trim().replace('`', "");
            heading = Some((title, index + 1));
        }
        if tasks && line.contains(&mark) {
            return heading;
        }
    }
    None
}
