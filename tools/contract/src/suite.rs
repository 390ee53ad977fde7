//! Runs the checks of a step one after another and reports.

use std::any::Any;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome, labelled};
use crate::{database, service, starved, statements};

/// How long a check may take, unless [`Suite::limit`] says otherwise.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a check that has reached its limit may take to notice it, and how
/// long tasks that go on after their check are waited for.
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

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Suite {
    /// `step` is the step's directory name, `manifest_dir` must be
    /// `env!("CARGO_MANIFEST_DIR")`: it says which source the learner edits.
    pub fn new(step: &str, manifest_dir: &str) -> Self {
        Self {
            step: step.to_owned(),
            manifest_dir: PathBuf::from(manifest_dir),
            limit: LIMIT,
            checks: Vec::new(),
        }
    }

    /// Adds a check that proves the learner's `TODO(todo)`. `what` completes the
    /// sentence "the check proves that ...".
    #[must_use]
    pub fn check<F, W>(self, todo: &'static str, what: &'static str, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + Send + 'static,
    {
        self.add(todo, what, false, check)
    }

    /// As [`Suite::check`], on a runtime of one thread whose clock stands still
    /// and jumps to the next timer whenever nothing else can run. For code
    /// without sockets and databases: waiting for those would let the clock jump.
    #[must_use]
    pub fn paused_check<F, W>(self, todo: &'static str, what: &'static str, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + Send + 'static,
    {
        self.add(todo, what, true, check)
    }

    fn add<F, W>(mut self, todo: &'static str, what: &'static str, paused: bool, check: F) -> Self
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = Outcome> + Send + 'static,
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

    /// Runs the checks that the command line asks for and prints the report:
    /// `--json` for JSON, `--list` for names only, `--report FILE` for the JSON
    /// object in a file besides what is printed, `--fail-fast` to stop after the
    /// first failure, `--brief` for numbers in place of the other checks' names,
    /// any other word for the checks whose number or text contains it.
    ///
    /// Returns 0 when all passed and 1 when one failed or the file of `--report`
    /// cannot be written, which stderr says. Return it from `main`: a
    /// check that never ends is abandoned, and its thread ends with the process.
    ///
    /// # Panics
    /// When the library under test installs a global `tracing` subscriber before
    /// `main` gets here.
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
        std::panic::set_hook(Box::new(record_panic));
        let source = Source::new(&self.manifest_dir);
        let checks = std::mem::take(&mut self.checks);
        let mut results = Vec::with_capacity(checks.len());
        for (number, check) in checks.into_iter().enumerate() {
            let (todo, what) = (check.todo, check.what);
            let failure = run_check(check, number, self.limit, &source).err();
            results.push(Verdict {
                todo,
                what,
                place: failure.is_some().then(|| source.find_todo(todo)).flatten(),
                failure,
            });
            if arguments.fail_fast && results.last().is_some_and(|last| last.failure.is_some()) {
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
            // A program that passes our output on to a terminal says so.
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
        if results.iter().all(|result| result.failure.is_none()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for. `cargo test` hands the arguments of libtest
/// to every test binary, so those are taken without a word.
#[derive(Default)]
struct Arguments {
    output: Output,
    exact: bool,
    /// No check is an ignored one, so this asks for none.
    ignored: bool,
    /// Nothing is run after the first check that fails.
    fail_fast: bool,
    /// Where the JSON object goes besides what is printed.
    report: Option<PathBuf>,
    filters: Vec<String>,
}

#[derive(Default, PartialEq)]
enum Output {
    #[default]
    Text,
    /// Beside a failure, the other checks are counted and not named.
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

/// A panic that was seen while a check ran.
#[derive(Debug, Clone)]
struct Panic {
    thread: String,
    file: String,
    line: u32,
    message: String,
}

static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

/// The panic hook while checks run: keeps what the default one would print, for
/// the report.
fn record_panic(info: &PanicHookInfo<'_>) {
    let location = info.location();
    let panic = Panic {
        thread: std::thread::current().name().unwrap_or_default().to_owned(),
        file: location.map_or_else(String::new, |at| at.file().to_owned()),
        line: location.map_or(0, std::panic::Location::line),
        message: info.payload_as_str().unwrap_or("(no message)").to_owned(),
    };
    PANICS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(panic);
}

fn take_panics() -> Vec<Panic> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The name of the threads of a check, by which its panics are told from those
/// of an earlier check that was abandoned and goes on.
fn thread_name(number: usize) -> String {
    format!("check-{number}")
}

fn run_check(check: Check, number: usize, limit: Duration, source: &Source) -> Outcome {
    take_panics();
    service::take_last_asked();
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
        // An error would mean that nobody waits any more.
        let _ = send.send(Event::Outcome(outcome));
        // Ends the tasks that the check has left, and with them their servers
        // and connections, so that the next check starts with a quiet process.
        runtime.shutdown_timeout(GRACE);
        let _ = send.send(Event::Ended);
    });
    let outcome = match thread {
        Ok(_detached) => wait_for_outcome(&receive, stop, limit, what),
        Err(error) => Err(Failure::new(what, "a thread for the check", error)),
    };

    let mine =
        |panic: &Panic| panic.thread == thread_name(number) || !panic.thread.starts_with("check-");
    let panics: Vec<_> = take_panics().into_iter().filter(mine).collect();
    outcome.map_err(|failure| match source.explain(&panics) {
        Some(explanation) => failure.with_got(explanation),
        None => failure,
    })
}

enum Event {
    /// `None` when the check was stopped at its limit.
    Outcome(Result<Option<Outcome>, Box<dyn Any + Send>>),
    Ended,
}

fn wait_for_outcome(
    receive: &Receiver<Event>,
    stop: oneshot::Sender<()>,
    limit: Duration,
    what: &str,
) -> Outcome {
    let expected = format!("an end within {} s", limit.as_secs_f32());
    let hung = |why: &str| {
        let asked = match service::take_last_asked() {
            Some(request) => format!("{what}\nthe last request: {request}"),
            None => what.to_owned(),
        };
        Err(Failure::new(asked, &expected, why))
    };

    let mut event = starved::receive_within(receive, limit, starved::Processor::read);
    if matches!(event, Err(RecvTimeoutError::Timeout)) {
        // An error would mean that it has ended just now.
        let _ = stop.send(());
        event = receive.recv_timeout(GRACE);
    }
    let outcome = match event {
        Ok(Event::Outcome(Ok(Some(outcome)))) => outcome,
        Ok(Event::Outcome(Ok(None))) => {
            hung("no end: an await that never comes, or a loop that does not stop")
        }
        Ok(Event::Outcome(Err(_))) => Err(Failure::new(what, "no panic", "a panic")),
        Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => hung("no outcome"),
        Err(RecvTimeoutError::Timeout) => {
            return hung(
                "no end, and the thread does not give way: a blocking call, or a loop \
                 without .await",
            );
        }
    };
    // Twice what the shutdown allows itself; a thread that takes longer is left.
    let _ = receive.recv_timeout(GRACE * 2);
    outcome
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
        .expect("the system gives threads for a runtime")
}

/// The source under test: places in it, as the learner knows them.
struct Source {
    /// What the paths in a report are relative to.
    root: PathBuf,
    manifest_dir: PathBuf,
}

/// A line of the source.
struct Place {
    /// Relative to the workspace's root.
    file: String,
    line: usize,
    text: String,
}

impl Source {
    fn new(manifest_dir: &Path) -> Self {
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

    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }

    /// The line that opens `TODO(todo)`: a place to go to, never a judgement.
    fn find_todo(&self, todo: &str) -> Option<Place> {
        let mark = format!("TODO({todo})");
        let end = format!("END {mark}");
        let mut files = Vec::new();
        rust_files(&self.manifest_dir.join("src"), &mut files);
        files.sort();
        files.iter().find_map(|path| {
            let content = std::fs::read_to_string(path).ok()?;
            let opens = |line: &&str| line.contains(&mark) && !line.contains(&end);
            let (index, line) = content.lines().enumerate().find(|(_, line)| opens(line))?;
            Some(Place {
                file: self.relative(path),
                line: index + 1,
                text: line.trim().trim_start_matches('/').trim().to_owned(),
            })
        })
    }

    /// The panic that most likely is behind a failure: the first in the source
    /// under test, else the first at all.
    fn explain(&self, panics: &[Panic]) -> Option<String> {
        // rustc names the files of workspace members relative to the root.
        let is_here = |panic: &&Panic| self.root.join(&panic.file).starts_with(&self.manifest_dir);
        let here = panics.iter().find(is_here);
        let panic = here.or(panics.first())?;
        let who = if here.is_some() {
            "your code panicked at"
        } else {
            "panic at"
        };
        let file = self.relative(&self.root.join(&panic.file));
        Some(format!("{who} {file}:{}: {}", panic.line, panic.message))
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
fn section(chapter: &str, todo: &str) -> Option<(String, usize)> {
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

struct Verdict {
    todo: &'static str,
    what: &'static str,
    failure: Option<Failure>,
    place: Option<Place>,
}

struct Report<'a> {
    step: &'a str,
    results: &'a [Verdict],
    source: &'a Source,
    brief: bool,
}

impl Report<'_> {
    fn passed(&self) -> usize {
        let passed = |result: &&Verdict| result.failure.is_none();
        self.results.iter().filter(passed).count()
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

        let mut failed = self
            .results
            .iter()
            .filter(|result| result.failure.is_some());
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
        if self.brief && passed < all {
            let _ = writeln!(text, "also failed: {}, passed: {passed}", failed.count());
            return text;
        }
        let line = |result: &Verdict| format!("  {}  {}\n", result.todo, result.what);
        let others: String = failed.map(line).collect();
        if !others.is_empty() {
            let _ = write!(text, "also failed\n{others}");
        }
        if 0 < passed && passed < all {
            text.push_str("passed\n");
        }
        let fine = self
            .results
            .iter()
            .filter(|result| result.failure.is_none());
        text.extend(fine.map(line));
        text
    }

    /// Everything there is to say about one failure.
    fn details(&self, result: &Verdict) -> String {
        let Some(failure) = &result.failure else {
            return String::new();
        };
        let mut text = failure.to_string();
        if let Some(place) = &result.place {
            let place = format!("{}:{}  {}", place.file, place.line, place.text);
            let _ = labelled(&mut text, "where", &place);
        }
        let readme = self
            .source
            .manifest_dir
            .parent()
            .map(|dir| dir.join("README.md"));
        if let Some(readme) = readme.filter(|path| path.is_file()) {
            // A check may name several tasks, "05.1, 05.2": the first comes first.
            let todo = result.todo.split(',').next().unwrap_or_default().trim();
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

impl Verdict {
    fn json(&self) -> Value {
        let failure = self.failure.as_ref();
        let place = self.place.as_ref();
        json!({
            "todo": self.todo,
            "name": self.what,
            "status": if failure.is_some() { "failed" } else { "passed" },
            "asked": failure.map(Failure::asked),
            "expected": failure.map(Failure::expected),
            "got": failure.map(Failure::got),
            "file": place.map(|place| &place.file),
            "line": place.map(|place| place.line),
        })
    }
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
