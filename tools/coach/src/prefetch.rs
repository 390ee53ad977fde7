//! `prefetch`: gets and builds everything while there is a network, so that
//! none is needed afterwards.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;
use std::{env, fs};

use crate::cargo::{cargo, no_cargo};
use crate::machine::human;
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// What cargo builds. Exercises are left out: what the learner writes need not
/// compile, and all that they depend on is built for the solutions.
const BUILDS: [(&str, &[&str]); 2] = [
    (
        "the service, the steps and the tools",
        &["build", "--workspace", "--bins"],
    ),
    (
        "the checks of the steps",
        &["test", "--workspace", "--no-run", "--test", "check"],
    ),
];

/// Downloads all packages and, unless told otherwise, builds what the other
/// verbs need.
///
/// # Errors
/// Cargo is missing, there is no network, or the build fails (exit code 3).
pub fn prefetch(project: &Project, build: bool) -> Result<(), Trouble> {
    let all = Cached::now(project);
    screen::print(&format!(
        "packages  {} of {} are here\n",
        all.here, all.total
    ));
    let start = Instant::now();
    run(
        project,
        &["fetch", "--locked"],
        "see cargo's message above; is there a network?",
    )?;
    let now = Cached::now(project);
    screen::print(&format!(
        "packages  all {} are here, a download of {}, {} of it just now ({:.0} s)\n",
        now.total,
        human(now.bytes),
        human(now.bytes.saturating_sub(all.bytes)),
        start.elapsed().as_secs_f64()
    ));
    if build {
        for (what, arguments) in BUILDS {
            screen::print(&format!("building  {what}\n"));
            let start = Instant::now();
            let mut arguments = arguments.to_vec();
            arguments.extend(["--locked", "--exclude", "step*-exercise"]);
            run(
                project,
                &arguments,
                "see cargo's message above; ./run.sh doctor may know more",
            )?;
            let seconds = start.elapsed().as_secs_f64();
            screen::print(&format!("building  done ({seconds:.0} s)\n"));
        }
    }
    screen::print("no network is needed from now on\n");
    Ok(())
}

/// Runs cargo, whose messages and progress go to stderr as always.
fn run(project: &Project, arguments: &[&str], advice: &str) -> Result<(), Trouble> {
    let status = cargo(project)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| no_cargo(&error))?;
    if status.success() {
        Ok(())
    } else {
        let words = arguments.join(" ");
        Err(Trouble::environment(format!(
            "cargo {words} failed: {advice}"
        )))
    }
}

/// The packages of `Cargo.lock` that cargo has downloaded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cached {
    total: usize,
    here: usize,
    /// Of those that are here, as they were sent.
    bytes: u64,
}

impl Cached {
    fn now(project: &Project) -> Self {
        let lock = fs::read_to_string(project.root.join("Cargo.lock")).unwrap_or_default();
        // One folder for each registry.
        let folders: Vec<PathBuf> = cargo_home()
            .and_then(|home| fs::read_dir(home.join("registry/cache")).ok())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        let mut cached = Self::default();
        for name in downloads(&lock) {
            cached.total += 1;
            let size = folders
                .iter()
                .find_map(|folder| fs::metadata(folder.join(&name)).ok());
            if let Some(size) = size {
                cached.here += 1;
                cached.bytes += size.len();
            }
        }
        cached
    }
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// The names of the files that a `Cargo.lock` asks registries for.
fn downloads(lock: &str) -> Vec<String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let value = |key: &str| {
                package.lines().find_map(|line| {
                    let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
                    Some(rest.trim().trim_matches('"'))
                })
            };
            value("source")?.starts_with("registry+").then_some(())?;
            Some(format!("{}-{}.crate", value("name")?, value("version")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_registries_are_downloaded() {
        let lock = "version = 4\n\n\
             [[package]]\nname = \"coach\"\nversion = \"0.1.0\"\ndependencies = [\n \"clap\",\n]\n\n\
             [[package]]\nname = \"clap\"\nversion = \"4.6.7\"\n\
             source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
             checksum = \"00\"\n";
        assert_eq!(downloads(lock), ["clap-4.6.7.crate"]);
        assert_eq!(downloads(""), [""; 0]);
    }
}
