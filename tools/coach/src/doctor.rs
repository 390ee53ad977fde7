//! `doctor`: what this machine lacks for the project, and what to do about it.
//!
//! A check that needs something to be wrong in order to be tried takes what it
//! judges as an argument (the time, the output of `df`); the others are tried with
//! programs and folders that are wrong.

use std::fmt::Write as _;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, fs};

use percent_encoding::percent_decode_str;

use crate::cargo::{ENV_FILE_ADVICE, cargo};
use crate::machine::{self, existing, human, writable};
use crate::project::Project;
use crate::screen;

/// Where `marketsvc` listens unless it is told otherwise.
const ADDRESS: &str = "127.0.0.1:9090";
/// What all steps take, built and checked (about 1.2 GB), with some room.
const FIRST_BUILD: u64 = 2_000_000_000;
/// What is needed to go on after the first build.
const LATER_BUILDS: u64 = 500_000_000;
/// File systems and clocks are not more exact than this.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);
const INSTALL_RUST: &str = "install Rust from https://rustup.rs and open a new terminal";
const INSTALL_COMPILER: &str = if cfg!(target_os = "macos") {
    "xcode-select --install"
} else {
    "apt install build-essential (Debian, Ubuntu), dnf install gcc (Fedora), pacman -S gcc (Arch)"
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Something will be slower, or one part of the project will not work.
    Warning,
    /// The project does not work like this.
    Fix,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    state: State,
    /// What was found, in a line.
    found: String,
    /// What to do, in a line; nothing if all is fine.
    advice: String,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Fine,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self {
            state: State::Warning,
            advice: advice.to_owned(),
            ..Self::fine(check, found)
        }
    }

    fn fix(check: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self {
            state: State::Fix,
            ..Self::warning(check, found, advice)
        }
    }

    /// What is there, or what has to be fixed.
    fn of(check: &'static str, result: Result<String, String>, advice: &str) -> Self {
        match result {
            Ok(found) => Self::fine(check, found),
            Err(wrong) => Self::fix(check, wrong, advice),
        }
    }
}

/// Looks at everything and prints the table. The exit code is 3 if something
/// has to be fixed, and 0 otherwise, also with warnings.
pub fn doctor(project: &Project) -> ExitCode {
    let target = machine::target_folder(project);
    // Like the crate cc: the variable may hold options, too.
    let given = env::var("CC").unwrap_or_default();
    let mut cc: Vec<&str> = given.split_whitespace().collect();
    if cc.is_empty() {
        cc.push("cc");
    }
    let mut findings = vec![
        Finding::of(
            "cargo",
            first_line(cargo(project).arg("--version")),
            INSTALL_RUST,
        ),
        rustc(project),
        compiles("C compiler", &cc, "t.c", "int main(void) { return 0; }\n"),
        // Rust calls the linker that cargo would use for us.
        compiles(
            "linker",
            &["rustc", "--edition=2024"],
            "t.rs",
            "fn main() {}\n",
        ),
        packages(project),
        port(),
    ];
    findings.extend(env_files(project));
    findings.extend([
        can_write(
            "project folder",
            &project.root,
            "make it yours: chown -R, or copy the project to your home folder",
        ),
        can_write(
            "target folder",
            &target,
            "build elsewhere: export CARGO_TARGET_DIR=$HOME/marketsvc-target",
        ),
    ]);
    findings.extend(database(project));
    let built = target.join("debug/deps").is_dir();
    let needed = if built { LATER_BUILDS } else { FIRST_BUILD };
    findings.extend(disk(&df(&target), needed));
    findings.push(clock(project, SystemTime::now()));
    for (name, without, purpose) in [
        ("curl", State::Fix, "the verbs that ask the service need it"),
        ("sqlite3", State::Warning, "some chapters need it"),
        ("jq", State::Warning, "some chapters need it"),
        ("git", State::Warning, "./run.sh test needs it"),
    ] {
        // curl goes on with what it was built with.
        let short = |line: String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let found = first_line(Command::new(name).arg("--version")).map(short);
        let found = found.map_err(|error| format!("{error}; {purpose}"));
        let advice = format!("apt install {name}, or brew install {name}");
        let mut finding = Finding::of(name, found, &advice);
        if finding.state == State::Fix {
            finding.state = without;
        }
        findings.push(finding);
    }
    screen::print(&table(&findings));
    if findings.iter().any(|finding| finding.state == State::Fix) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

/// A line for each finding, and one more for what to do.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|it| it.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let state = match finding.state {
            State::Fine => "ok",
            State::Warning => "warn",
            State::Fix => "FIX",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{state:4}  {:width$}  {}",
            finding.check, finding.found
        );
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "{:4}  {:width$}  -> {}", "", "", finding.advice);
        }
    }
    let count = |state: State| findings.iter().filter(|it| it.state == state).count();
    let warnings = match count(State::Warning) {
        0 => String::new(),
        1 => ", 1 warning".into(),
        number => format!(", {number} warnings"),
    };
    let _ = match count(State::Fix) {
        0 => writeln!(text, "\nnothing to fix{warnings}"),
        number => writeln!(text, "\n{number} to fix{warnings}"),
    };
    text
}

fn rustc(project: &Project) -> Finding {
    let manifest = fs::read_to_string(project.root.join("Cargo.toml")).unwrap_or_default();
    // A project without the line asks for nothing.
    let needed = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("rust-version"))
        .and_then(version);
    let mut rustc = Command::new("rustc");
    match (
        first_line(rustc.arg("--version").current_dir(&project.root)),
        needed,
    ) {
        (Ok(line), Some((major, minor))) if version(&line) < needed => Finding::fix(
            "rustc",
            format!("{line}; {major}.{minor} or later is needed"),
            "rustup update stable (or install Rust from https://rustup.rs: \
             a distribution's own is often older)",
        ),
        (found, _) => Finding::of("rustc", found, INSTALL_RUST),
    }
}

/// The first two numbers of a text like `rustc 1.94.0 (…)`, ` = "1.94"`.
fn version(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|it: char| it.is_ascii_digit())?;
    let mut numbers = text[digits..].split(|it: char| !it.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first line of a program's output; or what was wrong, in a line: the first that
/// speaks of an error.
fn first_line(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            format!("{name} was not found")
        } else {
            format!("{name}: {error}")
        }
    })?;
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.lines().next().unwrap_or_default().trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines()
        .find(|line| line.contains("error"))
        .or_else(|| lines().next());
    let ended = format!("it ended with {}", output.status);
    Err(format!("{name}: {}", said.unwrap_or(&ended)))
}

/// Compiles, links and runs a program that does nothing.
fn compiles(check: &'static str, compiler: &[&str], name: &str, source: &str) -> Finding {
    let program = compiler[0];
    let tried = || -> Result<String, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::write(folder.path().join(name), source).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(&compiler[1..]).args(["-o", "program", name]);
        first_line(command.current_dir(&folder))?;
        first_line(&mut Command::new(folder.path().join("program")))
            .map_err(|error| format!("what {program} makes does not run: {error}"))?;
        Ok(format!("{program} makes a program that runs"))
    };
    Finding::of(check, tried(), INSTALL_COMPILER)
}

/// Whether a build could begin without a network.
fn packages(project: &Project) -> Finding {
    let mut fetch = cargo(project);
    fetch.args(["fetch", "--locked", "--offline", "--quiet"]);
    match first_line(&mut fetch) {
        Ok(_) => Finding::fine("packages", "all are on this machine: no network is needed"),
        Err(_) => Finding::warning(
            "packages",
            "not all are on this machine",
            "./run.sh prefetch, while there is a network",
        ),
    }
}

/// The `.env` files that sqlx reads while it compiles queries, and cannot.
fn env_files(project: &Project) -> Vec<Finding> {
    let trouble = |folder: &Path| {
        let file = folder.join(".env");
        let lines = match dotenvy::from_path_iter(&file) {
            Ok(lines) => lines,
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => return Some((file, error)),
        };
        Some((file, lines.into_iter().find_map(Result::err)?))
    };
    let found = project.root.ancestors().filter_map(trouble);
    found
        .map(|(file, error)| {
            let found = format!("sqlx reads {} and cannot: {error}", file.display());
            Finding::fix(".env", found, ENV_FILE_ADVICE)
        })
        .collect()
}

fn port() -> Finding {
    let address = env::var("MARKETSVC_ADDR").unwrap_or_else(|_| ADDRESS.into());
    let resolved = address.to_socket_addrs().ok().and_then(|mut it| it.next());
    let Some(resolved) = resolved else {
        return Finding::fix(
            "port",
            format!("MARKETSVC_ADDR is \"{address}\""),
            &format!("it needs a host and a port, like {ADDRESS}; or unset it"),
        );
    };
    let other = "MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run, and the same for the verbs that ask";
    match TcpListener::bind(resolved) {
        Ok(_) => Finding::fine("port", format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warning(
            "port",
            format!("{address} is taken, which is well if the service runs already"),
            &format!(
                "otherwise {other}; lsof -i :{} says by which program",
                resolved.port()
            ),
        ),
        Err(error) => Finding::fix("port", format!("{address}: {error}"), other),
    }
}

/// The database's file, or the folder in which it will be made.
fn database(project: &Project) -> Option<Finding> {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://marketdb.sqlite".into());
    let advice =
        "let DATABASE_URL name another file, like sqlite:///tmp/marketdb.sqlite, or unset it";
    let file = match database_file(&url) {
        Ok(file) => project.root.join(file?),
        Err(wrong) => {
            let found = format!("DATABASE_URL is {url}: {wrong}");
            return Some(Finding::fix("database", found, advice));
        }
    };
    let folder = file.parent().unwrap_or(&file);
    Some(if !folder.is_dir() {
        let found = format!("there is no folder {}", folder.display());
        Finding::fix("database", found, advice)
    } else if file.exists() {
        // Opening changes nothing.
        let opened = fs::File::options().append(true).open(&file);
        let file = file.display();
        let found = opened.map(|_| format!("{file} can be written to"));
        Finding::of(
            "database",
            found.map_err(|error| format!("{file}: {error}")),
            advice,
        )
    } else {
        can_write("database", folder, advice)
    })
}

fn can_write(check: &'static str, folder: &Path, advice: &str) -> Finding {
    let shown = folder.display();
    let result = writable(folder).map(|()| format!("{shown} can be written to"));
    Finding::of(
        check,
        result.map_err(|error| format!("{shown}: {error}")),
        advice,
    )
}

/// The file of a URL of SQLite, as sqlx and the service read it; `None` for a
/// database in memory or elsewhere.
fn database_file(url: &str) -> Result<Option<PathBuf>, &'static str> {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Ok(None);
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or(rest);
    let wrong = "each % must be followed by two hexadecimal digits of UTF-8 text";
    let digits = |it: &str| it.len() > 1 && it.bytes().take(2).all(|it| it.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(digits) {
        return Err(wrong);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| wrong)?;
    Ok((!path.is_empty() && path != ":memory:").then(|| path.as_ref().into()))
}

/// What `df` says of the drive that a folder is on, or will be.
fn df(folder: &Path) -> String {
    let mut df = Command::new("df");
    df.args(["-P", "-k"])
        .arg(existing(folder))
        .stdin(Stdio::null());
    let output = df.output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).into_owned()
}

/// Whether enough is free where the target folder is, and whether that is a drive of
/// this machine, by the output of `df -P -k`. Names with spaces may stand on both sides
/// of the numbers, so these are counted from the percentage.
fn disk(df: &str, needed: u64) -> Vec<Finding> {
    let fields: Vec<&str> = df
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let percentage = |field: &&str| {
        let number = field.strip_suffix('%');
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let available = fields
        .iter()
        .rposition(percentage)
        .and_then(|at| fields.get(at.checked_sub(1)?));
    let Some(blocks) = available.and_then(|blocks| blocks.parse::<u64>().ok()) else {
        let advice = format!("see that {} are", human(needed));
        return vec![Finding::warning(
            "disk",
            "df does not say how much is free",
            &advice,
        )];
    };
    let free = blocks * 1024;
    let found = format!("{} free where the target folder is", human(free));
    let mut findings = vec![if free >= needed {
        Finding::fine("disk", found)
    } else {
        Finding::fix(
            "disk",
            format!("{found}; {} are needed", human(needed)),
            "./run.sh clean, or make room, or build elsewhere: export CARGO_TARGET_DIR=…",
        )
    }];
    // `C:\` of WSL, `host:/home`, `//me@host/share`.
    let drive = fields[0];
    if drive.starts_with("//") || drive.contains(':') {
        findings.push(Finding::warning(
            "drive",
            format!("the target folder is on {drive}, not on a disk of this system: slow to build"),
            "export CARGO_TARGET_DIR=$HOME/marketsvc-target, or copy the project to a folder of \
             this system (in WSL below ~, not below /mnt/c)",
        ));
    }
    findings
}

/// Cargo builds again what is newer than what it has built. A file from the
/// future is always newer, and one saved with a clock that is behind never.
fn clock(project: &Project, now: SystemTime) -> Finding {
    let mut waiting: Vec<PathBuf> = [
        "Cargo.toml",
        "Cargo.lock",
        "marketsvc",
        "steps",
        "tools",
        "data",
    ]
    .map(|name| project.root.join(name))
    .into();
    let mut latest = (SystemTime::UNIX_EPOCH, PathBuf::new());
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            if !path.ends_with("target") {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                waiting.extend(entries.map(|entry| entry.path()));
            }
        } else if let Ok(modified) = metadata.modified()
            && modified > latest.0
        {
            latest = (modified, path);
        }
    }
    match latest.0.duration_since(now) {
        Ok(ahead) if ahead > CLOCK_TOLERANCE => Finding::fix(
            "clock",
            format!(
                "{} is {} minutes in the future; cargo tells by times what to build",
                project.short(&latest.1).display(),
                ahead.as_secs() / 60
            ),
            "set the clock; if it is right: find . -type f -newermt now -exec touch {} +",
        ),
        _ => Finding::fine("clock", "no file is from the future"),
    }
}

#[cfg(test)]
mod tests;
