//! Runs the checks of a step one after another and reports the results.

use std::any::Any;
use std::collections::HashSet;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use course::{NOT_RUN, Status, Task, Verdict, ids};
use tokio::runtime;
use tokio::sync::{oneshot, watch};

use crate::failure::{Failure, Outcome, shortened};
use crate::source::Source;
use crate::{database, panics, service, starved, statements};

/// How long a check may take, unless [`Suite::limit`] says otherwise.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a check may go on after it has reached its limit, and how long the
/// suite waits for tasks that go on after their check.
const GRACE: Duration = Duration::from_millis(500);

/// How many checks have tasks that are not gone yet: the one that runs, and earlier
/// ones that the suite has given up waiting for.
pub(crate) static RUNNING: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// A zone in which local time is never UTC, in the form that needs no table of
/// zones: five and a half hours ahead.
const FAR_ZONE: &str = "FAR-5:30";

/// Starts this program again in [`FAR_ZONE`], unless it runs there already: on a
/// machine whose clock shows UTC, a local time would pass for UTC. The zone of a
/// process can only be set when it starts.
fn far_from_utc() -> std::io::Result<()> {
    if std::env::var_os("TZ").is_some_and(|zone| zone == FAR_ZONE) {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env("TZ", FAR_ZONE);
    #[cfg(unix)]
    return Err(std::os::unix::process::CommandExt::exec(&mut again));
    #[cfg(not(unix))]
    std::process::exit(again.status()?.code().unwrap_or(1));
}

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
    beside: bool,
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
    pub fn check(
        mut self,
        todo: &'static str,
        what: &'static str,
        check: impl AsyncFnOnce() -> Outcome + Send + 'static,
    ) -> Self {
        self.checks.push(Check {
            todo,
            what,
            paused: false,
            beside: false,
            start: Box::new(move || Box::pin(async move { check().await })),
        });
        self
    }

    /// As [`Suite::check`], on a runtime of one thread with tokio's paused clock:
    /// it stands still, and jumps to the next timer whenever no task can run. Use
    /// it for code without sockets and databases, since the clock would also jump
    /// while a task waits for one of those.
    #[must_use]
    pub fn paused_check(
        mut self,
        todo: &'static str,
        what: &'static str,
        check: impl AsyncFnOnce() -> Outcome + Send + 'static,
    ) -> Self {
        self = self.check(todo, what, check);
        if let Some(check) = self.checks.last_mut() {
            check.paused = true;
        }
        self
    }

    /// As [`Suite::check`], and the later checks do not wait for its end. It is for a check
    /// that mostly waits. Neither it nor a check after it may look at the whole process, as
    /// [`Recording`](crate::statements::Recording) and
    /// [`peak_during`](crate::memory::peak_during) do, and it needs a database of its own.
    #[must_use]
    pub fn check_beside(
        mut self,
        todo: &'static str,
        what: &'static str,
        check: impl AsyncFnOnce() -> Outcome + Send + 'static,
    ) -> Self {
        self = self.check(todo, what, check);
        if let Some(check) = self.checks.last_mut() {
            check.beside = true;
        }
        self
    }

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
        self.checks.retain(|check| {
            let name = format!("{} {}", check.todo, check.what);
            let filters = &arguments.filters;
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
        });
        if arguments.flags.contains("--list") {
            for check in &self.checks {
                println!("{} {}: test", check.todo, check.what);
            }
            return ExitCode::SUCCESS;
        }

        if let Err(failed) = far_from_utc() {
            eprintln!("cannot start the checks in the zone {FAR_ZONE}: {failed}");
            return ExitCode::FAILURE;
        }
        statements::install();
        panics::install_panic_hook();
        let source = Source::new(&self.manifest_dir);
        let mut results = Vec::with_capacity(self.checks.len());
        let mut beside = Vec::new();
        let mut hung = HashSet::new();
        for (number, check) in self.checks.into_iter().enumerate() {
            let (todo, what, is_beside) = (check.todo, check.what, check.beside);
            let not_run = ids(todo).any(|id| hung.contains(id));
            let running = (!not_run).then(|| Running::start(check, number));
            let outcome = match running {
                Some(running) if is_beside => {
                    beside.push((results.len(), running));
                    results.push(None);
                    continue;
                }
                running => running.map(|it| it.end(self.limit, &source)),
            };
            if let Some(Err(failure)) = &outcome
                && failure.hung
            {
                hung.extend(ids(todo));
            }
            let result = checked(todo, what, outcome, &source);
            let stop = arguments.flags.contains("--fail-fast") && result.failed();
            results.push(Some(result));
            if stop {
                break;
            }
        }
        for (index, running) in beside {
            let (todo, what) = (running.todo, running.what);
            let outcome = running.end(self.limit, &source);
            results[index] = Some(checked(todo, what, Some(outcome), &source));
        }
        let results = results.into_iter().flatten().collect();
        database::remove_leftovers();

        let mut verdict = Verdict::new(&self.step, results);
        let chapter = self.manifest_dir.with_file_name("README.md");
        if let Ok(text) = std::fs::read_to_string(&chapter) {
            verdict.advise(&text, &source.relative(&chapter));
        }
        let json = serde_json::to_string(&verdict).expect("a verdict is only text and numbers");
        if arguments.flags.contains("--json") {
            println!("{json}");
        } else {
            // Set by a program that passes this output on to a terminal.
            let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
            let colour = (forced || std::io::stdout().is_terminal())
                && std::env::var_os("NO_COLOR").is_none();
            let brief = arguments.flags.contains("--brief");
            print!("{}", verdict.text(colour, brief));
        }
        if let Some(file) = &arguments.report
            && let Err(error) = std::fs::write(file, format!("{json}\n"))
        {
            eprintln!("cannot write the report: {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
        ExitCode::from(u8::from(verdict.failed > 0))
    }
}

/// The arguments of the command line. `cargo test` hands the arguments of libtest
/// to every test binary, so those are accepted and ignored.
#[derive(Default)]
struct Arguments {
    flags: HashSet<String>,
    report: Option<PathBuf>,
    filters: Vec<String>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--report" => arguments.report = words.next().map(PathBuf::from),
                "--test-threads" | "--format" | "--skip" | "--color" => drop(words.next()),
                flag if flag.starts_with('-') => drop(arguments.flags.insert(word)),
                _ => arguments.filters.push(word),
            }
        }
        arguments
    }
}

/// The name of the threads of a check. It tells the check's panics from those of
/// an earlier check that was abandoned and still runs.
fn thread_name(number: usize) -> String {
    format!("check-{number}")
}

/// `outcome` is `None` when the check was not run.
fn checked(todo: &str, what: &str, outcome: Option<Outcome>, source: &Source) -> course::Check {
    let (status, failure) = match outcome {
        Some(Ok(())) => (Status::Passed, None),
        Some(Err(failure)) => (Status::Failed, Some(failure)),
        None => (Status::NotRun, None),
    };
    let mut regions = match status {
        Status::Passed => Vec::new(),
        _ => course::tasks(&source.root, &source.manifest_dir),
    };
    regions.retain(|task| task.id == todo);
    // The region is more likely in the file where the code panicked.
    if let Some(failure) = &failure {
        regions.sort_by_key(|task| !failure.got.contains(&task.file));
    }
    let not_run = (status == Status::NotRun).then(|| NOT_RUN.to_owned());
    let (asked, expected, got) = match failure {
        Some(it) => (Some(it.asked), Some(it.expected), Some(it.got)),
        None => (None, None, not_run),
    };
    course::Check {
        todo: todo.to_owned(),
        name: what.to_owned(),
        status,
        asked,
        expected,
        got,
        file: regions.first().map(|task| task.file.clone()),
        line: regions.first().map(|task| task.line),
        regions: regions.iter().map(Task::location).collect(),
        reread: None,
        hint: None,
    }
}

/// A check on a thread of its own.
struct Running {
    todo: &'static str,
    what: &'static str,
    number: usize,
    stop: oneshot::Sender<()>,
    /// An error where there is no thread for it.
    receive: std::io::Result<Receiver<Ended>>,
}

impl Running {
    fn start(check: Check, number: usize) -> Self {
        panics::take(of_check(number));
        let (todo, what, paused, start) = (check.todo, check.what, check.paused, check.start);
        let (stop, stopped) = oneshot::channel();
        let (send, receive) = channel();
        let thread = std::thread::Builder::new().name(thread_name(number));
        RUNNING.send_modify(|checks| *checks += 1);
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
            let _ = send.send(outcome);
            // Ends the tasks that the check has left, and with them their servers
            // and connections, so that the next check starts with a quiet process.
            drop(runtime);
            RUNNING.send_modify(|checks| *checks -= 1);
            drop(send);
        });
        Self {
            todo,
            what,
            number,
            stop,
            receive: thread.map(|_detached| receive),
        }
    }

    /// Waits for its end, for at most `limit` from now on.
    fn end(self, limit: Duration, source: &Source) -> Outcome {
        let number = self.number;
        let outcome = match &self.receive {
            Ok(receive) => wait_for_outcome(receive, self.stop, limit, self.what, number),
            Err(error) => Err(Failure::new(self.what, "a thread for the check", error)),
        };
        // A panic of the check's threads is the cause of its failure, so it replaces
        // what the check itself has observed.
        let panics = panics::take(of_check(number));
        outcome.map_err(|mut failure| {
            if let Some(explanation) = panics::explain(&panics, source) {
                failure.got = shortened(&explanation);
            }
            failure
        })
    }
}

/// Whether a panic may be one of this check, and surely is not of another.
fn of_check(number: usize) -> impl Fn(&panics::Panic) -> bool {
    move |panic| panic.thread == thread_name(number) || !panic.thread.starts_with("check-")
}

/// `None` when the check was stopped at its limit, an error when it has panicked.
type Ended = Result<Option<Outcome>, Box<dyn Any + Send>>;

fn wait_for_outcome(
    receive: &Receiver<Ended>,
    stop: oneshot::Sender<()>,
    limit: Duration,
    what: &str,
    number: usize,
) -> Outcome {
    let mut event = starved::receive_within(receive, limit, starved::Processor::read);
    if matches!(event, Err(RecvTimeoutError::Timeout)) {
        // An error would mean that it has ended just now.
        let _ = stop.send(());
        event = receive.recv_timeout(GRACE);
    }
    let hung = |got| Err(hung(what, number, limit, got));
    let outcome = match event {
        Ok(Ok(Some(outcome))) => outcome,
        Ok(Ok(None)) => hung("no end: an await that never completes, or a loop that does not stop"),
        Ok(Err(_)) => Err(Failure::new(what, "no panic", "a panic")),
        Err(RecvTimeoutError::Disconnected) => hung("the check's thread ended without a result"),
        Err(RecvTimeoutError::Timeout) => {
            return hung(
                "no end, and the thread is never free for other tasks: a blocking call, or a \
                 loop without .await",
            );
        }
    };
    // Its end closes the channel. A thread whose tasks take longer is left behind.
    let _ = starved::receive_within(receive, GRACE, starved::Processor::read);
    outcome
}

fn hung(what: &str, number: usize, limit: Duration, got: &str) -> Failure {
    let asked = match service::last_asked(&thread_name(number)) {
        Some(request) => format!("{what}\nthe last request: {request}"),
        None => what.to_owned(),
    };
    let expected = format!("an end within {} s", limit.as_secs_f32());
    Failure::new(asked, expected, got).hung()
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
