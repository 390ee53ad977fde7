//! `watch`: checks a step whenever one of its files is saved.
//!
//! [`machine`] decides, this module does: threads for the files ([`notice`]),
//! the keys ([`terminal`]), the signals and the run in progress ([`group`])
//! send events through one channel, and one loop acts on them.

mod files;
mod group;
mod machine;
mod notice;
mod output;
mod terminal;

use std::collections::VecDeque;
use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use course::{Side, Step};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::project::Project;
use crate::trouble::Trouble;
use files::Snapshot;
use group::Run;
use machine::{Because, Effect, Event, Machine, Outcome, Show, Why};
use notice::Notice;
use output::Capped;
use terminal::{Keys, Screen};

/// What the learner asked for.
pub struct Request {
    /// Without it, the step that `check` would take.
    pub step: Option<String>,
    /// Look at the files again and again instead of asking the system to tell
    /// of saves.
    pub poll: bool,
    /// Show every error of the compiler.
    pub all: bool,
}

/// Checks a step now and after every save, until the learner ends it: exit code
/// 0 by the key q, 130 by Ctrl-C, 143 by SIGTERM, 129 when the terminal is
/// closed. No process is left.
///
/// # Errors
/// An unknown step (exit code 2); the exercise is not there, or the check
/// cannot be started (exit code 3).
pub fn watch(project: &Project, request: &Request) -> Result<ExitCode, Trouble> {
    let (step, side) = match &request.step {
        Some(text) => project.resolve(text)?,
        None => project.current()?,
    };
    let coach = env::current_exe()
        .map_err(|error| Trouble::environment(format!("the coach's own program: {error}")))?;
    let (sender, events) = mpsc::channel();
    let side = side.unwrap_or(Side::Exercise);
    let notice = notice(project, &step, side, request.poll, &sender)?;
    // From here on Ctrl-C is an event, and the terminal is given back.
    pass_on_signals(&sender)?;
    let mut watch = Watch {
        project,
        snapshot: Snapshot::take(&step.crate_folder(side)),
        step,
        side,
        poll: request.poll,
        all: request.all,
        coach,
        notice,
        keys: Keys::start(&sender),
        screen: Screen::new(),
        machine: Machine::default(),
        run: None,
        sender,
    };
    match watch.until_quit(&events) {
        Ok(code) => Ok(ExitCode::from(code)),
        // A reader that has gone away (`| head`) has what it wanted.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Ended::Output(error)) => Err(Trouble::environment(format!(
            "cannot write to stdout: {error}"
        ))),
        Err(Ended::Trouble(trouble)) => Err(trouble),
    }
}

/// Why a watch ends that nobody has ended.
enum Ended {
    Output(io::Error),
    Trouble(Trouble),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A watch and all that it holds; dropping it ends the run in progress and
/// gives the terminal back.
struct Watch<'a> {
    project: &'a Project,
    step: Step,
    side: Side,
    poll: bool,
    all: bool,
    /// Our own program, for the other verbs.
    coach: PathBuf,
    notice: Notice,
    /// `None` without a terminal.
    keys: Option<Keys>,
    screen: Screen,
    machine: Machine,
    run: Option<Run>,
    /// The files of the last scan.
    snapshot: Snapshot,
    sender: Sender<Event>,
}

impl Watch<'_> {
    fn until_quit(&mut self, events: &Receiver<Event>) -> Result<u8, Ended> {
        self.introduce()?;
        let mut effects: VecDeque<Effect> = self.machine.begin(Instant::now()).into();
        loop {
            while let Some(effect) = effects.pop_front() {
                if let Effect::Exit(code) = effect {
                    return Ok(code);
                }
                if let Some(answer) = self.act(effect)? {
                    effects.extend(self.machine.on(answer, Instant::now()));
                }
            }
            let event = match self.machine.deadline() {
                None => events.recv().unwrap_or(Event::Tick),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    match events.recv_timeout(left) {
                        Ok(event) => event,
                        // We hold a sender ourselves: it is never disconnected.
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                            Event::Tick
                        }
                    }
                }
            };
            match &event {
                Event::Output(run, bytes) if self.machine.shows(*run) => self.screen.raw(bytes)?,
                Event::Resumed if self.keys.is_some() => Keys::take(),
                _ => {}
            }
            effects.extend(self.machine.on(event, Instant::now()));
        }
    }

    /// Does what the machine wants and gives the event that answers it, if any.
    fn act(&mut self, effect: Effect) -> Result<Option<Event>, Ended> {
        match effect {
            Effect::Scan => {
                let now = Snapshot::take(&self.step.crate_folder(self.side));
                let changed = now.changed_since(&self.snapshot);
                self.snapshot = now;
                return Ok(Some(Event::Scanned(changed)));
            }
            Effect::Start { run, why, since } => {
                self.screen
                    .line("1", &head(&self.step.slug, run, &why, since))?;
                let mut command = self.check();
                let started = Run::start(run, &mut command, &self.sender).map_err(|error| {
                    Trouble::environment(format!("{}: {error}", self.coach.display()))
                })?;
                self.run = Some(started);
            }
            Effect::Signal(id, stop) => {
                if let Some(run) = self.run.as_ref().filter(|run| run.id() == id) {
                    run.signal(stop);
                }
            }
            Effect::Stopping(run, because) => {
                let reason = match because {
                    Because::NewerSave => "a newer save",
                    Because::Asked => "to run again",
                    Because::Suspended => "the watch is stopped too; it will run again",
                    Because::Quit => "the watch ends",
                };
                self.screen
                    .line("2", &format!("---- run {run} stopped: {reason} ----"))?;
            }
            Effect::Finish { run, outcome, took } => {
                if let Some(finished) = self.run.take() {
                    self.screen.raw(&finished.rest())?;
                }
                self.verdict(run, outcome, took)?;
            }
            Effect::Drop(_) => self.run = None,
            Effect::Show(show) => self.show(show)?,
            Effect::Advance => {
                if self.advance()? {
                    return Ok(Some(Event::Advanced));
                }
            }
            Effect::Suspend => {
                // Without a terminal nobody has pressed the key.
                if let Some(keys) = &self.keys {
                    keys.give_back();
                    terminal::suspend();
                    Keys::take();
                    if !self.machine.is_running() {
                        self.prompt(self.machine.passed())?;
                    }
                }
            }
            // The loop has dealt with it.
            Effect::Exit(_) => {}
        }
        Ok(None)
    }

    /// What is watched, and how.
    fn introduce(&mut self) -> io::Result<()> {
        let folder = self.step.crate_folder(self.side);
        let folder = self.project.short(&folder).display();
        let how = match &self.notice.polls_because {
            Some(reason) => format!(" (looking at the files again and again: {reason})"),
            None => String::new(),
        };
        self.screen
            .line("2", &format!("watching {folder}{how}; q or Ctrl-C ends it"))
    }

    /// The coach with a verb, as a child that shows colours if we do.
    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.coach);
        command
            .arg("--root")
            .arg(&self.project.root)
            .args(arguments)
            .stdin(Stdio::null());
        if self.screen.coloured() {
            command.env("CLICOLOR_FORCE", "1");
        }
        command
    }

    /// Brief, since the failure has to be seen in a small terminal.
    fn check(&self) -> Command {
        let mut command = self.verb(&["check", &self.step.slug, "--brief"]);
        if self.side == Side::Solution {
            command.arg("--solution");
        }
        if self.all {
            command.arg("--all");
        }
        command
    }

    fn verdict(&mut self, run: u64, outcome: Outcome, took: Duration) -> io::Result<()> {
        let took = format!("{}.{} s", took.as_secs(), took.subsec_millis() / 100);
        let (style, text) = match outcome {
            Outcome::Passed => ("32", format!("passed in {took}")),
            Outcome::Failed => ("31", format!("failed in {took}")),
            Outcome::Trouble(code) => ("31", format!("could not check: exit code {code}")),
            Outcome::Killed(signal) => {
                let name = signal_name(signal).unwrap_or("a signal");
                ("31", format!("was ended from outside: {name}"))
            }
            Outcome::Lost => ("31", "was lost".to_owned()),
        };
        self.screen
            .line(style, &format!("---- run {run} {text} ----"))?;
        self.prompt(outcome == Outcome::Passed)
    }

    /// What can be done now.
    fn prompt(&mut self, passed: bool) -> io::Result<()> {
        if self.keys.is_none() {
            return self.screen.line("2", "waiting for a save");
        }
        let next = match self.next_step() {
            Some(next) if passed => format!("n next step ({}), ", next.slug),
            _ => String::new(),
        };
        let text = format!(
            "waiting for a save; keys: {next}h hint (again: more), d diff, r run again, q quit"
        );
        self.screen.line("2", &text)
    }

    fn show(&mut self, show: Show) -> io::Result<()> {
        let label = self.step.label().to_owned();
        match show {
            Show::Hint { more: false } => self.other_verb(&["hint", &label])?,
            Show::Hint { more: true } => self.other_verb(&["hint", &label, "more"])?,
            Show::Diff => self.other_verb(&["diff", &label])?,
            Show::NotYet => self.screen.line(
                "2",
                &format!(
                    "{} has not passed yet; ./run.sh list shows all steps, \
                     ./run.sh checkout NN goes to any",
                    self.step.slug
                ),
            )?,
            Show::Keys => self.screen.line(
                "0",
                "h  a hint; again: the next one\n\
                 d  what is left to do, from your exercise to the solution\n\
                 n  the next step, once this one has passed\n\
                 r  run again\n\
                 q  quit; so do Ctrl-C and Ctrl-D\n\
                 ?  these keys",
            )?,
        }
        if self.machine.is_running() {
            return self.screen.line("2", "---- the run goes on ----");
        }
        match show {
            Show::Hint { .. } | Show::Diff => self.prompt(self.machine.passed()),
            Show::Keys | Show::NotYet => Ok(()),
        }
    }

    /// Runs another verb of the coach to its end and shows what it prints.
    fn other_verb(&mut self, arguments: &[&str]) -> io::Result<()> {
        let title = format!("---- ./run.sh {} ----", arguments.join(" "));
        self.screen.line("1", &title)?;
        let output = self.verb(arguments).output()?;
        for bytes in [output.stdout, output.stderr] {
            let mut capped = Capped::default();
            self.screen.raw(capped.push(&bytes))?;
            self.screen.raw(&capped.finish())?;
        }
        Ok(())
    }

    fn next_step(&self) -> Option<Step> {
        let steps = self.project.steps().ok()?;
        steps.into_iter().find(|other| other.slug > self.step.slug)
    }

    /// Goes to the next step; false if there is none.
    fn advance(&mut self) -> Result<bool, Ended> {
        let Some(next) = self.next_step() else {
            self.screen.line("0", "That was the last step.")?;
            return Ok(false);
        };
        // Whatever comes of it, the next step is what the learner wants to see.
        self.other_verb(&["checkout", next.label()])?;
        self.side = Side::Exercise;
        self.notice = notice(self.project, &next, self.side, self.poll, &self.sender)?;
        self.snapshot = Snapshot::take(&next.crate_folder(self.side));
        self.step = next;
        self.introduce()?;
        Ok(true)
    }
}

fn notice(
    project: &Project,
    step: &Step,
    side: Side,
    poll: bool,
    events: &Sender<Event>,
) -> Result<Notice, Trouble> {
    let folder = step.crate_folder(side);
    Notice::start(&folder, poll, events).map_err(|error| {
        Trouble::environment(format!("{}: {error}", project.short(&folder).display()))
    })
}

/// The line that a run begins with.
fn head(step: &str, run: u64, why: &Why, since: Option<Duration>) -> String {
    let time = clock().map_or_else(String::new, |time| format!(", {time}"));
    let since = since.map_or_else(String::new, |since| {
        format!(", {} after the last", words(since))
    });
    let why = match why {
        Why::First => String::new(),
        Why::Saved(files) => format!(", changed: {}", some_of(files)),
        Why::Asked => ", asked for".to_owned(),
        Why::Resumed => ", after the stop".to_owned(),
    };
    format!("\n==== {step}, run {run}{time}{since}{why} ====")
}

/// Three names at most, and how many more there are.
fn some_of(files: &[String]) -> String {
    let named = files.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(3) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A length of time for people: "0.4 s", "12 s", "3 min", "2 h".
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// The time of day by the learner's clock. Rust's standard library does not
/// know the time zone.
fn clock() -> Option<String> {
    let output = Command::new("date")
        .arg("+%H:%M:%S")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Turns signals into events.
fn pass_on_signals(events: &Sender<Event>) -> Result<(), Trouble> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCONT])
        .map_err(|error| Trouble::environment(format!("signals: {error}")))?;
    let events = events.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                // A shell has had the terminal meanwhile.
                SIGCONT => Event::Resumed,
                // As shells report a program that a signal has ended.
                SIGTERM => Event::Quit(143),
                SIGHUP => Event::Quit(129),
                _ => Event::Quit(130),
            };
            let _ = events.send(event);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_files_in_words() {
        assert_eq!(words(Duration::from_millis(1_450)), "1.4 s");
        assert_eq!(words(Duration::from_millis(59_900)), "59 s");
        assert_eq!(words(Duration::from_secs(3_599)), "59 min");
        assert_eq!(words(Duration::from_hours(2)), "2 h");
        let files: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).into();
        assert_eq!(some_of(&files[..1]), "a");
        assert_eq!(some_of(&files), "a, b, c and 2 more");
    }
}
