//! What draws the diagrams, in the reader's browser: a script that npm has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use course::program;

/// The npm packages that draw diagrams here and parse them for `verify texts`, with
/// their versions.
const PACKAGES: &str = include_str!("../../verify/mermaid.packages");
/// Where `.ci/run` installs them, too.
const FOLDER: &str = "target/mermaid";
/// The note of what is installed.
const INSTALLED: &str = "versions";

/// The file of Mermaid's script, after npm has installed it if need be. `None` without
/// npm or a network.
pub fn script(root: &Path) -> Option<PathBuf> {
    let folder = root.join(FOLDER);
    let script = folder.join("node_modules/mermaid/dist/mermaid.min.js");
    let noted = fs::read_to_string(folder.join(INSTALLED)).unwrap_or_default();
    if noted != PACKAGES || !script.is_file() {
        if program::lacks("npm") {
            return None;
        }
        eprintln!("getting Mermaid, which draws the diagrams");
        install(&folder)?;
    }
    script.is_file().then_some(script)
}

fn install(folder: &Path) -> Option<()> {
    fs::create_dir_all(folder).ok()?;
    let npm = Command::new("npm")
        .args(["install", "--prefix", &folder.to_string_lossy()])
        .args(["--no-audit", "--no-fund", "--loglevel=error"])
        // Without a network, npm would try again for minutes.
        .args([
            "--prefer-offline",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
        ])
        .args(PACKAGES.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    npm.ok()?.success().then_some(())?;
    fs::write(folder.join(INSTALLED), PACKAGES).ok()
}
