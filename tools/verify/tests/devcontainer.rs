//! The folder `.devcontainer` says the same as `Cargo.toml`.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn its_rust_is_the_oldest_that_the_workspace_supports() {
    let manifest = read("Cargo.toml");
    let oldest = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .expect("a rust-version");
    let dockerfile = read(".devcontainer/Dockerfile");
    let image = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"))
        .expect("an image of Rust");
    let version = image.split('-').next();
    assert_eq!(version, Some(oldest), "rust:{image}");
}

#[test]
fn it_brings_the_programs_of_the_chapters_and_fetches_the_rest() {
    let dockerfile = read(".devcontainer/Dockerfile");
    for program in ["jq", "sqlite3", "rust-src"] {
        let found = dockerfile.split_whitespace().any(|word| word == program);
        assert!(found, "no {program} in the Dockerfile");
    }
    let settings: serde_json::Value =
        serde_json::from_str(&read(".devcontainer/devcontainer.json")).expect("JSON");
    assert_eq!(settings["postCreateCommand"], "./run.sh prefetch");
    assert_eq!(
        settings["customizations"]["vscode"]["extensions"][0],
        "rust-lang.rust-analyzer"
    );
}
