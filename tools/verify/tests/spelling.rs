//! The part "spelling" of `./run.sh test`, with programs in the place of typos.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Accepts what is below the folder, and refuses a word on standard input.
const CAREFUL: &str = r#"case "$*" in
--version) echo typos-cli 0 ;;
"--config tools/verify/typos.toml -") grep -q "^rec""ieve$" && exit 2 ;;
"--config tools/verify/typos.toml --format brief") ;;
*) exit 64 ;;
esac"#;

/// A folder with `run.sh`, and a `PATH` with or without a program `typos`.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(typos: Option<&str>) -> Self {
        let setting = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let root = setting.folder.path();
        fs::copy(Path::new(ROOT).join("run.sh"), root.join("run.sh")).expect("copied");
        fs::create_dir(setting.bin()).expect("created");
        // Only what run.sh calls, since a real typos may be installed anywhere.
        let path = std::env::var_os("PATH").expect("a PATH");
        for program in [
            "awk", "bash", "cargo", "cat", "dirname", "grep", "mktemp", "rm", "sed", "sh", "tee",
        ] {
            let found = std::env::split_paths(&path).find(|dir| dir.join(program).exists());
            let target = found.expect(program).join(program);
            symlink(target, setting.bin().join(program)).expect("a link");
        }
        if let Some(script) = typos {
            let file = setting.bin().join("typos");
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
        }
        setting
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// Exit code and output of `./run.sh test spelling`.
    fn run(&self, ci: bool) -> (Option<i32>, String) {
        let mut command = Command::new("bash");
        command
            .args(["run.sh", "test", "spelling"])
            .current_dir(self.folder.path())
            .env("PATH", self.bin())
            .env_remove("CI");
        if ci {
            command.env("CI", "true");
        }
        let output = command.output().expect("bash");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

#[track_caller]
fn expect(setting: &Setting, ci: bool, code: i32, lines: &[&str]) {
    let (found, output) = setting.run(ci);
    assert_eq!(found, Some(code), "{output}");
    for line in lines {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
}

#[test]
fn without_typos_nothing_is_claimed_and_the_gate_fails() {
    let setting = Setting::new(None);
    expect(
        &setting,
        false,
        0,
        &[
            "nothing was checked",
            "-- spelling: not run",
            "not run: spelling\n0 passed, 0 failed",
        ],
    );
    expect(&setting, true, 1, &[".ci/run installs it", "1 failed"]);
}

#[test]
fn what_typos_says_is_the_verdict() {
    let setting = Setting::new(Some(CAREFUL));
    expect(&setting, true, 0, &["typos-cli 0", "1 passed, 0 failed"]);
    let strict = CAREFUL.replace("brief\") ;;", "brief\") echo a.md:1:1: error; exit 2 ;;");
    let setting = Setting::new(Some(&strict));
    expect(&setting, false, 1, &["a.md:1:1: error", "1 failed"]);
    // One that finds nothing anywhere.
    let setting = Setting::new(Some("exit 0"));
    expect(&setting, false, 1, &["accepts a misspelt word", "1 failed"]);
}
