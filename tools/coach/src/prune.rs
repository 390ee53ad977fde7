//! Keeps `target/` small: what was built for steps that have not been checked for a
//! while is removed. Cargo builds it again when it is needed, in a few seconds.
//!
//! Each side of a step leaves some 80 MB, of which half are files that only make the
//! next build of that very crate faster. Cargo removes nothing by itself, so all steps
//! together would be gigabytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// How many crates keep the files for a faster next build. A side of a step
/// counts as three: library, service and check.
const INCREMENTAL: usize = 12;

/// How many check programs are kept, and as many services of steps.
const PROGRAMS: usize = 8;

/// Removes what is old in the folder `debug` of cargo's target folder. The
/// program `in_use` stays, and so do the `tests` that it runs.
///
/// Does nothing while a cargo is at work there. What cannot be removed stays:
/// this is housekeeping, and never a reason to fail.
pub fn prune(debug: &Path, in_use: &Path, tests: &BTreeMap<String, PathBuf>) {
    // Cargo's own lock, by its own rules: held from before it looks at a file
    // until its last compiler has ended.
    let Ok(lock) = File::options().write(true).open(debug.join(".cargo-lock")) else {
        return;
    };
    if lock.try_lock().is_err() {
        return;
    }
    for folder in older(&debug.join("incremental"), INCREMENTAL, |_| true) {
        let _ = fs::remove_dir_all(folder);
    }
    let deps = debug.join("deps");
    let of_kind = |kind: &str| {
        older(&deps, PROGRAMS, |name| {
            name.rsplit_once('-').is_some_and(|it| it.0 == kind)
        })
    };
    let checks = of_kind("check");
    let kinds = tests.values().filter_map(|test| {
        let name = test.file_name()?.to_str()?;
        Some(name.rsplit_once('-')?.0)
    });
    let programs: Vec<PathBuf> = kinds.flat_map(of_kind).collect();
    let services = older(&deps, PROGRAMS, |name| service(name).is_some());
    for program in checks.into_iter().chain(services).chain(programs) {
        let name = program.file_name().unwrap_or_default();
        let mut kept = tests.values().map(PathBuf::as_path).chain([in_use]);
        if kept.all(|kept| Some(name) != kept.file_name()) {
            // A service is the same file under the name that people use.
            if let Some(name) = name.to_str().and_then(service) {
                let _ = fs::remove_file(debug.join(name));
            }
            let _ = fs::remove_file(program);
        }
    }
}

/// All but the `keep` youngest entries of `folder` whose name has no extension
/// and is `wanted`.
fn older(folder: &Path, keep: usize, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name
                .to_str()
                .filter(|name| !name.contains('.') && wanted(name))?;
            Some((entry.metadata().ok()?.modified().ok()?, folder.join(name)))
        })
        .collect();
    entries.sort_unstable();
    entries.truncate(entries.len().saturating_sub(keep));
    entries.into_iter().map(|(_, path)| path).collect()
}

/// `step05-exercise` for `step05_exercise-0123456789abcdef`, the name of a
/// service among cargo's files.
fn service(name: &str) -> Option<String> {
    let (name, _hash) = name.rsplit_once('-')?;
    let (step, side) = name.strip_prefix("step")?.split_once('_')?;
    let is_service = step.len() == 2
        && step.bytes().all(|byte| byte.is_ascii_digit())
        && ["exercise", "solution"].contains(&side);
    is_service.then(|| format!("step{step}-{side}"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A target folder in which number 1 was built first.
    struct Built(tempfile::TempDir);

    impl Built {
        fn new() -> Self {
            let built = Self(tempfile::tempdir().expect("a folder"));
            fs::create_dir_all(built.path("deps")).expect("created");
            fs::write(built.path(".cargo-lock"), "").expect("written");
            built
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, number: u64) {
            fs::write(self.path(name), "x").expect("written");
            self.date(name, number);
        }

        fn folder(&self, name: &str, number: u64) {
            fs::create_dir_all(self.path(name)).expect("created");
            fs::write(self.path(name).join("inner"), "x").expect("written");
            self.date(name, number);
        }

        fn date(&self, name: &str, number: u64) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number);
            let file = File::open(self.path(name)).expect("there");
            file.set_modified(time).expect("dated");
        }

        fn there(&self, folder: &str) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.path(folder))
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name().into_string())
                .map(|name| name.expect("text"))
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn the_youngest_stay() {
        let built = Built::new();
        for number in 1..=20 {
            built.folder(&format!("incremental/step{number:02}-abc"), number);
            built.file(&format!("deps/check-{number:016}"), number);
            built.file(&format!("deps/check-{number:016}.d"), number);
            built.file(&format!("deps/books-{number:016}"), number);
            built.file(
                &format!("deps/libstep{number:02}-{number:016}.rlib"),
                number,
            );
            built.file(
                &format!("deps/step{number:02}_exercise-{number:016}"),
                number,
            );
            built.file(&format!("step{number:02}-exercise"), number);
        }
        // Neither a step's, however old.
        for name in [
            "deps/marketsvc-0123456789abcdef",
            "deps/step_by-0123",
            "coach",
        ] {
            built.file(name, 0);
        }
        let in_use = built.path(&format!("deps/check-{:016}", 3));
        let test = built.path(&format!("deps/books-{:016}", 2));
        let tests = BTreeMap::from([("books".to_owned(), test.clone())]);
        prune(built.0.path(), &in_use, &tests);

        let folders: Vec<String> = (9..=20).map(|n| format!("step{n:02}-abc")).collect();
        assert_eq!(built.there("incremental"), folders);
        let left = built.there("deps");
        let count = |start: &str, dots: bool| {
            let right = |name: &&String| name.starts_with(start) && name.contains('.') == dots;
            left.iter().filter(right).count()
        };
        assert_eq!(count("check-", false), 9, "8 and the one in use: {left:?}");
        assert_eq!(count("books-", false), 9, "8 and the one in use: {left:?}");
        assert!(in_use.exists() && test.exists());
        assert!(!built.path(&format!("deps/check-{:016}", 12)).exists());
        assert!(built.path(&format!("deps/check-{:016}", 13)).exists());
        assert_eq!(count("check-", true), 20, "{left:?}");
        assert_eq!(count("libstep", true), 20, "{left:?}");
        assert_eq!(count("step", false), 9, "{left:?}");
        assert!(built.path("deps/step_by-0123").exists());
        assert!(!built.path("step12-exercise").exists());
        assert!(built.path("step13-exercise").exists());
        assert!(built.path("coach").exists());
    }

    #[test]
    fn nothing_is_removed_while_cargo_is_at_work_or_its_lock_is_unknown() {
        let (built, none) = (Built::new(), BTreeMap::new());
        for number in 1..=20 {
            built.folder(&format!("incremental/step{number:02}-abc"), number);
        }
        let lock = File::open(built.path(".cargo-lock")).expect("there");
        lock.lock().expect("locked");
        prune(built.0.path(), Path::new("none"), &none);
        assert_eq!(built.there("incremental").len(), 20);
        drop(lock);
        fs::rename(built.path(".cargo-lock"), built.path(".another-lock")).expect("renamed");
        prune(built.0.path(), Path::new("none"), &none);
        assert_eq!(built.there("incremental").len(), 20);
        fs::rename(built.path(".another-lock"), built.path(".cargo-lock")).expect("renamed");
        prune(built.0.path(), Path::new("none"), &none);
        assert_eq!(built.there("incremental").len(), INCREMENTAL);
    }

    #[test]
    fn only_services_of_steps_are_services() {
        assert_eq!(
            service("step05_solution-0123456789abcdef").as_deref(),
            Some("step05-solution")
        );
        for name in [
            "step05-0123",
            "step5_exercise-0123",
            "step05_check-0123",
            "marketsvc-01",
        ] {
            assert_eq!(service(name), None, "{name}");
        }
    }
}
