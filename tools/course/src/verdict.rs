//! The verdict of a check program: the object of its `--json`, and as text.

use std::fmt::{self, Display, Write};

use serde::{Deserialize, Serialize};

use crate::pages;

/// What a check program says of a step. The harness writes it; the coach and
/// `verify` read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// The step's folder, `05-engine`.
    pub step: String,
    pub passed: usize,
    /// Those that were not run included.
    pub failed: usize,
    pub checks: Vec<Check>,
}

/// One check. All options are `None` where it has passed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// The task's id, `05.1`; several with commas.
    pub todo: String,
    /// What the check proves.
    pub name: String,
    pub status: Status,
    pub asked: Option<String>,
    pub expected: Option<String>,
    pub got: Option<String>,
    /// Where the task's marker is, relative to the workspace.
    pub file: Option<String>,
    pub line: Option<usize>,
    /// Where all regions of the task are, as [`crate::Task::location`] says it, for the text
    /// only.
    #[serde(skip)]
    pub regions: Vec<String>,
    pub reread: Option<Reread>,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Passed,
    Failed,
    /// An earlier check of its task did not end. It counts as failed.
    NotRun,
}

/// The heading of the checks that were not run.
pub const NOT_RUN: &str = "not run: an earlier check of this task did not end";

/// The section of the chapter that explains what a task needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reread {
    /// The heading without `#` and backquotes.
    pub section: String,
    pub file: String,
    pub line: usize,
    /// Headings and lines of further sections of the same file, for the text only.
    #[serde(skip)]
    pub more: Vec<(String, usize)>,
}

impl Display for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        write!(f, "\"{}\" in {file}:{}", self.section, self.line)?;
        for (section, line) in &self.more {
            write!(f, "\n\"{section}\" in {file}:{line}")?;
        }
        Ok(())
    }
}

/// The tasks that a check names: "05.1, 05.2" are two. The first is the one to do
/// first.
pub fn ids(todo: &str) -> impl Iterator<Item = &str> {
    todo.split([',', ' ']).filter(|id| !id.is_empty())
}

impl Check {
    pub fn failed(&self) -> bool {
        self.status != Status::Passed
    }
}

/// The failure in full: what was asked, expected and got, where the task is,
/// what to read and how to get a hint.
impl Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let regions = (!self.regions.is_empty()).then(|| self.regions.join("\n"));
        for (label, text) in [
            ("asked", &self.asked),
            ("expected", &self.expected),
            ("got", &self.got),
            ("where", &regions),
            ("read", &self.reread.as_ref().map(ToString::to_string)),
            ("hint", &self.hint),
        ] {
            if let Some(text) = text {
                labelled(f, label, text)?;
            }
        }
        Ok(())
    }
}

/// Writes `label  text`; further lines of the text are indented as the first.
pub fn labelled(out: &mut impl Write, label: &str, text: &str) -> fmt::Result {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    writeln!(out, "  {label:<10}{}", first.trim_end())?;
    for line in lines {
        writeln!(out, "  {:<10}{line}", "")?;
    }
    Ok(())
}

impl Verdict {
    pub fn new(step: &str, checks: Vec<Check>) -> Self {
        let failed = checks.iter().filter(|check| check.failed()).count();
        Self {
            step: step.to_owned(),
            passed: checks.len() - failed,
            failed,
            checks,
        }
    }

    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.failed())
    }

    /// Fills in what to read in the chapter `file`, whose text is `chapter`, and
    /// the command for a hint, for each check that has not passed.
    pub fn advise(&mut self, chapter: &str, file: &str) {
        for check in self.checks.iter_mut().filter(|check| check.failed()) {
            let id = ids(&check.todo).next().unwrap_or_default();
            check.reread = pages::reread(chapter, file, id);
            check.hint = Some(format!("./run.sh hint {id}"));
        }
    }

    /// The verdict for people: the first failure in full, the other checks by
    /// name. With `brief`, beside a failure the others are only counted.
    pub fn text(&self, colour: bool, brief: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let of = |status| self.checks.iter().filter(move |it| it.status == status);
        let (passed, all) = (self.passed, self.checks.len());
        let checks = if all == 1 { "check" } else { "checks" };
        let code = if passed == all { "32" } else { "31" };
        let head = format!("{}: {passed} of {all} {checks} passed", self.step);
        let mut text = format!("{}\n", paint(code, &head));

        let mut failed = of(Status::Failed);
        if let Some(first) = failed.next() {
            let mark = paint("1;31", "FAILED");
            let _ = write!(text, "\n{mark}  {}  {}\n{first}\n", first.todo, first.name);
        }
        if brief && passed < all {
            let _ = write!(text, "also failed: {}, ", failed.count());
            if let number @ 1.. = of(Status::NotRun).count() {
                let _ = write!(text, "not run: {number}, ");
            }
            let _ = writeln!(text, "passed: {passed}");
            return text;
        }
        list(&mut text, "also failed", failed);
        list(&mut text, NOT_RUN, of(Status::NotRun));
        let heading = if passed < all { "passed" } else { "" };
        list(&mut text, heading, of(Status::Passed));
        text
    }
}

/// One line for each check below a heading; nothing when there are no checks.
fn list<'a>(text: &mut String, heading: &str, checks: impl Iterator<Item = &'a Check>) {
    for (index, check) in checks.enumerate() {
        if index == 0 && !heading.is_empty() {
            let _ = writeln!(text, "{heading}");
        }
        let _ = writeln!(text, "  {}  {}", check.todo, check.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(todo: &str, name: &str, status: Status) -> Check {
        Check {
            todo: todo.into(),
            name: name.into(),
            status,
            asked: None,
            expected: None,
            got: None,
            file: None,
            line: None,
            regions: Vec::new(),
            reread: None,
            hint: None,
        }
    }

    #[test]
    fn a_whole_failure_as_text() {
        let mut failed = check("05.2", "an order has its items", Status::Failed);
        failed.asked = Some("GET /api/orders/1".into());
        failed.expected = Some("{\n  \"id\": 1\n}".into());
        failed.got = Some("status 500\n  an empty body".into());
        failed.file = Some("src/server.rs".into());
        failed.line = Some(7);
        failed.regions = (7..9)
            .map(|line| format!("src/server.rs:{line}  TODO(05.2): read the items"))
            .collect();
        failed.reread = Some(Reread {
            section: "Items".into(),
            file: "README.md".into(),
            line: 40,
            more: vec![("Rows".into(), 52)],
        });
        failed.hint = Some("./run.sh hint 05.2".into());
        let verdict = Verdict::new(
            "05-engine",
            vec![
                check("05.1", "nothing is opened early", Status::Passed),
                failed,
                check("05.2", "an order has its total", Status::NotRun),
            ],
        );
        let failure = "\
FAILED  05.2  an order has its items
  asked     GET /api/orders/1
  expected  {
              \"id\": 1
            }
  got       status 500
              an empty body
  where     src/server.rs:7  TODO(05.2): read the items
            src/server.rs:8  TODO(05.2): read the items
  read      \"Items\" in README.md:40
            \"Rows\" in README.md:52
  hint      ./run.sh hint 05.2
";
        let head = "05-engine: 1 of 3 checks passed";
        let others = format!(
            "{NOT_RUN}\n  05.2  an order has its total\n\
             passed\n  05.1  nothing is opened early\n"
        );
        let plain = verdict.text(false, false);
        assert_eq!(plain, format!("{head}\n\n{failure}\n{others}"));
        let brief = verdict.text(false, true);
        let counts = "also failed: 0, not run: 1, passed: 1\n";
        assert_eq!(brief, format!("{head}\n\n{failure}\n{counts}"));
    }
}
