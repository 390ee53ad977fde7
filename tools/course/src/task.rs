//! The tasks of a step: the regions `// TODO(05.1): what to do` …
//! `// END TODO(05.1)` in its files, in TOML and shell files with `#`, in SQL
//! with `--`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use crate::Side;

/// A line that begins or ends a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker<'a> {
    Begin {
        /// `05.1`
        id: &'a str,
        what: &'a str,
    },
    End {
        id: &'a str,
    },
}

/// Reads a line as a marker. The error of a malformed one is the rule.
pub fn marker(line: &str) -> Result<Option<Marker<'_>>, &'static str> {
    let line = line.trim();
    let comment = ["//", "#", "--"]
        .iter()
        .find_map(|start| line.strip_prefix(start));
    let Some(comment) = comment.map(str::trim_start) else {
        return Ok(None);
    };
    if let Some(rest) = comment.strip_prefix("END TODO(") {
        let id = rest.strip_suffix(')');
        let id = id.ok_or("an end marker reads `END TODO(05.1)`")?;
        return Ok(Some(Marker::End { id }));
    }
    let Some(rest) = comment.strip_prefix("TODO(") else {
        return Ok(None);
    };
    let (id, what) = rest
        .split_once("):")
        .map(|(id, what)| (id, what.trim()))
        .filter(|(_, what)| !what.is_empty())
        .ok_or("a marker reads `TODO(05.1): what to do`")?;
    Ok(Some(Marker::Begin { id, what }))
}

/// A task and the region where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// `05.1`
    pub id: String,
    /// What to do, as the marker says it.
    pub what: String,
    /// The file, as one types it in the project's folder.
    pub file: String,
    /// The marker's line, from 1.
    pub line: usize,
    /// The end marker's line; that of the marker if there is none.
    pub end: usize,
    pub text: String,
}

impl Task {
    /// The number after the point, `1` of `05.1`.
    pub fn number(&self) -> Option<u32> {
        task_number(&self.id)
    }

    /// `TODO(05.1): what to do`
    pub fn title(&self) -> String {
        format!("TODO({}): {}", self.id, self.what)
    }

    /// `src/db/base.rs:31  TODO(05.1): what to do`
    pub fn location(&self) -> String {
        format!("{}:{}  {}", self.file, self.line, self.title())
    }
}

/// All regions of a file's text, in order. Malformed markers and end markers without a
/// beginning are passed over, since a learner edits the text.
pub fn regions(file: &str, text: &str) -> Vec<Task> {
    let mut found: Vec<Task> = Vec::new();
    let mut open = false;
    for (line, content) in (1..).zip(text.lines()) {
        match (marker(content), found.last_mut()) {
            (Ok(Some(Marker::Begin { id, what })), _) => {
                open = true;
                found.push(Task {
                    id: id.to_owned(),
                    what: what.to_owned(),
                    file: file.to_owned(),
                    line,
                    end: line,
                    text: String::new(),
                });
            }
            (Ok(Some(Marker::End { id })), Some(task)) if task.id == id => {
                open = false;
                task.end = line;
            }
            (_, Some(task)) if open => {
                task.text += content;
                task.text.push('\n');
            }
            _ => {}
        }
    }
    found
}

/// The number of a task's id, `1` of `05.1`.
pub fn task_number(id: &str) -> Option<u32> {
    id.rsplit_once('.')?.1.parse().ok()
}

/// The tasks of a step's crate in its Rust sources and its [`test_programs`], in the
/// order of their numbers. Files are named from `root`; one that cannot be read has
/// none.
pub fn tasks(root: &Path, folder: &Path) -> Vec<Task> {
    let mut found = Vec::new();
    let sources = folder.join("src");
    let paths = files(&sources).unwrap_or_default().into_iter();
    let programs = test_programs(folder).into_iter();
    let programs = programs.map(|name| folder.join(format!("tests/{name}.rs")));
    for path in paths.map(|file| sources.join(file)).chain(programs) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let bytes = fs::read(&path).unwrap_or_default();
            let file = slashed(path.strip_prefix(root).unwrap_or(&path));
            found.extend(regions(&file, &String::from_utf8_lossy(&bytes)));
        }
    }
    found.sort_by_key(Task::number);
    found
}

/// The names of the test programs that the course has in a step's crate, which lies
/// beside the solution: `books` for `tests/books.rs`, if the solution has that file, too.
/// The check of the step runs them.
pub fn test_programs(folder: &Path) -> Vec<String> {
    let mut names = programs(&folder.with_file_name(Side::Solution.name()).join("tests"));
    names.retain(|name| folder.join(format!("tests/{name}.rs")).is_file());
    names
}

/// The names of the programs whose sources are in this folder, as cargo gives them.
pub fn programs(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let programs = names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned));
    let mut programs: Vec<String> = programs.collect();
    programs.sort();
    programs
}

/// The variable of the environment that tells a check where the test program of this
/// name is: `MARKETSVC_TEST_BOOKS`.
pub fn test_variable(name: &str) -> String {
    format!("MARKETSVC_TEST_{}", name.to_uppercase().replace('-', "_"))
}

/// What a learner writes in a crate, relative to its folder: without hidden files, and
/// what programs and editors leave behind. Links to folders are not followed.
pub fn files(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        let entries = fs::read_dir(&next).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", next.display()))
        })?;
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let extension = path.extension().and_then(|it| it.to_str());
            if name.as_encoded_bytes().starts_with(b".") || (name == "target" && next == folder) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            } else if matches!(extension, Some("rs" | "toml" | "sql" | "md" | "html"))
                && let Ok(file) = path.strip_prefix(folder)
            {
                found.insert(file.to_path_buf());
            }
        }
    }
    Ok(found)
}

/// A path with the separators that all our texts use.
pub fn slashed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// The path without `.` and `..`, by its letters alone: rustc names a check.rs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_a_text() {
        let text = "a\n// TODO(05.1): one\nb\n// END TODO(05.1)\n# TODO(05.10): ten\n\
             // TODO without id\n// END TODO(05.9)\n";
        let found = regions("a.rs", text);
        let facts: Vec<_> = found
            .iter()
            .map(|task| (task.title(), task.line, task.end))
            .collect();
        assert_eq!(
            facts,
            [
                ("TODO(05.1): one".to_owned(), 2, 4),
                ("TODO(05.10): ten".to_owned(), 5, 5)
            ]
        );
        assert_eq!(found[0].text, "b\n");
    }

    #[test]
    fn prose_about_a_task_is_not_a_marker() {
        for line in [
            "/// Belongs to TODO(05.1).",
            "// see TODO(05.1)",
            "f(); // TODO(05.1): x",
        ] {
            assert_eq!(marker(line), Ok(None), "{line}");
        }
        assert!(marker("// TODO(05.1) x").is_err());
        assert!(marker("-- END TODO(05.1) x").is_err());
    }

    #[test]
    fn a_path_is_tidied_by_its_letters() {
        let tidied = |path: &str| slashed(&tidy(Path::new(path)));
        assert_eq!(tidied("steps/05/exercise/../check.rs"), "steps/05/check.rs");
        assert_eq!(tidied("./a/./b.rs"), "a/b.rs");
        assert_eq!(tidied("../a.rs"), "../a.rs");
    }
}
