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
    let cores = thread::available_parallelism();
    let parts = [
        field("/proc/cpuinfo", "model name"),
        cores.ok().map(|cores| format!("{cores} cores")),
        field("/proc/meminfo", "MemTotal").map(|memory| format!("{memory} memory")),
        said_by("uname", &["-srm"]),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The commit, which stands for the versions of all libraries, and the programs that
/// take part where they are installed.
pub fn versions() -> Vec<String> {
    let commit = said_by("git", &["describe", "--always", "--dirty"]);
    let sqlite = said_by("sqlite3", &["--version"]);
    // SQLite adds a checksum of its sources.
    let sqlite = sqlite.and_then(|said| Some(said.split_once(' ')?.0.to_owned()));
    [
        commit.map(|commit| format!("commit {commit}")),
        said_by("rustc", &["--version"]),
        sqlite.map(|version| format!("sqlite3 {version}")),
        said_by("python3", &["--version"]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The first line that a program prints, if it exists and succeeds.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = program::output(program::command(program).args(arguments)).ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}
