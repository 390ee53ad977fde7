//! Which files of an exercise count, and whether they have changed.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Folders of a crate whose files a check can depend on.
const FOLDERS: [&str; 4] = ["benches", "examples", "src", "tests"];
/// Files beside them.
const FILES: [&str; 2] = ["Cargo.toml", "build.rs"];
/// Deeper folders are not looked into: a link that leads in a circle ends here.
const DEPTH: usize = 16;
/// Some file systems keep times in steps of two seconds. A file saved again
/// within one step looks the same from outside, so what is as new as this is
/// read.
const RECENT: Duration = Duration::from_secs(3);

/// Whether a path, relative to the crate's folder, is of a file that counts, or
/// of a folder that may hold one. Files that editors make for themselves do not.
pub fn is_relevant(relative: &Path) -> bool {
    let mut names = relative.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let Some(Some(first)) = names.next() else {
        return false;
    };
    if !FOLDERS.contains(&first) {
        return FILES.contains(&first) && names.next().is_none();
    }
    names.all(|name| name.is_some_and(|name| !is_temporary(name)))
}

/// Names that editors give to what they keep beside a file: hidden files, Vim's
/// swap files and its probe, backups of Emacs and others, `JetBrains`' two.
fn is_temporary(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    name.starts_with(['.', '#'])
        || name.ends_with(['~', '#'])
        || name.ends_with("___jb_tmp___")
        || name.ends_with("___jb_old___")
        || name == "4913"
        || matches!(
            extension,
            Some("swp" | "swo" | "swx" | "tmp" | "bak" | "orig" | "rej")
        )
}

/// Calls `seen` with each file that counts: its path, its path relative to the
/// crate, and what the system says about it.
fn walk(folder: &Path, seen: &mut impl FnMut(&Path, String, &Metadata)) {
    fn visit(
        path: &Path,
        relative: &Path,
        depth: usize,
        seen: &mut impl FnMut(&Path, String, &Metadata),
    ) {
        // Gone since the folder was read: as if it had not been there.
        let Ok(metadata) = fs::metadata(path) else {
            return;
        };
        if metadata.is_file() {
            seen(path, relative.to_string_lossy().into_owned(), &metadata);
        } else if metadata.is_dir() && depth < DEPTH {
            let Ok(entries) = fs::read_dir(path) else {
                return;
            };
            for entry in entries.flatten() {
                let relative = relative.join(entry.file_name());
                if is_relevant(&relative) {
                    visit(&entry.path(), &relative, depth + 1, seen);
                }
            }
        }
    }
    for name in FOLDERS.iter().chain(&FILES) {
        visit(&folder.join(name), Path::new(name), 0, seen);
    }
}

fn hash_of(path: &Path) -> Option<u64> {
    let content = fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

/// What the files hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, u64>);

impl Snapshot {
    /// Reads the files of the crate in this folder.
    pub fn take(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        walk(folder, &mut |path, relative, _| {
            if let Some(hash) = hash_of(path) {
                files.insert(relative, hash);
            }
        });
        Self(files)
    }

    /// Files that are new, changed or gone since `earlier`, in order.
    pub fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let mut changed: Vec<String> = self
            .0
            .iter()
            .filter(|(file, hash)| earlier.0.get(*file) != Some(hash))
            .map(|(file, _)| file.clone())
            .collect();
        let gone = earlier.0.keys().filter(|file| !self.0.contains_key(*file));
        changed.extend(gone.cloned());
        changed.sort();
        changed
    }
}

/// What the files look like from outside, without reading them all.
#[derive(Debug, Default)]
pub struct Look(BTreeMap<String, Stamp>);

#[derive(Debug)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Only of files that were [`RECENT`].
    hash: Option<u64>,
}

impl Look {
    /// Looks at the files of the crate in this folder.
    pub fn take(folder: &Path) -> Self {
        let now = SystemTime::now();
        let mut files = BTreeMap::new();
        walk(folder, &mut |path, relative, metadata| {
            let modified = metadata.modified().ok();
            // A time to come, by a server's clock, is recent too.
            let recent = modified
                .is_none_or(|time| now.duration_since(time).map_or(true, |age| age < RECENT));
            let stamp = Stamp {
                length: metadata.len(),
                modified,
                hash: recent.then(|| hash_of(path)).flatten(),
            };
            files.insert(relative, stamp);
        });
        Self(files)
    }

    /// Whether a file may have changed between the two.
    pub fn differs(&self, other: &Self) -> bool {
        self.0.len() != other.0.len()
            || self
                .0
                .iter()
                .any(|(file, stamp)| other.0.get(file).is_none_or(|other| stamp.differs(other)))
    }
}

impl Stamp {
    fn differs(&self, other: &Self) -> bool {
        let read_and_different = match (self.hash, other.hash) {
            (Some(one), Some(two)) => one != two,
            _ => false,
        };
        (self.length, self.modified) != (other.length, other.modified) || read_and_different
    }
}

/// The kind of file system that holds `path` if saves on it may go unnoticed:
/// folders of Windows under WSL, network folders, folders shared with a virtual
/// machine. `mounts` is the text of `/proc/self/mounts`, `path` absolute and
/// without links.
pub fn without_events(mounts: &str, path: &Path) -> Option<String> {
    const KINDS: [&str; 14] = [
        "9p",
        "afs",
        "ceph",
        "cifs",
        "drvfs",
        "fakeowner",
        "grpcfuse",
        "nfs",
        "nfs4",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ];
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(point), Some(kind)) = (words.nth(1), words.next()) else {
            continue;
        };
        let point = PathBuf::from(unescaped(point));
        let depth = point.components().count();
        // The later of two mounts at one place hides the earlier.
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    let (_, kind) = best?;
    let unnoticed = KINDS.contains(&kind) || kind.starts_with("fuse.");
    unnoticed.then(|| kind.to_owned())
}

/// A path as the mount table writes it: `\040` for a space.
fn unescaped(text: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"]
        .iter()
        .fold(text.to_owned(), |text, pair| {
            let (code, sign) = pair.split_at(4);
            text.replace(code, sign)
        })
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
        for file in [
            "Cargo.toml",
            "src",
            "src/lib.rs",
            "src/db/base.rs",
            "src/query.sql",
            "tests/mine.rs",
            "examples/a.rs",
        ] {
            assert!(is_relevant(Path::new(file)), "{file}");
        }
        for file in [
            "",
            "README.md",
            "Cargo.toml/x",
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
            "../src/lib.rs",
        ] {
            assert!(!is_relevant(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn only_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        write(folder, "src/db/base.rs", "two");
        write(folder, "notes.txt", "");
        let first = Snapshot::take(folder);
        let nothing: Vec<String> = Vec::new();

        // The same content in a new file under the same name.
        fs::rename(folder.join("src/lib.rs"), folder.join("src/lib.rs~")).unwrap();
        write(folder, "src/lib.rs", "one");
        write(folder, "notes.txt", "more");
        assert_eq!(Snapshot::take(folder).changed_since(&first), nothing);

        write(folder, "src/lib.rs", "ONE");
        write(folder, "tests/mine.rs", "");
        fs::remove_file(folder.join("src/db/base.rs")).unwrap();
        assert_eq!(
            Snapshot::take(folder).changed_since(&first),
            ["src/db/base.rs", "src/lib.rs", "tests/mine.rs"]
        );
        // A folder that is not there holds nothing.
        assert_eq!(Snapshot::take(&folder.join("gone")), Snapshot::default());
    }

    #[test]
    fn a_look_notices_a_save_of_the_same_length_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        let time = fs::metadata(folder.join("src/lib.rs"))
            .unwrap()
            .modified()
            .unwrap();
        let first = Look::take(folder);
        assert!(!Look::take(folder).differs(&first));
        write(folder, "src/lib.rs", "two");
        let file = fs::File::options()
            .write(true)
            .open(folder.join("src/lib.rs"))
            .unwrap();
        file.set_modified(time).unwrap();
        assert!(Look::take(folder).differs(&first));
        // An old file is known by its time alone.
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let old = Look::take(folder);
        assert!(old.differs(&first));
        assert!(!Look::take(folder).differs(&old));
        fs::remove_file(folder.join("src/lib.rs")).unwrap();
        assert!(Look::take(folder).differs(&old));
    }

    #[test]
    fn folders_of_windows_and_of_the_network_have_no_events() {
        let mounts = "/dev/sdc / ext4 rw 0 0\n\
            C:\\134 /mnt/c 9p rw,aname=drvfs 0 0\n\
            server:/home /home nfs4 rw 0 0\n\
            tmpfs /home/local tmpfs rw 0 0\n\
            me@host:/x /data/far\\040away fuse.sshfs rw 0 0\n";
        let kind = |path: &str| without_events(mounts, Path::new(path));
        assert_eq!(kind("/root/market"), None);
        assert_eq!(kind("/mnt/c/market").as_deref(), Some("9p"));
        assert_eq!(kind("/mnt/cc"), None);
        assert_eq!(kind("/home/me/market").as_deref(), Some("nfs4"));
        assert_eq!(kind("/home/local/market"), None);
        assert_eq!(kind("/data/far away/market").as_deref(), Some("fuse.sshfs"));
        assert_eq!(without_events("", Path::new("/x")), None);
    }
}
