//! When to run, when to stop a run, what a key does: the rules alone. Events
//! and the time come in, effects come out; files, processes and the terminal
//! are elsewhere, so that every order of events can be tested.

use std::time::{Duration, Instant};

/// A save is over when nothing has come for this long: editors write a file in
/// several goes, and save several files one after another.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// But a file that is written to without end does not keep the check waiting.
pub const DEBOUNCE_AT_MOST: Duration = Duration::from_secs(1);
/// How long a run has to end by itself before it is killed.
pub const GRACE: Duration = Duration::from_millis(500);
/// How long output is waited for once the run has ended: a process that has
/// left the group may hold the pipe.
pub const DRAIN: Duration = Duration::from_secs(1);

/// Runs are counted from 1.
pub type RunId = u64;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something in the crate's folder may have changed.
    Touched,
    /// What [`Effect::Scan`] found: files whose content has changed since the
    /// last scan.
    Scanned(Vec<String>),
    /// A run has printed this; shown by the loop if [`Machine::shows`] it.
    Output(RunId, Vec<u8>),
    /// The run's first process has ended.
    Exited(RunId, Outcome),
    /// The run's output has ended.
    Closed(RunId),
    Key(Key),
    /// Ctrl-C, a terminal that closes, `kill`: to end with this exit code.
    Quit(u8),
    /// Ctrl-Z.
    Suspend,
    /// We go on after a stop.
    Resumed,
    /// [`Effect::Advance`] is done: another step is watched.
    Advanced,
    /// Only the time has passed.
    Tick,
}

/// How a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// The exit code of a check that could not be made.
    Trouble(i32),
    /// The signal that ended it.
    Killed(i32),
    /// It could not be waited for.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Hint,
    Diff,
    Next,
    Again,
    Help,
    Quit,
}

/// Why a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    First,
    Saved(Vec<String>),
    Asked,
    Resumed,
}

/// Why a run is stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    NewerSave,
    Asked,
    Suspended,
    Quit,
}

/// Two ways to stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Terminate,
    Kill,
}

/// What is to be shown on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The hint, or with `more` the next one.
    Hint {
        more: bool,
    },
    Diff,
    Keys,
    /// The step has not passed, so there is no next one yet.
    NotYet,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Compare the files with those of the last scan; answered by
    /// [`Event::Scanned`].
    Scan,
    Start {
        run: RunId,
        why: Why,
        /// Since the last run began.
        since: Option<Duration>,
    },
    Signal(RunId, Stop),
    /// Say that the run is being stopped.
    Stopping(RunId, Because),
    /// The run is over: show the rest of its output and its verdict.
    Finish {
        run: RunId,
        outcome: Outcome,
        took: Duration,
    },
    /// The stopped run is gone: forget it.
    Drop(RunId),
    Show(Show),
    /// Make the next step the current one and watch it; answered by
    /// [`Event::Advanced`], or by nothing if there is none.
    Advance,
    /// Give the terminal back and stop ourselves; answered by
    /// [`Event::Resumed`].
    Suspend,
    Exit(u8),
}

/// The run in progress.
#[derive(Debug)]
struct Current {
    run: RunId,
    started: Instant,
    exited: Option<Outcome>,
    closed: bool,
    /// Once it is being stopped.
    stopped: bool,
    /// When the next, harder measure is taken.
    kill_at: Option<Instant>,
    /// After its exit: when its output is waited for no longer.
    give_up_at: Option<Instant>,
}

/// The state of a watch.
#[derive(Debug, Default)]
pub struct Machine {
    /// When the first and the last event of a save came.
    saving: Option<(Instant, Instant)>,
    current: Option<Current>,
    /// What to run when the current run is gone.
    wanted: Option<Why>,
    quitting: Option<u8>,
    last_run: RunId,
    last_start: Option<Instant>,
    /// The last run passed, and nothing has changed since.
    passed: bool,
    /// A hint was shown since the last run began.
    hinted: bool,
}

impl Machine {
    /// The first run.
    pub fn begin(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.run(Why::First, Because::Asked, now, &mut effects);
        effects
    }

    /// When [`Event::Tick`] is due if nothing else comes before.
    pub fn deadline(&self) -> Option<Instant> {
        let current = self.current.as_ref();
        let kill = current.and_then(|current| current.kill_at);
        let give_up = current.and_then(|current| current.give_up_at);
        [self.save_is_over_at(), kill, give_up]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether what this run prints is to be shown.
    pub fn shows(&self, run: RunId) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.run == run && !current.stopped)
    }

    /// Whether a run is in progress.
    pub fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Takes an event and says what is to be done, in order.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Touched => {
                let first = self.saving.map_or(now, |(first, _)| first);
                self.saving = Some((first, now));
            }
            Event::Scanned(files) if !files.is_empty() => {
                self.passed = false;
                self.run(Why::Saved(files), Because::NewerSave, now, &mut effects);
            }
            Event::Exited(run, outcome) => self.exited(run, outcome, now, &mut effects),
            Event::Closed(run) => {
                if let Some(current) = self.current.as_mut().filter(|current| current.run == run) {
                    current.closed = true;
                }
            }
            Event::Key(key) => self.key(key, now, &mut effects),
            Event::Quit(code) => self.quit(code, now, &mut effects),
            Event::Suspend => {
                // Its limits would run out while it cannot go on.
                if self.current.is_some() {
                    self.stop(Because::Suspended, Stop::Kill, now, &mut effects);
                    self.wanted.get_or_insert(Why::Resumed);
                }
                effects.push(Effect::Suspend);
            }
            Event::Advanced => {
                self.passed = false;
                self.last_start = None;
                self.saving = None;
                self.run(Why::First, Because::Asked, now, &mut effects);
            }
            Event::Scanned(_) | Event::Output(..) | Event::Resumed | Event::Tick => {}
        }
        self.time(now, &mut effects);
        effects
    }

    fn save_is_over_at(&self) -> Option<Instant> {
        self.saving
            .map(|(first, last)| (last + DEBOUNCE).min(first + DEBOUNCE_AT_MOST))
    }

    /// What is due by now.
    fn time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.save_is_over_at().is_some_and(|at| now >= at) {
            self.saving = None;
            if self.quitting.is_none() {
                effects.push(Effect::Scan);
            }
        }
        let Some(current) = &mut self.current else {
            return;
        };
        if current.kill_at.is_some_and(|at| now >= at) {
            current.kill_at = None;
            effects.push(Effect::Signal(current.run, Stop::Kill));
            if current.exited.is_some() {
                current.give_up_at = Some(now + DRAIN);
            }
        }
        if let Some(outcome) = current.exited
            && (current.closed || current.give_up_at.is_some_and(|at| now >= at))
        {
            let (run, stopped) = (current.run, current.stopped);
            let took = now - current.started;
            self.current = None;
            if stopped {
                effects.push(Effect::Drop(run));
            } else {
                self.passed = outcome == Outcome::Passed;
                effects.push(Effect::Finish { run, outcome, took });
            }
            if let Some(code) = self.quitting {
                effects.push(Effect::Exit(code));
            } else if let Some(why) = self.wanted.take() {
                self.start(why, now, effects);
            }
        }
    }

    fn exited(&mut self, run: RunId, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        let Some(current) = self.current.as_mut().filter(|current| current.run == run) else {
            return;
        };
        current.exited = Some(outcome);
        // A run that is being stopped has its grace as a whole.
        if current.kill_at.is_none() {
            effects.push(Effect::Signal(run, Stop::Kill));
            current.give_up_at = Some(now + DRAIN);
        }
    }

    fn key(&mut self, key: Key, now: Instant, effects: &mut Vec<Effect>) {
        if self.quitting.is_some() {
            return;
        }
        effects.push(match key {
            Key::Quit => return self.quit(0, now, effects),
            Key::Again => return self.run(Why::Asked, Because::Asked, now, effects),
            Key::Next if self.passed && self.current.is_none() => Effect::Advance,
            Key::Next => Effect::Show(Show::NotYet),
            Key::Hint => Effect::Show(Show::Hint {
                more: std::mem::replace(&mut self.hinted, true),
            }),
            Key::Diff => Effect::Show(Show::Diff),
            Key::Help => Effect::Show(Show::Keys),
        });
    }

    fn quit(&mut self, code: u8, now: Instant, effects: &mut Vec<Effect>) {
        if self.current.is_none() {
            effects.push(Effect::Exit(code));
        } else if self.quitting.is_some() {
            // Asked twice: without grace.
            self.stop(Because::Quit, Stop::Kill, now, effects);
        } else {
            self.quitting = Some(code);
            self.stop(Because::Quit, Stop::Terminate, now, effects);
        }
    }

    /// Runs now, or as soon as the run in progress has been stopped.
    fn run(&mut self, why: Why, because: Because, now: Instant, effects: &mut Vec<Effect>) {
        if self.quitting.is_some() {
            return;
        }
        if self.current.is_none() {
            return self.start(why, now, effects);
        }
        self.wanted = Some(match (self.wanted.take(), why) {
            (Some(Why::Saved(mut files)), Why::Saved(more)) => {
                files.extend(more);
                files.sort();
                files.dedup();
                Why::Saved(files)
            }
            // The files say more than that somebody asked.
            (Some(saved @ Why::Saved(_)), _) => saved,
            (_, why) => why,
        });
        self.stop(because, Stop::Terminate, now, effects);
    }

    fn start(&mut self, why: Why, now: Instant, effects: &mut Vec<Effect>) {
        self.last_run += 1;
        self.hinted = false;
        let since = self.last_start.replace(now).map(|last| now - last);
        self.current = Some(Current {
            run: self.last_run,
            started: now,
            exited: None,
            closed: false,
            stopped: false,
            kill_at: None,
            give_up_at: None,
        });
        effects.push(Effect::Start {
            run: self.last_run,
            why,
            since,
        });
    }

    fn stop(&mut self, because: Because, how: Stop, now: Instant, effects: &mut Vec<Effect>) {
        let Some(current) = &mut self.current else {
            return;
        };
        if !std::mem::replace(&mut current.stopped, true) {
            effects.push(Effect::Stopping(current.run, because));
            // After its exit it was killed already.
            if how == Stop::Terminate && current.exited.is_none() {
                effects.push(Effect::Signal(current.run, how));
                current.kill_at = Some(now + GRACE);
            }
        }
        if how == Stop::Kill {
            effects.push(Effect::Signal(current.run, how));
            current.kill_at = None;
            if current.exited.is_some() {
                current.give_up_at = Some(now + DRAIN);
            }
        }
    }
}
