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
    /// Ctrl-Z.
    Suspend,
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
    /// Give the terminal back and stop ourselves until somebody lets us go on.
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

    /// Whether the last run passed, and nothing has changed since.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Whether a run is in progress.
    pub fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Takes an event and says what is to be done, in order.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            // What is saved now is checked by nobody.
            Event::Touched if self.quitting.is_some() => {}
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
            effects.push(Effect::Scan);
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
        let effect = match key {
            Key::Quit => return self.quit(0, now, effects),
            Key::Again => return self.run(Why::Asked, Because::Asked, now, effects),
            Key::Next if self.passed && self.current.is_none() => Effect::Advance,
            Key::Next => Effect::Show(Show::NotYet),
            Key::Hint => Effect::Show(Show::Hint {
                more: std::mem::replace(&mut self.hinted, true),
            }),
            Key::Diff => Effect::Show(Show::Diff),
            Key::Help => Effect::Show(Show::Keys),
            Key::Suspend => {
                // The limits of its checks would run out while it waits for us.
                if self.current.is_some() {
                    self.stop(Because::Suspended, Stop::Kill, now, effects);
                    self.wanted.get_or_insert(Why::Resumed);
                }
                Effect::Suspend
            }
        };
        effects.push(effect);
    }

    fn quit(&mut self, code: u8, now: Instant, effects: &mut Vec<Effect>) {
        if self.current.is_none() {
            effects.push(Effect::Exit(code));
        } else if self.quitting.is_some() {
            // Asked twice: without grace.
            self.stop(Because::Quit, Stop::Kill, now, effects);
        } else {
            self.quitting = Some(code);
            self.saving = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with a clock of its own.
    struct Bench {
        machine: Machine,
        now: Instant,
    }

    impl Bench {
        /// The first run is in progress.
        fn new() -> Self {
            let now = Instant::now();
            let mut machine = Machine::default();
            let effects = machine.begin(now);
            assert_eq!(effects, [start(1, Why::First, None)]);
            Self { machine, now }
        }

        /// The first run has ended so.
        fn after(outcome: Outcome) -> Self {
            let mut bench = Self::new();
            bench.end(1, outcome);
            bench
        }

        fn on(&mut self, event: Event) -> Vec<Effect> {
            self.machine.on(event, self.now)
        }

        /// Lets time pass, as the loop does: a tick at each deadline.
        fn pass(&mut self, milliseconds: u64) -> Vec<Effect> {
            let until = self.now + Duration::from_millis(milliseconds);
            let mut effects = Vec::new();
            while let Some(at) = self.machine.deadline().filter(|at| *at <= until) {
                self.now = at;
                let due = self.on(Event::Tick);
                assert!(!due.is_empty(), "a tick with nothing to do");
                effects.extend(due);
            }
            self.now = until;
            effects
        }

        fn end(&mut self, run: RunId, outcome: Outcome) -> Vec<Effect> {
            let mut effects = self.on(Event::Exited(run, outcome));
            effects.extend(self.on(Event::Closed(run)));
            effects
        }

        /// A save of one file, up to the effects of the scan.
        fn save(&mut self, file: &str) -> Vec<Effect> {
            assert_eq!(self.on(Event::Touched), []);
            assert_eq!(self.pass(100), [Effect::Scan]);
            self.on(Event::Scanned(vec![file.into()]))
        }
    }

    fn start(run: RunId, why: Why, since: Option<u64>) -> Effect {
        Effect::Start {
            run,
            why,
            since: since.map(Duration::from_millis),
        }
    }

    fn saved(files: &[&str]) -> Why {
        Why::Saved(files.iter().map(ToString::to_string).collect())
    }

    fn finish(run: RunId, outcome: Outcome, took: u64) -> Effect {
        Effect::Finish {
            run,
            outcome,
            took: Duration::from_millis(took),
        }
    }

    fn terminate(run: RunId) -> Effect {
        Effect::Signal(run, Stop::Terminate)
    }

    fn kill(run: RunId) -> Effect {
        Effect::Signal(run, Stop::Kill)
    }

    #[test]
    fn a_save_is_over_when_it_has_been_quiet_for_a_moment() {
        let mut bench = Bench::after(Outcome::Failed);
        for _ in 0..5 {
            assert_eq!(bench.on(Event::Touched), []);
            assert_eq!(bench.pass(99), []);
        }
        assert_eq!(bench.pass(1), [Effect::Scan]);
        // Touched and not changed.
        assert_eq!(bench.on(Event::Scanned(Vec::new())), []);
        assert_eq!(bench.machine.deadline(), None);
        assert_eq!(bench.save("a"), [start(2, saved(&["a"]), Some(596))]);
    }

    #[test]
    fn a_file_that_is_written_without_end_is_scanned_all_the_same() {
        let mut bench = Bench::after(Outcome::Failed);
        let mut scans = 0;
        for _ in 0..100 {
            scans += bench.on(Event::Touched).len();
            scans += bench.pass(50).len();
        }
        assert!((4..=5).contains(&scans), "{scans}");
    }

    #[test]
    fn a_run_is_over_when_its_process_and_its_output_have_ended() {
        for output_first in [false, true] {
            let mut bench = Bench::new();
            assert!(bench.machine.shows(1));
            bench.pass(1500);
            let exited = Event::Exited(1, Outcome::Passed);
            let effects = if output_first {
                assert_eq!(bench.on(Event::Closed(1)), []);
                bench.on(exited)
            } else {
                // What it has left behind is killed.
                assert_eq!(bench.on(exited), [kill(1)]);
                bench.on(Event::Closed(1))
            };
            let last = effects.last();
            assert_eq!(last, Some(&finish(1, Outcome::Passed, 1500)));
            assert!(!bench.machine.shows(1));
        }
    }

    #[test]
    fn output_that_does_not_end_is_waited_for_a_moment_only() {
        let mut bench = Bench::new();
        bench.on(Event::Exited(1, Outcome::Failed));
        assert_eq!(bench.pass(999), []);
        assert_eq!(bench.pass(1), [finish(1, Outcome::Failed, 1000)]);
        // The end of it comes late, and the next run does not mind.
        bench.on(Event::Key(Key::Again));
        assert_eq!(bench.on(Event::Closed(1)), []);
        assert_eq!(bench.on(Event::Exited(1, Outcome::Passed)), []);
        assert!(bench.machine.shows(2));
    }

    #[test]
    fn a_newer_save_stops_the_run_and_starts_the_next_when_it_is_gone() {
        let mut bench = Bench::new();
        let stopping = Effect::Stopping(1, Because::NewerSave);
        assert_eq!(bench.save("a"), [stopping, terminate(1)]);
        assert!(!bench.machine.shows(1), "output of a stopped run");
        // Saved again meanwhile: both files are named, it is stopped once.
        assert_eq!(bench.save("b"), []);
        assert_eq!(bench.save("a"), []);
        assert_eq!(bench.on(Event::Exited(1, Outcome::Killed(15))), []);
        assert_eq!(
            bench.on(Event::Closed(1)),
            [Effect::Drop(1), start(2, saved(&["a", "b"]), Some(300))]
        );
        assert!(bench.machine.shows(2) && !bench.machine.shows(1));
        assert_eq!(bench.end(2, Outcome::Passed).len(), 2);
        assert_eq!(bench.pass(10_000), []);
    }

    #[test]
    fn a_run_that_does_not_end_is_killed_after_its_grace() {
        let mut bench = Bench::new();
        bench.on(Event::Key(Key::Again));
        assert_eq!(bench.pass(499), []);
        assert_eq!(bench.pass(1), [kill(1)]);
        assert_eq!(bench.pass(10_000), []);
        let effects = bench.end(1, Outcome::Killed(9));
        assert_eq!(
            effects[1..],
            [Effect::Drop(1), start(2, Why::Asked, Some(10_500))]
        );

        // The first process obeys, one that it has started does not: the
        // output stays open.
        bench.on(Event::Key(Key::Again));
        assert_eq!(bench.on(Event::Exited(2, Outcome::Killed(15))), []);
        assert_eq!(bench.pass(500), [kill(2)]);
        assert_eq!(bench.on(Event::Closed(2))[0], Effect::Drop(2));
    }

    #[test]
    fn a_save_after_the_exit_does_not_wait_for_output() {
        let mut bench = Bench::new();
        bench.on(Event::Exited(1, Outcome::Passed));
        assert_eq!(bench.save("a"), [Effect::Stopping(1, Because::NewerSave)]);
        let effects = bench.pass(1000);
        assert_eq!(
            effects,
            [Effect::Drop(1), start(2, saved(&["a"]), Some(1000))]
        );
    }

    #[test]
    fn the_next_step_comes_only_when_asked_for_after_a_pass() {
        let next = Event::Key(Key::Next);
        let not_yet = [Effect::Show(Show::NotYet)];
        let mut bench = Bench::new();
        assert_eq!(bench.on(next.clone()), not_yet);
        bench.end(1, Outcome::Failed);
        assert_eq!(bench.on(next.clone()), not_yet);

        let mut bench = Bench::after(Outcome::Passed);
        assert_eq!(bench.pass(100_000), [], "it never moves on by itself");
        // Saved since: it has to pass again.
        bench.save("a");
        assert_eq!(bench.on(next.clone()), not_yet);
        bench.end(2, Outcome::Passed);
        assert_eq!(bench.on(next.clone()), [Effect::Advance]);
        assert_eq!(bench.on(Event::Advanced), [start(3, Why::First, None)]);
        bench.end(3, Outcome::Trouble(3));
        assert_eq!(bench.on(next), not_yet);
    }

    #[test]
    fn a_second_hint_is_more_until_the_next_run() {
        let mut bench = Bench::after(Outcome::Failed);
        let hint = |bench: &mut Bench| bench.on(Event::Key(Key::Hint));
        let shown = |more| [Effect::Show(Show::Hint { more })];
        assert_eq!(hint(&mut bench), shown(false));
        assert_eq!(hint(&mut bench), shown(true));
        assert_eq!(hint(&mut bench), shown(true));
        bench.save("a");
        assert_eq!(hint(&mut bench), shown(false));
    }

    #[test]
    fn the_end_leaves_no_run() {
        let mut bench = Bench::after(Outcome::Failed);
        assert_eq!(bench.on(Event::Key(Key::Quit)), [Effect::Exit(0)]);

        let mut bench = Bench::new();
        bench.on(Event::Touched);
        let stopping = Effect::Stopping(1, Because::Quit);
        assert_eq!(bench.on(Event::Quit(130)), [stopping, terminate(1)]);
        // A save that was under way, and keys, do nothing any more.
        assert_eq!(bench.pass(200), []);
        assert_eq!(bench.on(Event::Scanned(vec!["a".into()])), []);
        assert_eq!(bench.on(Event::Key(Key::Again)), []);
        // Asked twice.
        assert_eq!(bench.on(Event::Quit(143)), [kill(1)]);
        let effects = bench.end(1, Outcome::Killed(9));
        assert_eq!(effects[1..], [Effect::Drop(1), Effect::Exit(130)]);

        // On its way out for a newer save.
        let mut bench = Bench::new();
        bench.save("a");
        assert_eq!(bench.on(Event::Quit(130)), []);
        let effects = bench.end(1, Outcome::Killed(15));
        assert_eq!(effects, [Effect::Drop(1), Effect::Exit(130)]);
    }

    #[test]
    fn a_run_that_was_in_progress_at_a_stop_begins_anew() {
        let mut bench = Bench::after(Outcome::Failed);
        assert_eq!(bench.on(Event::Key(Key::Suspend)), [Effect::Suspend]);
        assert_eq!(bench.on(Event::Resumed), []);

        let mut bench = Bench::new();
        let stopping = Effect::Stopping(1, Because::Suspended);
        assert_eq!(
            bench.on(Event::Key(Key::Suspend)),
            [stopping, kill(1), Effect::Suspend]
        );
        bench.pass(60_000);
        assert_eq!(bench.on(Event::Resumed), []);
        let effects = bench.end(1, Outcome::Killed(9));
        assert_eq!(
            effects[1..],
            [Effect::Drop(1), start(2, Why::Resumed, Some(60_000))]
        );
    }

    /// Whatever the order of events, an end that is asked for comes within the
    /// grace and the wait for output once the processes have ended.
    #[test]
    fn any_order_of_events_comes_to_an_end() {
        // A generator of its own (xorshift), so that a failure can be repeated.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for round in 0..2_000 {
            let mut bench = Bench::new();
            // What the loop would know: the last run, whether it is alive.
            let (mut run, mut exited, mut closed, mut running) = (1, false, false, true);
            let mut exit = None;
            for step in 0..200 {
                let ask_for_the_end = step == 150;
                let event = match random(12) {
                    _ if ask_for_the_end => Event::Quit(130),
                    0 | 1 => Event::Touched,
                    2 => Event::Scanned(vec!["a".into()]),
                    3 => Event::Key(Key::Again),
                    4 => Event::Key(Key::Next),
                    5 => Event::Key(Key::Hint),
                    6 => Event::Key(Key::Suspend),
                    7 => Event::Resumed,
                    8 if running && !exited => {
                        exited = true;
                        Event::Exited(run, Outcome::Passed)
                    }
                    9 if running && !closed => {
                        closed = true;
                        Event::Closed(run)
                    }
                    _ => Event::Tick,
                };
                let mut effects = bench.on(event);
                effects.extend(bench.pass(random(400)));
                // Once killed, a process ends.
                if effects.contains(&kill(run)) && !exited {
                    exited = true;
                    effects.extend(bench.on(Event::Exited(run, Outcome::Killed(9))));
                    effects.extend(bench.pass(1_000));
                }
                for effect in effects {
                    match effect {
                        Effect::Start { run: next, .. } => {
                            assert!(!running, "round {round}: two runs at once");
                            (run, exited, closed, running) = (next, false, false, true);
                        }
                        Effect::Finish { run: ended, .. } | Effect::Drop(ended) => {
                            assert_eq!(ended, run);
                            assert!(exited, "round {round}: forgotten while it runs");
                            running = false;
                        }
                        Effect::Exit(code) => {
                            assert!(!running, "round {round}: left behind");
                            exit.get_or_insert(code);
                        }
                        _ => {}
                    }
                }
            }
            assert_eq!(exit, Some(130), "round {round}");
        }
    }
}
