//! Runs the tests of the tools and of the finished service. When they have passed
//! and nothing but a step has changed since, only those that read the steps run.

use std::process::{Command, ExitCode};

use crate::Env;
use crate::memory::Memory;
use crate::tree::Tree;

/// The test programs that read the steps of this project; a test compares this list
/// with what the sources say.
const READ_STEPS: [&str; 8] = [
    "backup",
    "compiler_errors",
    "devcontainer",
    "features",
    "newer",
    "road",
    "surroundings",
    "trace",
];

pub fn run(tree: &Tree, memory: &Memory) -> Env<ExitCode> {
    let key = memory.all_but_steps();
    let known = memory.recall("tests", &key).is_some();
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        // No crate asks for it, and the finished service is tested on both databases.
        .args(["--features", "marketsvc/postgres"])
        // Exercises are red by design, and `verify exercises` runs the solutions' checks.
        .args(["--exclude", "step*-exercise", "--exclude", "step*-solution"])
        .current_dir(&tree.root);
    if known {
        println!("remembered: the tests that do not read the steps");
        cargo.args(READ_STEPS.iter().flat_map(|name| ["--test", name]));
    }
    let passed = cargo.status()?.success();
    if passed && !known {
        memory.keep("tests", &key, "");
    }
    Ok(ExitCode::from(u8::from(!passed)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::READ_STEPS;

    /// All Rust files below `folder`.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_test_that_reads_the_steps_is_known() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut there = BTreeSet::new();
        let tools = fs::read_dir(&root).expect("tools").flatten();
        for package in tools.map(|it| it.path()).chain([root.join("../marketsvc")]) {
            let folder = package.join("tests");
            let mut files = Vec::new();
            sources(&folder, &mut files);
            for file in files {
                let text = fs::read_to_string(&file).expect("text");
                let reads = ["real_root()", "\"../..\"", "/../..\"", "../../steps"];
                let reads = reads.iter().any(|part| text.contains(part));
                let inner = file
                    .strip_prefix(&folder)
                    .expect("below")
                    .with_extension("");
                let name = inner
                    .iter()
                    .next()
                    .and_then(|name| name.to_str())
                    .expect("a name");
                there.insert(name.to_owned());
                // What is shared is named where it is used.
                let shared = ["support", "common", "fixture"].contains(&name);
                assert!(
                    !reads || shared || READ_STEPS.contains(&name),
                    "{}",
                    file.display()
                );
            }
        }
        // Cargo refuses a name that nobody has.
        for name in READ_STEPS {
            assert!(there.contains(name), "{name}");
        }
    }
}
