//! `doctor`: what this machine lacks for the project, and what to do about it.
//!
//! Whatever the coach itself needs in order to be built (cargo, a recent rustc, a
//! linker, a target folder to write to) is there when this runs: `run.sh` says what to
//! do where it is not.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Command, ExitCode, Stdio};
use std::{env, io};

use crate::ask::ADDRESS;
use crate::cargo::{ENV_FILE_ADVICE, cargo};
use crate::project::Project;
use crate::screen;

const INSTALL_COMPILER: &str = if cfg!(target_os = "macos") {
    "xcode-select --install"
} else {
    "apt install build-essential (Debian, Ubuntu), dnf install gcc (Fedora), pacman -S gcc (Arch)"
};

/// What was found, or what is wrong, in a line.
type Finding = Result<String, String>;

/// A line for each finding, and one more for what to do.
#[derive(Default)]
struct Table {
    text: String,
    warnings: u32,
    fixes: u32,
}

impl Table {
    /// The project does not work with what has to be fixed.
    fn fix(&mut self, name: &str, finding: Finding, advice: &str) {
        self.fixes += u32::from(finding.is_err());
        self.add("FIX", name, finding, advice);
    }

    /// A part of the project does not work.
    fn warn(&mut self, name: &str, finding: Finding, advice: &str) {
        self.warnings += u32::from(finding.is_err());
        self.add("warn", name, finding, advice);
    }

    fn add(&mut self, state: &str, name: &str, finding: Finding, advice: &str) {
        // Writing into a String cannot fail.
        let _ = match finding {
            Ok(found) => writeln!(self.text, "ok    {name:14}  {found}"),
            Err(wrong) => writeln!(
                self.text,
                "{state:4}  {name:14}  {wrong}\n{:20}  -> {advice}",
                ""
            ),
        };
    }
}

/// Looks at everything and prints the table. The exit code is 3 if something
/// has to be fixed, and 0 otherwise, also with warnings.
pub fn doctor(project: &Project) -> ExitCode {
    let mut table = Table::default();
    let rust = "install Rust from https://rustup.rs and open a new terminal";
    table.fix("cargo", version(&mut cargo(project)), rust);
    table.fix("rustc", version(&mut Command::new("rustc")), rust);
    // Like the crate cc: the variable may hold options, too.
    let given = env::var("CC").unwrap_or_default();
    let mut words = given.split_whitespace();
    let mut compiler = Command::new(words.next().unwrap_or("cc"));
    let compiler = version(compiler.args(words));
    table.fix("C compiler", compiler, INSTALL_COMPILER);
    let mut fetch = cargo(project);
    fetch.args(["fetch", "--locked", "--offline", "--quiet"]);
    let packages = first_line(&mut fetch)
        .map(|_| "all are on this machine: no network is needed".to_owned())
        .map_err(|_| "not all are on this machine".to_owned());
    let advice = "./run.sh prefetch, while there is a network";
    table.warn("packages", packages, advice);
    port(&mut table);
    let root = project.root.display();
    let written = tempfile::tempfile_in(&project.root)
        .map(|_| format!("{root} can be written to"))
        .map_err(|error| format!("{root}: {error}"));
    let advice = "make it yours: chown -R, or copy the project to your home folder";
    table.fix("project folder", written, advice);
    env_files(project, &mut table);
    database(project, &mut table);
    #[cfg(unix)]
    {
        let advice = "./run.sh clean, or make room, or build elsewhere: export CARGO_TARGET_DIR=…";
        table.fix("disk", disk(project), advice);
    }
    for (name, purpose) in [
        ("curl", "the verbs that ask the service need it"),
        ("sqlite3", "some chapters need it"),
        ("jq", "some chapters need it"),
        ("git", "./run.sh test needs it"),
    ] {
        let found = version(&mut Command::new(name)).map_err(|it| format!("{it}; {purpose}"));
        let advice = format!("apt install {name}, or brew install {name}");
        match name {
            "curl" => table.fix(name, found, &advice),
            _ => table.warn(name, found, &advice),
        }
    }
    #[cfg(unix)]
    {
        let programs = postgres_server::programs(&["initdb", "postgres"]);
        let found = programs
            .ok_or_else(|| "PostgreSQL was not found; parts of steps 13 and 16 need it".to_owned())
            .and_then(|folder| first_line(Command::new(folder.join("postgres")).arg("--version")));
        let (_, advice) = postgres_server::INSTALL
            .split_once(": ")
            .unwrap_or_default();
        table.warn("PostgreSQL", found, advice);
    }
    let warnings = match table.warnings {
        0 => String::new(),
        1 => ", 1 warning".into(),
        number => format!(", {number} warnings"),
    };
    let (fixes, code) = match table.fixes {
        0 => ("nothing".to_owned(), 0),
        number => (number.to_string(), 3),
    };
    screen::print(&format!("{}\n{fixes} to fix{warnings}\n", table.text));
    ExitCode::from(code)
}

/// The `.env` files that sqlx reads while it compiles queries, and cannot.
fn env_files(project: &Project, table: &mut Table) {
    for folder in project.root.ancestors() {
        let file = folder.join(".env");
        let error = match dotenvy::from_path_iter(&file) {
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error),
            Ok(lines) => lines.into_iter().find_map(Result::err),
        };
        if let Some(error) = error {
            let wrong = format!("sqlx reads {} and cannot: {error}", file.display());
            table.fix(".env", Err(wrong), ENV_FILE_ADVICE);
        }
    }
}

/// The folder of the database's file. A database in memory or elsewhere is not looked
/// at, and neither is a URL with escapes, which only the service reads.
fn database(project: &Project, table: &mut Table) {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://marketdb.sqlite".into());
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return;
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or(rest);
    if path.is_empty() || path == ":memory:" || path.contains('%') {
        return;
    }
    let file = project.root.join(path);
    let folder = file.parent().unwrap_or(&file);
    let found = match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(format!("{} can be written to", folder.display())),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    };
    let advice =
        "let DATABASE_URL name another file, like sqlite:///tmp/market.sqlite, or unset it";
    table.fix("database", found, advice);
}

/// Name and version: curl goes on with what it was built with, Rust with its commit.
fn version(command: &mut Command) -> Finding {
    let line = first_line(command.arg("--version"))?;
    let words = line.split(' ').take(3);
    let words = words.take_while(|word| !word.starts_with('('));
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// The first line of a program's output; or what was wrong, in a line: the first that
/// speaks of an error.
fn first_line(command: &mut Command) -> Finding {
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
    let error = lines().find(|line| line.contains("error"));
    let ended = format!("it ended with {}", output.status);
    let said = error.or_else(|| lines().next()).unwrap_or(&ended);
    Err(format!("{name}: {said}"))
}

fn port(table: &mut Table) {
    let address = env::var("MARKETSVC_ADDR").unwrap_or_else(|_| ADDRESS.into());
    let other = "MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run, and the same for the verbs that ask";
    match TcpListener::bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let taken = "is taken, which is well if the service runs already";
            table.warn("port", Err(format!("{address} {taken}")), other);
        }
        bound => {
            let found = bound.map(|_| format!("{address} is free"));
            let wrong = |error| format!("MARKETSVC_ADDR is \"{address}\": {error}");
            table.fix("port", found.map_err(wrong), other);
        }
    }
}

/// How many bytes are free where cargo builds. All steps, built, checked and pruned, take
/// about 1.2 GB; what is needed to go on is less.
#[cfg(unix)]
fn disk(project: &Project) -> Finding {
    let target = project.target();
    let needed = if target.join("debug/deps").is_dir() {
        500_000_000
    } else {
        2_000_000_000
    };
    let there = target.ancestors().find(|folder| folder.exists());
    let drive = rustix::fs::statvfs(there.unwrap_or(&project.root))
        .map_err(|error| format!("how much is free is not known: {error}"))?;
    let free = drive.f_bavail * drive.f_frsize;
    let human = |bytes: u64| format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    let found = format!("{} free where the target folder is", human(free));
    if free < needed {
        return Err(format!("{found}; {} are needed", human(needed)));
    }
    Ok(found)
}
