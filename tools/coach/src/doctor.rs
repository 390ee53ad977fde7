//! `doctor`: what this machine lacks for the project, and what to do about it.
//!
//! Whatever the coach itself needs in order to be built (cargo, a recent rustc, a
//! linker, a target folder to write to) is there when this runs: `run.sh` says what to
//! do where it is not.

use std::fmt::Write as _;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use crate::ask::ADDRESS;
use crate::cargo::{ENV_FILE_ADVICE, cargo};
use crate::project::Project;
use crate::screen;

/// What all steps take, built and checked (about 1.2 GB), with some room.
#[cfg(unix)]
const FIRST_BUILD: u64 = 2_000_000_000;
/// What is needed to go on after the first build.
#[cfg(unix)]
const LATER_BUILDS: u64 = 500_000_000;
const INSTALL_COMPILER: &str = if cfg!(target_os = "macos") {
    "xcode-select --install"
} else {
    "apt install build-essential (Debian, Ubuntu), dnf install gcc (Fedora), pacman -S gcc (Arch)"
};

/// What was found, in a line.
type Finding = Result<String, Fault>;

#[derive(Debug)]
struct Fault {
    /// The project does not work like this; otherwise one part of it does not.
    serious: bool,
    wrong: String,
    /// What to do, in a line.
    advice: String,
}

fn fix(wrong: impl Into<String>, advice: impl Into<String>) -> Fault {
    Fault {
        serious: true,
        wrong: wrong.into(),
        advice: advice.into(),
    }
}

fn warning(wrong: impl Into<String>, advice: impl Into<String>) -> Fault {
    Fault {
        serious: false,
        ..fix(wrong, advice)
    }
}

/// Looks at everything and prints the table. The exit code is 3 if something
/// has to be fixed, and 0 otherwise, also with warnings.
pub fn doctor(project: &Project) -> ExitCode {
    let version = |command: &mut Command, purpose: &str, advice: String| {
        let line = first_line(command.arg("--version"));
        // curl goes on with what it was built with, Rust with its commit.
        let short = |line: String| {
            let words = line.split(' ').take(3);
            let words = words.take_while(|word| !word.starts_with('('));
            words.collect::<Vec<_>>().join(" ")
        };
        line.map(short)
            .map_err(|error| fix(format!("{error}{purpose}"), advice))
    };
    let rust = "install Rust from https://rustup.rs and open a new terminal";
    let mut findings = vec![
        ("cargo", version(&mut cargo(project), "", rust.into())),
        (
            "rustc",
            version(&mut Command::new("rustc"), "", rust.into()),
        ),
        ("C compiler", c_compiler()),
        ("packages", packages(project)),
        ("port", port()),
        (
            "project folder",
            can_write(
                &project.root,
                "make it yours: chown -R, or copy the project to your home folder",
            ),
        ),
    ];
    findings.extend(env_files(project).map(|found| (".env", found)));
    findings.extend(database(project).map(|found| ("database", found)));
    #[cfg(unix)]
    findings.push((
        "disk",
        free(project).and_then(|(free, needed)| disk(free, needed)),
    ));
    for (name, serious, purpose) in [
        ("curl", true, "the verbs that ask the service need it"),
        ("sqlite3", false, "some chapters need it"),
        ("jq", false, "some chapters need it"),
        ("git", false, "./run.sh test needs it"),
    ] {
        let advice = format!("apt install {name}, or brew install {name}");
        let found = version(&mut Command::new(name), &format!("; {purpose}"), advice);
        findings.push((name, found.map_err(|fault| Fault { serious, ..fault })));
    }
    let (table, healthy) = table(&findings);
    screen::print(&table);
    ExitCode::from(if healthy { 0 } else { 3 })
}

/// The `.env` files that sqlx reads while it compiles queries, and cannot.
fn env_files(project: &Project) -> impl Iterator<Item = Finding> {
    project.root.ancestors().filter_map(|folder| {
        let file = folder.join(".env");
        let error = match dotenvy::from_path_iter(&file) {
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error),
            Ok(lines) => lines.into_iter().find_map(Result::err),
        };
        let wrong = format!("sqlx reads {} and cannot: {}", file.display(), error?);
        Some(Err(fix(wrong, ENV_FILE_ADVICE)))
    })
}

/// A line for each finding, and one more for what to do; whether nothing has to be
/// fixed.
fn table(findings: &[(&str, Finding)]) -> (String, bool) {
    let mut text = String::new();
    let (mut warnings, mut fixes) = (0, 0);
    for (check, finding) in findings {
        let (state, found) = match finding {
            Ok(found) => ("ok", found),
            Err(fault) if fault.serious => ("FIX", &fault.wrong),
            Err(fault) => ("warn", &fault.wrong),
        };
        warnings += u32::from(state == "warn");
        fixes += u32::from(state == "FIX");
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{state:4}  {check:14}  {found}");
        if let Err(fault) = finding {
            let _ = writeln!(text, "{:20}  -> {}", "", fault.advice);
        }
    }
    let warnings = match warnings {
        0 => String::new(),
        1 => ", 1 warning".into(),
        number => format!(", {number} warnings"),
    };
    let _ = match fixes {
        0 => writeln!(text, "\nnothing to fix{warnings}"),
        number => writeln!(text, "\n{number} to fix{warnings}"),
    };
    (text, fixes == 0)
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

fn c_compiler() -> Finding {
    // Like the crate cc: the variable may hold options, too.
    let given = env::var("CC").unwrap_or_default();
    let mut words = given.split_whitespace();
    let program = words.next().unwrap_or("cc");
    let tried = || -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::write(folder.path().join("t.c"), "int main(void) { return 0; }\n")
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(words).args(["-o", "program", "t.c"]);
        first_line(command.current_dir(&folder))?;
        first_line(&mut Command::new(folder.path().join("program")))
            .map_err(|error| format!("what {program} makes does not run: {error}"))?;
        Ok(())
    };
    tried()
        .map(|()| format!("{program} makes a program that runs"))
        .map_err(|wrong| fix(wrong, INSTALL_COMPILER))
}

/// Whether a build could begin without a network.
fn packages(project: &Project) -> Finding {
    let mut fetch = cargo(project);
    fetch.args(["fetch", "--locked", "--offline", "--quiet"]);
    first_line(&mut fetch)
        .map(|_| "all are on this machine: no network is needed".into())
        .map_err(|_| {
            warning(
                "not all are on this machine",
                "./run.sh prefetch, while there is a network",
            )
        })
}

fn port() -> Finding {
    let address = env::var("MARKETSVC_ADDR").unwrap_or_else(|_| ADDRESS.into());
    let resolved = address.to_socket_addrs().ok().and_then(|mut it| it.next());
    let resolved = resolved.ok_or_else(|| {
        fix(
            format!("MARKETSVC_ADDR is \"{address}\""),
            format!("it needs a host and a port, like {ADDRESS}; or unset it"),
        )
    })?;
    let other = "MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run, and the same for the verbs that ask";
    match TcpListener::bind(resolved) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(warning(
            format!("{address} is taken, which is well if the service runs already"),
            format!(
                "otherwise {other}; lsof -i :{} says by which program",
                resolved.port()
            ),
        )),
        Err(error) => Err(fix(format!("{address}: {error}"), other)),
    }
}

/// The database's file, or the folder in which it will be made.
fn database(project: &Project) -> Option<Finding> {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://marketdb.sqlite".into());
    let advice =
        "let DATABASE_URL name another file, like sqlite:///tmp/marketdb.sqlite, or unset it";
    let file = project.root.join(database_file(&url)?);
    let folder = file.parent().unwrap_or(&file);
    Some(if !folder.is_dir() {
        let found = format!("there is no folder {}", folder.display());
        Err(fix(found, advice))
    } else if file.exists() {
        // Opening changes nothing.
        let opened = fs::File::options().append(true).open(&file);
        let file = file.display();
        opened
            .map(|_| format!("{file} can be written to"))
            .map_err(|error| fix(format!("{file}: {error}"), advice))
    } else {
        can_write(folder, advice)
    })
}

fn can_write(folder: &Path, advice: &str) -> Finding {
    let shown = folder.display();
    tempfile::tempfile_in(folder)
        .map(|_| format!("{shown} can be written to"))
        .map_err(|error| fix(format!("{shown}: {error}"), advice))
}

/// The file of a URL of SQLite; `None` for a database in memory or elsewhere, and for
/// a URL with escapes, which only the service reads.
fn database_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or(rest);
    (!path.is_empty() && path != ":memory:" && !path.contains('%')).then(|| path.into())
}

/// How many bytes are free where cargo builds, and how many it needs.
#[cfg(unix)]
fn free(project: &Project) -> Result<(u64, u64), Fault> {
    let target = crate::cargo::metadata(project).map(|it| it.target_directory);
    let target = target.unwrap_or_else(|_| project.root.join("target"));
    let there = target.ancestors().find(|folder| folder.exists());
    let needed = if target.join("debug/deps").is_dir() {
        LATER_BUILDS
    } else {
        FIRST_BUILD
    };
    rustix::fs::statvfs(there.unwrap_or(&project.root))
        .map(|drive| (drive.f_bavail * drive.f_frsize, needed))
        .map_err(|error| {
            warning(
                format!("how much is free is not known: {error}"),
                format!("see that {} are", human(needed)),
            )
        })
}

#[cfg(unix)]
fn disk(free: u64, needed: u64) -> Finding {
    let found = format!("{} free where the target folder is", human(free));
    if free >= needed {
        return Ok(found);
    }
    Err(fix(
        format!("{found}; {} are needed", human(needed)),
        "./run.sh clean, or make room, or build elsewhere: export CARGO_TARGET_DIR=…",
    ))
}

#[cfg(unix)]
fn human(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

#[cfg(test)]
mod tests;
