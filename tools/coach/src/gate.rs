//! `test`: every check of the project, as CI runs them.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::ValueEnum;

use crate::cargo::{build_tools, cargo, no_cargo};
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

/// What a part came to.
#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    not_run: Option<&'static str>,
}

/// Runs the parts, or all of them, each whatever became of the others. Exit code 1 if
/// anything failed.
pub fn test(project: &Project, wanted: &[Part]) -> Result<ExitCode, Trouble> {
    let start = Instant::now();
    let mut total = Counts::default();
    let mut not_run = String::new();
    for part in Part::value_variants() {
        if !wanted.is_empty() && !wanted.contains(part) {
            continue;
        }
        let title = part.title();
        let part_start = Instant::now();
        screen::print(&format!(
            "\n== {title} (after {} s)\n",
            start.elapsed().as_secs()
        ));
        let counts = part.run(project)?;
        not_run.extend(counts.not_run.map(|what| format!(" {what}")));
        let verdict = match (counts.passed, counts.failed) {
            (0, 0) => "not run",
            (_, 0) => "ok",
            _ => "FAILED",
        };
        let seconds = part_start.elapsed().as_secs();
        screen::print(&format!("-- {title}: {verdict}, {seconds} s\n"));
        total.passed += counts.passed;
        total.failed += counts.failed;
    }
    screen::print(&format!("\n{} s in all\n", start.elapsed().as_secs()));
    if !not_run.is_empty() {
        screen::print(&format!("not run:{not_run}\n"));
    }
    screen::print(&format!(
        "{} passed, {} failed\n",
        total.passed, total.failed
    ));
    Ok(ExitCode::from(u8::from(total.failed > 0)))
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Spelling => "spelling",
            Self::Dependencies => "dependencies",
            Self::Tests => "tests",
            Self::Tutorial => "the tutorial",
        }
    }

    fn run(self, project: &Project) -> Result<Counts, Trouble> {
        let mut cargo = cargo(project);
        match self {
            Self::Format => yes_or_no(cargo.args(["fmt", "--all", "--check"])),
            Self::Clippy => {
                cargo.args(["clippy", "--workspace", "--all-targets", "--locked"]);
                yes_or_no(cargo.args(["--", "-D", "warnings"]))
            }
            Self::Spelling => spelling(project),
            Self::Dependencies => dependencies(project),
            Self::Tests => verify(project, "tests", "test result:"),
            Self::Tutorial => verify(project, "all", "verify:"),
        }
    }
}

/// Runs a part of verify, whose verdicts are in the lines that begin with `verdicts`.
fn verify(project: &Project, part: &str, verdicts: &str) -> Result<Counts, Trouble> {
    let program = match build_tools(project, &["verify"], false) {
        Ok(program) => program,
        Err(trouble) => {
            screen::print(&format!("{trouble}\n"));
            return Ok(verdict(false));
        }
    };
    let (success, said) = tee(Command::new(program).arg(part).current_dir(&project.root))?;
    let mut counts = sum(&said, verdicts);
    // A part that ended badly or without a verdict has not passed.
    if counts.failed == 0 && (!success || counts.passed == 0) {
        counts.failed = 1;
    }
    if said.iter().any(|line| line.contains("diagrams: not run")) {
        counts.not_run = Some("diagrams");
    }
    Ok(counts)
}

/// All words of all files. At home the program may be missing, which is said; the gate
/// has it (`.ci/run`).
fn spelling(project: &Project) -> Result<Counts, Trouble> {
    let typos = |arguments: &[&str]| {
        let mut command = Command::new("typos");
        command.args(arguments).current_dir(&project.root);
        command
    };
    let config = ["--config", "tools/verify/typos.toml"];
    if typos(&["--version"]).status().is_err() {
        return Ok(missing(
            "spelling",
            "typos was not found, so nothing was checked: pipx install typos, brew install\n\
             typos-cli or cargo install --locked typos-cli (.ci/run installs it)\n",
        ));
    }
    // Exceptions that swallow everything would not be noticed otherwise.
    let folder = tempfile::tempdir().map_err(|error| Trouble::environment(error.to_string()))?;
    let misspelt = folder.path().join("misspelt");
    let written = std::fs::write(&misspelt, concat!("rec", "ieve"));
    written.map_err(|error| Trouble::environment(error.to_string()))?;
    let mut accepts = typos(&config);
    if accepts
        .arg(&misspelt)
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
    {
        screen::print(&format!(
            "typos accepts a misspelt word: look at {}\n",
            config[1]
        ));
        return Ok(verdict(false));
    }
    yes_or_no(typos(&config).args(["--format", "brief"]))
}

/// Licences, sources and versions of all dependencies, by the rules of `deny.toml`.
/// The program may be missing at home, as for [`spelling`].
fn dependencies(project: &Project) -> Result<Counts, Trouble> {
    let deny = || Command::new("cargo-deny");
    let there = deny().arg("--version").stdout(Stdio::null()).status();
    if there.is_err() {
        return Ok(missing(
            "dependencies",
            "cargo-deny was not found, so nothing was checked: cargo install --locked\n\
             cargo-deny (.ci/run installs it)\n",
        ));
    }
    let rules = [
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ];
    yes_or_no(deny().args(rules).current_dir(&project.root))
}

/// A part whose program is missing: not run at home, failed in the gate.
fn missing(part: &'static str, advice: &str) -> Counts {
    screen::print(advice);
    if env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        return verdict(false);
    }
    Counts {
        not_run: Some(part),
        ..Counts::default()
    }
}

fn verdict(passed: bool) -> Counts {
    Counts {
        passed: passed.into(),
        failed: (!passed).into(),
        not_run: None,
    }
}

fn yes_or_no(command: &mut Command) -> Result<Counts, Trouble> {
    Ok(verdict(tee(command)?.0))
}

/// Runs a command and shows what it prints; whether it succeeded, and the lines.
fn tee(command: &mut Command) -> Result<(bool, Vec<String>), Trouble> {
    let (reader, writer) = io::pipe().map_err(|error| no_cargo(&error))?;
    let stderr = writer.try_clone().map_err(|error| no_cargo(&error))?;
    // Without stdin nothing can wait for a key.
    let child = command
        .stdin(Stdio::null())
        .stderr(stderr)
        .stdout(writer)
        .spawn();
    // The command holds the pipe's ends too, and would keep it open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.map_err(|error| no_cargo(&error))?;
    let mut said = Vec::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        screen::print(&format!("{line}\n"));
        said.push(line);
    }
    let status = child.wait().map_err(|error| no_cargo(&error))?;
    Ok((status.success(), said))
}

/// Adds up "N passed" and "N failed" over the lines that begin so.
fn sum(lines: &[String], start: &str) -> Counts {
    let mut counts = Counts::default();
    for line in lines.iter().filter_map(|line| line.strip_prefix(start)) {
        let words: Vec<&str> = line.split([' ', ';', ',', '.']).collect();
        for pair in words.windows(2) {
            let number = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                _ => {}
            }
        }
    }
    counts
}
