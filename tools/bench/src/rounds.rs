//! Contenders take turns, so that a machine that becomes slower or faster
//! while it measures does so for all of them.

use std::io::{self, IsTerminal};

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
    mut turn: impl FnMut(&mut C, usize) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        for contender in &mut *contenders {
            turn(contender, round)?;
        }
    }
    Ok(())
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
