//! What was proved before, of the same content, and need not be proved again.
//!
//! A record is a small file below `target/verify/proved`, named after its item.
//! It holds a hash of everything that the proof depends on and what the proof
//! found. Under CI nothing is read or written, so the gate proves everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use course::{Side, Step};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Env;
use crate::console;
use crate::document::{Document, Item};
use crate::hints;
use crate::process::{self, lock};
use crate::sandbox::{files_below, list};
use crate::tree::Tree;

/// What every proof depends on, beside the manifests of all crates that are not
/// steps: they decide which features dependencies are built with.
const COMMON: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    "rust-toolchain.toml",
    "data",
    "tools/verify/Cargo.toml",
    "tools/verify/src",
];

/// What the commands of a page depend on, beside steps.
const VERBS: [&str; 3] = ["run.sh", "tools/coach", "marketsvc"];

pub struct Memory<'a> {
    tree: &'a Tree,
    /// Where the records are; under CI there is no such place.
    folder: Option<PathBuf>,
    /// Whether records are only written.
    again: bool,
    /// The compiler and the settings of the environment that change a build.
    toolchain: String,
    /// Folder of each package to the files and folders outside it that it is
    /// built from.
    outside: BTreeMap<String, BTreeSet<String>>,
    /// Of each file or folder, the hash of its content.
    hashed: Mutex<BTreeMap<String, String>>,
}

impl<'a> Memory<'a> {
    /// `home` is the folder of everything that verify writes.
    pub fn open(tree: &'a Tree, metadata: &Value, home: &Path, again: bool) -> Env<Self> {
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let mut rustc = Command::new("rustc");
        let mut toolchain = process::output(rustc.arg("-vV").current_dir(&tree.root))?;
        let mut settings: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.to_str()?.to_owned();
                let starts = ["RUSTC", "RUSTFLAGS", "CARGO_ENCODED", "CARGO_PROFILE"];
                let starts = starts.iter().chain(&["CARGO_BUILD", "CARGO_TARGET_"]);
                let changes = starts.into_iter().any(|start| name.starts_with(start));
                (changes && name != "CARGO_TARGET_DIR")
                    .then(|| format!("{name}={}", value.display()))
            })
            .collect();
        settings.sort();
        toolchain += &settings.join("\n");
        Ok(Self {
            tree,
            folder: (!ci).then(|| home.join("proved")),
            again,
            toolchain,
            outside: outside(&tree.root, metadata),
            hashed: Mutex::default(),
        })
    }

    /// What the proof of `item` found when it last passed, if `key` is the same.
    pub fn recall(&self, item: &str, key: &str) -> Option<String> {
        let record = fs::read_to_string(self.folder.as_ref()?.join(item)).ok()?;
        let (old, found) = record.split_once('\n')?;
        (!self.again && old == key).then(|| found.to_owned())
    }

    /// Keeps that the proof of `item` passed. A record that cannot be written
    /// costs only time.
    pub fn keep(&self, item: &str, key: &str, found: &str) {
        if let Some(folder) = &self.folder {
            let file = folder.join(item);
            let _ = file.parent().map(fs::create_dir_all);
            let _ = fs::write(file, format!("{key}\n{found}"));
        }
    }

    /// Removes the records of answers that are gone.
    pub fn forget_gone(&self) -> std::io::Result<()> {
        let Some(folder) = self.folder.as_ref().map(|it| it.join("answers")) else {
            return Ok(());
        };
        for answer in files_below(&folder)? {
            if !self.tree.has(&format!("tools/verify/{}", answer.display())) {
                fs::remove_file(folder.join(answer))?;
            }
        }
        Ok(())
    }

    /// The key of one side of a step.
    pub fn side(&self, step: &Step, side: Side) -> String {
        let mut inputs = self.crate_in(&step.crate_dir(side));
        if side == Side::Exercise {
            // How it fails is compared with these two.
            inputs.extend([step.readme(), hints::path(step)]);
        }
        self.key(inputs)
    }

    /// The key of the solution of `step` and one more input: a patch on it, or the
    /// folder of what judges it.
    pub fn solution_with(&self, step: &Step, input: &str) -> String {
        let mut inputs = self.crate_in(&step.crate_dir(Side::Solution));
        inputs.insert(input.to_owned());
        self.key(inputs)
    }

    /// The key of the queries of the crate in `folder`.
    pub fn queries(&self, folder: &str) -> String {
        self.key(self.crate_in(folder))
    }

    /// The key of what depends on any file, but only on the names of the steps.
    pub fn all_but_steps(&self) -> String {
        let mut inputs: BTreeSet<String> = self.tree.files().map(str::to_owned).collect();
        inputs.retain(|file| {
            let patches = ["wrong", "right", "shown"];
            let patches = patches.map(|kind| format!("tools/verify/{kind}/"));
            !file.starts_with("steps/") && !patches.iter().any(|it| file.starts_with(it))
        });
        // A folder that is not there has no content, and its name counts.
        let steps = self.tree.steps().into_iter();
        inputs.extend(steps.map(|step| format!("step {}", step.slug)));
        self.key(inputs)
    }

    /// The key of the console blocks of a page.
    pub fn page(&self, page: &Document, step: Option<&Step>) -> String {
        let mut inputs = BTreeSet::from([page.path.clone()]);
        for folder in VERBS {
            inputs.extend(self.crate_in(folder));
        }
        let named = console::depends_on(page);
        inputs.extend(page.items.iter().filter_map(|item| match item {
            Item::Directive(text, _) => {
                Some(format!("tools/verify/{}", text.strip_prefix("patch ")?))
            }
            _ => None,
        }));
        for other in self.tree.steps() {
            let named = named.as_ref();
            if step == Some(&other) || named.is_none_or(|named| named.contains(other.label())) {
                inputs.insert(other.dir());
                for side in [Side::Exercise, Side::Solution] {
                    inputs.extend(self.crate_in(&other.crate_dir(side)));
                }
            }
        }
        // Cargo reads the manifests of all steps before it builds one.
        let manifests = self
            .tree
            .files()
            .filter(|file| file.ends_with("/Cargo.toml"));
        inputs.extend(manifests.map(str::to_owned));
        self.key(inputs)
    }

    /// A crate's folder and what else it is built from.
    fn crate_in(&self, folder: &str) -> BTreeSet<String> {
        let mut inputs = BTreeSet::from([folder.to_owned()]);
        inputs.extend(self.outside.get(folder).into_iter().flatten().cloned());
        inputs
    }

    fn key(&self, mut inputs: BTreeSet<String>) -> String {
        inputs.extend(COMMON.map(str::to_owned));
        let manifests = self
            .tree
            .files()
            .filter(|file| file.ends_with("/Cargo.toml") && !file.starts_with("steps/"));
        inputs.extend(manifests.map(str::to_owned));
        let mut hasher = Sha256::new();
        feed(&mut hasher, self.toolchain.as_bytes());
        for input in inputs {
            let hash = self.hash(&input);
            feed(&mut hasher, input.as_bytes());
            feed(&mut hasher, hash.as_bytes());
        }
        format!("{:x}", hasher.finalize())
    }

    /// The hash of a file, or of all files in a folder with their names.
    fn hash(&self, input: &str) -> String {
        let mut known = lock(&self.hashed);
        if let Some(hash) = known.get(input) {
            return hash.clone();
        }
        let mut hasher = Sha256::new();
        let mut files = self.tree.below(input);
        files.push("");
        for file in files {
            let path = self.tree.root.join(input).join(file);
            feed(&mut hasher, file.as_bytes());
            // The folder itself cannot be read, nor can a file that is missing.
            if let Ok(content) = fs::read(path.components().collect::<PathBuf>()) {
                feed(&mut hasher, &content);
            }
        }
        let hash = format!("{:x}", hasher.finalize());
        known.insert(input.to_owned(), hash.clone());
        hash
    }
}

/// Hashes `bytes` so that what follows cannot be taken for a part of them.
fn feed(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update(bytes.len().to_le_bytes());
    hasher.update(bytes);
}

/// Of each package, by its folder: the folders of the packages in the workspace
/// that it depends on, also through others, and its targets that lie elsewhere.
fn outside(root: &Path, metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let relative = |path: &str| {
        // `exercise/../check.rs`
        let path = Path::new(path).canonicalize().ok()?;
        Some(path.strip_prefix(root).ok()?.to_str()?.to_owned())
    };
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let Some(manifest) = package["manifest_path"].as_str().and_then(relative) else {
            continue;
        };
        let folder = manifest.trim_end_matches("/Cargo.toml").to_owned();
        let paths = list(&package["dependencies"]).iter().map(|it| &it["path"]);
        let targets = list(&package["targets"]).iter().map(|it| &it["src_path"]);
        let mut inputs = BTreeSet::new();
        for path in paths.chain(targets).filter_map(Value::as_str) {
            inputs.extend(relative(path));
            // `check_solution.rs` has `check.rs` beside it as a module.
            inputs.extend(relative(&path.replace("_solution.rs", ".rs")));
        }
        inputs.retain(|path| !path.starts_with(&format!("{folder}/")));
        direct.insert(folder, inputs);
    }
    let mut all = direct.clone();
    for inputs in all.values_mut() {
        let mut open: Vec<String> = inputs.iter().cloned().collect();
        while let Some(next) = open.pop() {
            for input in direct.get(&next).into_iter().flatten() {
                if inputs.insert(input.clone()) {
                    open.push(input.clone());
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::has_extension;

    /// A workspace with a harness, a crate that the harness is built from, and
    /// two steps.
    struct Workspace {
        folder: tempfile::TempDir,
        root: PathBuf,
    }

    impl Workspace {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let root = folder.path().canonicalize().expect("a path");
            let workspace = Self { folder, root };
            workspace.write(
                "Cargo.toml",
                "[workspace]\nmembers = [\"steps/*/*\", \"tools/*\", \"marketsvc\"]\n",
            );
            workspace.write("Cargo.lock", "version = 4\n");
            let package = |name: &str, rest: &str| {
                format!(
                    "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}"
                )
            };
            for (folder, rest) in [
                ("tools/course", ""),
                (
                    "tools/check",
                    "[dependencies]\ncourse.path = \"../course\"\n",
                ),
                (
                    "tools/coach",
                    "[dependencies]\ncourse.path = \"../course\"\n",
                ),
                ("tools/bench", ""),
                ("tools/verify", ""),
                ("marketsvc", ""),
            ] {
                let name = folder.rsplit('/').next().unwrap_or(folder);
                workspace.write(&format!("{folder}/Cargo.toml"), &package(name, rest));
                workspace.write(&format!("{folder}/src/lib.rs"), "");
            }
            for (number, slug) in [("01", "01-one"), ("02", "02-two")] {
                let step = format!("steps/{slug}");
                workspace.write(&format!("{step}/check.rs"), "pub fn main() {}\n");
                workspace.write(&format!("{step}/check_solution.rs"), "mod check;\n");
                workspace.write(&format!("{step}/hints.md"), "# Hints\n");
                workspace.write(
                    &format!("{step}/README.md"),
                    &format!("```console\n$ ./run.sh check {number}\n$ ./run.sh run 01\n```\n<!-- verify: patch shown/{slug}/1.patch -->\n"),
                );
                for (side, check) in [("exercise", "check"), ("solution", "check_solution")] {
                    let rest = "[dev-dependencies]\ncheck.path = \"../../../tools/check\"\n\
                        [[test]]\nname = \"check\"\npath = \"../CHECK.rs\"\n";
                    let rest = rest.replace("CHECK", check);
                    let name = format!("step{number}-{side}");
                    workspace.write(&format!("{step}/{side}/Cargo.toml"), &package(&name, &rest));
                    workspace.write(&format!("{step}/{side}/src/lib.rs"), "");
                }
                for kind in ["wrong", "shown"] {
                    workspace.write(&format!("tools/verify/{kind}/{slug}/1.patch"), "+a\n");
                }
            }
            workspace.write("run.sh", "");
            workspace.write("README.md", "```console\n$ ./run.sh list\n```\n");
            workspace.write(".cargo/config.toml", "");
            workspace.write("data/sample.sql", "");
            let git = Command::new("git")
                .args(["init", "-q"])
                .current_dir(&workspace.root)
                .status();
            assert!(git.expect("git").success());
            workspace
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, text).expect("written");
        }

        /// Calls `look` with the memory of this moment, as a run without CI has it.
        fn with<T>(&self, again: bool, look: impl FnOnce(&Memory) -> T) -> T {
            let tree = Tree::open(&self.root).expect("a tree");
            let output = Command::new("cargo")
                .args([
                    "metadata",
                    "--no-deps",
                    "--offline",
                    "--format-version",
                    "1",
                ])
                .current_dir(&self.root)
                .output()
                .expect("cargo");
            let metadata = serde_json::from_slice(&output.stdout).expect("metadata");
            let mut memory =
                Memory::open(&tree, &metadata, &self.root.join("target"), again).expect("a memory");
            memory.folder = Some(self.root.join("target/proved"));
            look(&memory)
        }

        /// The keys of what is proved of step 01, in the order of `PROOFS`.
        fn keys(&self) -> Vec<String> {
            self.with(false, keys)
        }
    }

    const PROOFS: [&str; 8] = [
        "exercise", "solution", "answer", "chapter", "next", "page", "queries", "tests",
    ];

    fn keys(memory: &Memory) -> Vec<String> {
        let steps = memory.tree.steps();
        let [step, next] = steps.as_slice() else {
            panic!("two steps");
        };
        let read = |path: &str| Document::read(memory.tree, path).expect("a page");
        vec![
            memory.side(step, Side::Exercise),
            memory.side(step, Side::Solution),
            memory.solution_with(step, "tools/verify/wrong/01-one/1.patch"),
            memory.page(&read(&step.readme()), Some(step)),
            // Its commands name step 01 as well.
            memory.page(&read(&next.readme()), Some(next)),
            memory.page(&read("README.md"), None),
            memory.queries(&step.crate_dir(Side::Solution)),
            memory.all_but_steps(),
        ]
    }

    #[test]
    fn a_change_of_any_input_is_noticed() {
        let workspace = Workspace::new();
        let before = workspace.keys();
        assert_eq!(before, workspace.keys(), "nothing has changed");
        let all = PROOFS.join(" ");
        for (file, noticed) in [
            // What all depend on: the lock file, manifests, settings, data, verify, and the
            // crates that a check is built from, also those that it does not name itself.
            ("Cargo.lock", all.as_str()),
            ("Cargo.toml", &all),
            (".cargo/config.toml", &all),
            ("rust-toolchain.toml", &all),
            ("data/sample.sql", &all),
            ("data/migrations/2.sql", &all),
            ("tools/check/src/lib.rs", &all),
            ("tools/course/src/new.rs", &all),
            ("tools/bench/Cargo.toml", &all),
            ("tools/verify/src/main.rs", &all),
            // The step.
            ("steps/01-one/check.rs", all.trim_end_matches(" tests")),
            (
                "steps/01-one/check_solution.rs",
                "solution answer chapter next page queries",
            ),
            (
                "steps/01-one/solution/src/lib.rs",
                "solution answer chapter next page queries",
            ),
            (
                "steps/01-one/exercise/src/new.rs",
                "exercise chapter next page",
            ),
            (
                "steps/01-one/exercise/tests/new.rs",
                "exercise chapter next page",
            ),
            (
                "steps/01-one/solution/tests/new.rs",
                "solution answer chapter next page queries",
            ),
            ("steps/01-one/hints.md", "exercise chapter next page"),
            ("steps/01-one/README.md", "exercise chapter next page"),
            // Patches.
            ("tools/verify/wrong/01-one/1.patch", "answer"),
            ("tools/verify/shown/01-one/1.patch", "chapter"),
            // What commands run.
            ("run.sh", "chapter next page tests"),
            ("tools/coach/src/lib.rs", "chapter next page tests"),
            ("marketsvc/src/lib.rs", "chapter next page tests"),
            ("README.md", "page tests"),
            // What others depend on.
            ("steps/02-two/solution/src/lib.rs", "next page"),
            ("tools/bench/src/lib.rs", "tests"),
            ("tools/verify/wrong/02-two/1.patch", ""),
        ] {
            let old = fs::read_to_string(workspace.root.join(file)).ok();
            let more = if has_extension(file, "md") {
                "\nMore.\n"
            } else {
                "\n# more\n"
            };
            workspace.write(file, &(old.clone().unwrap_or_default() + more));
            let now = workspace.keys();
            let changed = PROOFS.iter().zip(before.iter().zip(&now));
            let changed = changed
                .filter(|(_, (old, new))| old != new)
                .map(|(name, _)| *name);
            assert_eq!(changed.collect::<Vec<_>>().join(" "), noticed, "{file}");
            match old {
                Some(old) => workspace.write(file, &old),
                None => fs::remove_file(workspace.root.join(file)).expect("removed"),
            }
        }
        assert_eq!(before, workspace.keys(), "all is as it was");
        let other = workspace.with(false, |memory| {
            let toolchain = format!("{}rustc 9.9.9", memory.toolchain);
            keys(&Memory {
                toolchain,
                outside: memory.outside.clone(),
                folder: None,
                again: false,
                hashed: Mutex::default(),
                ..*memory
            })
        });
        assert!(before.iter().zip(&other).all(|(one, other)| one != other));
    }

    #[test]
    fn what_passed_is_remembered_until_it_changes() {
        let workspace = Workspace::new();
        workspace.with(false, |memory| {
            assert_eq!(memory.recall("answers/01/a", "key"), None);
            memory.keep("answers/01/a", "key", "two\nlines");
            assert_eq!(
                memory.recall("answers/01/a", "key").as_deref(),
                Some("two\nlines")
            );
            assert_eq!(memory.recall("answers/01/a", "another"), None);
        });
        workspace.with(true, |memory| {
            assert_eq!(memory.recall("answers/01/a", "key"), None);
        });
        workspace.with(false, |memory| {
            assert!(memory.recall("answers/01/a", "key").is_some());
        });
    }
}
