//! `doctor`, with each fault put there first: programs that are missing or
//! fake, a port that is taken.

mod support;

use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use support::{Project, outcome};

/// A project, and all the programs that doctor and run.sh may see.
struct Patient {
    project: Project,
    bin: tempfile::TempDir,
}

impl Patient {
    fn new() -> Self {
        let patient = Self {
            project: Project::new(),
            bin: tempfile::tempdir().unwrap(),
        };
        for name in [
            "as", "awk", "bash", "cargo", "cat", "cc", "dirname", "env", "ld", "mount", "rm",
            "rustc", "sed", "sh", "uname", "xcrun",
        ] {
            if let Some(real) = real(name) {
                patient.fake(name, &format!("exec '{}' \"$@\"", real.display()));
            }
        }
        for name in ["curl", "git", "initdb", "jq", "postgres", "sqlite3"] {
            patient.fake(name, &format!("echo {name} 1.0"));
        }
        patient
    }

    /// Puts a program of our own in the place of the real one.
    fn fake(&self, name: &str, script: &str) {
        let path = self.bin.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.bin.path().join(name)).unwrap();
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = self.project.command(program);
        command
            .env("PATH", self.bin.path())
            .env("MARKETSVC_ADDR", "127.0.0.1:0")
            .env_remove("CC")
            .arg("doctor");
        command
    }

    fn coach(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_coach").into())
    }

    /// Expects that this fault is found, that it is the only one, and that
    /// there is a line of what to do. Gives the table.
    fn finds(command: &mut Command, check: &str, found: &str) -> String {
        let (code, table, err) = outcome(&command.output().unwrap());
        assert_eq!(code, Some(3), "{table}{err}");
        let mut lines = table.lines();
        let line = lines.find(|line| line.starts_with("FIX")).unwrap();
        assert!(line.contains(check) && line.contains(found), "{table}");
        assert!(lines.next().unwrap().trim().starts_with("-> "), "{table}");
        assert!(table.contains("\n1 to fix\n"), "{table}");
        table
    }
}

/// Where a program is on this machine.
fn real(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[test]
fn a_healthy_machine_is_0_also_with_warnings() {
    let patient = Patient::new();
    let (code, table, err) = outcome(&patient.coach().output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""), "{table}");
    assert!(table.ends_with("\nnothing to fix\n"), "{table}");
    assert!(!table.contains("->"), "{table}");
    // Nothing is left behind, not even for a moment's test.
    assert!(!patient.project.path("target").exists());

    patient.remove("jq");
    patient.fake("git", "echo no >&2; exit 1");
    let (code, table, _) = outcome(&patient.coach().output().unwrap());
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("warn  jq "), "{table}");
    assert!(table.contains("warn  git "), "{table}");
    assert!(table.ends_with("\nnothing to fix, 2 warnings\n"), "{table}");
}

#[test]
fn a_toolchain_that_is_not_there() {
    let patient = Patient::new();
    patient.remove("cargo");
    let (code, table, _) = outcome(&patient.coach().output().unwrap());
    assert_eq!(code, Some(3));
    assert!(table.contains("cargo was not found\n"), "{table}");
    assert!(table.contains("-> install Rust from"), "{table}");
    assert!(table.contains("warn  packages "), "{table}");
}

#[test]
fn compilers_that_are_missing_or_make_nothing() {
    let patient = Patient::new();
    let mut command = patient.coach();
    command.env("CC", "no-such-cc -O2");
    Patient::finds(&mut command, "C compiler", "no-such-cc was not found");
    patient.fake("cc", "echo 'ld: error: library not found' >&2; exit 1");
    let found = "ld: error: library not found";
    Patient::finds(&mut patient.coach(), "C compiler", found);
}

#[test]
fn a_port_that_is_taken_or_not_named() {
    let patient = Patient::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = patient.coach();
    command.env("MARKETSVC_ADDR", &address);
    // It may be our own service.
    let (code, table, _) = outcome(&command.output().unwrap());
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains(&format!("{address} is taken")), "{table}");
    assert!(table.ends_with("\nnothing to fix, 1 warning\n"), "{table}");
    for address in ["9090", "nonsense:port", ""] {
        let mut command = patient.coach();
        command.env("MARKETSVC_ADDR", address);
        let found = format!("MARKETSVC_ADDR is \"{address}\"");
        Patient::finds(&mut command, "port", &found);
    }
}

#[test]
fn folders_that_cannot_be_written_to() {
    let patient = Patient::new();
    patient.project.write("file", "");
    for (url, found) in [
        ("sqlite://none/market.sqlite", "/none: "),
        ("sqlite://file/market.sqlite", "/file: "),
    ] {
        let mut command = patient.coach();
        command.env("DATABASE_URL", url);
        Patient::finds(&mut command, "database", found);
    }
}

#[test]
fn no_curl() {
    let patient = Patient::new();
    patient.remove("curl");
    Patient::finds(&mut patient.coach(), "curl", "curl was not found");
}

#[test]
fn without_a_coach_there_is_a_line_with_what_to_do() {
    let patient = Patient::new();
    let manifest = patient.project.read("Cargo.toml");
    patient.project.write("Cargo.toml", &format!("{manifest}["));
    let mut command = patient.command(patient.project.path("run.sh"));
    let (code, out, err) = outcome(&command.output().unwrap());
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert!(err.contains("Cargo.toml"), "{err}");
    assert!(err.contains("rustup update stable"), "{err}");
    patient.remove("cargo");
    let mut command = patient.command(patient.project.path("run.sh"));
    let (code, _, err) = outcome(&command.output().unwrap());
    assert_eq!(code, Some(3));
    assert!(
        err.starts_with("cargo was not found: install Rust"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}
