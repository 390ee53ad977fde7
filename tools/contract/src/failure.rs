//! What a check says when it fails.

use std::error::Error;
use std::fmt::{self, Debug, Display};

use serde_json::Value;

/// What a check returns.
pub type Outcome = Result<(), Failure>;

/// Longest `expected` or `got` in characters; the rest is left out and counted.
const LONGEST: usize = 600;

/// Why a check failed: what was asked of the code, what should have come, and
/// what came.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    asked: String,
    expected: String,
    got: String,
}

impl Failure {
    /// All three are meant for the learner. `expected` and `got` are cut at
    /// about 600 characters, with a note of how many were left out.
    pub fn new(asked: impl Display, expected: impl Display, got: impl Display) -> Self {
        Self {
            asked: shortened(&asked.to_string()),
            expected: shortened(&expected.to_string()),
            got: shortened(&got.to_string()),
        }
    }

    /// What was asked of the code.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// What should have come.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What came.
    pub fn got(&self) -> &str {
        &self.got
    }

    pub(crate) fn with_got(mut self, got: impl Display) -> Self {
        self.got = shortened(&got.to_string());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        labelled(f, "asked", &self.asked)?;
        labelled(f, "expected", &self.expected)?;
        labelled(f, "got", &self.got)
    }
}

/// As [`Display`], since this is what a `#[tokio::test]` that returns an
/// [`Outcome`] prints.
impl Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl Error for Failure {}

/// One line `label  text`, further lines of the text below its first.
pub(crate) fn labelled(out: &mut impl fmt::Write, label: &str, text: &str) -> fmt::Result {
    let mut lines = text.lines();
    writeln!(out, "  {label:<10}{}", lines.next().unwrap_or_default())?;
    for line in lines {
        writeln!(out, "  {:<10}{line}", "")?;
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    // A little over is printed whole: a note about 20 characters helps nobody.
    if length <= LONGEST + 60 {
        return text.trim_end().to_owned();
    }
    let kept: String = text.chars().take(LONGEST).collect();
    format!("{kept} … ({} more characters)", length - LONGEST)
}

/// Fails unless `holds`.
///
/// # Errors
/// The [`Failure`] made of the three texts.
pub fn ensure(
    holds: bool,
    asked: impl Display,
    expected: impl Display,
    got: impl Display,
) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(asked, expected, got))
    }
}

/// Fails unless `got` equals `expected`.
///
/// # Errors
/// A [`Failure`] with both values in their `Debug` form.
#[allow(clippy::needless_pass_by_value)] // so that a check can pass either kind
pub fn equal<T: Debug + PartialEq<U>, U: Debug>(
    asked: impl Display,
    expected: T,
    got: U,
) -> Outcome {
    ensure(
        expected == got,
        asked,
        format_args!("{expected:?}"),
        format_args!("{got:?}"),
    )
}

/// Fails unless both are the same JSON value: 5 and 5.0 are the same number,
/// the order of an object's members does not matter, the order of a list does.
///
/// # Errors
/// A [`Failure`] with both values in compact form and, when they hold other
/// values, the place of the first difference.
pub fn equal_json(asked: impl Display, expected: &Value, got: &Value) -> Outcome {
    let Some(difference) = first_difference("", expected, got) else {
        return Ok(());
    };
    let place = if difference.is_empty() {
        String::new()
    } else {
        format!("\nfirst difference: {difference}")
    };
    let failure = Failure::new(asked, expected, got);
    // After the cut, so that a long value does not hide what matters.
    let got = format!("{}{place}", failure.got);
    Err(Failure { got, ..failure })
}

/// `None` when equal; an empty text when there is no place to name.
fn first_difference(place: &str, expected: &Value, got: &Value) -> Option<String> {
    let here = |what: String| {
        Some(if place.is_empty() {
            what
        } else {
            format!("{place}: {what}")
        })
    };
    match (expected, got) {
        (Value::Array(expected), Value::Array(got)) => {
            let pairs = expected.iter().zip(got).enumerate();
            for (i, (expected, got)) in pairs {
                let found = first_difference(&format!("{place}[{i}]"), expected, got);
                if found.is_some() {
                    return found;
                }
            }
            if expected.len() == got.len() {
                return None;
            }
            let counts = format!("{} values expected, {} came", expected.len(), got.len());
            here(match got.get(expected.len()) {
                Some(surplus) => format!("{counts}: the first too many is {surplus}"),
                None => counts,
            })
        }
        (Value::Object(expected), Value::Object(got)) => {
            for (name, expected) in expected {
                let Some(got) = got.get(name) else {
                    return here(format!("no member \"{name}\""));
                };
                let found = first_difference(&format!("{place}.{name}"), expected, got);
                if found.is_some() {
                    return found;
                }
            }
            let unknown = got.keys().find(|name| !expected.contains_key(*name))?;
            here(format!("member \"{unknown}\" is not expected"))
        }
        _ if same_scalar(expected, got) => None,
        _ if place.is_empty() => Some(String::new()),
        _ => here(format!("{expected} expected, {got} came")),
    }
}

fn same_scalar(expected: &Value, got: &Value) -> bool {
    if expected == got {
        return true;
    }
    // 5 and 5.0 are different to serde_json and the same to JSON.
    match (expected.as_f64(), got.as_f64()) {
        #[allow(clippy::float_cmp)] // the same number or not, no tolerance
        (Some(expected), Some(got)) => expected == got,
        _ => false,
    }
}

/// Turns the errors of libraries into failures, so that a check reads straight
/// down with `?`.
pub trait OrFail<T> {
    /// # Errors
    /// A [`Failure`] that says what was `asked` and which error came, with its
    /// causes.
    fn or_fail(self, asked: impl Display) -> Result<T, Failure>;
}

impl<T, E: Error> OrFail<T> for Result<T, E> {
    fn or_fail(self, asked: impl Display) -> Result<T, Failure> {
        self.map_err(|error| {
            Failure::new(
                asked,
                "no error",
                format_args!("error: {}", with_causes(&error)),
            )
        })
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, asked: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::new(asked, "a value", "nothing"))
    }
}

/// The error and its causes on one line. A cause that its parent's text already
/// holds is not said twice.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
