//! Where a run took place, and with what.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use crate::model::Machine;

/// This machine, as far as the system tells.
pub fn machine() -> Machine {
    Machine {
        cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory: memory().unwrap_or(0),
        system: said_by("uname", &["-srm"]).unwrap_or_else(|| "unknown".to_owned()),
    }
}

fn cpu() -> Option<String> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(": ")?.1.to_owned())
        }
        // macOS
        Err(_) => said_by("sysctl", &["-n", "machdep.cpu.brand_string"]),
    }
}

fn memory() -> Option<u64> {
    match fs::read_to_string("/proc/meminfo") {
        Ok(text) => {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kilobytes * 1024)
        }
        Err(_) => said_by("sysctl", &["-n", "hw.memsize"])?.parse().ok(),
    }
}

/// The versions of the compiler, of the libraries that the figures depend on,
/// and of the programs that take part where they are installed.
pub fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (name, version) in locked(include_str!("../../../Cargo.lock")) {
        if [
            "axum",
            "hyper",
            "libsqlite3-sys",
            "rusqlite",
            "sqlx",
            "tokio",
        ]
        .contains(&name)
        {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    for program in ["rustc", "sqlite3", "python3", "pgbench"] {
        let version = said_by(program, &["--version"]);
        versions.extend(version.map(|version| (program.to_owned(), version)));
    }
    versions
}

/// Name and version of each package in a `Cargo.lock`.
fn locked(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]\n").filter_map(|package| {
        let field = |name| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some((field("name")?, field("version")?))
    })
}

/// The first line that a program prints, if it exists and succeeds.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_understood() {
        let lock = "version = 4\n\n[[package]]\nname = \"axum\"\nversion = \"0.8.6\"\n\
                    dependencies = [\n \"bytes\",\n]\n\n[[package]]\nname = \"bytes\"\n\
                    version = \"1.0.0\"\n";
        let found: Vec<_> = locked(lock).collect();
        assert_eq!(found, [("axum", "0.8.6"), ("bytes", "1.0.0")]);
        let versions = versions();
        for name in ["axum", "sqlx", "tokio"] {
            assert!(versions.contains_key(name), "{versions:?}");
        }
    }

    #[test]
    fn a_machine_has_a_core_and_a_system() {
        let machine = machine();
        assert!(machine.cores >= 1);
        assert_ne!(machine.system, "unknown");
        assert_eq!(said_by("no-such-program-here", &[]), None);
    }
}
