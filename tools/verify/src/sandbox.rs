//! A copy of the working tree in which files may be changed and commands run.
//!
//! It has a build directory of its own, for cargo tells the crates of a
//! workspace from those of its copy neither by name nor by path: with one
//! directory for both, a binary built here from a patched file would count as
//! up to date there. What comes from the registry is the same for both and is
//! linked over from the caller's build directory, so that nothing external is
//! built a second time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use course::{Side, Step};
use serde_json::Value;

use crate::tree::Tree;
use crate::{ACTIVE, Env, process};

/// The copy. Dropping it restores the tree and lets another verify in.
pub struct Sandbox {
    /// Of everything that verify writes.
    pub home: PathBuf,
    /// Root of the copied tree, a git repository with one clean commit.
    pub tree: PathBuf,
    /// Its `CARGO_TARGET_DIR`.
    pub build: PathBuf,
    _lock: fs::File,
}

impl Sandbox {
    /// Brings the copy up to date with `tree`.
    pub fn open(tree: &Tree) -> Env<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        let metadata = process::output(cargo.current_dir(&tree.root))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or("target"));
        let home = target.join("verify");
        fs::create_dir_all(&home)?;
        let lock = fs::File::create(home.join("lock"))?;
        lock.try_lock()
            .map_err(|error| format!("another verify is using {}: {error}", home.display()))?;
        let sandbox = Self {
            tree: home.join("tree"),
            build: home.join("build"),
            home,
            _lock: lock,
        };
        copy_tree(tree, &sandbox.tree)?;
        link_dependencies(&target, &sandbox.build, &crates(&metadata))?;
        if !sandbox.tree.join(".git").exists() {
            sandbox.git(&["init", "-q", "-b", "main"])?;
        }
        // Forced, for what is tracked although .gitignore names it.
        sandbox.git(&["add", "-A", "-f"])?;
        sandbox.git(&["commit", "-q", "--allow-empty", "-m", "working tree"])?;
        // Databases and the like that an earlier, interrupted run left.
        sandbox.restore()?;
        Ok(sandbox)
    }

    /// A command that runs in the copy and sees nothing of the caller's settings.
    pub fn command(&self, program: &str) -> Command {
        /// With what `cargo run` tells verify about verify.
        const FOREIGN: [&str; 9] = [
            "MARKETSVC_",
            "SQLX_",
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "GIT_",
            "DATABASE_URL",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "LC_ALL",
        ];
        let mut command = Command::new(program);
        command.current_dir(&self.tree);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if FOREIGN.iter().any(|start| text.starts_with(start)) {
                command.env_remove(&name);
            }
        }
        command
            .env("CARGO_TARGET_DIR", &self.build)
            // Most builds here differ from the one before by a patch of a few lines.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_TERM_COLOR", "never")
            .env("NO_COLOR", "1")
            .env("LC_MESSAGES", "C")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env(ACTIVE, "1");
        command
    }

    /// Runs git in the copy.
    pub fn git(&self, arguments: &[&str]) -> Env<String> {
        let mut git = self.command("git");
        git.args(["-c", "user.name=verify"]);
        git.args(["-c", "user.email=verify@localhost"]);
        git.args(["-c", "core.autocrlf=false"]);
        process::output(git.args(arguments))
    }

    /// Puts back every file as it was copied and removes all others. Files
    /// that did not change keep their time, so cargo does not build them again.
    pub fn restore(&self) -> Env<()> {
        self.git(&["reset", "-q", "--hard"])?;
        self.git(&["clean", "-q", "-ffdx"]).map(drop)
    }

    /// Puts back the files below `folder`.
    pub fn put_back(&self, folder: &str) -> Env<()> {
        self.git(&["clean", "-q", "-ffd", folder])?;
        self.git(&["checkout", "-q", "--", folder]).map(drop)
    }

    /// Applies the patch `text`; its leading lines of prose are skipped by git.
    pub fn apply(&self, text: &str, options: &[&str]) -> Env<()> {
        let file = self.build.join("patch");
        fs::write(&file, text)?;
        let patch = file.to_string_lossy();
        let arguments = ["apply", "--whitespace=nowarn", &patch];
        self.git(&[&arguments, options].concat()).map(drop)
    }

    /// Makes the exercise the solution.
    pub fn solve(&self, step: &Step) -> Env<()> {
        let solution = self.tree.join(step.crate_dir(Side::Solution));
        let exercise = self.tree.join(step.crate_dir(Side::Exercise));
        for file in files_below(&solution)? {
            let text = step.as_exercise(&fs::read_to_string(solution.join(&file))?);
            let to = exercise.join(file);
            to.parent().map_or(Ok(()), fs::create_dir_all)?;
            if fs::read_to_string(&to).ok().as_ref() != Some(&text) {
                fs::write(to, text)?;
            }
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

/// The names of the workspace's own crates, as rustc writes them.
fn crates(metadata: &Value) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let named = packages.flat_map(|package| {
        let targets = package["targets"].as_array().into_iter().flatten();
        targets
            .chain([package])
            .filter_map(|it| it["name"].as_str())
    });
    named.map(|name| name.replace('-', "_")).collect()
}

/// Whether an entry of `deps/`, `build/` or `.fingerprint/` belongs to one of these
/// crates: `step05-exercise-0123456789abcdef`, `libstep05-….rlib`.
fn is_own(crates: &BTreeSet<String>, entry: &str) -> bool {
    entry.rsplit_once('-').is_none_or(|(name, _)| {
        let name = name.strip_prefix("lib").unwrap_or(name);
        crates.contains(&name.replace('-', "_"))
    })
}

/// Copies what differs and removes what is gone. A file that did not change
/// keeps its time.
fn copy_tree(tree: &Tree, copy: &Path) -> Env<()> {
    let wanted: BTreeSet<PathBuf> = tree.files().map(PathBuf::from).collect();
    for file in files_below(copy)? {
        if !wanted.contains(&file) && !file.starts_with(".git") {
            fs::remove_file(copy.join(file))?;
        }
    }
    for file in &wanted {
        replace(&tree.root.join(file), &copy.join(file))?;
    }
    Ok(())
}

/// Makes `to` a copy of `from`, unless it is one already.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    let same = fs::read(to).is_ok_and(|there| fs::read(from).is_ok_and(|it| it == there));
    if same && to.metadata()?.permissions() == from.metadata()?.permissions() {
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to).map(drop)
}

/// All files below `folder`, relative to it; none when it does not exist.
fn files_below(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in entries(&folder.join(&inner))? {
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

/// What is in a folder; nothing when it does not exist.
fn entries(folder: &Path) -> std::io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

/// Brings the finished dependencies of the caller's build directory over.
fn link_dependencies(target: &Path, build: &Path, own: &BTreeSet<String>) -> Env<()> {
    // Fingerprints last: cargo believes in an artefact only when it has one.
    for folder in ["debug/deps", "debug/build", "debug/.fingerprint"] {
        let (from, to) = (target.join(folder), build.join(folder));
        fs::create_dir_all(&to)?;
        for entry in entries(&from)? {
            let name = entry.file_name();
            if is_own(own, &name.to_string_lossy()) || to.join(&name).exists() {
                continue;
            }
            if entry.file_type()?.is_dir() {
                for file in files_below(&entry.path())? {
                    let file = Path::new(&name).join(file);
                    link_or_copy(&from.join(&file), &to.join(&file))?;
                }
            } else {
                link_or_copy(&entry.path(), &to.join(name))?;
            }
        }
    }
    Ok(())
}

/// Links a library, which is big and replaced, never written to; copies another file
/// with its time.
fn link_or_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    let library = from
        .extension()
        .is_some_and(|it| it == "rlib" || it == "rmeta" || it == "so");
    if library && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let to = fs::File::options().write(true).open(to)?;
    to.set_modified(from.metadata()?.modified()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artefacts_of_the_workspace_are_told_from_the_others() {
        let crates = ["step05_exercise", "step05", "check"];
        let crates = BTreeSet::from(crates.map(str::to_owned));
        for own in [
            "step05-exercise-0123456789abcdef",
            "step05_exercise-0123456789abcdef.d",
            "libstep05-0123456789abcdef.rlib",
            "check-0123456789abcdef",
            "cargo.lock",
        ] {
            assert!(is_own(&crates, own), "{own}");
        }
        for other in [
            "libsqlx-0123456789abcdef.rlib",
            "libsqlite3-sys-0123456789abcdef",
        ] {
            assert!(!is_own(&crates, other), "{other}");
        }
    }

    #[test]
    fn an_equal_file_keeps_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("a"), folder.path().join("sub/b"));
        fs::write(&from, "one").expect("written");
        replace(&from, &to).expect("copied");
        let first = to.metadata().and_then(|m| m.modified()).expect("a time");
        replace(&from, &to).expect("left alone");
        assert_eq!(
            first,
            to.metadata().and_then(|m| m.modified()).expect("a time")
        );
        fs::write(&from, "two").expect("written");
        replace(&from, &to).expect("copied");
        assert_eq!(fs::read_to_string(&to).expect("text"), "two");
    }
}
