//! `diff`: the way from the exercise to the solution, or from one step's
//! solution to another's, as a patch that `git apply` takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io, ops::Range};

use course::{Region, Side, Step, regions, slashed};
use similar::{Algorithm, DiffOp, TextDiff};

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Prints the patch: with one step, or none, which means the current one, from its exercise to its solution, with two
/// from the first's solution to the second's. Nothing on stdout if there is no
/// difference. `short` prints how many lines are added and removed instead.
///
/// Both sides of the patch carry the path of what it can be tried on: the
/// exercise, which it turns into the solution, or the second step's solution,
/// which it turns back (`git apply -R`) into the first's.
///
/// # Errors
/// An unknown step (exit code 2), or a file that cannot be read.
pub fn diff(
    project: &Project,
    step: Option<&str>,
    other: Option<&str>,
    short: bool,
) -> Result<(), Trouble> {
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
            step: from,
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
                step: to,
            }
        }
    };
    let changes = sides.changes(project)?;
    let coloured = screen::coloured(&io::stdout());
    if changes.is_empty() {
        eprintln!("no difference");
    } else if short {
        screen::print(&stat(&changes, coloured));
    } else {
        let mut patch = String::new();
        for change in &changes {
            change.patch(&mut patch);
        }
        screen::print(&if coloured { colour(&patch) } else { patch });
    }
    Ok(())
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
    /// The names of another step's crate differ by design and would only be
    /// noise: in the old crate, the first text is read as the second.
    rename_old: Option<(String, String)>,
    /// Of the new crate.
    step: Step,
}

impl Sides {
    /// The files that differ.
    fn changes(&self, project: &Project) -> Result<Vec<Changed>, Trouble> {
        let mut files = files(&self.new)?;
        if !self.from_exercise {
            files.extend(self::files(&self.old)?);
        }
        let mut changes = Vec::new();
        // The learner's own tests are not a part of the way.
        for file in files.iter().filter(|file| !file.starts_with("tests")) {
            let mut old = text(&self.old.join(file))?;
            let mut new = text(&self.new.join(file))?;
            if let Some((from, to)) = &self.rename_old {
                old = old.map(|text| text.replace(from, to));
            } else {
                new = new.map(|text| self.step.as_exercise(&text));
            }
            if old != new {
                let name = self.shown_as.join(file);
                changes.push(Changed {
                    name: slashed(project.short(&name)),
                    old,
                    new,
                    has_tasks: self.from_exercise,
                });
            }
        }
        Ok(changes)
    }
}

/// A file that differs. `None` is a file that is not there.
struct Changed {
    name: String,
    old: Option<String>,
    new: Option<String>,
    /// The old file's regions are the learner's tasks.
    has_tasks: bool,
}

impl Changed {
    fn tasks(&self) -> Vec<Region<'_>> {
        match &self.old {
            Some(old) if self.has_tasks => regions(old),
            _ => Vec::new(),
        }
    }

    fn diff(&self) -> TextDiff<'_, '_, str> {
        // Patience keeps functions whole where the shortest diff would pair their
        // braces and blank lines at random.
        TextDiff::configure()
            .algorithm(Algorithm::Patience)
            .diff_lines(
                self.old.as_deref().unwrap_or_default(),
                self.new.as_deref().unwrap_or_default(),
            )
    }

    /// Appends the file's part of a patch; a hunk is headed with the tasks that
    /// it touches.
    fn patch(&self, patch: &mut String) {
        let name = &self.name;
        // Writing into a String cannot fail.
        let _ = writeln!(patch, "diff --git a/{name} b/{name}");
        match (&self.old, &self.new) {
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
        let tasks = self.tasks();
        let changes = self.diff();
        for hunk in changes.unified_diff().context_radius(CONTEXT).iter_hunks() {
            let text = hunk.to_string();
            let (head, lines) = text.split_once('\n').unwrap_or((&text, ""));
            patch.push_str(head);
            for task in &tasks {
                let in_task =
                    |lines: Range<usize>| lines.start <= task.end && task.start <= lines.end;
                if changed(hunk.ops()).any(in_task) {
                    patch.push(' ');
                    patch.push_str(task.title);
                }
            }
            patch.push('\n');
            patch.push_str(lines);
        }
    }

    /// Lines added and removed, in each task and outside of all.
    fn counts(&self) -> Counts<'_> {
        let tasks = self.tasks();
        let mut counts = Counts {
            tasks: tasks.iter().map(|task| (task.title, [0; 2])).collect(),
            outside: [0; 2],
        };
        for op in self.diff().ops() {
            let added = match op {
                DiffOp::Equal { .. } => continue,
                _ => op.new_range().len(),
            };
            let removed = op.old_range();
            for line in removed.clone() {
                let of = |task: &Region| (task.start..=task.end).contains(&line);
                counts.of(tasks.iter().position(of))[1] += 1;
            }
            // An insertion has no old line of its own: it is in a task if it
            // stands between its markers.
            let of = |task: &Region| {
                let lines = removed.start..removed.end.max(removed.start + 1);
                let inner = task.start + 1..task.end + 1;
                lines.start < inner.end && inner.start < lines.end
            };
            counts.of(tasks.iter().position(of))[0] += added;
        }
        counts
    }
}

/// Numbers of lines added and removed.
type Lines = [usize; 2];

struct Counts<'a> {
    tasks: Vec<(&'a str, Lines)>,
    outside: Lines,
}

impl Counts<'_> {
    fn of(&mut self, task: Option<usize>) -> &mut Lines {
        match task {
            Some(task) => &mut self.tasks[task].1,
            None => &mut self.outside,
        }
    }
}

/// How much differs: for each file, and in it for each task, the lines added
/// and removed.
fn stat(changes: &[Changed], colour: bool) -> String {
    let mut rows: Vec<(Lines, String)> = Vec::new();
    let mut sum = [0; 2];
    for file in changes {
        let counts = file.counts();
        let here = rows.len();
        rows.push((counts.outside, file.name.clone()));
        for (title, lines) in &counts.tasks {
            if *lines != [0; 2] {
                rows[here].0[0] += lines[0];
                rows[here].0[1] += lines[1];
                rows.push((*lines, format!("  {title}")));
            }
        }
        if rows.len() > here + 1 && counts.outside != [0; 2] {
            rows.push((counts.outside, "  outside the tasks".to_owned()));
        }
        sum[0] += rows[here].0[0];
        sum[1] += rows[here].0[1];
    }
    let files = if changes.len() == 1 { "file" } else { "files" };
    rows.push((sum, format!("{} {files}", changes.len())));
    let width = |index: usize| {
        let longest = rows.iter().map(|row| row.0[index]).max();
        longest.unwrap_or(0).to_string().len() + 1
    };
    let (added, removed) = (width(0), width(1));
    let mut text = String::new();
    for (lines, name) in &rows {
        let plus = format!("{:>added$}", format!("+{}", lines[0]));
        let minus = format!("{:>removed$}", format!("-{}", lines[1]));
        let _ = if colour {
            writeln!(text, "\x1b[32m{plus}\x1b[0m \x1b[31m{minus}\x1b[0m  {name}")
        } else {
            writeln!(text, "{plus} {minus}  {name}")
        };
    }
    text
}

/// The file's text; `None` if there is no such file.
fn text(file: &Path) -> Result<Option<String>, Trouble> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Trouble::environment(format!("{}: {error}", file.display()))),
    }
}

/// What a learner writes in a crate, relative to its folder: without hidden files, and
/// what programs and editors leave behind.
///
/// # Errors
/// A folder cannot be read; the text names it.
pub fn files(folder: &Path) -> Result<BTreeSet<PathBuf>, Trouble> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        let entries = fs::read_dir(&next)
            .map_err(|error| Trouble::environment(format!("{}: {error}", next.display())))?;
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

/// The old lines that a group of operations replaces or inserts at.
fn changed(group: &[DiffOp]) -> impl Iterator<Item = Range<usize>> {
    group
        .iter()
        .filter(|op| !matches!(op, DiffOp::Equal { .. }))
        .map(DiffOp::old_range)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_tell_a_head_from_a_line_that_looks_like_one() {
        let file = Changed {
            name: "a.sql".into(),
            old: Some("-- one\nsame\n".into()),
            new: Some("++ two\nsame\n".into()),
            has_tasks: false,
        };
        let mut patch = String::new();
        file.patch(&mut patch);
        let painted = colour(&patch);
        let codes: Vec<(&str, &str)> = painted
            .lines()
            .filter_map(|line| {
                line.strip_prefix("\x1b[")?
                    .strip_suffix("\x1b[0m")?
                    .split_once('m')
            })
            .collect();
        assert_eq!(
            codes,
            [
                ("1", "diff --git a/a.sql b/a.sql"),
                ("1", "--- a/a.sql"),
                ("1", "+++ b/a.sql"),
                ("36", "@@ -1,2 +1,2 @@"),
                ("31", "--- one"),
                ("32", "+++ two"),
                ("0", " same"),
            ]
        );
    }
}
