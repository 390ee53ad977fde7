//! A step that is built alone shares its dependencies with the whole workspace:
//! `cargo run -p step04-exercise --example …` must not build SQLite once more.

use std::collections::BTreeSet;
use std::process::Command;

/// mdBook asks for more of these than the driver for PostgreSQL does, and nothing else shares
/// them with it. So only a build of step 13 or 16 without the coach builds them, and the
/// driver, once more.
const OF_THE_BOOK: [&str; 2] = ["digest v0.11", "sha2 v0.11"];

/// Each dependency of the selected packages, with the features it is built with.
fn dependencies(selection: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p} [{f}]"])
        .args(selection)
        .output()
        .expect("cargo");
    let listed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !listed.is_empty());
    // A crate of the workspace is followed by its folder.
    let external = listed.lines().filter(|line| !line.contains(" (/"));
    // A line is marked when it stands further above as well.
    let plain = |line: &str| line.replace(" (proc-macro)", "").replace(" (*)", "");
    external.map(plain).collect()
}

#[test]
fn a_step_alone_needs_no_dependency_built_again() {
    let whole = dependencies(&["--workspace"]);
    for entry in std::fs::read_dir("../../steps").expect("steps") {
        let slug = entry
            .expect("a step")
            .file_name()
            .into_string()
            .expect("text");
        let package = format!("step{}-exercise", &slug[..2]);
        let alone = dependencies(&["-p", &package]);
        let other: Vec<_> = alone
            .difference(&whole)
            .filter(|it| !OF_THE_BOOK.iter().any(|shared| it.starts_with(shared)))
            .collect();
        assert!(
            other.is_empty(),
            "{package} alone builds these with other features; \
             name the missing ones in tools/check/Cargo.toml, or in tools/postgres-server/Cargo.toml if only step 13 has them: {other:#?}"
        );
    }
}
