//! Contenders take turns, so that a machine that becomes slower or faster
//! while it measures does so for all of them.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Result;

/// Each contender once a round, in the order given: A B C A B C …
///
/// # Errors
///
/// The first error of `turn`, which ends it.
pub fn take_turns<C>(
    rounds: usize,
    contenders: &mut [C],
    turn: impl FnMut(&mut C, usize) -> Result<()>,
) -> Result<()> {
    take_turns_unless_slow(rounds, Duration::MAX, contenders, turn)?;
    Ok(())
}

/// Turns of a contender that is slow.
pub const SLOW_ROUNDS: usize = 2;

/// As [`take_turns`], but a contender that once takes longer than `limit` has only
/// [`SLOW_ROUNDS`]. The places of those that have had fewer rounds for that.
///
/// # Errors
///
/// The first error of `turn`, which ends it.
pub fn take_turns_unless_slow<C>(
    rounds: usize,
    limit: Duration,
    contenders: &mut [C],
    mut turn: impl FnMut(&mut C, usize) -> Result<()>,
) -> Result<Vec<usize>> {
    let mut slow = vec![false; contenders.len()];
    let mut fewer = Vec::new();
    for round in 0..rounds {
        for (place, contender) in contenders.iter_mut().enumerate() {
            if round >= SLOW_ROUNDS && slow[place] {
                if !fewer.contains(&place) {
                    fewer.push(place);
                }
                continue;
            }
            let start = Instant::now();
            turn(contender, round)?;
            slow[place] |= start.elapsed() > limit;
        }
    }
    Ok(fewer)
}

/// What a report says of contenders that have had fewer rounds; `None` when there
/// are none.
pub fn fewer_rounds(case: &str, limit: Duration, names: &[&str], rounds: usize) -> Option<String> {
    let (last, others) = names.split_last()?;
    let (names, have) = match others {
        [] => ((*last).to_owned(), "has"),
        others => (format!("{} and {last}", others.join("; ")), "have"),
    };
    Some(format!(
        "{case}: {names} took longer than {} s for a turn and {have} had {SLOW_ROUNDS} of {rounds} \
         rounds.",
        limit.as_secs(),
    ))
}

/// How far a bench is: a bar on standard error, or plain lines when that is no
/// terminal.
pub struct Progress {
    title: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `steps` is how often [`Self::step`] will be called.
    pub fn new(title: &'static str, steps: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:>7} {bar:30} {pos:>4}/{len} {elapsed_precise}  {wide_msg}",
            )
            .expect("the template is well-formed");
            ProgressBar::new(steps as u64)
                .with_style(style)
                .with_prefix(title)
        });
        Self { title, bar }
    }

    /// What comes now.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("{}: {text}", self.title),
        }
    }

    /// One more step is done.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_b_c_a_b_c() {
        let mut turns = String::new();
        take_turns(2, &mut ['A', 'B', 'C'], |name, round| {
            turns.push(*name);
            turns += &round.to_string();
            Ok(())
        })
        .unwrap();
        assert_eq!(turns, "A0B0C0A1B1C1");
    }

    #[test]
    fn a_slow_one_has_two_rounds() {
        let turns = |rounds, limit| {
            let mut turns = String::new();
            let fewer = take_turns_unless_slow(rounds, limit, &mut ['A', 'B'], |name, round| {
                turns.push(*name);
                turns += &round.to_string();
                Ok(())
            });
            (turns, fewer.unwrap())
        };
        let all = "A0B0A1B1A2B2".to_owned();
        assert_eq!(turns(3, Duration::MAX), (all, vec![]));
        // Any turn takes longer than no time.
        let two = "A0B0A1B1".to_owned();
        assert_eq!(turns(4, Duration::ZERO), (two.clone(), vec![0, 1]));
        assert_eq!(turns(2, Duration::ZERO), (two, vec![]));
    }

    #[test]
    fn who_has_had_fewer_rounds_is_said_once() {
        let note = |names: &[&str]| fewer_rounds("a case", Duration::from_secs(4), names, 5);
        assert_eq!(note(&[]), None);
        assert_eq!(
            note(&["a"]).as_deref(),
            Some("a case: a took longer than 4 s for a turn and has had 2 of 5 rounds.")
        );
        let two = note(&["a, 1", "b, 2"]).unwrap();
        assert!(
            two.contains("a, 1 and b, 2 took") && two.contains("have had"),
            "{two}"
        );
    }

    #[test]
    fn an_error_ends_the_turns() {
        let mut turns = 0;
        let failed = take_turns(5, &mut [1, 2, 3], |number, round| {
            turns += 1;
            if (*number, round) == (2, 1) {
                return Err(Error::Environment("enough".to_owned()));
            }
            Ok(())
        });
        assert!(failed.is_err());
        assert_eq!(turns, 5);
    }
}
