//! Cargo puts what it builds from all packages into one folder.

use std::collections::BTreeMap;
use std::process::Command;

#[test]
fn no_two_packages_build_the_same_file() {
    let output = Command::new("cargo")
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut built: BTreeMap<String, &str> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        for target in package["targets"].as_array().expect("targets") {
            let crate_name = target["name"].as_str().expect("a name");
            let file = match target["kind"][0].as_str() {
                Some("bin") => crate_name.to_owned(),
                Some("lib") => format!("lib{}.rlib", crate_name.replace('-', "_")),
                // `cargo build --workspace` leaves out tests and examples.
                _ => continue,
            };
            if let Some(other) = built.insert(file.clone(), name) {
                panic!("{other} and {name} both build {file}");
            }
        }
    }
    assert!(built.len() > 16, "{built:?}");
}
