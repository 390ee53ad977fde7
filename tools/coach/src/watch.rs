//! `watch`: checks a step whenever one of its files is saved.
//!
//! Threads for the files ([`files`]), the keys and signals ([`terminal`]) and the end of
//! a run ([`run`]) send events through one channel, and one loop acts on them. A run
//! prints to our stdout by itself, and is ended with all its processes before the next
//! begins.

mod files;
mod run;
mod terminal;

use std::io::{self, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;
use std::{env, fs};

use clap::Args;
use course::{Side, Step};

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;
use run::Run;
use terminal::Terminal;

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
    Ended(u64, Option<ExitStatus>),
    Key(u8),
    /// To end with this exit code.
    Quit(u8),
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
    let folder = step.crate_folder(side);
    fs::read_dir(&folder).map_err(Trouble::at(project.short(&folder)))?;
    let (sender, events) = mpsc::channel();
    terminal::pass_on_signals(&sender).map_err(Trouble::at("signals"))?;
    let mut watch = Watch {
        project,
        files: files::watch(folder, &sender),
        step,
        side,
        all: request.all,
        terminal: Terminal::start(&sender),
        run: None,
        runs: 0,
        started: Instant::now(),
        passed: false,
        hinted: false,
        sender,
    };
    match watch.until_quit(&events) {
        Ok(code) => Ok(ExitCode::from(code)),
        // A reader that has gone away (`| head`) has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Trouble::at("watch")(error)),
    }
}

/// A watch and all that it holds; dropping it ends the run in progress and gives the
/// terminal back.
struct Watch<'a> {
    project: &'a Project,
    step: Step,
    side: Side,
    all: bool,
    /// Dropping it ends the look at the files.
    files: Sender<()>,
    terminal: Terminal,
    run: Option<Run>,
    /// How many there have been.
    runs: u64,
    /// When the last run began.
    started: Instant,
    /// The last run passed, and nothing has changed since.
    passed: bool,
    /// A hint was shown since the last run began.
    hinted: bool,
    sender: Sender<Event>,
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
                Event::Ended(run, status) => {
                    if self.run.take_if(|current| current.id == run).is_some() {
                        self.verdict(run, status)?;
                    }
                }
                Event::Saved(files) => {
                    self.stop("a newer save")?;
                    self.start(&format!(", changed: {}", files.join(", ")))?;
                }
                Event::Resumed => {
                    self.terminal.take();
                    if self.run.is_none() {
                        self.prompt()?;
                    }
                }
                Event::Quit(code) => {
                    self.stop("the watch ends")?;
                    return Ok(code);
                }
                Event::Key(b'r') => {
                    self.stop("to run again")?;
                    self.start(", asked for")?;
                }
                Event::Key(b'n') if self.passed && self.run.is_none() => self.advance()?,
                Event::Key(key) => self.show(key)?,
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
        line("1", &format!("\n==== {step}, run {run}, {time}{why} ===="))?;
        // Brief, since the failure has to be seen in a small terminal.
        let mut check = self.verb(&["check", &self.step.slug, "--brief"])?;
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
        let text = format!("\n---- run {} stopped: {reason} ----", run.id);
        drop(run);
        line("0;2", &text)
    }

    fn introduce(&self) -> io::Result<()> {
        let folder = self.step.crate_dir(self.side);
        line("2", &format!("watching {folder}; q or Ctrl-C ends it"))
    }

    /// The coach with a verb. All that it says goes to our stdout, in order.
    fn verb(&self, arguments: &[&str]) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg("--root")
            .arg(&self.project.root)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(io::stdout());
        Ok(command)
    }

    fn verdict(&mut self, run: u64, status: Option<ExitStatus>) -> io::Result<()> {
        let took = format!("{:.1} s", self.started.elapsed().as_secs_f64());
        let (style, text) = match status.and_then(|status| status.code()) {
            Some(0) => ("32", format!("passed in {took}")),
            Some(1) => ("31", format!("failed in {took}")),
            Some(code) => ("31", format!("could not check: exit code {code}")),
            None => ("31", "was ended from outside".to_owned()),
        };
        self.passed = style == "32";
        line(style, &format!("---- run {run} {text} ----"))?;
        self.prompt()
    }

    fn prompt(&self) -> io::Result<()> {
        if !self.terminal.keys {
            return line("2", "waiting for a save");
        }
        let next = match self.next_step() {
            Some(next) if self.passed => format!("n next step ({}), ", next.slug),
            _ => String::new(),
        };
        let text = format!(
            "waiting for a save; keys: {next}h hint (again: more), d diff, r run again, q quit"
        );
        line("2", &text)
    }

    fn show(&mut self, key: u8) -> io::Result<()> {
        let label = self.step.label();
        match key {
            b'h' if self.hinted => self.other_verb(&["hint", label, "more"])?,
            b'h' => self.other_verb(&["hint", label])?,
            b'd' => self.other_verb(&["diff", label])?,
            b'n' => {
                let text = format!(
                    "{} has not passed yet; ./run.sh list shows all steps, \
                     ./run.sh checkout NN goes to any",
                    self.step.slug
                );
                line("2", &text)?;
            }
            _ => return Ok(()),
        }
        self.hinted |= key == b'h';
        if self.run.is_some() {
            line("2", "---- the run goes on ----")
        } else if matches!(key, b'h' | b'd') {
            self.prompt()
        } else {
            Ok(())
        }
    }

    /// Runs another verb of the coach to its end.
    fn other_verb(&self, arguments: &[&str]) -> io::Result<()> {
        line("1", &format!("---- ./run.sh {} ----", arguments.join(" ")))?;
        self.verb(arguments)?.status()?;
        Ok(())
    }

    fn next_step(&self) -> Option<Step> {
        self.project.next_step(&self.step).ok()?
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(next) = self.next_step() else {
            return line("0", "That was the last step.");
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

/// A line of the watch itself. An error means that nobody reads it.
fn line(style: &str, text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", screen::styled(style, text))
}
