//! `diff`: the way from the exercise to the solution, or from one step's
//! solution to another's, as a patch that `git apply` takes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use course::{Side, Step, regions, slashed};
use similar::{Algorithm, DiffOp, TextDiff};

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Prints the patch: with one step, or none, which means the current one, from its
/// exercise to its solution, with two from the first's solution to the second's.
/// Nothing on stdout if there is no difference.
///
/// Both sides of the patch carry the path of what it can be tried on: the
/// exercise, which it turns into the solution, or the second step's solution,
/// which it turns back (`git apply -R`) into the first's.
pub fn diff(project: &Project, step: Option<&str>, other: Option<&str>) -> Result<(), Trouble> {
    let (from, _) = project.named(step)?;
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
    } else {
        let mut patch = String::new();
        for change in &changes {
            change.patch(&mut patch);
        }
        screen::print(&if coloured { colour(&patch) } else { patch });
    }
    Ok(())
}

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
    fn changes(&self, project: &Project) -> Result<Vec<Changed>, Trouble> {
        let files =
            |folder| course::files(folder).map_err(|it| Trouble::environment(it.to_string()));
        let mut found = files(&self.new)?;
        if !self.from_exercise {
            found.extend(files(&self.old)?);
        }
        let mut changes = Vec::new();
        for file in &found {
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
    /// Appends the file's part of a patch; a hunk is headed with the tasks that
    /// it touches.
    fn patch(&self, patch: &mut String) {
        let name = &self.name;
        // Writing into a String cannot fail.
        let _ = writeln!(patch, "diff --git a/{name} b/{name}");
        let _ = match (&self.old, &self.new) {
            (None, _) => writeln!(patch, "new file mode 100644\n--- /dev/null\n+++ b/{name}"),
            (_, None) => writeln!(
                patch,
                "deleted file mode 100644\n--- a/{name}\n+++ /dev/null"
            ),
            _ => writeln!(patch, "--- a/{name}\n+++ b/{name}"),
        };
        let (old, new) = (self.old.as_deref(), self.new.as_deref());
        let tasks = old
            .filter(|_| self.has_tasks)
            .map_or_else(Vec::new, |old| regions(name, old));
        // Patience keeps functions whole where the shortest diff would pair their
        // braces and blank lines at random.
        let changes = TextDiff::configure()
            .algorithm(Algorithm::Patience)
            .diff_lines(old.unwrap_or_default(), new.unwrap_or_default());
        for hunk in changes.unified_diff().context_radius(CONTEXT).iter_hunks() {
            let text = hunk.to_string();
            let (head, lines) = text.split_once('\n').unwrap_or((&text, ""));
            patch.push_str(head);
            for task in &tasks {
                // The old lines that are replaced or inserted at.
                let in_task = |op: &DiffOp| {
                    let lines = op.old_range();
                    let equal = matches!(op, DiffOp::Equal { .. });
                    !equal && lines.start < task.end && task.line <= lines.end + 1
                };
                if hunk.ops().iter().any(in_task) {
                    patch.push(' ');
                    patch.push_str(&task.title());
                }
            }
            patch.push('\n');
            patch.push_str(lines);
        }
    }
}

fn text(file: &Path) -> Result<Option<String>, Trouble> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Trouble::environment(format!("{}: {error}", file.display()))),
    }
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
