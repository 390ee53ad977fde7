//! What was proved before, of the same content, and need not be proved again.
//!
//! A record is a small file below `target/verify/proved`, named after its item.
//! It holds a hash of everything that the proof depends on and what the proof
//! found. Under CI nothing is read or written, so the gate proves everything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use course::{Side, Step};
use sha2::{Digest, Sha256};

use crate::document::{Document, Item};
use crate::tree::{Tree, has_extension};
use crate::{Env, console, process};

/// What every proof depends on, beside all manifests: they decide which features
/// dependencies are built with.
const COMMON: [&str; 5] = [
    "Cargo.lock",
    ".cargo/",
    "rust-toolchain.toml",
    "data/",
    "tools/",
];

/// Of these, crates that no step is built from.
const APART: [&str; 4] = [
    "tools/bench/",
    "tools/book/",
    "tools/coach/",
    "tools/verify/",
];

/// What the commands of a page depend on, beside steps.
const VERBS: [&str; 3] = ["run.sh", "tools/coach", "marketsvc"];

pub struct Memory<'a> {
    tree: &'a Tree,
    /// Where the records are; under CI there is no such place.
    folder: Option<PathBuf>,
    /// The hash of what every proof depends on, the compiler included.
    common: String,
    /// Of each file or folder, the hash of its content.
    hashed: RefCell<BTreeMap<String, String>>,
}

impl<'a> Memory<'a> {
    /// `home` is the folder of everything that verify writes.
    pub fn open(tree: &'a Tree, home: &Path) -> Env<Self> {
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let mut rustc = Command::new("rustc");
        let toolchain = process::output(rustc.arg("-vV").current_dir(&tree.root))?;
        let builds = |name: &str| {
            let starts = [
                "RUST",
                "CARGO_ENCODED",
                "CARGO_PROFILE",
                "CARGO_BUILD",
                "CARGO_TARGET_",
            ];
            starts.iter().any(|start| name.starts_with(start)) && name != "CARGO_TARGET_DIR"
        };
        let settings = std::env::vars().filter(|(name, _)| builds(name));
        let settings: BTreeMap<String, String> = settings.collect();
        let mut memory = Self {
            tree,
            folder: (!ci).then(|| home.join("proved")),
            common: format!("{toolchain}{settings:?}"),
            hashed: RefCell::default(),
        };
        let common = tree.files().filter(|file| is_common(file));
        memory.common = memory.key(common.map(str::to_owned));
        Ok(memory)
    }

    /// What the proof of `item` found when it last passed, if `key` is the same.
    pub fn recall(&self, item: &str, key: &str) -> Option<String> {
        let record = fs::read_to_string(self.folder.as_ref()?.join(item)).ok()?;
        let (old, found) = record.split_once('\n')?;
        (old == key).then(|| found.to_owned())
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

    /// The key of one side of a step and one more input, if there is one: a patch on it,
    /// or the folder of what judges it.
    pub fn side(&self, step: &Step, side: Side, input: &str) -> String {
        let files = match side {
            // How it fails is compared with the two pages.
            Side::Exercise => ["check.rs", "README.md", "hints.md"].as_slice(),
            Side::Solution => &["check.rs", "check_solution.rs"],
        };
        let files = files.iter().map(|file| format!("{}/{file}", step.dir()));
        self.key(files.chain([step.crate_dir(side), input.to_owned()]))
    }

    /// The key of what depends on any file, but only on the names of the steps.
    pub fn all_but_steps(&self) -> String {
        let of_step = |file: &&str| file.starts_with("steps/") || has_extension(file, "patch");
        let files = self.tree.files().filter(|file| !of_step(file));
        // A folder that is not there has no content, and its name counts.
        let steps = self.tree.steps().into_iter();
        let steps = steps.map(|step| format!("step {}", step.slug));
        self.key(files.map(str::to_owned).chain(steps))
    }

    /// The key of the console blocks of a page.
    pub fn page(&self, page: &Document, step: Option<&Step>) -> String {
        let mut inputs = vec![page.path.clone()];
        inputs.extend(VERBS.map(str::to_owned));
        inputs.extend(page.items.iter().filter_map(|item| match item {
            Item::Directive(text, _) => {
                Some(format!("tools/verify/{}", text.strip_prefix("patch ")?))
            }
            _ => None,
        }));
        let named = console::depends_on(page);
        let steps = self.tree.steps().into_iter().filter(|other| {
            let named = named.as_ref();
            step == Some(other) || named.is_none_or(|named| named.contains(other.label()))
        });
        inputs.extend(steps.map(|step| step.dir()));
        self.key(inputs)
    }

    /// The key of what depends on these files and folders.
    pub fn key(&self, inputs: impl IntoIterator<Item = String>) -> String {
        let mut hasher = Sha256::new();
        feed(&mut hasher, self.common.as_bytes());
        for input in BTreeSet::from_iter(inputs) {
            feed(&mut hasher, input.as_bytes());
            feed(&mut hasher, self.hash(&input).as_bytes());
        }
        format!("{:x}", hasher.finalize())
    }

    /// The hash of a file, or of all files in a folder with their names.
    fn hash(&self, input: &str) -> String {
        if let Some(hash) = self.hashed.borrow().get(input) {
            return hash.clone();
        }
        let mut hasher = Sha256::new();
        for file in self.tree.below(input).into_iter().chain([""]) {
            feed(&mut hasher, file.as_bytes());
            let path = [input, file].join("/");
            // Neither a folder can be read, nor a file that is missing.
            if let Ok(content) = fs::read(self.tree.root.join(path.trim_end_matches('/'))) {
                feed(&mut hasher, &content);
            }
        }
        let hash = format!("{:x}", hasher.finalize());
        self.hashed
            .borrow_mut()
            .insert(input.to_owned(), hash.clone());
        hash
    }
}

fn is_common(file: &str) -> bool {
    let is_in = |places: &[&str]| places.iter().any(|place| file.starts_with(place));
    let source = file.starts_with("tools/verify/src/") || !is_in(&APART);
    file.ends_with("Cargo.toml") || is_in(&COMMON) && source
}

/// Hashes `bytes` so that what follows cannot be taken for a part of them.
fn feed(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update(bytes.len().to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

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
        fn with<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
            let tree = Tree::open(&self.root).expect("a tree");
            let mut memory = Memory::open(&tree, &self.root.join("target")).expect("a memory");
            memory.folder = Some(self.root.join("target/proved"));
            look(&memory)
        }

        /// The keys of what is proved of step 01, in the order of `PROOFS`.
        fn keys(&self) -> Vec<String> {
            self.with(keys)
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
            memory.side(step, Side::Exercise, ""),
            memory.side(step, Side::Solution, ""),
            memory.side(step, Side::Solution, "tools/verify/wrong/01-one/1.patch"),
            memory.page(&read(&step.readme()), Some(step)),
            // Its commands name step 01 as well.
            memory.page(&read(&next.readme()), Some(next)),
            memory.page(&read("README.md"), None),
            memory.key([step.crate_dir(Side::Solution)]),
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
            (
                "steps/01-one/check.rs",
                "exercise solution answer chapter next page",
            ),
            (
                "steps/01-one/check_solution.rs",
                "solution answer chapter next page",
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
        let other = workspace.with(|memory| {
            let common = format!("{}rustc 9.9.9", memory.common);
            keys(&Memory {
                common,
                folder: None,
                hashed: RefCell::default(),
                ..*memory
            })
        });
        assert!(before.iter().zip(&other).all(|(one, other)| one != other));
    }

    #[test]
    fn no_step_is_built_from_what_stands_apart() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tree = Tree::open(&root.canonicalize().expect("a path")).expect("a tree");
        for file in tree.files().filter(|file| is_common(file)) {
            let built = !file.starts_with("tools/bench/");
            if built
                && file.ends_with("/Cargo.toml")
                && !APART.iter().any(|it| file.starts_with(it))
            {
                let manifest = tree.read(file).expect("text");
                for apart in APART {
                    let path = format!(
                        "{}\"",
                        apart.trim_end_matches('/').trim_start_matches("tools")
                    );
                    assert!(!manifest.contains(&path), "{file} names {apart}");
                }
            }
        }
    }

    #[test]
    fn what_passed_is_remembered_until_it_changes() {
        let workspace = Workspace::new();
        workspace.with(|memory| {
            assert_eq!(memory.recall("answers/01/a", "key"), None);
            memory.keep("answers/01/a", "key", "two\nlines");
            assert_eq!(
                memory.recall("answers/01/a", "key").as_deref(),
                Some("two\nlines")
            );
            assert_eq!(memory.recall("answers/01/a", "another"), None);
        });
        workspace.with(|memory| {
            assert!(memory.recall("answers/01/a", "key").is_some());
        });
    }
}
