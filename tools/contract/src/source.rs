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

/// What to read for a task, heading and line: the section that the line `Read
/// first: [heading](#…)` of the task's section leads to. Without such a line it is
/// the task's section, the one below `## Tasks` that first names `TODO(todo)`.
pub(crate) fn section(chapter: &str, todo: &str) -> Option<(String, usize)> {
    let mark = format!("TODO({todo})");
    let (mut tasks, mut fenced, mut own) = (false, false, None);
    // Heading, line, and the heading that is to be read first.
    let mut sections: Vec<(String, usize, Option<String>)> = Vec::new();
    for (index, line) in chapter.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && line.starts_with("##") {
            if line.starts_with("## ") {
                tasks = line.trim() == "## Tasks";
            }
            let title = line.trim_start_matches('#').trim().replace('`', "");
            sections.push((title, index + 1, None));
        }
        let Some((.., concept)) = sections.last_mut() else {
            continue;
        };
        if let Some(rest) = line.strip_prefix("Read first: [") {
            *concept = rest.split_once(']').map(|it| it.0.replace('`', ""));
        }
        if tasks && own.is_none() && line.contains(&mark) {
            own = Some(sections.len() - 1);
        }
    }
    let own = own?;
    let concept = sections[own].2.take();
    let concept = concept.and_then(|it| sections.iter().position(|section| section.0 == it));
    let (title, line, _) = sections.swap_remove(concept.unwrap_or(own));
    Some((title, line))
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn what_a_task_says_to_read_first_comes_before_the_task() {
        let read = |line: &str| {
            let chapter = format!(
                "# 05\n\n## Concepts\n\n### A `pool`\n\n## Tasks\n\n### 1 · One\n\n{line}\n\nTODO(05.1)\n\n### 2 · Two\n\nTODO(05.2)\n"
            );
            (section(&chapter, "05.1"), section(&chapter, "05.2"))
        };
        let own = || Some(("2 · Two".to_owned(), 15));
        let concept = Some(("A pool".to_owned(), 5));
        assert_eq!(read("Read first: [A `pool`](#a-pool)"), (concept, own()));
        for line in ["", "Read first: [A queue](#a-queue)"] {
            assert_eq!(
                read(line),
                (Some(("1 · One".to_owned(), 9)), own()),
                "{line}"
            );
        }
        assert_eq!(section("TODO(05.1)", "05.1"), None);
    }
}
