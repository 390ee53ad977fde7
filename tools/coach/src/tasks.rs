//! The tasks of a step: the regions `// TODO(05.1): what to do` …
//! `// END TODO(05.1)` in its sources, and where its chapter speaks of them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::project::{Project, Side, Step};

/// A task's region in one text.
#[derive(Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// `TODO(05.1): what to do`
    pub title: &'a str,
    /// `05.1`
    pub id: &'a str,
    /// Index of the marker's line, from 0.
    pub start: usize,
    /// Index of the end marker's line; that of the marker if there is none.
    pub end: usize,
    /// What stands between the two.
    pub text: String,
}

/// All regions of a text, in order.
pub fn regions(text: &str) -> Vec<Region<'_>> {
    let mut found: Vec<Region> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let comment = line.strip_prefix("//").or_else(|| line.strip_prefix('#'));
        let Some(comment) = comment.map(str::trim) else {
            continue;
        };
        if comment.starts_with("END TODO(") {
            if let Some(open) = found.last_mut() {
                open.end = index;
                let inner = text.lines().take(index).skip(open.start + 1);
                open.text = inner.collect::<Vec<_>>().join("\n");
            }
        } else if let Some(rest) = comment.strip_prefix("TODO(")
            && let Some((id, _)) = rest.split_once(')')
        {
            found.push(Region {
                title: comment,
                id,
                start: index,
                end: index,
                text: String::new(),
            });
        }
    }
    found
}

/// A task of a step and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// `05.1`
    pub id: String,
    /// What to do, as the marker says it.
    pub what: String,
    /// As one types it in the project's folder.
    pub file: String,
    /// Lines of the marker and of the end marker, from 1.
    pub line: usize,
    pub end: usize,
    /// What stands between the markers.
    pub text: String,
}

impl Task {
    /// The number after the point, `1` of `05.1`.
    pub fn number(&self) -> Option<u32> {
        number(&self.id)
    }

    /// `src/db/base.rs:31  TODO(05.1): what to do`
    pub fn place(&self) -> String {
        format!(
            "{}:{}  TODO({}): {}",
            self.file, self.line, self.id, self.what
        )
    }
}

/// The number of a task's id, `1` of `05.1`.
pub fn number(id: &str) -> Option<u32> {
    id.rsplit_once('.')?.1.parse().ok()
}

/// The tasks of a step's exercise, in the order of their numbers. A file that
/// cannot be read has none.
pub fn tasks(project: &Project, step: &Step) -> Vec<Task> {
    let mut files = Vec::new();
    rust_files(
        &step.crate_folder(Side::Exercise).join("src"),
        0,
        &mut files,
    );
    files.sort();
    let mut found: Vec<Task> = Vec::new();
    for path in files {
        let Ok(bytes) = fs::read(&path) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let file = typed(project.short(&path));
        for region in regions(&text) {
            let (_, what) = region.title.split_once(')').unwrap_or_default();
            found.push(Task {
                id: region.id.to_owned(),
                what: what.trim_start_matches(':').trim().to_owned(),
                file: file.clone(),
                line: region.start + 1,
                end: region.end + 1,
                text: region.text,
            });
        }
    }
    found.sort_by_key(Task::number);
    found
}

/// A link that leads back up ends here, where paths of real crates do not.
const DEEPEST: usize = 20;

fn rust_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if depth < DEEPEST {
                rust_files(&path, depth + 1, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A path with the separators that all our texts use.
pub fn typed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// The path without `.` and `..`, by its letters alone: rustc names check.rs
/// `steps/05-engine/exercise/../check.rs`.
pub fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some() => {
                tidy.pop();
            }
            part => tidy.push(part),
        }
    }
    tidy
}

/// What to read again for a task.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// The heading without `#` and backquotes: `2 · The pool`.
    pub heading: String,
    /// From 1.
    pub line: usize,
}

/// The section that explains what a task needs: the one that the line
/// `Read first: [heading](#…)` of the task's own section leads to. Without such a
/// line it is the task's section: the one below `## Tasks` that first names
/// `TODO(id)`, in its heading or its text. `None` where none does.
pub fn section(chapter: &str, id: &str) -> Option<Section> {
    let mark = format!("TODO({id})");
    let (mut fenced, mut below) = (false, false);
    // Each with the heading that is to be read first.
    let mut sections: Vec<(Section, Option<String>)> = Vec::new();
    let mut own = None;
    for (index, line) in chapter.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && (line.starts_with("### ") || line.starts_with("## ")) {
            if line.starts_with("## ") {
                below = line.trim() == "## Tasks";
            }
            let heading = line.trim_start_matches('#').trim().replace('`', "");
            let line = index + 1;
            sections.push((Section { heading, line }, None));
        }
        let Some((_, concept)) = sections.last_mut() else {
            continue;
        };
        if let Some(rest) = line.strip_prefix("Read first: [") {
            *concept = rest.split_once(']').map(|it| it.0.replace('`', ""));
        }
        if below && own.is_none() && line.contains(&mark) {
            own = Some(sections.len() - 1);
        }
    }
    let own = own?;
    let concept = sections[own].1.take();
    let concept = concept.and_then(|it| sections.iter().position(|(s, _)| s.heading == it));
    Some(sections.swap_remove(concept.unwrap_or(own)).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_a_text() {
        let text =
            "a\n// TODO(05.1): one\nb\n// END TODO(05.1)\n# TODO(05.10): ten\n// TODO without id\n";
        let found = regions(text);
        let facts: Vec<_> = found
            .iter()
            .map(|region| (region.id, region.title, region.start, region.end))
            .collect();
        assert_eq!(
            facts,
            [
                ("05.1", "TODO(05.1): one", 1, 3),
                ("05.10", "TODO(05.10): ten", 4, 4)
            ]
        );
    }

    #[test]
    fn a_task_is_found_in_its_section() {
        let chapter = "# 05 · Engine\n\nTODO(05.1) is not here\n\n## Tasks\n\n### 1 · One\n\n\
             `TODO(05.1)` in `a.rs`.\n\n### 2. `TODO(05.2)`: two\n\ntext\n\n## Done when\n\n### 3\n\nTODO(05.3)\n";
        let section = |id| section(chapter, id).map(|section| (section.heading, section.line));
        assert_eq!(section("05.1"), Some(("1 · One".into(), 7)));
        assert_eq!(section("05.2"), Some(("2. TODO(05.2): two".into(), 11)));
        assert_eq!(section("05.3"), None);
        assert_eq!(section("05.9"), None);
        // The concept, if the section names one that there is.
        let read = |line: &str| {
            let chapter = format!(
                "## Concepts\n\n### A `pool`\n\n## Tasks\n\n### 1 · One\n\nTODO(05.1)\n\n{line}\n\n### 2 · Two\n\nTODO(05.2)\n"
            );
            let heading = |id| super::section(&chapter, id).map(|it| it.heading);
            (heading("05.1").unwrap(), heading("05.2").unwrap())
        };
        let own = || "2 · Two".to_owned();
        assert_eq!(
            read("Read first: [A `pool`](#a-pool)"),
            ("A pool".into(), own())
        );
        for line in ["", "Read first: nothing", "Read first: [A queue](#a-queue)"] {
            assert_eq!(read(line), ("1 · One".into(), own()), "{line}");
        }
        assert_eq!(
            super::section("## Tasks\nTODO(05.1)\n", "05.1")
                .unwrap()
                .line,
            1
        );
    }

    #[test]
    fn a_path_is_tidied_by_its_letters() {
        let tidied = |path: &str| typed(&tidy(Path::new(path)));
        assert_eq!(tidied("steps/05/exercise/../check.rs"), "steps/05/check.rs");
        assert_eq!(tidied("./a/./b.rs"), "a/b.rs");
        assert_eq!(tidied("../a.rs"), "../a.rs");
    }
}
