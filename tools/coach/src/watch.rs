//! `watch`: checks a step whenever one of its files is saved.
//!
//! Threads for the files ([`files`]), the keys ([`terminal`]), the signals and the
//! run in progress ([`run`]) send events through one channel, and one loop acts on
//! them. There is one run at a time: it is ended with all its processes before the
//! next begins.

mod files;
mod run;
mod terminal;

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Instant;

use clap::Args;
use course::{Side, Step};

use crate::project::Project;
use crate::trouble::Trouble;
use run::Run;
use terminal::{Key, Screen};

#[derive(Args)]
pub struct Request {
    /// 5, 05, 05-engine or steps/05-engine
    step: Option<String>,
    /// Show every error of the compiler; without it, the first in full
    #[arg(long)]
    all: bool,
}

enum Event {
    /// These files have other contents than before.
    Saved(Vec<String>),
    /// A run has printed this.
    Output(u64, Vec<u8>),
    Ended(u64, Option<ExitStatus>),
    Key(Key),
    /// To end with this exit code.
    Quit(u8),
    /// Ctrl-Z.
    Suspend,
    /// We go on after a stop.
    #[cfg_attr(not(unix), expect(dead_code, reason = "without signals"))]
    Resumed,
}

/// Checks a step now and after every save, until the learner ends it: exit code
/// 0 by the key q, 130 by Ctrl-C, 143 by SIGTERM, 129 when the terminal is
/// closed. No process is left.
pub fn watch(project: &Project, request: &Request) -> Result<ExitCode, Trouble> {
    let (step, side) = project.named(request.step.as_deref())?;
    let side = side.unwrap_or(Side::Exercise);
    let coach = env::current_exe()
        .map_err(|error| Trouble::environment(format!("the coach's own program: {error}")))?;
    let folder = step.crate_folder(side);
    std::fs::read_dir(&folder).map_err(|error| {
        Trouble::environment(format!("{}: {error}", project.short(&folder).display()))
    })?;
    // A terminal that is slower than what a run prints holds the run up, as anywhere.
    let (sender, events) = mpsc::sync_channel(16);
    pass_on_signals(&sender)?;
    let mut watch = Watch {
        project,
        files: files::watch(folder, &sender),
        step,
        side,
        all: request.all,
        coach,
        screen: Screen::start(&sender),
        run: None,
        runs: 0,
        started: Instant::now(),
        passed: false,
        hinted: false,
        suspended: None,
        sender,
    };
    match watch.until_quit(&events) {
        Ok(code) => Ok(ExitCode::from(code)),
        // A reader that has gone away (`| head`) has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Trouble::environment(format!("watch: {error}"))),
    }
}

/// A watch and all that it holds; dropping it ends the run in progress and gives the
/// terminal back.
struct Watch<'a> {
    project: &'a Project,
    step: Step,
    side: Side,
    all: bool,
    /// Our own program, for the other verbs.
    coach: PathBuf,
    /// Dropping it ends the look at the files.
    files: Sender<()>,
    screen: Screen,
    run: Option<Run>,
    /// How many there have been.
    runs: u64,
    /// When the last run began.
    started: Instant,
    /// The last run passed, and nothing has changed since.
    passed: bool,
    /// A hint was shown since the last run began.
    hinted: bool,
    /// After Ctrl-Z: whether a run was in progress.
    suspended: Option<bool>,
    sender: SyncSender<Event>,
}

impl Watch<'_> {
    /// The loop. An error means that nobody reads what we print, or that a run cannot
    /// be started.
    fn until_quit(&mut self, events: &Receiver<Event>) -> io::Result<u8> {
        self.introduce()?;
        self.start("")?;
        // We hold a sender ourselves: there is always another event.
        for event in events {
            match event {
                // Also what a run that has ended printed last.
                Event::Output(run, bytes) => {
                    if run == self.runs {
                        self.screen.raw(&bytes)?;
                    }
                    continue;
                }
                Event::Ended(run, status) => {
                    if self.run.take_if(|current| current.id == run).is_some() {
                        self.verdict(run, status)?;
                    }
                    continue;
                }
                _ => {}
            }
            // Any other event shows that we go on, also where nobody could stop us.
            if let Some(was_running) = self.suspended.take() {
                self.screen.take_back();
                if was_running {
                    self.start(", after the stop")?;
                } else if self.run.is_none() {
                    self.prompt()?;
                }
            }
            match event {
                Event::Saved(files) => {
                    self.stop("a newer save")?;
                    self.start(&format!(", changed: {}", files.join(", ")))?;
                }
                Event::Resumed => self.screen.take_back(),
                Event::Quit(code) => {
                    self.stop("the watch ends")?;
                    return Ok(code);
                }
                Event::Key(Key::Again) => {
                    self.stop("to run again")?;
                    self.start(", asked for")?;
                }
                Event::Suspend => self.suspend()?,
                Event::Key(Key::Next) if self.passed && self.run.is_none() => self.advance()?,
                Event::Key(key) => self.show(key)?,
                Event::Output(..) | Event::Ended(..) => {}
            }
        }
        Ok(0)
    }

    /// `why` goes on in the run's first line.
    fn start(&mut self, why: &str) -> io::Result<()> {
        self.runs += 1;
        self.passed = false;
        self.hinted = false;
        self.started = Instant::now();
        let (step, run) = (&self.step.slug, self.runs);
        let time = jiff::Zoned::now().strftime("%H:%M:%S");
        self.screen
            .line("1", &format!("\n==== {step}, run {run}, {time}{why} ===="))?;
        // Brief, since the failure has to be seen in a small terminal.
        let mut check = self.verb(&["check", &self.step.slug, "--brief"]);
        if self.side == Side::Solution {
            check.arg("--solution");
        }
        if self.all {
            check.arg("--all");
        }
        self.run = Some(Run::start(self.runs, &mut check, &self.sender)?);
        Ok(())
    }

    fn stop(&mut self, reason: &str) -> io::Result<()> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        self.screen
            .line("2", &format!("---- run {} stopped: {reason} ----", run.id))
    }

    /// Gives the terminal back and stops us, and with us what has started us and waits
    /// (`cargo coach`), as Ctrl-Z does. The next event is that somebody lets us go on.
    fn suspend(&mut self) -> io::Result<()> {
        let was_running = self.run.is_some();
        // The limits of its checks would run out while it waits for us.
        self.stop("the watch is stopped too; it will run again")?;
        #[cfg(unix)]
        {
            self.screen.give_back();
            self.suspended = Some(was_running);
            let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        }
        #[cfg(not(unix))]
        if was_running {
            self.start(", after the stop")?;
        }
        Ok(())
    }

    fn introduce(&mut self) -> io::Result<()> {
        let folder = self.step.crate_folder(self.side);
        let folder = self.project.short(&folder).display();
        self.screen
            .line("2", &format!("watching {folder}; q or Ctrl-C ends it"))
    }

    /// The coach with a verb, as a child that shows colours if we do.
    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.coach);
        command
            .arg("--root")
            .arg(&self.project.root)
            .args(arguments)
            .stdin(Stdio::null());
        if self.screen.coloured {
            command.env("CLICOLOR_FORCE", "1");
        }
        command
    }

    fn verdict(&mut self, run: u64, status: Option<ExitStatus>) -> io::Result<()> {
        let took = format!("{:.1} s", self.started.elapsed().as_secs_f64());
        let (style, text) = match status.map(|status| (status.code(), status)) {
            Some((Some(0), _)) => ("32", format!("passed in {took}")),
            Some((Some(1), _)) => ("31", format!("failed in {took}")),
            Some((Some(code), _)) => ("31", format!("could not check: exit code {code}")),
            Some((None, status)) => ("31", format!("was ended from outside: {status}")),
            None => ("31", "was lost".to_owned()),
        };
        self.passed = style == "32";
        self.screen
            .line(style, &format!("---- run {run} {text} ----"))?;
        self.prompt()
    }

    fn prompt(&mut self) -> io::Result<()> {
        if !self.screen.keys {
            return self.screen.line("2", "waiting for a save");
        }
        let next = match self.next_step() {
            Some(next) if self.passed => format!("n next step ({}), ", next.slug),
            _ => String::new(),
        };
        let text = format!(
            "waiting for a save; keys: {next}h hint (again: more), d diff, r run again, q quit"
        );
        self.screen.line("2", &text)
    }

    fn show(&mut self, key: Key) -> io::Result<()> {
        let label = self.step.label().to_owned();
        match key {
            Key::Hint if std::mem::replace(&mut self.hinted, true) => {
                self.other_verb(&["hint", &label, "more"])?;
            }
            Key::Hint => self.other_verb(&["hint", &label])?,
            Key::Diff => self.other_verb(&["diff", &label])?,
            Key::Next => {
                let text = format!(
                    "{} has not passed yet; ./run.sh list shows all steps, \
                     ./run.sh checkout NN goes to any",
                    self.step.slug
                );
                self.screen.line("2", &text)?;
            }
            _ => self.screen.line(
                "0",
                "h  a hint; again: the next one\n\
                 d  what is left to do, from your exercise to the solution\n\
                 n  the next step, once this one has passed\n\
                 r  run again\n\
                 q  quit; so do Ctrl-C and Ctrl-D\n\
                 ?  these keys",
            )?,
        }
        if self.run.is_some() {
            self.screen.line("2", "---- the run goes on ----")
        } else if matches!(key, Key::Hint | Key::Diff) {
            self.prompt()
        } else {
            Ok(())
        }
    }

    /// Runs another verb of the coach to its end and shows what it prints.
    fn other_verb(&mut self, arguments: &[&str]) -> io::Result<()> {
        let title = format!("---- ./run.sh {} ----", arguments.join(" "));
        self.screen.line("1", &title)?;
        let output = self.verb(arguments).output()?;
        self.screen.raw(&output.stdout)?;
        self.screen.raw(&output.stderr)
    }

    fn next_step(&self) -> Option<Step> {
        let steps = self.project.steps().ok()?;
        steps.into_iter().find(|other| other.slug > self.step.slug)
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(next) = self.next_step() else {
            return self.screen.line("0", "That was the last step.");
        };
        // Whatever comes of it, the next step is what the learner wants to see.
        self.other_verb(&["checkout", next.label()])?;
        self.side = Side::Exercise;
        self.files = files::watch(next.crate_folder(self.side), &self.sender);
        self.step = next;
        self.introduce()?;
        self.start("")
    }
}

#[cfg(unix)]
fn pass_on_signals(events: &SyncSender<Event>) -> Result<(), Trouble> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCONT])
        .map_err(|error| Trouble::environment(format!("signals: {error}")))?;
    let events = events.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = events.send(match signal {
                // A shell has had the terminal meanwhile.
                SIGCONT => Event::Resumed,
                // As shells report a program that a signal has ended.
                _ => Event::Quit(u8::try_from(128 + signal).unwrap_or(1)),
            });
        }
    });
    Ok(())
}

/// Ctrl-C is a key, or ends us as the system does it.
#[cfg(not(unix))]
fn pass_on_signals(_: &SyncSender<Event>) -> Result<(), Trouble> {
    Ok(())
}
