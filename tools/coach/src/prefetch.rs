//! `prefetch`: gets and builds everything while there is a network, so that
//! none is needed afterwards.

use std::process::Stdio;

use crate::cargo::{cargo, no_cargo};
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// What cargo does, the download first. Exercises are left out: what the learner
/// writes need not compile, and all that they depend on is built for the solutions.
const PARTS: [(&str, &str); 3] = [
    ("packages", "fetch --locked"),
    (
        "the service, the steps and the tools",
        "build --workspace --bins --locked --exclude step*-exercise",
    ),
    (
        "the checks of the steps",
        "test --workspace --no-run --test check --locked --exclude step*-exercise",
    ),
];

/// Downloads all packages and, unless told otherwise, builds what the other
/// verbs need. Cargo's messages and progress go to stderr as always.
pub fn prefetch(project: &Project, build: bool) -> Result<(), Trouble> {
    for (what, words) in &PARTS[..if build { 3 } else { 1 }] {
        screen::print(&format!("getting   {what}\n"));
        let status = cargo(project)
            .args(words.split(' '))
            .stdout(Stdio::null())
            .status()
            .map_err(no_cargo)?;
        if !status.success() {
            return Err(Trouble::environment(format!(
                "cargo {words} failed: see cargo's message above; is there a network? \
                 ./run.sh doctor may know more"
            )));
        }
    }
    screen::print("no network is needed from now on\n");
    Ok(())
}
