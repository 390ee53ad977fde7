//! What needs a program that a machine lacks is not run there, and fails in CI.

mod fixture;

use std::os::unix::fs::symlink;
use std::{env, fs};

use fixture::Fixture;

#[test]
fn a_command_without_its_program_is_not_run() {
    let fixture = Fixture::new();
    // Changes nothing, so only its absence could make a later command fail.
    let chapter = "steps/02-second/README.md";
    let shown = "$ sqlite3 a.sqlite 'SELECT 1' | jq .\n1\n$ ls a.sqlite\na.sqlite\n$ echo left";
    let text = fixture.read(chapter).replacen("$ echo left", shown, 1);
    fixture.write(chapter, &text);
    // All other programs.
    let others = tempfile::tempdir().expect("a folder");
    let path = env::var_os("PATH").expect("a path");
    for entry in env::split_paths(&path).filter_map(|folder| fs::read_dir(folder).ok()) {
        for program in entry.map(Result::unwrap) {
            if !["jq", "sqlite3"].contains(&program.file_name().to_str().unwrap_or_default()) {
                let _ = symlink(program.path(), others.path().join(program.file_name()));
            }
        }
    }
    let path = others.path().to_str().expect("text");
    let at_home = [("PATH", path)];
    let verified = fixture.verify_with(&["chapters", "2"], &at_home);
    assert_eq!(verified.code, Some(0), "{}", verified.output);
    for line in [
        "not run: sqlite3  steps/02-second/README.md:87 $ sqlite3 a.sqlite",
        "not run: sqlite3  steps/02-second/README.md:89 $ ls a.sqlite",
        "ok      steps/02-second/README.md:91 $ echo left",
    ] {
        assert!(
            verified.output.contains(line),
            "no {line:?} in\n{}",
            verified.output
        );
    }
    // It is not remembered as proved.
    let in_ci = [("PATH", path), ("CI", "true")];
    for (settings, code) in [(at_home.as_slice(), 0), (&in_ci, 1)] {
        let verified = fixture.verify_with(&["chapters", "2"], settings);
        assert_eq!(verified.code, Some(code), "{}", verified.output);
        let line = "not run: sqlite3  steps/02-second/README.md:87 $";
        assert!(verified.output.contains(line), "{}", verified.output);
    }
}
