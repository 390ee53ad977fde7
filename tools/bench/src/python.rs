//! The virtual environment that the peers in Python run in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::program;

/// Every package that is installed, with its version.
const REQUIREMENTS: &str = include_str!("../peers/python/requirements.txt");

/// Where the programs are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python");

/// Makes the virtual environment, `venv` in the [output
/// folder](program::output_folder), if it is missing or holds other versions than
/// those required.
///
/// # Errors
///
/// Why there is none, to be shown as skipped: a machine may lack Python.
pub fn prepare() -> std::result::Result<(), String> {
    // Without a network, finding out takes half a minute.
    static PREPARED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let make = || {
        make_environment().map_err(|why| {
            format!(
                "the peers in Python, which need python3 from 3.11 up, its venv (Debian: apt \
                 install python3-venv) and, once, the network: {why}"
            )
        })
    };
    PREPARED.get_or_init(make).clone()
}

fn make_environment() -> Result<()> {
    let venv = venv()?;
    // Written when everything is installed.
    let installed = venv.join("requirements.txt");
    let current = fs::read_to_string(&installed).is_ok_and(|held| held == REQUIREMENTS);
    let python = venv.join("bin/python");
    // An environment ends with the Python that it was made from.
    if current && program::output(Command::new(&python).arg("--version")).is_ok() {
        return Ok(());
    }
    // The peers use task groups.
    let check = ["-c", "from asyncio import TaskGroup"];
    program::output(Command::new("python3").args(check))?;
    eprintln!("python: installing packages into {}", venv.display());
    let make = ["-m", "venv", "--clear"];
    program::output(Command::new("python3").args(make).arg(&venv))?;
    program::output(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--retries", "1", "-r"])
            .arg(Path::new(SOURCES).join("requirements.txt")),
    )?;
    fs::write(&installed, REQUIREMENTS).map_err(Error::io("write the list of packages"))
}

fn venv() -> Result<PathBuf> {
    Ok(program::output_folder()?.join("venv"))
}

/// Python in the environment that [`prepare`] has made.
fn python() -> Result<Command> {
    let venv = venv()?;
    let mut command = program::command(venv.join("bin/python"));
    // Not beside the sources.
    command.env("PYTHONPYCACHEPREFIX", venv.join("pycache"));
    Ok(command)
}

/// A program of `peers/python`.
///
/// # Errors
///
/// When this program's folder cannot be found.
pub fn script(name: &str) -> Result<Command> {
    let mut command = python()?;
    command.arg(Path::new(SOURCES).join(name));
    Ok(command)
}

/// uvicorn at a free port with an app of `peers/python`, such as `service:app`.
///
/// # Errors
///
/// When this program's folder cannot be found.
pub fn uvicorn(app: &str) -> Result<Command> {
    let mut command = python()?;
    command
        .args(["-m", "uvicorn", app, "--no-access-log", "--port", "0"])
        .args(["--app-dir", SOURCES]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name==1.2.3` and nothing looser, or next year's bench measures other programs.
    #[test]
    fn every_requirement_is_pinned() {
        for package in REQUIREMENTS.lines().filter(|line| !line.starts_with('#')) {
            let version = package.split_once("==").map(|(_, version)| version);
            let exact = version
                .is_some_and(|version| version.split('.').all(|part| part.parse::<u32>().is_ok()));
            assert!(exact, "{package}");
        }
    }
}
