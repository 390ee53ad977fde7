//! Programs that a machine may lack. What needs one is not run there, which is a failure
//! in CI only.

use std::process::Command;

/// Begins the line about something that was not run: `not run: jq  what it is`.
const NOT_RUN: &str = "not run: ";

/// Whether this machine lacks `program`.
#[must_use]
pub fn lacks(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err()
}

/// The line that says that `what` needs `program`, which this machine lacks. In CI it is
/// the text of a failure.
pub fn not_run(program: &str, what: &str) -> Result<String, String> {
    let line = format!("{NOT_RUN}{program}  {what}");
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        return Err(line);
    }
    Ok(line)
}

/// The program that such a line names.
#[must_use]
pub fn named(line: &str) -> Option<&str> {
    Some(line.strip_prefix(NOT_RUN)?.split_once("  ")?.0)
}
