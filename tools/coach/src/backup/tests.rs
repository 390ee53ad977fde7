//! No byte that a learner wrote is lost: every verb, stopped at every operation,
//! and long random histories.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;

use course::starter::{self, Files};

use super::*;
use crate::project::Project;
use crate::reset::Keeper;

/// What happens at the operation whose number is up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The program is ended there: a file may be written by half, and nothing
    /// comes after.
    Killed,
    /// The operation fails, as on a full disk; the program goes on.
    Refused,
}

/// The file system, up to the operation at which `left` is down to 0. Without
/// syncing, which takes time and cannot be tested here.
struct FaultyDisk {
    fault: Fault,
    left: Cell<Option<u64>>,
    struck: Cell<bool>,
}

impl FaultyDisk {
    fn new(fault: Option<(Fault, u64)>) -> Self {
        Self {
            fault: fault.map_or(Fault::Killed, |(fault, _)| fault),
            left: Cell::new(fault.map(|(_, at)| at)),
            struck: Cell::new(false),
        }
    }

    fn step(&self, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.left.get() {
            None => operation(),
            Some(0) => {
                self.struck.set(true);
                if self.fault == Fault::Refused {
                    self.left.set(None);
                }
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(left) => {
                self.left.set(Some(left - 1));
                operation()
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&mut self, folder: &Path) -> io::Result<()> {
        self.step(|| fs::create_dir(folder))
    }

    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = fs::read(from)?;
        self.write(to, &bytes)
    }

    fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        // Two operations: the file is there before it is whole.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.step(|| File::create_new(file)?.write_all(first))?;
        self.step(|| File::options().append(true).open(file)?.write_all(second))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| fs::rename(from, to))
    }

    fn remove_file(&mut self, file: &Path) -> io::Result<()> {
        self.step(|| fs::remove_file(file))
    }

    fn remove_dir(&mut self, folder: &Path) -> io::Result<()> {
        self.step(|| fs::remove_dir(folder))
    }

    fn sync_dir(&mut self, _: &Path) {}
}

/// Paths and bytes.
type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Clone)]
enum Verb {
    Reset,
    Solve,
    Restore(String),
}

struct Ran {
    /// It ended well.
    done: bool,
    /// It was long enough to come to its fault.
    struck: bool,
}

/// A project with one step, and a learner.
struct World {
    folder: tempfile::TempDir,
    project: Project,
    /// Now; the step's words stay.
    number: u32,
    /// Of the solution and the published exercise, with the package's number.
    published: BTreeMap<&'static str, Files>,
    seconds: u64,
    /// All that was ever in a complete backup.
    backups: BTreeMap<String, Snapshot>,
}

impl World {
    fn new() -> Self {
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

    fn step(&self) -> PathBuf {
        let slug = format!("{:02}-engine-2", self.number);
        self.folder.path().join("steps").join(slug)
    }

    fn exercise(&self) -> PathBuf {
        self.step().join("exercise")
    }

    /// Writes the solution and `starter.patch` for the step's number.
    fn publish(&mut self) {
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

    fn write(file: &Path, bytes: &[u8]) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// The files below a folder; without cargo's, and without what our own
    /// program may leave in the crate.
    fn snapshot(folder: &Path) -> Snapshot {
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
                    let bytes = fs::read(&path).unwrap();
                    if path.file_name().unwrap() == PROBE {
                        assert_eq!(bytes, b"");
                    } else {
                        files.insert(name, bytes);
                    }
                }
            }
        }
        files
    }

    /// The complete backups.
    fn saved(&self) -> BTreeMap<String, Snapshot> {
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
    fn run(&mut self, verb: &Verb, fault: Option<(Fault, u64)>) -> Ran {
        let had = Self::snapshot(&self.exercise());
        let number = self.number.to_string();
        // Several backups fall into one second.
        let date = format!("2026-11-21_2255{:02}", self.seconds / 3);
        self.seconds += 1;
        let mut said = String::new();
        let mut say = |text: &str| said.push_str(text);
        let mut keeper = Keeper {
            project: &self.project,
            disk: FaultyDisk::new(fault),
            date,
            say: &mut say,
        };
        let result = match verb {
            Verb::Reset => keeper.reset(&number),
            Verb::Solve => keeper.solve(&number),
            Verb::Restore(name) => keeper.restore(name, None),
        };
        let struck = keeper.disk.struck.get();
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
    fn ended_well(&self, verb: &Verb, had: &Snapshot, has: &Snapshot, context: &str) {
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

/// A learner who has edited, added, deleted, and put things in the way.
fn busy_world() -> World {
    let mut world = World::new();
    let exercise = world.exercise();
    assert!(world.run(&Verb::Solve, None).done);
    World::write(&exercise.join("src/lib.rs"), b"// mine\n");
    World::write(&exercise.join("tests/mine.rs"), b"// my test\n");
    World::write(&exercise.join("market.sqlite"), &[0, 159, 146, 150]);
    fs::remove_file(exercise.join("src/main.rs")).unwrap();
    World::write(&exercise.join("src/main.rs/a/b.rs"), b"// a folder\n");
    fs::remove_dir_all(exercise.join("src/db")).unwrap();
    World::write(&exercise.join("src/db"), b"// a file\n");
    fs::create_dir(exercise.join("empty")).unwrap();
    World::write(&exercise.join("target/debug/x"), b"x");
    world
}

#[test]
fn stopped_at_every_operation_nothing_is_lost() {
    let first = busy_world().backups.keys().next().unwrap().clone();
    for fault in [Fault::Killed, Fault::Refused] {
        for verb in [Verb::Reset, Verb::Solve, Verb::Restore(first.clone())] {
            let mut operations = 0;
            loop {
                let mut world = busy_world();
                let ran = world.run(&verb, Some((fault, operations)));
                // Whatever was left: the next run, of any kind, does its work.
                let mut next = vec![Verb::Reset, Verb::Solve, verb.clone()];
                next.extend(world.backups.keys().cloned().map(Verb::Restore));
                for verb in next {
                    let done = world.run(&verb, None).done;
                    assert!(done, "{verb:?} after {fault:?} at {operations}");
                }
                assert!(!world.folder.path().join(FOLDER).join(WORK).exists());
                assert!(world.exercise().join("target/debug/x").exists());
                if !ran.struck {
                    break;
                }
                operations += 1;
            }
            // A disk that stops nothing would make this test pass, too.
            assert!(operations > 40, "{verb:?} {fault:?}: {operations}");
        }
    }
}

/// Splitmix64: numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Where a learner writes. Some are in the way of the published files, or have
/// those in their way.
const PLACES: [&str; 14] = [
    "Cargo.toml",
    "src/lib.rs",
    "src/main.rs",
    "src/db/mod.rs",
    "src/db/base.rs",
    "src/db",
    "src",
    "src/lib.rs/a.rs",
    "src/mine.rs",
    "src/bin/more.rs",
    "tests/mine.rs",
    "tests/a/b/c.rs",
    ".hidden",
    "market.sqlite",
];

/// Does one thing that a learner does, and says what.
fn live(world: &mut World, random: &mut Random) -> String {
    let exercise = world.exercise();
    let place = *random.pick(&PLACES);
    let path = exercise.join(place);
    match random.below(12) {
        0..=4 => {
            // What is in the way goes by the learner's own hand.
            for ancestor in path.ancestors().take_while(|it| *it != exercise) {
                if ancestor.is_file() {
                    fs::remove_file(ancestor).unwrap();
                }
            }
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            }
            let length = random.below(40);
            let mut bytes = format!("// {} ", random.next()).into_bytes();
            bytes.extend((0..length).map(|_| random.next().to_le_bytes()[0]));
            World::write(&path, &bytes);
            format!("writes {place}")
        }
        5 | 6 => {
            let _ = fs::remove_file(&path);
            format!("removes {place}")
        }
        7 => {
            let _ = fs::remove_dir_all(&path);
            format!("removes the folder {place}")
        }
        8 => {
            let _ = fs::remove_dir_all(exercise);
            "removes the exercise".into()
        }
        9 => {
            let _ = fs::create_dir_all(exercise.join("empty/er"));
            "makes empty folders".into()
        }
        _ => {
            let from = world.step();
            world.number = 3 + u32::try_from(random.below(5)).unwrap();
            fs::rename(from, world.step()).unwrap();
            world.publish();
            format!("gets the step as {:02}", world.number)
        }
    }
}

#[test]
fn over_random_histories_nothing_is_lost() {
    let given = env::var("COACH_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seeds = given.map_or(0..400, |seed: u64| seed..seed + 1);
    let (mut interrupted, mut completed) = (0, 0);
    for seed in seeds {
        let mut random = Random(seed);
        let mut world = World::new();
        let mut history = Vec::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..30 {
                if random.below(2) == 0 {
                    history.push(live(&mut world, &mut random));
                    continue;
                }
                let backups: Vec<String> = world.backups.keys().cloned().collect();
                let verb = match random.below(3) {
                    0 => Verb::Reset,
                    1 => Verb::Solve,
                    _ if backups.is_empty() => Verb::Reset,
                    _ => Verb::Restore(random.pick(&backups).clone()),
                };
                let fault = match random.below(4) {
                    0 | 1 => None,
                    2 => Some((Fault::Killed, random.below(60) as u64)),
                    _ => Some((Fault::Refused, random.below(60) as u64)),
                };
                history.push(format!("{verb:?} {fault:?}"));
                let ran = world.run(&verb, fault);
                assert!(ran.done || ran.struck, "it failed by itself");
                interrupted += u32::from(ran.struck);
                completed += u32::from(ran.done);
            }
        }));
        assert!(
            outcome.is_ok(),
            "COACH_SEED={seed} shows this again:\n  {}",
            history.join("\n  ")
        );
    }
    if given.is_none() {
        // The dice gave enough of both.
        assert!(
            interrupted > 500 && completed > 500,
            "{interrupted} {completed}"
        );
    }
}

/// What cannot be saved is refused, by name, before anything is changed.
#[cfg(unix)]
#[test]
fn what_a_backup_cannot_hold_is_refused() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    let world = World::new();
    let exercise = world.exercise();
    World::write(&exercise.join("src/lib.rs"), b"// mine\n");
    let refused = |name: &str, reason: &str| {
        let all = || {
            let mut all = World::snapshot(world.folder.path());
            all.remove(&Path::new(FOLDER).join(".lock"));
            all
        };
        let before = all();
        let mut keeper = Keeper {
            project: &world.project,
            disk: RealDisk,
            date: "2026-11-21_225500".into(),
            say: &mut |text| panic!("{text}"),
        };
        let trouble = keeper.reset("5").unwrap_err();
        assert_eq!(trouble.code, 3);
        let text = trouble.to_string();
        assert!(text.contains(name) && text.contains(reason), "{text}");
        assert!(text.contains("nothing was changed"), "{text}");
        assert!(before == all(), "{text}");
    };
    let link = exercise.join("src/link.rs");
    for target in ["lib.rs", "nowhere", ".."] {
        symlink(target, &link).unwrap();
        refused("src/link.rs", "it is a link");
        fs::remove_file(&link).unwrap();
    }
    let socket = exercise.join("src/socket");
    let listener = UnixListener::bind(&socket).unwrap();
    refused("src/socket", "neither a file nor a folder");
    drop(listener);
    fs::remove_file(socket).unwrap();

    // Something else where the backups belong.
    let backups = world.folder.path().join(FOLDER);
    fs::write(&backups, "mine").unwrap();
    refused(FOLDER, "nothing was changed");
    fs::remove_file(&backups).unwrap();

    // A second run beside the first.
    fs::create_dir(&backups).unwrap();
    let lock = File::create(backups.join(".lock")).unwrap();
    lock.lock().unwrap();
    refused("another reset", "at work");
    drop(lock);

    // The whole exercise as a link, or as a file.
    let elsewhere = world.folder.path().join("elsewhere");
    fs::rename(&exercise, &elsewhere).unwrap();
    symlink(&elsewhere, &exercise).unwrap();
    refused("exercise", "it is not a folder");
    fs::remove_file(&exercise).unwrap();
    fs::write(&exercise, "").unwrap();
    refused("exercise", "it is not a folder");
}

/// A file that an editor saves while the verb is at work is not overwritten.
#[test]
fn what_is_saved_in_the_meantime_stays() {
    /// Writes to a file of the crate right before the first rename into it.
    struct Editor(PathBuf);
    impl Disk for Editor {
        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)?;
            // The backup has just been completed.
            if from.ends_with("copy") {
                fs::write(&self.0, "newer")?;
            }
            Ok(())
        }
        fn create_dir(&mut self, folder: &Path) -> io::Result<()> {
            RealDisk.create_dir(folder)
        }
        fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.copy(from, to)
        }
        fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
            RealDisk.write(file, bytes)
        }
        fn remove_file(&mut self, file: &Path) -> io::Result<()> {
            RealDisk.remove_file(file)
        }
        fn remove_dir(&mut self, folder: &Path) -> io::Result<()> {
            RealDisk.remove_dir(folder)
        }
        fn sync_dir(&mut self, _: &Path) {}
    }

    for (file, before) in [("src/lib.rs", "older"), ("src/main.rs", "")] {
        let world = World::new();
        World::write(&world.exercise().join("src/lib.rs"), b"older");
        let path = world.exercise().join(file);
        if before.is_empty() {
            // A file that is new is not in the backup at all.
            fs::remove_file(&path).unwrap();
        }
        let mut keeper = Keeper {
            project: &world.project,
            disk: Editor(path.clone()),
            date: "2026-11-21_225500".into(),
            say: &mut |_| {},
        };
        let text = keeper.reset("5").unwrap_err().to_string();
        assert!(text.contains("changed in the meantime"), "{text}");
        assert!(
            text.contains("./run.sh restore 2026-11-21_225500-05-engine-2"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "newer");
    }
}
