//! No byte that a learner wrote is lost: every verb, stopped at every operation,
//! and long random histories.

use std::env;

mod world;

use super::*;
use crate::reset::Keeper;
use world::{Fault, Verb, World};

/// A learner who has edited, added, deleted, and put things in the way.
fn busy_world() -> World {
    let mut world = World::new();
    let exercise = world.exercise();
    assert!(world.run(&Verb::Solve, None).done);
    World::write(&exercise.join("src/lib.rs"), b"// mine\n");
    World::write(&exercise.join("tests/books.rs"), b"// my change of it\n");
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
            assert!(operations > 25, "{verb:?} {fault:?}: {operations}");
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
const PLACES: [&str; 15] = [
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
    "tests/books.rs",
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
            before: Box::new(|_, _| Ok(())),
            date: "2026-11-21_225500".into(),
            say: Box::new(|text| panic!("{text}")),
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
        refused("src/link.rs", "such as a link");
        fs::remove_file(&link).unwrap();
    }
    let socket = exercise.join("src/socket");
    let listener = UnixListener::bind(&socket).unwrap();
    refused("src/socket", "move it away");
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
    refused("exercise", "move it away");
    fs::remove_file(&exercise).unwrap();
    fs::write(&exercise, "").unwrap();
    refused("exercise", "move it away");
}

/// A file that an editor saves while the verb is at work is not overwritten.
#[test]
fn what_is_saved_in_the_meantime_stays() {
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
            // An editor writes right before the first new file is moved into the crate.
            before: Box::new(|name, to| match name {
                "write" if to.ends_with(".work/new") => fs::write(&path, "newer"),
                _ => Ok(()),
            }),
            date: "2026-11-21_225500".into(),
            say: Box::new(|_| {}),
        };
        let text = keeper.reset("5").unwrap_err().to_string();
        drop(keeper);
        assert!(text.contains("changed in the meantime"), "{text}");
        assert!(
            text.contains("./run.sh restore 2026-11-21_225500-05-engine-2"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "newer");
    }
}
