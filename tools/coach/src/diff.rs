//! `diff`: the way from the exercise to the solution, or from one step's
//! solution to another's, as a patch that `git apply` takes.

use std::path::Path;
use std::{fs, io};

use course::{Side, Task, regions, slashed};
use similar::{Algorithm, DiffOp, TextDiff};

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Prints the patch: with one step, or none, which means the current one, from its
/// exercise to its solution, with two from the first's solution to the second's.
/// Nothing on stdout if there is no difference.
///
/// Both sides of the patch carry the path of what it can be tried on: the
/// exercise, which it turns into the solution, or the second step's solution,
/// which it turns back (`git apply -R`) into the first's.
pub fn diff(project: &Project, step: Option<&str>, other: Option<&str>) -> Result<(), Trouble> {
    let (from, _) = project.named(step)?;
    let to = other.map(|other| project.resolve(other)).transpose()?;
    let to = to.map(|(to, _)| to);
    let (side, last) = match &to {
        None => (Side::Exercise, &from),
        Some(to) => (Side::Solution, to),
    };
    let old = from.crate_folder(side);
    let new = last.crate_folder(Side::Solution);
    let shown_as = last.crate_dir(side);
    let files = |folder| course::files(folder).map_err(|it| Trouble::environment(it.to_string()));
    let mut found = files(&new)?;
    // Files that only the exercise has are the learner's, and not ours to remove.
    if to.is_some() {
        found.extend(files(&old)?);
    }
    let mut patch = String::new();
    for file in &found {
        let mut old = text(&old.join(file))?;
        let mut new = text(&new.join(file))?;
        // The names of the two crates differ by design and would only be noise.
        match &to {
            Some(to) => {
                let (from, to) = (from.label(), to.label());
                let renamed =
                    |text: String| text.replace(&format!("step{from}"), &format!("step{to}"));
                old = old.map(renamed);
            }
            None => new = new.map(|text| from.as_exercise(&text)),
        }
        if old != new {
            let name = format!("{shown_as}/{}", slashed(file));
            add(
                &mut patch,
                &name,
                old.as_deref(),
                new.as_deref(),
                to.is_none(),
            );
        }
    }
    if patch.is_empty() {
        eprintln!("no difference");
    }
    screen::print(&patch);
    Ok(())
}

/// A line of a patch: heads bold, positions cyan, old lines red, new green.
fn line(patch: &mut String, style: &str, text: &str) {
    patch.push_str(&screen::styled(style, text));
    patch.push('\n');
}

/// The part of a file that differs; `None` is a file that is not there. If the old
/// file's regions are the learner's tasks, a hunk is headed with those that it touches.
pub fn add(patch: &mut String, name: &str, old: Option<&str>, new: Option<&str>, has_tasks: bool) {
    line(patch, "1", &format!("diff --git a/{name} b/{name}"));
    let (old_name, new_name) = (format!("a/{name}"), format!("b/{name}"));
    let (from, to) = match (old, new) {
        (None, _) => {
            line(patch, "1", "new file mode 100644");
            ("/dev/null", &*new_name)
        }
        (_, None) => {
            line(patch, "1", "deleted file mode 100644");
            (&*old_name, "/dev/null")
        }
        _ => (&*old_name, &*new_name),
    };
    line(patch, "1", &format!("--- {from}"));
    line(patch, "1", &format!("+++ {to}"));
    let tasks = old.filter(|_| has_tasks);
    let tasks = tasks.map_or_else(Vec::new, |old| regions(name, old));
    // Patience keeps functions whole where the shortest diff would pair their
    // braces and blank lines at random.
    let changes = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .diff_lines(old.unwrap_or_default(), new.unwrap_or_default());
    for hunk in changes.unified_diff().iter_hunks() {
        // The old lines that are replaced or inserted at.
        let in_task = |task: &&Task| {
            hunk.ops().iter().any(|op| {
                let lines = op.old_range();
                let equal = matches!(op, DiffOp::Equal { .. });
                !equal && lines.start < task.end && task.line <= lines.end + 1
            })
        };
        let titles = tasks.iter().filter(in_task).map(Task::title);
        let titles = titles.collect::<Vec<_>>().join("; ");
        let head = format!("{} {titles}", hunk.header());
        let head = head.trim_end();
        line(patch, "36", head);
        for text in hunk.to_string().trim_end_matches('\n').split('\n').skip(1) {
            let style = match text.as_bytes().first() {
                Some(b'-') => "31",
                Some(b'+') => "32",
                _ => "0",
            };
            line(patch, style, text);
        }
    }
}

fn text(file: &Path) -> Result<Option<String>, Trouble> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some).map_err(Trouble::at(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_is_headed_with_all_tasks_that_it_touches() {
        let old = "// TODO(05.1): one\na\n// END TODO(05.1)\n\
                   // TODO(05.2): two\nb\n// END TODO(05.2)\n";
        let mut patch = String::new();
        let new = old.replace("\na\n", "\nA\n").replace("\nb\n", "\nB\n");
        add(&mut patch, "a.rs", Some(old), Some(&new), true);
        let head = patch.lines().find(|line| line.starts_with("@@"));
        let expected = "@@ -1,6 +1,6 @@ TODO(05.1): one; TODO(05.2): two";
        assert_eq!(head, Some(expected), "{patch}");
    }
}
