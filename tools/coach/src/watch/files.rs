//! Notices when files of an exercise have changed: by looking at them again and
//! again. There are some twenty, and it works where the system tells nothing of
//! saves: network folders, folders of Windows under WSL, a folder that was put in the
//! place of the one that is watched.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use course::slashed;

use super::Event;
use crate::diff;

/// How often the files are looked at. A save is over when a look finds nothing new:
/// editors write a file in several goes, and save several files one after another.
const PAUSE: Duration = Duration::from_millis(100);
/// But a file that is written to without end does not keep the check waiting.
const SAVE_AT_MOST: Duration = Duration::from_secs(1);
/// Some file systems keep times in steps of two seconds. A file saved again
/// within one step looks the same from outside, so what is as new as this is
/// read.
const RECENT: Duration = Duration::from_secs(3);

/// Sends [`Event::Saved`] for what changes in this folder from now on, until what is
/// returned is dropped.
pub fn watch(folder: PathBuf, events: &Sender<Event>) -> Sender<()> {
    let (stop, stopped) = mpsc::channel();
    let events = events.clone();
    let mut told = Files::default();
    told.look(&folder);
    thread::spawn(move || {
        let mut pause = PAUSE;
        let mut seen = told.clone();
        let mut saving: Option<Instant> = None;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let start = Instant::now();
            let quiet = !seen.look(&folder);
            // Slow disks are not kept busy.
            pause = PAUSE.max(10 * start.elapsed());
            if !quiet && saving.get_or_insert(start).elapsed() < SAVE_AT_MOST {
                continue;
            }
            saving = None;
            let changed = seen.changed_since(&told);
            if !changed.is_empty() {
                told = seen.clone();
                let _ = events.send(Event::Saved(changed));
            }
        }
    });
    stop
}

/// The files that count, by their path from the crate's folder.
#[derive(Debug, Clone, Default)]
struct Files(BTreeMap<String, Stamp>);

#[derive(Debug, Clone)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Of the content.
    hash: u64,
}

impl Files {
    /// Looks again; whether the content of any file has changed. Reads only what looks
    /// different from outside.
    fn look(&mut self, folder: &Path) -> bool {
        let old = std::mem::take(self);
        // A folder that is not there holds nothing; so does a file that is gone by now.
        for file in diff::files(folder).unwrap_or_default() {
            let path = folder.join(&file);
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let (length, modified) = (metadata.len(), metadata.modified().ok());
            // A time to come, by a server's clock, is recent too.
            let age = modified.and_then(|time| time.elapsed().ok());
            let name = slashed(&file);
            let known = old.0.get(&name).filter(|stamp| {
                (stamp.length, stamp.modified) == (length, modified)
                    && age.is_some_and(|age| age >= RECENT)
            });
            if let Some(hash) = known.map(|stamp| stamp.hash).or_else(|| hash_of(&path)) {
                let stamp = Stamp {
                    length,
                    modified,
                    hash,
                };
                self.0.insert(name, stamp);
            }
        }
        !self.changed_since(&old).is_empty()
    }

    /// Files that are new, changed or gone since `earlier`, in order.
    fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let hash = |files: &Self, file: &String| files.0.get(file).map(|stamp| stamp.hash);
        let gone = earlier.0.keys().filter(|file| !self.0.contains_key(*file));
        let mut changed: Vec<String> = self
            .0
            .keys()
            .filter(|file| hash(self, file) != hash(earlier, file))
            .chain(gone)
            .cloned()
            .collect();
        changed.sort();
        changed
    }
}

fn hash_of(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let counting = [
            "Cargo.toml",
            "examples/a.rs",
            "src/db/base.rs",
            "src/lib.rs",
            "src/query.sql",
            "tests/mine.rs",
        ];
        for file in counting.into_iter().chain([
            "marketdb.sqlite",
            "target/debug/x.rs",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "src/#lib.rs#",
            "src/.#lib.rs",
            "src/4913",
            "src/lib.rs___jb_tmp___",
            "src/lib.rs.tmp",
            "src/.git/x.rs",
        ]) {
            write(folder.path(), file, "");
        }
        assert!(look(folder.path()).0.keys().eq(&counting));
    }

    fn look(folder: &Path) -> Files {
        let mut files = Files::default();
        files.look(folder);
        files
    }

    #[test]
    fn only_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        write(folder, "src/db/base.rs", "two");
        write(folder, "notes.txt", "");
        let mut files = look(folder);
        let first = files.clone();

        // The same content in a new file under the same name.
        fs::rename(folder.join("src/lib.rs"), folder.join("src/lib.rs~")).unwrap();
        write(folder, "src/lib.rs", "one");
        write(folder, "notes.txt", "more");
        assert!(!files.look(folder));

        write(folder, "src/lib.rs", "ONE");
        write(folder, "tests/mine.rs", "");
        fs::remove_file(folder.join("src/db/base.rs")).unwrap();
        assert!(files.look(folder));
        assert_eq!(
            files.changed_since(&first),
            ["src/db/base.rs", "src/lib.rs", "tests/mine.rs"]
        );
        // A folder that is not there holds nothing.
        assert!(look(&folder.join("gone")).0.is_empty());
    }

    #[test]
    fn a_save_of_the_same_length_at_the_same_time_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        let path = folder.join("src/lib.rs");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut files = look(folder);
        write(folder, "src/lib.rs", "two");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        assert!(files.look(folder));
        // An old file is known by its time and length alone.
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        files.look(folder);
        write(folder, "src/lib.rs", "six");
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!files.look(folder));
    }
}
