//! `diff`: the way from the exercise to the solution, or from one step's
//! solution to another's, as a patch that `git apply` takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io, ops::Range};

use similar::{Algorithm, ChangeTag, DiffOp, TextDiff};

use crate::project::{Project, Side, Step};
use crate::screen;
use crate::tasks::{Region, regions};
use crate::trouble::Trouble;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Prints the patch: with one step, or none, which means the current one, from its exercise to its solution, with two
/// from the first's solution to the second's. Nothing on stdout if there is no
/// difference.
///
/// Both sides of the patch carry the path of what it can be tried on: the
/// exercise, which it turns into the solution, or the second step's solution,
/// which it turns back (`git apply -R`) into the first's.
///
/// # Errors
/// An unknown step (exit code 2), or a file that cannot be read.
pub fn diff(project: &Project, step: Option<&str>, other: Option<&str>) -> Result<(), Trouble> {
    let (from, _) = match step {
        Some(text) => project.resolve(text)?,
        None => project.current()?,
    };
    let sides = match other {
        None => Sides {
            old: from.crate_folder(Side::Exercise),
            new: from.crate_folder(Side::Solution),
            shown_as: from.crate_folder(Side::Exercise),
            from_exercise: true,
            rename_old: None,
            rename_new: Some((
                package(&from, Side::Solution),
                package(&from, Side::Exercise),
            )),
        },
        Some(other) => {
            let (to, _) = project.resolve(other)?;
            Sides {
                old: from.crate_folder(Side::Solution),
                new: to.crate_folder(Side::Solution),
                shown_as: to.crate_folder(Side::Solution),
                from_exercise: false,
                rename_old: Some((
                    format!("step{}", from.label()),
                    format!("step{}", to.label()),
                )),
                rename_new: None,
            }
        }
    };
    let patch = sides.patch(project)?;
    if patch.is_empty() {
        eprintln!("no difference");
    } else if screen::coloured(&io::stdout()) {
        screen::print(&colour(&patch));
    } else {
        screen::print(&patch);
    }
    Ok(())
}

fn package(step: &Step, side: Side) -> String {
    format!("step{}-{side}", step.label())
}

/// Two crates to compare.
struct Sides {
    old: PathBuf,
    new: PathBuf,
    /// The folder whose name the patch bears.
    shown_as: PathBuf,
    /// The old crate is the learner's: its TODOs head the hunks, and files that
    /// only it has are left alone, since they are not ours to remove.
    from_exercise: bool,
    /// The crate's own name differs by design and would only be noise: this
    /// text is read as that, in the old crate or in the new one.
    rename_old: Option<(String, String)>,
    rename_new: Option<(String, String)>,
}

impl Sides {
    fn patch(&self, project: &Project) -> Result<String, Trouble> {
        let mut files = files(&self.new)?;
        if !self.from_exercise {
            files.extend(self::files(&self.old)?);
        }
        let mut patch = String::new();
        for file in &files {
            let old = text(&self.old.join(file), self.rename_old.as_ref())?;
            let new = text(&self.new.join(file), self.rename_new.as_ref())?;
            if old != new {
                let name = self.shown_as.join(file);
                let name = project.short(&name).display().to_string();
                let tasks = match &old {
                    Some(old) if self.from_exercise => regions(old),
                    _ => Vec::new(),
                };
                file_patch(
                    &mut patch,
                    &name.replace('\\', "/"),
                    old.as_deref(),
                    new.as_deref(),
                    &tasks,
                );
            }
        }
        Ok(patch)
    }
}

/// The file's text with one text read as another; `None` if there is no such
/// file.
fn text(file: &Path, rename: Option<&(String, String)>) -> Result<Option<String>, Trouble> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(match rename {
            Some((from, to)) => text.replace(from, to),
            None => text,
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Trouble::environment(format!("{}: {error}", file.display()))),
    }
}

/// The crate's files, relative to its folder: without the learner's own tests,
/// hidden files, and what programs leave behind.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>, Trouble> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        let entries = fs::read_dir(&next)
            .map_err(|error| Trouble::environment(format!("{}: {error}", next.display())))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let at_the_top = next == folder;
            if name.starts_with('.') || (at_the_top && matches!(name, "target" | "tests")) {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else if matches!(
                path.extension().and_then(|it| it.to_str()),
                Some("rs" | "toml" | "sql" | "md" | "html")
            ) && let Ok(file) = path.strip_prefix(folder)
            {
                found.insert(file.to_path_buf());
            }
        }
    }
    Ok(found)
}

/// Appends one file's part of a patch. `None` is a file that is not there; a
/// hunk is headed with the tasks that it touches.
fn file_patch(
    patch: &mut String,
    name: &str,
    old: Option<&str>,
    new: Option<&str>,
    tasks: &[Region],
) {
    // Writing into a String cannot fail.
    let _ = writeln!(patch, "diff --git a/{name} b/{name}");
    match (old, new) {
        (None, _) => {
            let _ = writeln!(patch, "new file mode 100644\n--- /dev/null\n+++ b/{name}");
        }
        (_, None) => {
            let _ = writeln!(
                patch,
                "deleted file mode 100644\n--- a/{name}\n+++ /dev/null"
            );
        }
        _ => {
            let _ = writeln!(patch, "--- a/{name}\n+++ b/{name}");
        }
    }
    let old = old.unwrap_or_default();
    // Patience keeps functions whole where the shortest diff would pair their
    // braces and blank lines at random.
    let changes = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .diff_lines(old, new.unwrap_or_default());
    for group in changes.grouped_ops(CONTEXT) {
        let old_lines = span(&group, DiffOp::old_range);
        let new_lines = span(&group, DiffOp::new_range);
        let mut heading = String::new();
        for task in tasks {
            if changed(&group).any(|lines| lines.start <= task.end && task.start <= lines.end) {
                heading.push(' ');
                heading.push_str(task.title);
            }
        }
        let _ = writeln!(
            patch,
            "@@ -{} +{} @@{heading}",
            position(&old_lines),
            position(&new_lines)
        );
        for op in &group {
            for change in changes.iter_changes(op) {
                patch.push(match change.tag() {
                    ChangeTag::Equal => ' ',
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                });
                patch.push_str(change.value());
                if change.missing_newline() {
                    patch.push_str("\n\\ No newline at end of file\n");
                }
            }
        }
    }
}

/// The old lines that a group of operations replaces or inserts at.
fn changed(group: &[DiffOp]) -> impl Iterator<Item = Range<usize>> {
    group
        .iter()
        .filter(|op| !matches!(op, DiffOp::Equal { .. }))
        .map(DiffOp::old_range)
}

fn span(group: &[DiffOp], range: impl Fn(&DiffOp) -> Range<usize>) -> Range<usize> {
    let start = group.first().map_or(0, |op| range(op).start);
    let end = group.last().map_or(0, |op| range(op).end);
    start..end
}

/// A range of lines as a hunk's head has it: from 1, and for an empty range the
/// line before it.
fn position(lines: &Range<usize>) -> String {
    let first = if lines.is_empty() {
        lines.start
    } else {
        lines.start + 1
    };
    format!("{first},{}", lines.len())
}

/// The patch in colours: heads bold, positions cyan, old lines red, new green.
fn colour(patch: &str) -> String {
    let mut text = String::new();
    // A removed line may itself begin with "-- ", so a head is known by its place.
    let mut in_head = false;
    for line in patch.lines() {
        in_head = line.starts_with("diff ") || (in_head && !line.starts_with("@@"));
        let code = match line.as_bytes().first() {
            _ if in_head => "1",
            Some(b'@') => "36",
            Some(b'-') => "31",
            Some(b'+') => "32",
            _ => "0",
        };
        let _ = writeln!(text, "\x1b[{code}m{line}\x1b[0m");
    }
    text
}
