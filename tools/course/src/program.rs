//! Programs that a machine may lack. What needs one is not run there, which is a failure
//! in CI only.

use std::process::Command;

/// Begins the line about something that was not run: `not run: jq  what it is`.
const NOT_RUN: &str = "not run: ";

/// Those that the commands of chapters use.
const IN_CHAPTERS: [&str; 2] = ["jq", "sqlite3"];

/// Whether this machine lacks `program`.
#[must_use]
pub fn lacks(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err()
}

/// The program of a shell's command that this machine lacks.
#[must_use]
pub fn lacked_by(command: &str) -> Option<&'static str> {
    let mut words = command.split([' ', '\n', '(', '|']);
    let needed = words.find_map(|word| IN_CHAPTERS.into_iter().find(|it| *it == word));
    needed.filter(|program| lacks(program))
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
