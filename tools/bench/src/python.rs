//! The peers in Python: the environment that they run in, and how they start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::program;
use crate::settings;

/// Every package that is installed, with its version.
const REQUIREMENTS: &str = include_str!("../peers/python/requirements.txt");

/// Where the programs are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python");

/// The oldest that the peers run on: they use task groups.
const OLDEST: (u32, u32) = (3, 11);

/// The two forms of the workshop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `SQLAlchemy` Core with `text()` queries.
    Core,
    /// `SQLAlchemy`'s ORM with mapped classes.
    Orm,
}

/// How the list of customers is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Customers {
    /// All rows are read before the first is sent, as in the workshop.
    Collected,
    /// Page by page.
    Streamed,
}

/// Makes the virtual environment, `venv` in the [output
/// folder](settings::output_folder), if it is missing or holds other versions
/// than those required.
///
/// # Errors
///
/// Why there is none and what to do, in one line, to be shown as skipped: that
/// somebody has no Python is no failure.
pub fn prepare() -> std::result::Result<(), String> {
    // Without a network, finding out takes half a minute.
    static PREPARED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    PREPARED.get_or_init(make_environment).clone()
}

fn make_environment() -> std::result::Result<(), String> {
    let venv = venv().map_err(|error| error.to_string())?;
    // Written when everything is installed.
    let installed = venv.join("requirements.txt");
    let current = fs::read_to_string(&installed).is_ok_and(|held| held == REQUIREMENTS);
    // An environment ends with the Python that it was made from.
    if current && succeeds(Command::new(interpreter(&venv)).arg("--version")).is_ok() {
        return Ok(());
    }
    check_version()?;
    eprintln!(
        "python: installing FastAPI, SQLAlchemy and what they need into {}",
        venv.display()
    );
    succeeds(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )
    .map_err(|why| {
        format!(
            "python3 cannot make a virtual environment (Debian: apt install python3-venv): {why}"
        )
    })?;
    succeeds(
        Command::new(interpreter(&venv))
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--retries", "1", "-r"])
            .arg(Path::new(SOURCES).join("requirements.txt")),
    )
    .map_err(|why| {
        format!("the packages of the Python peers cannot be installed; that needs the network once: {why}")
    })?;
    fs::write(&installed, REQUIREMENTS)
        .map_err(|error| format!("cannot write {}: {error}", installed.display()))
}

fn check_version() -> std::result::Result<(), String> {
    let (major, minor) = OLDEST;
    let wanted = format!("the peers in Python need python3 from {major}.{minor} up");
    let print = "import sys; print(*sys.version_info[:2])";
    let output = succeeds(Command::new("python3").args(["-c", print]))
        .map_err(|why| format!("{wanted}: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = text.split(' ').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(found)), Some(Ok(part))) if (found, part) >= OLDEST => Ok(()),
        _ => Err(format!("{wanted}; here it is {}", text.replace(' ', "."))),
    }
}

/// What the program printed, or the last line of what it complained.
fn succeeds(command: &mut Command) -> std::result::Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = program::output(&name, command).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(last.unwrap_or("no reason given").trim().to_owned())
}

fn venv() -> Result<PathBuf> {
    Ok(settings::output_folder()?.join("venv"))
}

fn interpreter(venv: &Path) -> PathBuf {
    venv.join("bin/python")
}

/// A program of `peers/python` in the environment that [`prepare`] has made.
///
/// # Errors
///
/// When this program's folder cannot be found.
pub fn script(name: &str) -> Result<Command> {
    let venv = venv()?;
    let mut command = program::command(&interpreter(&venv));
    command
        // Not beside the sources.
        .env("PYTHONPYCACHEPREFIX", venv.join("pycache"))
        .arg(Path::new(SOURCES).join(name));
    Ok(command)
}

/// A form of the workshop's service on that database and a free port; ready when
/// it prints `listening on http://ADDR`.
///
/// # Errors
///
/// As [`script`].
pub fn service(form: Form, workers: u32, customers: Customers, database: &Path) -> Result<Command> {
    let database = std::path::absolute(database).map_err(Error::io("find the database"))?;
    let mut command = script("serve.py")?;
    command
        .arg(match form {
            Form::Core => "core",
            Form::Orm => "orm",
        })
        .arg(workers.to_string())
        .env("ADDR", "127.0.0.1:0")
        .env("DATABASE", database)
        .env(
            "CUSTOMERS",
            match customers {
                Customers::Collected => "list",
                Customers::Streamed => "stream",
            },
        );
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name==1.2.3` and nothing looser, or next year's bench measures other programs.
    #[test]
    fn every_requirement_is_pinned() {
        let lines = REQUIREMENTS.lines();
        let packages: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        for package in &packages {
            let version = package.split_once("==").map(|(_, version)| version);
            let exact = version
                .is_some_and(|version| version.split('.').all(|part| part.parse::<u32>().is_ok()));
            assert!(exact, "{package}");
        }
        for name in [
            "fastapi",
            "uvicorn",
            "uvloop",
            "httptools",
            "SQLAlchemy",
            "aiosqlite",
            "asyncpg",
        ] {
            let wanted = format!("{name}==");
            assert!(
                packages.iter().any(|package| package.starts_with(&wanted)),
                "{name}"
            );
        }
    }

    #[test]
    fn why_a_program_failed_is_its_last_line() {
        let shell = |script| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            succeeds(&mut command).map(|output| output.stdout)
        };
        assert_eq!(shell("echo well"), Ok(b"well\n".to_vec()));
        assert_eq!(
            shell("echo a >&2; echo b >&2; echo; exit 1"),
            Err("b".to_owned())
        );
        assert_eq!(shell("exit 1"), Err("no reason given".to_owned()));
        let missing = succeeds(&mut Command::new("/no/such/python3")).unwrap_err();
        assert!(
            missing.starts_with("cannot start /no/such/python3: "),
            "{missing}"
        );
    }

    #[test]
    fn a_service_is_told_what_to_serve() {
        let command = service(
            Form::Orm,
            2,
            Customers::Streamed,
            Path::new("/tmp/m.sqlite"),
        )
        .unwrap();
        let arguments: Vec<_> = command
            .get_args()
            .map(|part| part.to_string_lossy())
            .collect();
        assert!(Path::new(&*arguments[0]).is_file(), "{arguments:?}");
        assert_eq!(arguments[1..], ["orm", "2"]);
        let set = |name: &str| {
            let mut variables = command.get_envs();
            let found = variables.find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.map(|value| value.to_string_lossy().into_owned()))
        };
        assert_eq!(set("DATABASE").as_deref(), Some("/tmp/m.sqlite"));
        assert_eq!(set("CUSTOMERS").as_deref(), Some("stream"));
    }
}
