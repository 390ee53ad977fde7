//! `test`: every check of the project, as CI runs them.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::ValueEnum;
use course::program;

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
    /// Programs that are missing here.
    not_run: BTreeSet<String>,
}

/// Runs the parts, or all of them, each whatever became of the others. Exit code 1 if
/// anything failed.
pub fn test(project: &Project, wanted: &[Part]) -> Result<ExitCode, Trouble> {
    let start = Instant::now();
    let mut total = Counts::default();
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
        let verdict = match (counts.passed, counts.failed) {
            (0, 0) => "not run",
            (_, 0) => "ok",
            _ => "FAILED",
        };
        let seconds = part_start.elapsed().as_secs();
        screen::print(&format!("-- {title}: {verdict}, {seconds} s\n"));
        total.passed += counts.passed;
        total.failed += counts.failed;
        total.not_run.extend(counts.not_run);
    }
    screen::print(&format!("\n{} s in all\n", start.elapsed().as_secs()));
    if !total.not_run.is_empty() {
        let missing = Vec::from_iter(total.not_run).join(" ");
        screen::print(&format!("not run: {missing}\n"));
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
    let missing = said.iter().filter_map(|line| program::named(line));
    counts.not_run = missing.map(str::to_owned).collect();
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
    if program::lacks("typos") {
        return Ok(missing(
            "typos",
            "install it with pipx install typos, brew install typos-cli\n\
             or cargo install --locked typos-cli (.ci/run installs it)",
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
    if program::lacks("cargo-deny") {
        return Ok(missing(
            "cargo-deny",
            "install it with cargo install --locked cargo-deny (.ci/run installs it)",
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

/// A part whose program is missing.
fn missing(program: &str, advice: &str) -> Counts {
    let said = program::not_run(program, advice);
    let mut counts = Counts::default();
    match &said {
        Ok(_) => counts.not_run = BTreeSet::from([program.to_owned()]),
        Err(_) => counts.failed = 1,
    }
    let (Ok(line) | Err(line)) = said;
    screen::print(&format!("{line}\n"));
    counts
}

fn verdict(passed: bool) -> Counts {
    Counts {
        passed: passed.into(),
        failed: (!passed).into(),
        not_run: BTreeSet::new(),
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
