//! `test`: every check of the project, as CI runs them.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::ValueEnum;
use course::program;

use crate::cargo::{build_tools, cargo};
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Format,
    Clippy,
    Spelling,
    Dependencies,
    Tests,
    Tutorial,
}

/// Runs the parts, or all of them, each whatever became of the others. Exit code 1 if
/// one failed.
pub fn test(project: &Project, wanted: &[Part]) -> Result<ExitCode, Trouble> {
    let start = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for part in Part::value_variants() {
        if !wanted.is_empty() && !wanted.contains(part) {
            continue;
        }
        let title = format!("{part:?}").to_lowercase();
        let begun = start.elapsed().as_secs();
        screen::print(&format!("\n== {title} (after {begun} s)\n"));
        let verdict = match part.run(project)? {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "not run",
        };
        passed += u32::from(verdict == "ok");
        failed += u32::from(verdict == "FAILED");
        let seconds = start.elapsed().as_secs() - begun;
        screen::print(&format!("-- {title}: {verdict}, {seconds} s\n"));
    }
    let seconds = start.elapsed().as_secs();
    screen::print(&format!(
        "\n{seconds} s in all\n{passed} passed, {failed} failed\n"
    ));
    Ok(ExitCode::from(u8::from(failed > 0)))
}

impl Part {
    /// Whether the part has passed; `None` if it was not run, for want of a program.
    fn run(self, project: &Project) -> Result<Option<bool>, Trouble> {
        let (line, advice) = match self {
            Self::Format => ("cargo fmt --all --check", ""),
            Self::Clippy => (
                "cargo clippy --workspace --all-targets --features marketsvc/postgres --locked -- -D warnings",
                "",
            ),
            Self::Spelling => (
                "typos --config tools/verify/typos.toml --format brief",
                "install it with pipx install typos, brew install typos-cli\n\
                 or cargo install --locked typos-cli (.ci/run installs it)",
            ),
            // By the rules of `deny.toml`.
            Self::Dependencies => (
                "cargo-deny check --hide-inclusion-graph licenses bans sources",
                "install it with cargo install --locked cargo-deny (.ci/run installs it)",
            ),
            Self::Tests => ("verify tests", ""),
            Self::Tutorial => ("verify all", ""),
        };
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let mut command = match name {
            "cargo" => cargo(project),
            "verify" => match build_tools(project, &["verify"], None, false) {
                Ok(program) => Command::new(program),
                Err(trouble) => {
                    screen::print(&format!("{trouble}\n"));
                    return Ok(Some(false));
                }
            },
            _ if program::lacks(name) => {
                let said = program::not_run(name, advice);
                let verdict = if said.is_ok() { None } else { Some(false) };
                let (Ok(line) | Err(line)) = said;
                screen::print(&format!("{line}\n"));
                return Ok(verdict);
            }
            _ => Command::new(name),
        };
        // Without stdin nothing can wait for a key.
        command.args(arguments.split(' ')).stdin(Stdio::null());
        let status = command.current_dir(&project.root).status();
        Ok(Some(status.map_err(Trouble::at(name))?.success()))
    }
}
