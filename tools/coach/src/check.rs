//! `check`: builds a step's check program, runs it, and says what to do next.
//!
//! Cargo builds, the check program judges; the coach passes on what both say,
//! tells apart whose fault a failure is, and leads from a failure to the
//! chapter and the hints. `tools/coach/README.md` describes the object of
//! `--json`, `tools/coach/check.schema.json` is its schema.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Args;
use course::{Check, Progress, Side, Step, Task, Verdict, ids, task_number};
use serde::Serialize;

use crate::ask;
use crate::cargo::{self, Built};
use crate::errors;
use crate::last::Last;
use crate::markers::{self, Tasks};
use crate::project::{Project, chosen};
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "the verb's flags")]
pub struct Request {
    /// 5, 05, 05-engine, steps/05-engine/exercise, or a task: 05.2
    step: Option<String>,
    /// Run only the checks whose name contains this
    filter: Option<String>,
    /// Check the solution instead of the exercise
    #[arg(long)]
    solution: bool,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    /// The first failure, and how many others; not their names
    #[arg(long)]
    brief: bool,
    /// Show every error of the compiler; without it, the first in full
    #[arg(long)]
    all: bool,
}

#[derive(Default, Serialize)]
struct Report {
    step: String,
    side: String,
    chapter: String,
    filter: Option<String>,
    status: Status,
    message: Option<String>,
    passed: usize,
    failed: usize,
    checks: Vec<Check>,
    errors: Vec<errors::Error>,
    now_works: Option<String>,
    r#try: Option<String>,
    next: Option<Next>,
    diff: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Passed,
    Failed,
    DoesNotCompile,
    /// The check program ended without a report.
    #[default]
    BrokeOff,
}

#[derive(Serialize)]
struct Next {
    step: String,
    chapter: String,
    checkout: String,
}

/// Checks a step. The exit code is 0 if all checks passed and 1 if one failed
/// or the step does not compile. A whole run of the exercise that passes marks
/// the step as done.
pub fn check(project: &Project, request: &Request) -> Result<ExitCode, Trouble> {
    let mut filter = request.filter.clone();
    let (step, side) = match &request.step {
        Some(text) => match project.resolve_task(text) {
            // `check 05.2` is `check 05 05.2`.
            Ok((step, Some(task))) if filter.is_none() => {
                filter = Some(format!("{}.{task}", step.label()));
                (step, None)
            }
            _ => project.resolve(text)?,
        },
        None => project.current()?,
    };
    let side = chosen(request.solution, side);
    let mut report = Report {
        step: step.slug.clone(),
        side: side.to_string(),
        chapter: step.readme(),
        filter: filter.clone(),
        diff: format!("./run.sh diff {}", step.label()),
        ..Report::default()
    };
    let tasks = match side {
        Side::Exercise => Tasks::of(project, &step),
        Side::Solution => Tasks::default(),
    };
    match cargo::build(project, &step, side, &cargo::Wanted::Check)? {
        Built::Broken(mut errors) => {
            report.status = Status::DoesNotCompile;
            // What a task points to comes before what only follows from it.
            errors.sort_by_key(|error| error.task(project).is_none());
            errors::render(&errors, request.all);
            let chapter = step.chapter_text();
            let errors = errors.into_iter();
            let lead = |error| errors::lead(project, &step, &chapter, error, &tasks);
            report.errors = errors.map(lead).collect();
        }
        Built::Program { program, tests } => {
            let folder = step.crate_folder(side);
            if let Some(filter) = &filter {
                require_match(&program, &folder, filter, &step)?;
            }
            let mut command = Command::new(&program);
            // Where cargo would start it, so that relative paths mean the same.
            command.current_dir(&folder).envs(tests);
            let (status, verdict) =
                run(command, filter.as_deref(), request).map_err(Trouble::at(&program))?;
            report.judge(&step, status, verdict);
        }
    }
    let whole = filter.is_none() && side == Side::Exercise;
    if whole && report.status == Status::Passed {
        report.what_next(project, &step)?;
    }
    if side == Side::Exercise {
        remember(project, &step, &report, whole);
    }
    if request.json {
        let text = serde_json::to_string(&report)
            .map_err(|error| Trouble::at("the report")(error.into()))?;
        screen::print(&(text + "\n"));
    } else {
        report.show(&step, side, whole, &tasks.lost);
    }
    if report.status != Status::Passed {
        for task in &tasks.lost {
            eprintln!("\n{}", markers::advice(task));
        }
    }
    Ok(ExitCode::from(u8::from(report.status != Status::Passed)))
}

/// A filter that selects no check would report "0 of 0 passed", which looks like
/// success.
fn require_match(program: &Path, folder: &Path, filter: &str, step: &Step) -> Result<(), Trouble> {
    let mut list = Command::new(program);
    list.current_dir(folder).stdin(Stdio::null());
    let output = list.args(["--list", filter]).output();
    let output = output.map_err(Trouble::at(program))?;
    if output.stdout.is_empty() {
        return Err(Trouble::usage(format!(
            "no check of {} has \"{filter}\" in its task or its text; \
             ./run.sh check {} runs all",
            step.slug,
            step.label()
        )));
    }
    Ok(())
}

/// Runs the check program. Its text goes to our stdout, or nowhere with
/// `--json`; what it reports comes in a file, so that nothing that the code
/// under test prints is mistaken for it. `None` if it has not reported.
fn run(
    mut command: Command,
    filter: Option<&str>,
    request: &Request,
) -> io::Result<(ExitStatus, Option<Verdict>)> {
    let file = tempfile::NamedTempFile::new()?;
    command
        .stdin(Stdio::null())
        .arg("--report")
        .arg(file.path())
        .args(filter);
    if request.brief {
        command.arg("--brief");
    }
    if request.json {
        command.stdout(Stdio::null());
    }
    let status = command.status()?;
    let text = fs::read(file.path())?;
    Ok((status, serde_json::from_slice(&text).ok()))
}

impl Report {
    /// Takes over what the check program says.
    fn judge(&mut self, step: &Step, status: ExitStatus, verdict: Option<Verdict>) {
        let Some(mut verdict) = verdict else {
            self.message = Some(format!(
                "the check program ended before its report ({status}): \
                 something ended the process, as std::process::exit or an overflown stack do"
            ));
            return;
        };
        // Both have to say so: a process that ends early with code 0 is no success.
        self.status = if status.success() && verdict.failed == 0 && verdict.passed > 0 {
            Status::Passed
        } else {
            Status::Failed
        };
        self.passed = verdict.passed;
        self.failed = verdict.failed;
        verdict.advise(&step.chapter_text(), &step.readme());
        self.checks = verdict.checks;
    }

    /// What the chapter says of a step that is solved, and which step follows.
    fn what_next(&mut self, project: &Project, step: &Step) -> Result<(), Trouble> {
        let chapter = step.chapter();
        self.now_works = chapter.now_works;
        self.r#try = chapter.try_by_hand.map(|line| match ask::address() {
            Ok(address) => line.replace(ask::ADDRESS, &address),
            Err(_) => line,
        });
        self.next = project.next_step(step)?.map(|next| Next {
            chapter: next.readme(),
            checkout: format!("./run.sh checkout {}", next.label()),
            step: next.slug,
        });
        Ok(())
    }

    /// What is to be said besides what cargo and the check program have printed.
    fn show(&self, step: &Step, side: Side, whole: bool, lost: &[Task]) {
        if self.status == Status::DoesNotCompile {
            eprintln!(
                "\n{}: the {side} does not compile; no check has run",
                step.slug
            );
            errors::show(&self.errors, step, side, lost.is_empty());
        }
        if let Some(message) = &self.message {
            eprintln!("{message}");
        }
        if self.status != Status::Passed || !whole {
            return;
        }
        let say = |line: String| screen::print(&(line + "\n"));
        say(String::new());
        if let Some(works) = &self.now_works {
            say(prose::hanging(&format!("Now works: {works}"), 0));
        }
        // Not wrapped, since command lines are to be copied.
        if let Some(line) = &self.r#try {
            say(format!("Try by hand: {line}"));
        }
        say(match &self.next {
            Some(next) => format!("Next: {} ({})", next.chapter, next.checkout),
            None => "That was the last step.".to_owned(),
        });
        say(format!("Compare with our solution: {}", self.diff));
    }
}

fn remember(project: &Project, step: &Step, report: &Report, whole: bool) {
    let mut last = Last::load(project, step);
    // Where nothing is known of the other tasks, one that passes says nothing about which
    // one fails first.
    let known = whole || !last.failed.is_empty();
    let judged = matches!(report.status, Status::Passed | Status::Failed);
    if whole && judged {
        last.failed.clear();
    }
    last.update(step, &report.checks);
    last.store(project);
    let id = match report.status {
        Status::DoesNotCompile => report.errors.iter().find_map(|error| error.todo.as_deref()),
        _ => last.failed.first().and_then(|(todo, _)| ids(todo).next()),
    };
    let task = id.and_then(task_number);
    Progress::update(&project.root, |progress| {
        if task.is_some() || (known && judged) {
            progress.set_failed(step, task);
        }
        if whole && report.status == Status::Passed {
            progress.set_done(step, true);
        }
    });
}
