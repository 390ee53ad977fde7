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
use std::time::SystemTime;

use course::{Side, Step};
use serde_json::Value;

use crate::cargo::Package;
use crate::tree::Tree;
use crate::{ACTIVE, Env, Environment, process};

/// The copy. Dropping it restores the tree and lets another verify in.
pub struct Sandbox {
    /// Root of the copied tree, a git repository with one clean commit.
    pub tree: PathBuf,
    /// Its `CARGO_TARGET_DIR`.
    pub build: PathBuf,
    /// Root of the tree that was copied.
    root: PathBuf,
    /// What cargo tells of the workspace.
    pub metadata: Value,
    _lock: fs::File,
}

impl Sandbox {
    /// Brings the copy up to date with `tree`.
    pub fn open(tree: &Tree) -> Env<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        let metadata = process::output(cargo.current_dir(&tree.root))?;
        let metadata: Value = serde_json::from_str(&metadata)
            .map_err(|error| Environment(format!("cargo metadata: {error}")))?;
        let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or("target"));
        let home = target.join("verify");
        fs::create_dir_all(&home)?;
        let lock = fs::File::create(home.join("lock"))?;
        lock.try_lock().map_err(|error| {
            Environment(format!(
                "another verify is using {}: {error}",
                home.display()
            ))
        })?;
        let sandbox = Self {
            tree: home.join("tree"),
            build: home.join("build"),
            root: tree.root.clone(),
            metadata,
            _lock: lock,
        };
        fs::create_dir_all(&sandbox.build)?;
        copy_tree(tree, &sandbox.tree)?;
        let own = crates(&sandbox.metadata);
        for profile in ["debug", "release"] {
            link_dependencies(&target.join(profile), &sandbox.build.join(profile), &own)?;
        }
        sandbox.commit()?;
        Ok(sandbox)
    }

    /// The folder of everything that verify writes.
    pub fn home(&self) -> &Path {
        self.build.parent().unwrap_or(&self.build)
    }

    /// The programs of the workspace: the folder of the package, and the name.
    pub fn programs(&self) -> Vec<(String, String)> {
        let mut programs = Vec::new();
        for package in list(&self.metadata["packages"]) {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let folder = manifest.parent().unwrap_or(manifest);
            let folder = folder.strip_prefix(&self.root).unwrap_or(folder);
            let targets = list(&package["targets"]).iter();
            let bins = targets.filter(|target| target["kind"][0] == "bin");
            programs.extend(bins.filter_map(|bin| {
                let name = bin["name"].as_str()?.to_owned();
                Some((folder.to_string_lossy().into_owned(), name))
            }));
        }
        programs
    }

    /// A command that runs in the copy and sees nothing of the caller's settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.tree);
        for (name, _) in std::env::vars_os() {
            let foreign = name.to_str().is_some_and(|name| {
                // What `cargo run` tells verify about verify.
                name.starts_with("MARKETSVC_")
                    || name.starts_with("SQLX_")
                    || name.starts_with("CARGO_PKG_")
                    || name.starts_with("CARGO_MANIFEST_")
                    || name.starts_with("GIT_")
                    || ["DATABASE_URL", "RUST_LOG", "RUST_BACKTRACE", "LC_ALL"].contains(&name)
            });
            if foreign {
                command.env_remove(name);
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
        git.args([
            "-c",
            "user.name=verify",
            "-c",
            "user.email=verify@localhost",
        ])
        .args(["-c", "core.autocrlf=false"]);
        process::output(git.args(arguments))
    }

    fn commit(&self) -> Env<()> {
        if !self.tree.join(".git").exists() {
            self.git(&["init", "-q", "-b", "main"])?;
        }
        // Forced, for what is tracked although .gitignore names it.
        self.git(&["add", "-A", "-f"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", "working tree"])?;
        // Databases and the like that an earlier, interrupted run left.
        self.restore()
    }

    /// Puts back every file as it was copied and removes all others. Files
    /// that did not change keep their time, so cargo does not build them again.
    pub fn restore(&self) -> Env<()> {
        self.git(&["reset", "-q", "--hard"])?;
        self.git(&["clean", "-q", "-ffdx"])?;
        Ok(())
    }

    /// Applies the patch `text`; its leading lines of prose are skipped by git.
    pub fn apply(&self, text: &str) -> Env<()> {
        let file = self.build.join("patch");
        fs::write(&file, text)?;
        self.git(&["apply", "--whitespace=nowarn", &file.to_string_lossy()])
            .map(drop)
    }

    /// Makes `count` more crates of each solution, for answers that are built at
    /// the same time. They last until [`Sandbox::restore`].
    pub fn copy_solutions(&self, steps: &[Step], count: usize) -> Env<()> {
        let manifest = fs::read_to_string(self.tree.join("Cargo.toml"))?;
        let members = "\"steps/*/solution\"";
        let with_copies = format!("{members}, \"steps/*/{COPY}-*\"");
        replace_text(
            &self.tree.join("Cargo.toml"),
            &manifest.replacen(members, &with_copies, 1),
        )?;
        // With an entry for each of them, cargo asks no registry.
        let mut lock = fs::read_to_string(self.tree.join("Cargo.lock"))?;
        for step in steps {
            let name = format!("name = \"{}\"\n", step.package(Side::Solution));
            let entry = lock
                .split("[[package]]")
                .find(|entry| entry.contains(&name));
            let entry = entry.unwrap_or_default().trim_end().to_owned();
            for index in 0..count {
                let copy = copy_of(step, index);
                self.fill(step, &copy)?;
                let own = entry.replace(&name, &format!("name = \"{}\"\n", copy.name));
                lock = format!("{}\n\n[[package]]{own}\n", lock.trim_end());
            }
        }
        Ok(replace_text(&self.tree.join("Cargo.lock"), &lock)?)
    }

    /// Makes `copy` the solution of `step`. Its program is left out: cargo would
    /// build and link it along with the check, which needs the library only.
    fn fill(&self, step: &Step, copy: &Package) -> std::io::Result<()> {
        let solution = self.tree.join(step.crate_dir(Side::Solution));
        let copy_folder = self.tree.join(&copy.folder);
        let mut wanted = files_below(&solution)?;
        let manifest = fs::read_to_string(solution.join("Cargo.toml"))?;
        if !manifest.contains("[[bin]]") {
            wanted.remove(Path::new("src/main.rs"));
        }
        for file in files_below(&copy_folder)?.difference(&wanted) {
            fs::remove_file(copy_folder.join(file))?;
        }
        wanted.remove(Path::new("Cargo.toml"));
        for file in wanted {
            replace(&solution.join(&file), &copy_folder.join(&file))?;
        }
        replace_text(
            &copy_folder.join("Cargo.toml"),
            &manifest.replace(&step.package(Side::Solution), &copy.name),
        )
    }

    /// Makes the copy `index` of a solution the answer that `patch` describes.
    pub fn apply_to_copy(&self, step: &Step, index: usize, patch: &str) -> Env<Package> {
        let copy = copy_of(step, index);
        self.fill(step, &copy)?;
        let solution = step.crate_dir(Side::Solution);
        let main = format!("{solution}/src/main.rs");
        if patch.contains(&main) {
            let to = self.tree.join(&copy.folder).join("src/main.rs");
            fs::copy(self.tree.join(main), to)?;
        }
        let own = format!("{}/", copy.folder);
        self.apply(&patch.replace(&format!("{solution}/"), &own))?;
        Ok(copy)
    }

    /// Removes what was built of the copies since `began`, which is a gigabyte that
    /// nobody else uses.
    pub fn forget_copies(&self, began: SystemTime) -> std::io::Result<()> {
        let debug = self.build.join("debug");
        let mut builds = BTreeSet::new();
        for entry in entries(&debug.join(".fingerprint"))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some((copy, build)) = name.rsplit_once('-')
                && copy.contains(&format!("-{COPY}-"))
            {
                builds.insert(build.to_owned());
                fs::remove_dir_all(entry.path())?;
            }
        }
        for entry in entries(&debug.join("deps"))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (_, build) = name.rsplit_once('-').unwrap_or_default();
            if builds.contains(build.split('.').next().unwrap_or_default()) {
                fs::remove_file(entry.path())?;
            }
        }
        // Their names do not say whose they are.
        for entry in entries(&debug.join("incremental"))? {
            if entry.metadata()?.modified()? >= began {
                fs::remove_dir_all(entry.path())?;
            }
        }
        // An interrupted run has left its checks.
        for entry in entries(&self.build)? {
            if entry.file_name().to_string_lossy().starts_with(COPY) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Puts the solution's files in the place of the exercise's.
    pub fn solve(&self, step: &Step) -> Env<()> {
        let solution = self.tree.join(step.crate_dir(Side::Solution));
        let exercise = self.tree.join(step.crate_dir(Side::Exercise));
        let sources = |side: &Path| -> std::io::Result<BTreeSet<PathBuf>> {
            let files = files_below(&side.join("src"))?.into_iter();
            Ok(files.map(|file| Path::new("src").join(file)).collect())
        };
        let mut wanted = sources(&solution)?;
        for file in sources(&exercise)?.difference(&wanted) {
            fs::remove_file(exercise.join(file))?;
        }
        wanted.insert("Cargo.toml".into());
        let tests = files_below(&solution.join("tests"))?.into_iter();
        wanted.extend(tests.map(|file| Path::new("tests").join(file)));
        for file in wanted {
            let text = step.as_exercise(&fs::read_to_string(solution.join(&file))?);
            let to = exercise.join(&file);
            to.parent().map_or(Ok(()), fs::create_dir_all)?;
            replace_text(&to, &text)?;
        }
        Ok(())
    }

    /// Puts the committed exercise back in place of what is there.
    pub fn unsolve(&self, step: &Step) -> Env<()> {
        let exercise = step.crate_dir(Side::Exercise);
        self.git(&["clean", "-q", "-ffd", &exercise])?;
        self.git(&["checkout", "-q", "--", &exercise]).map(drop)
    }
}

/// Name of a folder beside a step's solution, before its number.
const COPY: &str = "answer";

fn copy_of(step: &Step, index: usize) -> Package {
    Package {
        folder: format!("{}/{COPY}-{index}", step.dir()),
        name: format!("step{}-{COPY}-{index}", step.label()),
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

/// The elements of a JSON array.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Names that the artefacts of the workspace's own crates begin with.
fn crates(metadata: &Value) -> BTreeSet<String> {
    let mut crates = BTreeSet::new();
    for package in list(&metadata["packages"]) {
        crates.extend(package["name"].as_str().map(str::to_owned));
        let targets = list(&package["targets"]).iter();
        let names = targets.filter_map(|target| target["name"].as_str());
        crates.extend(names.map(|name| name.replace('-', "_")));
    }
    crates
}

/// Whether an entry of `deps/`, `build/` or `.fingerprint/` belongs to one of these
/// crates: `step05_exercise-0123456789abcdef`, `libstep05-….rlib`.
fn owns(crates: &BTreeSet<String>, entry: &str) -> bool {
    entry.rsplit_once('-').is_none_or(|(name, _)| {
        let library = name.strip_prefix("lib").unwrap_or(name);
        crates.contains(name) || crates.contains(library)
    })
}

/// Copies what differs and removes what is gone. A file that did not change
/// keeps its time.
fn copy_tree(tree: &Tree, copy: &Path) -> Env<()> {
    fs::create_dir_all(copy)?;
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
    let metadata = from.symlink_metadata()?;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if metadata.is_symlink() {
        let _ = fs::remove_file(to);
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    let same = to.symlink_metadata().is_ok_and(|there| {
        there.is_file()
            && there.len() == metadata.len()
            && there.permissions() == metadata.permissions()
    });
    if same && fs::read(from)? == fs::read(to)? {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    fs::copy(from, to).map(drop)
}

fn replace_text(file: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(file, text)
}

/// All files below `folder`, relative to it; none when it does not exist.
pub fn files_below(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
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
fn link_dependencies(from: &Path, to: &Path, own: &BTreeSet<String>) -> Env<()> {
    // Fingerprints last: cargo believes in an artefact only when it has one.
    for folder in ["deps", "build", ".fingerprint"] {
        fs::create_dir_all(to.join(folder))?;
        for entry in entries(&from.join(folder))? {
            let name = entry.file_name();
            let target = to.join(folder).join(&name);
            if owns(own, &name.to_string_lossy()) || target.exists() {
                continue;
            }
            if entry.file_type()?.is_dir() {
                for file in files_below(&entry.path())? {
                    link_or_copy(&entry.path().join(&file), &target.join(&file), false)?;
                }
            } else {
                // Libraries are replaced, never written to, and they are big.
                let library = target.extension().is_some_and(|end| end != "d");
                link_or_copy(&entry.path(), &target, library)?;
            }
        }
    }
    Ok(())
}

/// Copies a file with its time, or links it.
fn link_or_copy(from: &Path, to: &Path, link: bool) -> std::io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if link && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let modified = from.metadata()?.modified()?;
    fs::File::options()
        .write(true)
        .open(to)?
        .set_modified(modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artefacts_of_the_workspace_are_told_from_the_others() {
        let crates = ["step05-exercise", "step05_exercise", "step05", "check"];
        let crates = BTreeSet::from(crates.map(str::to_owned));
        for own in [
            "step05-exercise-0123456789abcdef",
            "step05_exercise-0123456789abcdef.d",
            "libstep05-0123456789abcdef.rlib",
            "check-0123456789abcdef",
            "cargo.lock",
        ] {
            assert!(owns(&crates, own), "{own}");
        }
        for other in [
            "libsqlx-0123456789abcdef.rlib",
            "libsqlite3-sys-0123456789abcdef",
        ] {
            assert!(!owns(&crates, other), "{other}");
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
