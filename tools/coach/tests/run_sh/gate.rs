//! The verb `test`.

use std::io::{Write, stderr};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::{env, fs};

use course::program;

use super::support::{Project, outcome};
use super::{make_executable, run_sh};

#[allow(clippy::too_many_lines)] // one project is built for all of it
#[test]
fn test_runs_every_part_and_sums_up() {
    let project = Project::with_coach();
    // Red by design and no part of the sum, like the exercises of the project.
    project.write(
        "steps/05-engine/exercise/tests/mine.rs",
        "#[test]\nfn mine() {\n    panic!();\n}\n",
    );
    let formatted = project
        .command("cargo")
        .args(["fmt", "--all"])
        .status()
        .unwrap();
    assert!(formatted.success());
    // Stands for the program that knows how words are spelt.
    project.write("bin/typos", "#!/bin/sh\nexit \"${TYPOS_VERDICT:-0}\"\n");
    make_executable(&project.path("bin/typos"));
    project.write("bin/cargo-deny", "#!/bin/sh\nexit \"${DENY_VERDICT:-0}\"\n");
    make_executable(&project.path("bin/cargo-deny"));
    let path = env::var_os("PATH").unwrap();
    let with_typos = env::join_paths(
        [project.path("bin")]
            .into_iter()
            .chain(env::split_paths(&path)),
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let mut command = run_sh(&project, arguments);
        outcome(&command.env("PATH", &with_typos).output().unwrap())
    };
    let (code, out, err) = run(&["test"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.ends_with("\n6 passed, 0 failed\n"), "{out}");
    assert!(out.contains("arguments [\"all\"]"), "{out}");
    let parts: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("== ")?.split(" (after").next())
        .collect();
    assert_eq!(
        parts,
        [
            "format",
            "clippy",
            "spelling",
            "dependencies",
            "tests",
            "tutorial"
        ]
    );
    // Only what is asked for.
    let (code, out, _) = run(&["test", "format", "spelling"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("\n2 passed, 0 failed\n"), "{out}");
    // Without its program a part is not run, and says so; in CI it has to be.
    for (part, program) in [("spelling", "typos"), ("dependencies", "cargo-deny")] {
        // All other programs, since cargo may lie in the same folder.
        let others = project.path(&format!("without-{program}"));
        fs::create_dir(&others).unwrap();
        for folder in env::split_paths(&path).filter(|folder| folder.join(program).exists()) {
            for other in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if other.file_name() != program {
                    let _ = symlink(other.path(), others.join(other.file_name()));
                }
            }
        }
        let folders = env::split_paths(&path).filter(|folder| !folder.join(program).exists());
        let without = env::join_paths([others].into_iter().chain(folders)).unwrap();
        for (ci, expected, end) in [
            ("", 0, "\n0 passed, 0 failed\n"),
            ("1", 1, "\n0 passed, 1 failed\n"),
        ] {
            let mut command = run_sh(&project, &["test", part]);
            command.env("PATH", &without).env("CI", ci);
            let (code, out, _) = outcome(&command.output().unwrap());
            assert_eq!(code, Some(expected), "{out}");
            assert!(out.contains(&format!("not run: {program}  ")), "{out}");
            assert!(out.ends_with(end), "{out}");
        }
    }
    // Every part fails, and each is run all the same.
    let service = project
        .read("marketsvc/src/main.rs")
        .replace("1 + 1, 2", "1+1, 3");
    project.write("marketsvc/src/main.rs", &service);
    let mut unused = project.read("steps/08-typed-rows/exercise/src/lib.rs");
    unused.push_str("\nfn forgotten() {}\n");
    project.write("steps/08-typed-rows/exercise/src/lib.rs", &unused);
    let output = run_sh(&project, &["test"])
        .env("MARKETSVC_VERDICT", "2 passed, 1 failed")
        .env("TYPOS_VERDICT", "2")
        .env("DENY_VERDICT", "1")
        .env("PATH", &with_typos)
        .output()
        .unwrap();
    let (code, out, _) = outcome(&output);
    assert_eq!(code, Some(1));
    assert!(out.ends_with("\n0 passed, 6 failed\n"), "{out}");
    assert_eq!(out.matches(": FAILED, ").count(), 6, "{out}");

    // A proof that does not build is none.
    project.write("tools/verify/src/main.rs", "fn main() {\n");
    let (code, out, _) = run(&["test"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("-- tutorial: FAILED"), "{out}");
}

/// Exceptions that swallow everything would not be noticed otherwise.
#[test]
fn the_list_of_words_accepts_no_misspelt_word() {
    if program::lacks("typos") {
        let line = program::not_run("typos", "the list of words").unwrap();
        writeln!(stderr(), "{line}").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("misspelt");
    fs::write(&file, concat!("rec", "ieve")).unwrap();
    let mut typos = Command::new("typos");
    typos
        .arg("--config")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../verify/typos.toml"));
    assert!(!typos.arg(&file).output().unwrap().status.success());
}
