//! Where a run took place, and with what.

use std::fs;
use std::thread;

use crate::program;

/// Processor, cores, memory and system, as far as the machine tells.
pub fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let parts = [
        field("/proc/cpuinfo", "model name"),
        thread::available_parallelism()
            .ok()
            .map(|cores| format!("{cores} cores")),
        field("/proc/meminfo", "MemTotal").map(|memory| format!("{memory} memory")),
        said_by("uname", &["-srm"]),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The commit, which stands for the versions of all libraries, and the programs that
/// take part where they are installed.
pub fn versions() -> Vec<String> {
    let commit = said_by("git", &["describe", "--always", "--dirty"]);
    let programs = ["rustc", "sqlite3", "python3"].into_iter();
    let programs = programs.filter_map(|name| {
        // SQLite adds a checksum of its sources.
        let said = said_by(name, &["--version"])?;
        let short: Vec<_> = said.split(' ').filter(|word| word.len() < 32).collect();
        // Some say their name themselves.
        let named = said.starts_with(|first: char| first.is_alphabetic());
        let name = if named { "" } else { name };
        Some(format!("{name} {}", short.join(" ")).trim().to_owned())
    });
    let commit = commit.map(|commit| format!("commit {commit}"));
    commit.into_iter().chain(programs).collect()
}

/// The first line that a program prints, if it exists and succeeds.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = program::output(program::command(program).args(arguments)).ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}
