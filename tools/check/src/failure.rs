//! What a failed check tells the learner.

use std::error::Error;
use std::fmt::{self, Debug, Display};

use course::labelled;
use serde_json::Value;

pub type Outcome = Result<(), Failure>;

/// Longest `expected` or `got` in characters; the rest is left out and counted.
const LONGEST: usize = 600;

/// How much of two texts is shown before their first difference, in characters.
const BEFORE_DIFFERENCE: usize = 100;

/// How much of a text is shown on each side of a JSON error, in bytes.
const AROUND_ERROR: usize = 250;

/// Why a check failed: what the check asked of the code, what it expected, and
/// what it got.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) asked: String,
    pub(crate) expected: String,
    pub(crate) got: String,
    /// Whether something did not end within its limit.
    pub(crate) hung: bool,
}

impl Failure {
    /// The learner reads all three. Each is cut at about 600 characters, with a
    /// note of how many were left out. When `expected` and `got` begin with the
    /// same long text, both are shown from shortly before their first difference.
    pub fn new(asked: impl Display, expected: impl Display, got: impl Display) -> Self {
        let (expected, got) = both_shortened(&expected.to_string(), &got.to_string());
        Self {
            asked: shortened(&asked.to_string()),
            expected,
            got,
            hung: false,
        }
    }

    pub(crate) fn hung(self) -> Self {
        Self { hung: true, ..self }
    }

    pub fn asked(&self) -> &str {
        &self.asked
    }

    pub fn expected(&self) -> &str {
        &self.expected
    }

    pub fn got(&self) -> &str {
        &self.got
    }

    /// Adds a paragraph below `got`, which the cut of a long `got` does not hide.
    pub(crate) fn with_paragraph(mut self, paragraph: &str) -> Self {
        if !paragraph.is_empty() {
            self.got += "\n";
            self.got += paragraph;
        }
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

/// As [`Display`], since a `#[tokio::test]` that returns an [`Outcome`] prints the
/// `Debug` form.
impl Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl Error for Failure {}

pub(crate) fn shortened(text: &str) -> String {
    let length = text.chars().count();
    // A text that is a little longer is printed whole: a note about 20 missing
    // characters would not help.
    if length <= LONGEST + 60 {
        return text.trim_end().to_owned();
    }
    let kept: String = text.chars().take(LONGEST).collect();
    format!("{kept} … ({} more characters)", length - LONGEST)
}

/// Cuts both texts so that their first difference is in what is left.
fn both_shortened(expected: &str, got: &str) -> (String, String) {
    let pairs = expected.chars().zip(got.chars());
    let same = pairs.take_while(|(expected, got)| expected == got).count();
    let longest = expected.len().max(got.len());
    if expected == got || same <= LONGEST / 2 || longest <= LONGEST {
        return (shortened(expected), shortened(got));
    }
    let from = same - BEFORE_DIFFERENCE;
    let rest = |text: &str| {
        let rest: String = text.chars().skip(from).collect();
        format!("({from} characters are the same) … {}", shortened(&rest))
    };
    (rest(expected), rest(got))
}

pub fn parse_json(asked: impl Display, bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(asked, "JSON", json_error(bytes, &error)))
}

pub(crate) fn json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    let offset = if error.is_eof() {
        bytes.len()
    } else {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines
            .take(error.line().saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        // The column counts the byte at which the parser has stopped.
        (before + error.column().saturating_sub(1)).min(bytes.len())
    };
    let start = offset.saturating_sub(AROUND_ERROR);
    let end = (offset + AROUND_ERROR).min(bytes.len());
    let text = |range| String::from_utf8_lossy(&bytes[range]).into_owned();
    format!(
        "{error}; the text there, with the error at <<here>>:\n{}{}<<here>>{}{}",
        if start > 0 { "… " } else { "" },
        text(start..offset),
        text(offset..end),
        if end < bytes.len() { " …" } else { "" },
    )
}

/// Fails unless `holds`.
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

/// Fails unless `got` equals `expected`, and shows both in their `Debug` form.
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
pub fn equal_json(asked: impl Display, expected: &Value, got: &Value) -> Outcome {
    let Some(difference) = first_difference("", expected, got) else {
        return Ok(());
    };
    Err(Failure::new(asked, expected, got).with_paragraph(&difference))
}

/// `None` when equal; an empty text when the whole value differs, so that there is
/// no path to name.
fn first_difference(path: &str, expected: &Value, got: &Value) -> Option<String> {
    let colon = if path.is_empty() { "" } else { ": " };
    let here = |what: String| Some(format!("first difference: {path}{colon}{what}"));
    match (expected, got) {
        (Value::Array(expected), Value::Array(got)) => {
            let mut pairs = expected.iter().zip(got).enumerate();
            let found = pairs.find_map(|(i, (expected, got))| {
                first_difference(&format!("{path}[{i}]"), expected, got)
            });
            if found.is_some() || expected.len() == got.len() {
                return found;
            }
            let counts = format!("{} values expected, {} received", expected.len(), got.len());
            here(match got.get(expected.len()) {
                Some(surplus) => format!("{counts}: the first one too many is {surplus}"),
                None => counts,
            })
        }
        (Value::Object(expected), Value::Object(got)) => {
            let found = expected
                .iter()
                .find_map(|(name, expected)| match got.get(name) {
                    Some(got) => first_difference(&format!("{path}.{name}"), expected, got),
                    None => here(format!("member \"{name}\" is missing")),
                });
            if found.is_some() {
                return found;
            }
            let unknown = got.keys().find(|name| !expected.contains_key(*name))?;
            here(format!("member \"{unknown}\" is not expected"))
        }
        // 5 and 5.0 are different to serde_json and the same to JSON.
        _ if expected == got => None,
        _ if expected.is_number() && expected.as_f64() == got.as_f64() => None,
        _ if path.is_empty() => Some(String::new()),
        _ => here(format!("expected {expected}, got {got}")),
    }
}

/// Turns the errors of libraries into failures, so that a check can use `?`.
pub trait OrFail<T> {
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

/// The error and its causes on one line. A cause that is already part of its
/// parent's text is not repeated.
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
