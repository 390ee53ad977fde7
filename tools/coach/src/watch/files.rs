//! Notices when files of an exercise have changed: by looking at them again and
//! again. There are some twenty, and it works where the system tells nothing of
//! saves: network folders, folders of Windows under WSL, a folder that was put in the
//! place of the one that is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use course::slashed;

use super::Event;

/// How often the files are looked at. A save is over when a look finds nothing new:
/// editors write a file in several goes, and save several files one after another.
const PAUSE: Duration = Duration::from_millis(100);

/// The files that count, by their path from the crate's folder, and what they hold.
type Files = BTreeMap<String, Vec<u8>>;

/// Sends [`Event::Saved`] for what changes in this folder from now on, until what is
/// returned is dropped.
pub fn watch(folder: PathBuf, events: &Sender<Event>) -> Sender<()> {
    let (stop, stopped) = mpsc::channel();
    let events = events.clone();
    let mut told = look(&folder);
    thread::spawn(move || {
        let mut seen = told.clone();
        while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            let now = look(&folder);
            if now != seen {
                seen = now;
            } else if seen != told {
                let _ = events.send(Event::Saved(changes(&told, &seen)));
                told = now;
            }
        }
    });
    stop
}

/// A folder that is not there holds nothing.
fn look(folder: &Path) -> Files {
    let files = course::files(folder).unwrap_or_default().into_iter();
    files
        .filter_map(|file| Some((slashed(&file), fs::read(folder.join(&file)).ok()?)))
        .collect()
}

fn changes(old: &Files, new: &Files) -> Vec<String> {
    let files: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = files
        .into_iter()
        .filter(|file| old.get(*file) != new.get(*file));
    changed.cloned().collect()
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
        assert!(look(folder.path()).keys().eq(&counting));
    }

    #[test]
    fn only_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        write(folder, "src/db/base.rs", "two");
        write(folder, "notes.txt", "");
        let first = look(folder);

        // The same content in a new file under the same name.
        fs::rename(folder.join("src/lib.rs"), folder.join("src/lib.rs~")).unwrap();
        write(folder, "src/lib.rs", "one");
        write(folder, "notes.txt", "more");
        assert_eq!(look(folder), first);

        write(folder, "src/lib.rs", "ONE");
        write(folder, "tests/mine.rs", "");
        fs::remove_file(folder.join("src/db/base.rs")).unwrap();
        assert_eq!(
            changes(&first, &look(folder)),
            ["src/db/base.rs", "src/lib.rs", "tests/mine.rs"]
        );
        // A folder that is not there holds nothing.
        assert!(look(&folder.join("gone")).is_empty());
    }

    #[test]
    fn a_save_of_the_same_length_at_the_same_time_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        let path = folder.join("src/lib.rs");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let first = look(folder);
        write(folder, "src/lib.rs", "two");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(changes(&first, &look(folder)), ["src/lib.rs"]);
    }
}
