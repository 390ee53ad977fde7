//! Runs the checks of a step one after another and reports the results.

use std::any::Any;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome, labelled};
use crate::source::{Source, SourceLine, section};
use crate::{database, panics, service, starved, statements};

/// How long a check may take, unless [`Suite::limit`] says otherwise.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a check may go on after it has reached its limit, and how long the
/// suite waits for tasks that go on after their check.
const GRACE: Duration = Duration::from_millis(500);

/// The checks of one step. See the [crate documentation](crate) for a whole one.
pub struct Suite {
    step: String,
    manifest_dir: PathBuf,
    limit: Duration,
    checks: Vec<Check>,
}

struct Check {
    todo: &'static str,
    what: &'static str,
    paused: bool,
    start: Box<dyn FnOnce() -> Work + Send>,
}

/// Not `Send`: a check is made on the thread that runs it, so that the learner's
/// futures need not be `Send` either.
type Work = Pin<Box<dyn Future<Output = Outcome>>>;

impl Suite {
    /// `step` is the step's directory name, `manifest_dir` must be
    /// `env!("CARGO_MANIFEST_DIR")`, the folder of the crate under test.
    pub fn new(step: &str, manifest_dir: &str) -> Self {
        Self {
            step: step.to_owned(),
            manifest_dir: PathBuf::from(manifest_dir),
            limit: LIMIT,
            checks: Vec::new(),
        }
    }

    /// Adds a check that proves the learner's `TODO(todo)`. `what` completes the
    /// sentence "the check proves that ...". The future need not be `Send`.
    #[must_use]
    pub fn check<F, W>(self, todo: &'static str, what: &'static str, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + 'static,
    {
        self.add(todo, what, false, check)
    }

    /// As [`Suite::check`], on a runtime of one thread with tokio's paused clock:
    /// it stands still, and jumps to the next timer whenever no task can run. Use
    /// it for code without sockets and databases, since the clock would also jump
    /// while a task waits for one of those.
    #[must_use]
    pub fn paused_check<F, W>(self, todo: &'static str, what: &'static str, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + 'static,
    {
        self.add(todo, what, true, check)
    }

    fn add<F, W>(mut self, todo: &'static str, what: &'static str, paused: bool, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + 'static,
    {
        self.checks.push(Check {
            todo,
            what,
            paused,
            start: Box::new(move || Box::pin(check())),
        });
        self
    }

    /// Sets how long each check may take (default 10 s).
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the checks that the command line selects and prints the report. The
    /// arguments are `--json` for JSON, `--list` for the names only, `--report FILE`
    /// to write the JSON object into a file as well, `--fail-fast` to stop after the
    /// first failure, and `--brief` to count the checks beside the first failure
    /// instead of naming them. Any other word selects the checks whose number or
    /// text contains it.
    ///
    /// Once a check of a task has hung, the later checks of this task are not run
    /// and count as failed, since each would take its whole limit.
    ///
    /// Returns 0 when all checks passed. Returns 1 when one failed, or when the file
    /// of `--report` cannot be written, which stderr then says. Return it from
    /// `main`: a check that never ends is abandoned, and its thread ends with the
    /// process.
    ///
    /// # Panics
    /// When the library under test has installed a global `tracing` subscriber
    /// before `main` calls this.
    pub fn run(mut self) -> ExitCode {
        let arguments = Arguments::parse(std::env::args().skip(1));
        self.checks
            .retain(|check| arguments.selects(&format!("{} {}", check.todo, check.what)));
        if arguments.output == Output::List {
            for check in &self.checks {
                println!("{} {}: test", check.todo, check.what);
            }
            return ExitCode::SUCCESS;
        }

        statements::install();
        panics::install_panic_hook();
        let source = Source::new(&self.manifest_dir);
        let checks = std::mem::take(&mut self.checks);
        let mut results = Vec::with_capacity(checks.len());
        let mut hung = HashSet::new();
        for (number, check) in checks.into_iter().enumerate() {
            let (todo, what) = (check.todo, check.what);
            let result = if ids(todo).any(|id| hung.contains(id)) {
                CheckResult::NotRun
            } else {
                run_check(check, number, self.limit, &source)
            };
            if matches!(result, CheckResult::Hung(_)) {
                hung.extend(ids(todo));
            }
            let failed = !matches!(result, CheckResult::Passed);
            results.push(Verdict {
                todo,
                what,
                line: failed.then(|| source.find_todo(todo)).flatten(),
                result,
            });
            if arguments.fail_fast && failed {
                break;
            }
        }
        database::remove_leftovers();

        let report = Report {
            step: &self.step,
            results: &results,
            source: &source,
            brief: arguments.output == Output::Brief,
        };
        if arguments.output == Output::Json {
            println!("{}", report.json());
        } else {
            // Set by a program that passes this output on to a terminal.
            let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
            let colour = (forced || std::io::stdout().is_terminal())
                && std::env::var_os("NO_COLOR").is_none();
            print!("{}", report.text(colour));
        }
        if let Some(file) = &arguments.report
            && let Err(error) = std::fs::write(file, format!("{}\n", report.json()))
        {
            eprintln!("cannot write the report: {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
        if report.passed() == results.len() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The arguments of the command line. `cargo test` hands the arguments of libtest
/// to every test binary, so those are accepted and ignored.
#[derive(Default)]
struct Arguments {
    output: Output,
    exact: bool,
    /// libtest's `--ignored`. It selects no check, since none is ignored.
    ignored: bool,
    /// Stop after the first check that fails.
    fail_fast: bool,
    /// The file into which the JSON object is written as well.
    report: Option<PathBuf>,
    filters: Vec<String>,
}

#[derive(Default, PartialEq)]
enum Output {
    #[default]
    Text,
    /// Beside the first failure, the other checks are counted and not named.
    Brief,
    Json,
    /// Names only; nothing is run.
    List,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => arguments.output = Output::Json,
                "--list" => arguments.output = Output::List,
                "--exact" => arguments.exact = true,
                "--ignored" => arguments.ignored = true,
                "--fail-fast" => arguments.fail_fast = true,
                "--brief" => arguments.output = Output::Brief,
                "--report" => arguments.report = words.next().map(PathBuf::from),
                "--test-threads" | "--format" | "--logfile" | "--skip" | "--color"
                | "--shuffle-seed" | "-Z" => {
                    words.next();
                }
                word if word.starts_with('-') => {}
                _ => arguments.filters.push(word),
            }
        }
        arguments
    }

    fn selects(&self, name: &str) -> bool {
        let wanted = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter)
            }
        };
        !self.ignored && (self.filters.is_empty() || self.filters.iter().any(wanted))
    }
}

/// The name of the threads of a check. It tells the check's panics from those of
/// an earlier check that was abandoned and still runs.
fn thread_name(number: usize) -> String {
    format!("check-{number}")
}

/// The tasks that a check names: "05.1, 05.2" are two.
fn ids(todo: &str) -> impl Iterator<Item = &str> {
    todo.split(',').map(str::trim)
}

/// How a check ended.
enum CheckResult {
    Passed,
    Failed(Failure),
    /// It failed since something did not end within its limit.
    Hung(Failure),
    /// An earlier check of its task hung.
    NotRun,
}

const NOT_RUN: &str = "not run: an earlier check of this task did not end";

fn run_check(check: Check, number: usize, limit: Duration, source: &Source) -> CheckResult {
    panics::take();
    service::take_last_asked();
    service::take_timed_out();
    let (what, paused, start) = (check.what, check.paused, check.start);
    let (stop, stopped) = oneshot::channel();
    let (send, receive) = channel();
    let thread = std::thread::Builder::new().name(thread_name(number));
    let thread = thread.spawn(move || {
        let runtime = build_runtime(number, paused);
        // The limit comes from outside, since the clock in here may be paused.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async move {
                tokio::select! {
                    outcome = async move { start().await } => Some(outcome),
                    _ = stopped => None,
                }
            })
        }));
        // An error would mean that the suite does not wait any more.
        let _ = send.send(Event::Outcome(outcome));
        // Ends the tasks that the check has left, and with them their servers
        // and connections, so that the next check starts with a quiet process.
        runtime.shutdown_timeout(GRACE);
        let _ = send.send(Event::Ended);
    });
    let result = match thread {
        Ok(_detached) => wait_for_result(&receive, stop, limit, what),
        Err(error) => CheckResult::Failed(Failure::new(what, "a thread for the check", error)),
    };
    explained(result, number, source)
}

/// A panic of the check's threads is the cause of its failure, so it replaces
/// what the check itself has observed.
fn explained(result: CheckResult, number: usize, source: &Source) -> CheckResult {
    let of_this_check = |panic: &panics::Panic| {
        panic.thread == thread_name(number) || !panic.thread.starts_with("check-")
    };
    let panics: Vec<_> = panics::take().into_iter().filter(of_this_check).collect();
    let explain = |failure: Failure| match panics::explain(&panics, source, failure.asked()) {
        Some(explanation) => failure.with_got(explanation),
        None => failure,
    };
    match result {
        CheckResult::Failed(failure) => CheckResult::Failed(explain(failure)),
        CheckResult::Hung(failure) => CheckResult::Hung(explain(failure)),
        CheckResult::Passed | CheckResult::NotRun => result,
    }
}

enum Event {
    /// `None` when the check was stopped at its limit.
    Outcome(Result<Option<Outcome>, Box<dyn Any + Send>>),
    Ended,
}

fn wait_for_result(
    receive: &Receiver<Event>,
    stop: oneshot::Sender<()>,
    limit: Duration,
    what: &str,
) -> CheckResult {
    let mut event = starved::receive_within(receive, limit, starved::Processor::read);
    if matches!(event, Err(RecvTimeoutError::Timeout)) {
        // An error would mean that it has ended just now.
        let _ = stop.send(());
        event = receive.recv_timeout(GRACE);
    }
    let result = match event {
        Ok(Event::Outcome(Ok(Some(Ok(()))))) => CheckResult::Passed,
        Ok(Event::Outcome(Ok(Some(Err(failure))))) if service::take_timed_out() => {
            CheckResult::Hung(failure)
        }
        Ok(Event::Outcome(Ok(Some(Err(failure))))) => CheckResult::Failed(failure),
        Ok(Event::Outcome(Ok(None))) => hung(
            what,
            limit,
            "no end: an await that never completes, or a loop that does not stop",
        ),
        Ok(Event::Outcome(Err(_))) => {
            CheckResult::Failed(Failure::new(what, "no panic", "a panic"))
        }
        Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
            hung(what, limit, "the check's thread ended without a result")
        }
        Err(RecvTimeoutError::Timeout) => {
            return hung(
                what,
                limit,
                "no end, and the thread is never free for other tasks: a blocking call, or a \
                 loop without .await",
            );
        }
    };
    // Twice as long as the shutdown may take; a thread that takes longer is left
    // behind.
    let _ = receive.recv_timeout(GRACE * 2);
    result
}

fn hung(what: &str, limit: Duration, got: &str) -> CheckResult {
    let asked = match service::take_last_asked() {
        Some(request) => format!("{what}\nthe last request: {request}"),
        None => what.to_owned(),
    };
    let expected = format!("an end within {} s", limit.as_secs_f32());
    CheckResult::Hung(Failure::new(asked, expected, got))
}

fn build_runtime(number: usize, paused: bool) -> runtime::Runtime {
    let mut builder = if paused {
        runtime::Builder::new_current_thread()
    } else {
        runtime::Builder::new_multi_thread()
    };
    builder
        .worker_threads(2)
        .thread_name(thread_name(number))
        .enable_all()
        .start_paused(paused)
        .build()
        .expect("threads for the check's runtime")
}

struct Verdict {
    todo: &'static str,
    what: &'static str,
    result: CheckResult,
    /// Where the task's marker is, for a check that has not passed.
    line: Option<SourceLine>,
}

struct Report<'a> {
    step: &'a str,
    results: &'a [Verdict],
    source: &'a Source,
    brief: bool,
}

impl Report<'_> {
    fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.passed()).count()
    }

    fn json(&self) -> Value {
        let checks: Vec<_> = self.results.iter().map(Verdict::json).collect();
        json!({
            "step": self.step,
            "passed": self.passed(),
            "failed": self.results.len() - self.passed(),
            "checks": checks,
        })
    }

    fn text(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let (passed, all) = (self.passed(), self.results.len());
        let checks = if all == 1 { "check" } else { "checks" };
        let code = if passed == all { "32" } else { "31" };
        let head = format!("{}: {passed} of {all} {checks} passed", self.step);
        let mut text = format!("{}\n", paint(code, &head));

        let mut failed = self.results.iter().filter(|result| result.failed());
        if let Some(first) = failed.next() {
            let _ = write!(
                text,
                "\n{}  {}  {}\n{}\n",
                paint("1;31", "FAILED"),
                first.todo,
                first.what,
                self.details(first)
            );
        }
        let not_run = self.results.iter().filter(|result| result.not_run());
        if self.brief && passed < all {
            let _ = write!(text, "also failed: {}, ", failed.count());
            if let number @ 1.. = not_run.count() {
                let _ = write!(text, "not run: {number}, ");
            }
            let _ = writeln!(text, "passed: {passed}");
            return text;
        }
        text.push_str(&list("also failed", failed));
        text.push_str(&list(NOT_RUN, not_run));
        let heading = if passed < all { "passed" } else { "" };
        let fine = self.results.iter().filter(|result| result.passed());
        text.push_str(&list(heading, fine));
        text
    }

    /// The failure, and where the learner reads on.
    fn details(&self, result: &Verdict) -> String {
        let Some(failure) = result.failure() else {
            return String::new();
        };
        let mut text = failure.to_string();
        if let Some(line) = &result.line {
            let line = format!("{}:{}  {}", line.file, line.line, line.text);
            let _ = labelled(&mut text, "where", &line);
        }
        let readme = self
            .source
            .manifest_dir
            .parent()
            .map(|dir| dir.join("README.md"));
        if let Some(readme) = readme.filter(|path| path.is_file()) {
            // Of the tasks that a check names, the first is the one to do first.
            let todo = ids(result.todo).next().unwrap_or_default();
            let file = self.source.relative(&readme);
            let read = match section(&std::fs::read_to_string(&readme).unwrap_or_default(), todo) {
                Some((heading, line)) => format!("\"{heading}\" in {file}:{line}"),
                None => file,
            };
            let _ = labelled(&mut text, "read", &read);
            let _ = labelled(&mut text, "hint", &format!("./run.sh hint {todo}"));
        }
        text
    }
}

/// One line for each check below a heading; empty when there are no checks.
fn list<'a>(heading: &str, checks: impl Iterator<Item = &'a Verdict>) -> String {
    let mut text = String::new();
    for check in checks {
        if text.is_empty() && !heading.is_empty() {
            text = format!("{heading}\n");
        }
        let _ = writeln!(text, "  {}  {}", check.todo, check.what);
    }
    text
}

impl Verdict {
    fn passed(&self) -> bool {
        matches!(self.result, CheckResult::Passed)
    }

    fn failed(&self) -> bool {
        self.failure().is_some()
    }

    fn not_run(&self) -> bool {
        matches!(self.result, CheckResult::NotRun)
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.result {
            CheckResult::Failed(failure) | CheckResult::Hung(failure) => Some(failure),
            CheckResult::Passed | CheckResult::NotRun => None,
        }
    }

    fn json(&self) -> Value {
        let failure = self.failure();
        let status = match &self.result {
            CheckResult::Passed => "passed",
            CheckResult::Failed(_) | CheckResult::Hung(_) => "failed",
            CheckResult::NotRun => "not-run",
        };
        json!({
            "todo": self.todo,
            "name": self.what,
            "status": status,
            "asked": failure.map(Failure::asked),
            "expected": failure.map(Failure::expected),
            "got": if self.not_run() { Some(NOT_RUN) } else { failure.map(Failure::got) },
            "file": self.line.as_ref().map(|line| &line.file),
            "line": self.line.as_ref().map(|line| line.line),
        })
    }
}
