//! A project, a learner, and a disk that fails; and what must hold after every verb.

use course::starter::{self, Files};

use super::super::*;
use crate::project::Project;
use crate::reset::Keeper;

/// What happens at the operation whose number is up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The program is ended there: a file may be written by half, and nothing
    /// comes after.
    Killed,
    /// The operation fails, as on a full disk; the program goes on.
    Refused,
}

/// What stands before the disk's operations, up to that at which `left` is down to 0.
pub struct FaultyDisk {
    fault: Fault,
    left: Option<u64>,
    pub struck: bool,
}

impl FaultyDisk {
    pub fn new(fault: Option<(Fault, u64)>) -> Self {
        Self {
            fault: fault.map_or(Fault::Killed, |(fault, _)| fault),
            left: fault.map(|(_, at)| at),
            struck: false,
        }
    }

    fn step(&mut self) -> io::Result<()> {
        match self.left {
            None => Ok(()),
            Some(0) => {
                self.struck = true;
                if self.fault == Fault::Refused {
                    self.left = None;
                }
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(left) => {
                self.left = Some(left - 1);
                Ok(())
            }
        }
    }

    pub fn before(&mut self, name: &str, path: &Path) -> io::Result<()> {
        self.step()?;
        match name {
            // Two operations: the file is there before it is whole.
            "write" => self.step().inspect_err(|_| fs::write(path, "ha").unwrap()),
            // As well: a part of it is gone before the rest.
            "remove all" => self.step().inspect_err(|_| {
                let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
                if let Some(entry) = entries.next() {
                    let path = entry.path();
                    let _ = match fs::read_dir(&path) {
                        Ok(_) => fs::remove_dir_all(path),
                        Err(_) => fs::remove_file(path),
                    };
                }
            }),
            _ => Ok(()),
        }
    }
}

/// Paths and bytes.
pub type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Clone)]
pub enum Verb {
    Reset,
    Solve,
    Restore(String),
}

pub struct Ran {
    /// It ended well.
    pub done: bool,
    /// It was long enough to come to its fault.
    pub struck: bool,
}

/// A project with one step, and a learner.
pub struct World {
    pub folder: tempfile::TempDir,
    pub project: Project,
    /// Now; the step's words stay.
    pub number: u32,
    /// Of the solution and the published exercise, with the package's number.
    published: BTreeMap<&'static str, Files>,
    seconds: u64,
    /// All that was ever in a complete backup.
    pub backups: BTreeMap<String, Snapshot>,
}

impl World {
    pub fn new() -> Self {
        // Thousands of small files: in memory, where that is possible.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        fs::create_dir(folder.path().join("steps")).unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        let root = folder.path().to_path_buf();
        let mut world = Self {
            folder,
            project: Project { root },
            number: 5,
            published: BTreeMap::new(),
            seconds: 0,
            backups: BTreeMap::new(),
        };
        world.publish();
        for (file, text) in &world.published["exercise"] {
            World::write(&world.exercise().join(file), text.as_bytes());
        }
        world
    }

    pub fn step(&self) -> PathBuf {
        let slug = format!("{:02}-engine-2", self.number);
        self.folder.path().join("steps").join(slug)
    }

    pub fn exercise(&self) -> PathBuf {
        self.step().join("exercise")
    }

    /// Writes the solution and `starter.patch` for the step's number.
    pub fn publish(&mut self) {
        let name = format!("step{:02}", self.number);
        let make = |side: &str, answer: &str| -> Files {
            [
                (
                    "Cargo.toml",
                    format!("[package]\nname = \"{name}-{side}\"\n\n[lib]\nname = \"{name}\"\n"),
                ),
                (
                    "src/lib.rs",
                    format!(
                        "//! A step.\npub mod db;\n// TODO(1)\n{answer}\n// END\nfn f() {{}}\n"
                    ),
                ),
                ("src/main.rs", format!("use {name}::db;\nfn main() {{}}\n")),
                ("src/db/mod.rs", format!("// {answer}\n")),
                ("src/db/base.rs", "// the same\n".into()),
                ("tests/books.rs", format!("// {answer}: a test\n")),
            ]
            .map(|(file, text)| (file.to_owned(), text))
            .into()
        };
        let solution = make("solution", "solved");
        for (file, text) in &solution {
            Self::write(&self.step().join("solution").join(file), text.as_bytes());
        }
        let solved = make("exercise", "solved");
        let exercise = make("exercise", "todo");
        let patch = starter::write(&exercise, &solved);
        Self::write(&self.step().join(starter::FILE), patch.as_bytes());
        self.published = [("exercise", exercise), ("solution", solved)].into();
    }

    pub fn write(file: &Path, bytes: &[u8]) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// The files below a folder, without cargo's.
    pub fn snapshot(folder: &Path) -> Snapshot {
        let mut files = Snapshot::new();
        let mut waiting = vec![folder.to_path_buf()];
        while let Some(next) = waiting.pop() {
            for entry in fs::read_dir(next).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                if kind.is_dir() {
                    if name != Path::new("target") {
                        waiting.push(path);
                    }
                } else if !kind.is_file() {
                    files.insert(name, format!("{kind:?}").into_bytes());
                } else {
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    /// The complete backups.
    pub fn saved(&self) -> BTreeMap<String, Snapshot> {
        let folder = self.folder.path().join(FOLDER);
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, path)| (name, Self::snapshot(&path)))
            .collect()
    }

    /// Runs a verb, stopped at operation number `at`, and proves what must hold
    /// whether it was stopped or not.
    pub fn run(&mut self, verb: &Verb, fault: Option<(Fault, u64)>) -> Ran {
        let had = Self::snapshot(&self.exercise());
        let number = self.number.to_string();
        // Several backups fall into one second.
        let date = format!("2026-11-21_2255{:02}", self.seconds / 3);
        self.seconds += 1;
        let mut said = String::new();
        let mut disk = FaultyDisk::new(fault);
        let mut keeper = Keeper {
            project: &self.project,
            before: Box::new(|name, path| disk.before(name, path)),
            date,
            say: Box::new(|text| said.push_str(text)),
        };
        let result = match verb {
            Verb::Reset => keeper.reset(&number),
            Verb::Solve => keeper.solve(&number),
            Verb::Restore(name) => keeper.restore(name, None),
        };
        drop(keeper);
        let struck = disk.struck;
        let has = Self::snapshot(&self.exercise());
        let backups = self.saved();
        let context = format!("{verb:?} {fault:?} {result:?}\n{said}");

        // What was saved stays as it was.
        for (name, backup) in &self.backups {
            assert_eq!(backups.get(name), Some(backup), "{name}: {context}");
        }
        // What the learner had is where it was, or in a backup.
        for (file, bytes) in &had {
            assert!(
                has.get(file) == Some(bytes)
                    || backups.values().any(|it| it.get(file) == Some(bytes)),
                "{}: {context}",
                file.display()
            );
        }
        let new: Vec<&String> = backups
            .keys()
            .filter(|name| !self.backups.contains_key(*name))
            .collect();
        match new[..] {
            // A complete backup is complete, and announced.
            [name] => {
                assert_eq!(backups[name], had, "{context}");
                let undo = format!("undo      ./run.sh restore {name}\n");
                assert!(said.contains(&undo), "{context}");
            }
            [] => assert!(had == has || had.is_empty(), "{context}"),
            _ => panic!("{new:?}: {context}"),
        }
        if let Err(trouble) = &result {
            let text = trouble.to_string();
            if text.contains("nothing was changed") {
                assert!(had == has, "{context}");
            } else {
                assert!(text.contains("stopped half-way"), "{context}");
            }
        } else {
            self.ended_well(verb, &had, &has, &context);
        }
        self.backups = backups;
        Ran {
            done: result.is_ok(),
            struck,
        }
    }

    /// The crate is what the verb says.
    pub fn ended_well(&self, verb: &Verb, had: &Snapshot, has: &Snapshot, context: &str) {
        let side = match verb {
            Verb::Reset => "exercise",
            Verb::Solve => "solution",
            Verb::Restore(name) => {
                let mut wanted = self.backups[name].clone();
                let manifest = wanted.get(Path::new("Cargo.toml"));
                let old = manifest.and_then(|it| {
                    let text = str::from_utf8(it).ok()?;
                    let rest = text.strip_prefix("[package]\nname = \"")?;
                    Some(rest.split_once("-exercise\"")?.0.to_owned())
                });
                // Made when the step had another number: renamed in the text.
                if let Some(old) = old {
                    for (file, bytes) in &mut wanted {
                        let code = file
                            .extension()
                            .is_some_and(|it| it == "rs" || it == "toml");
                        if let (true, Ok(text)) = (code, str::from_utf8(bytes)) {
                            let new = format!("step{:02}", self.number);
                            *bytes = text.replace(&old, &new).into_bytes();
                        }
                    }
                }
                assert_eq!(has, &wanted, "{context}");
                return;
            }
        };
        let published = &self.published[side];
        for (file, text) in published {
            let bytes = has.get(Path::new(file)).map(Vec::as_slice);
            assert_eq!(bytes, Some(text.as_bytes()), "{file}: {context}");
        }
        for (file, bytes) in had {
            let in_the_way = published.keys().any(|it| {
                let it = Path::new(it);
                it.starts_with(file) || file.starts_with(it)
            });
            if !in_the_way {
                assert_eq!(has.get(file), Some(bytes), "{context}");
            }
        }
    }
}
