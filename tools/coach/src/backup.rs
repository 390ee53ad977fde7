//! Changing the learner's crate without losing a byte of it.
//!
//! Everything that replaces files of an exercise goes through [`replace`]:
//!
//! 1. Look at the crate and refuse what a backup cannot hold (links, devices,
//!    what cannot be read). Nothing has been written.
//! 2. In `backups/.work`, copy the whole crate and write the new files; then
//!    try whether the crate's folders can be written to. A full disk or a
//!    read-only folder ends here.
//! 3. Rename the copy to `backups/DATE-NN-slug`. So a backup with such a name
//!    is complete, always.
//! 4. Move the new files into the crate, one rename each, after a look whether
//!    the file there is still the one in the backup.
//!
//! Whenever the program dies, what the learner wrote is in the crate or in a
//! complete backup. The next run throws away `.work`, which holds only copies.
//! A lock keeps a second run out. The tests stop at every single operation of
//! [`Disk`], and kill the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::trouble::Trouble;

/// The backups' folder, in the project's.
pub const FOLDER: &str = "backups";
/// In it, what is not complete yet.
const WORK: &str = ".work";
/// An empty file that shows whether a folder can be written to.
const PROBE: &str = ".coach-probe";

/// Every operation that changes the disk; a test's can stop at any of them.
pub trait Disk {
    /// # Errors
    /// As `fs::create_dir`.
    fn create_dir(&mut self, folder: &Path) -> io::Result<()>;
    /// Copies to a file that does not exist yet, with its permissions; it is
    /// on the disk when this returns.
    ///
    /// # Errors
    /// The file exists, or as `fs::copy`.
    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Writes a file that does not exist yet; it is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// The file exists, or as `fs::write`.
    fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// # Errors
    /// As `fs::rename`.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// # Errors
    /// As `fs::remove_file`.
    fn remove_file(&mut self, file: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    ///
    /// # Errors
    /// As `fs::remove_dir`.
    fn remove_dir(&mut self, folder: &Path) -> io::Result<()>;
    /// Makes the names in a folder outlast a power failure, where the file
    /// system can do that.
    fn sync_dir(&mut self, folder: &Path);
}

/// The file system.
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&mut self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut source = File::open(from)?;
        let mut copy = File::create_new(to)?;
        io::copy(&mut source, &mut copy)?;
        copy.set_permissions(source.metadata()?.permissions())?;
        copy.sync_all()
    }

    fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create_new(file)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&mut self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&mut self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn sync_dir(&mut self, folder: &Path) {
        // Some file systems of WSL and of networks cannot, and lose nothing
        // that they would otherwise keep.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// The crate that is to change.
pub struct Place<'a> {
    /// The project's folder.
    pub root: &'a Path,
    /// The step's folder name, which the backup bears.
    pub slug: &'a str,
    /// The crate's folder.
    pub folder: &'a Path,
}

/// What the crate is to hold; paths are relative to its folder.
pub struct Wanted {
    pub files: BTreeMap<PathBuf, Content>,
    /// Folders besides those of the files.
    pub folders: BTreeSet<PathBuf>,
    /// Files that are not wanted are removed; otherwise they stay, unless they
    /// are in the way.
    pub exactly: bool,
}

/// What a file is to hold.
pub enum Content {
    Bytes(Vec<u8>),
    /// The same as this file.
    SameAs(PathBuf),
}

/// What [`replace`] did; the paths are relative to the crate's folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub written: Vec<PathBuf>,
    pub removed: Vec<PathBuf>,
    /// Files that are not among the wanted ones and stay.
    pub kept: Vec<PathBuf>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// A crate's files and folders, relative to its own; without `target/`, which
/// cargo can write again.
#[derive(Debug, Default)]
pub struct Found {
    pub files: BTreeSet<PathBuf>,
    pub folders: BTreeSet<PathBuf>,
    /// Leftovers of an interrupted run.
    probes: Vec<PathBuf>,
}

/// Makes the crate hold what is wanted. If that changes anything, all of it is
/// saved first, and `announce` is given the backup's name before the first file
/// is touched; a crate without files needs no backup.
///
/// # Errors
/// Nothing was changed and the text says why; or it was stopped half-way, and
/// the text says how to get back what there was.
pub fn replace(
    disk: &mut impl Disk,
    place: &Place,
    wanted: &Wanted,
    date: &str,
    announce: impl FnOnce(&str),
) -> Result<Changes, Trouble> {
    let backups = place.root.join(FOLDER);
    let work = backups.join(WORK);
    let look = || {
        let found = scan(place.folder)?;
        let plan = Plan::make(place.folder, &found, wanted).map_err(|error| unchanged(&error))?;
        Ok::<_, Trouble>((found, plan))
    };
    let (found, plan) = look()?;
    if plan.is_empty() {
        return Ok(plan.changes(&found, wanted));
    }
    let _lock = lock(disk, &backups)?;
    // Another run may have ended just before.
    let (found, plan) = look()?;
    let changes = plan.changes(&found, wanted);
    let prepared = prepare(disk, place, &found, &plan, wanted, &work);
    if let Err(error) = prepared {
        let _ = remove_all(disk, &work);
        return Err(unchanged(&error));
    }
    let saved = if found.files.is_empty() {
        None
    } else {
        let name = match keep(disk, &backups, &work, place.slug, date) {
            Ok(name) => name,
            Err(error) => {
                let _ = remove_all(disk, &work);
                return Err(unchanged(&error));
            }
        };
        announce(&name);
        Some(name)
    };
    let copy = saved.as_ref().map(|name| backups.join(name));
    let applied = apply(disk, place, &found, &plan, &work, copy.as_deref());
    // Only copies are left in there, and the next run removes them if we cannot.
    let _ = remove_all(disk, &work);
    match (applied, saved) {
        (Ok(()), _) => Ok(changes),
        (Err(error), None) => Err(Trouble::environment(format!("stopped half-way: {error}"))),
        (Err(error), Some(name)) => Err(Trouble::environment(format!(
            "stopped half-way: {error}\nwhat was there is whole in {FOLDER}/{name}; \
             to have it back: ./run.sh restore {name}"
        ))),
    }
}

fn unchanged(error: &Failed) -> Trouble {
    let advice = match error.error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; ./run.sh clean removes what can be built again"
        }
        _ => "",
    };
    Trouble::environment(format!("{error}\nnothing was changed{advice}"))
}

/// An operation that failed, and where.
#[derive(Debug)]
struct Failed {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

/// Names the path that an operation failed at.
fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed {
        path: path.to_owned(),
        error,
    })
}

// ---- 1: looking

/// What is in a crate's folder, which need not exist.
///
/// # Errors
/// There is something that a backup cannot hold, or that cannot be read.
pub fn scan(folder: &Path) -> Result<Found, Trouble> {
    let mut found = Found::default();
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(refused(folder, &error.to_string())),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(refused(folder, "it is not a folder"));
        }
        Ok(_) => {}
    }
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        let path = folder.join(&inner);
        let entries = fs::read_dir(&path).map_err(|error| refused(&path, &error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| refused(&path, &error.to_string()))?;
            let name = inner.join(entry.file_name());
            let path = entry.path();
            if name == Path::new("target") {
                continue;
            }
            let metadata =
                fs::symlink_metadata(&path).map_err(|error| refused(&path, &error.to_string()))?;
            if metadata.is_dir() {
                found.folders.insert(name.clone());
                waiting.push(name);
            } else if metadata.is_symlink() {
                return Err(refused(
                    &path,
                    "it is a link, and a backup would not hold what it leads to; \
                     put the file itself there, or move the link away",
                ));
            } else if !metadata.is_file() {
                return Err(refused(
                    &path,
                    "it is neither a file nor a folder; move it away",
                ));
            } else if entry.file_name() == PROBE && metadata.len() == 0 {
                found.probes.push(name);
            } else {
                found.files.insert(name);
            }
        }
    }
    Ok(found)
}

fn refused(path: &Path, reason: &str) -> Trouble {
    Trouble::environment(format!("{}: {reason}\nnothing was changed", path.display()))
}

/// What has to be done, in this order.
#[derive(Default)]
struct Plan {
    removed: Vec<PathBuf>,
    /// Deepest first.
    removed_folders: Vec<PathBuf>,
    /// Outermost first.
    new_folders: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl Plan {
    fn make(folder: &Path, found: &Found, wanted: &Wanted) -> Result<Self, Failed> {
        let mut folders: BTreeSet<&Path> = wanted.folders.iter().map(PathBuf::as_path).collect();
        for file in wanted.files.keys() {
            folders.extend(file.ancestors().skip(1));
        }
        folders.remove(Path::new(""));
        // In the way: a file where a folder is wanted, and the other way round.
        let goes = |path: &Path| {
            wanted.exactly
                || folders.contains(path)
                || path.ancestors().any(|it| wanted.files.contains_key(it))
        };
        let mut plan = Self::default();
        for file in &found.files {
            if !wanted.files.contains_key(file) && goes(file) {
                plan.removed.push(file.clone());
            }
        }
        for inner in found.folders.iter().rev() {
            if !folders.contains(inner.as_path()) && goes(inner) {
                plan.removed_folders.push(inner.clone());
            }
        }
        for inner in folders {
            if !found.folders.contains(inner) {
                plan.new_folders.push(inner.to_owned());
            }
        }
        for (file, content) in &wanted.files {
            let path = folder.join(file);
            let same = found.files.contains(file)
                && match content {
                    Content::Bytes(bytes) => at(&path, holds(&path, bytes))?,
                    Content::SameAs(other) => at(&path, same(&path, other))?,
                };
            if !same {
                plan.written.push(file.clone());
            }
        }
        Ok(plan)
    }

    /// Empty folders alone are no reason to do anything.
    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.written.is_empty()
    }

    fn changes(&self, found: &Found, wanted: &Wanted) -> Changes {
        Changes {
            written: self.written.clone(),
            removed: self.removed.clone(),
            kept: found
                .files
                .iter()
                .filter(|file| !wanted.files.contains_key(*file) && !self.removed.contains(file))
                .cloned()
                .collect(),
        }
    }
}

/// Whether a file holds exactly this.
fn holds(file: &Path, bytes: &[u8]) -> io::Result<bool> {
    Ok(fs::metadata(file)?.len() == bytes.len() as u64 && fs::read(file)? == bytes)
}

/// Whether two files hold the same. Databases may be among them, so neither is
/// read whole.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        Read::by_ref(&mut one)
            .take(1 << 16)
            .read_to_end(&mut left)?;
        Read::by_ref(&mut other)
            .take(1 << 16)
            .read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

// ---- 2: preparing

/// Keeps others out until the file is closed, also by the program's death.
fn lock(disk: &mut impl Disk, backups: &Path) -> Result<File, Trouble> {
    if !backups.is_dir() {
        at(backups, disk.create_dir(backups)).map_err(|error| unchanged(&error))?;
    }
    let path = backups.join(".lock");
    let file = at(
        &path,
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path),
    )
    .map_err(|error| unchanged(&error))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Trouble::environment(
            "another reset, solve or restore is at work; nothing was changed",
        )),
        // A file system without locks: better to go on than never to work.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Where the copy is made, and where the new files are: numbered, in the order
/// of the plan.
fn copy_folder(work: &Path) -> PathBuf {
    work.join("copy")
}

fn new_file(work: &Path, number: usize) -> PathBuf {
    work.join(number.to_string())
}

fn prepare(
    disk: &mut impl Disk,
    place: &Place,
    found: &Found,
    plan: &Plan,
    wanted: &Wanted,
    work: &Path,
) -> Result<(), Failed> {
    remove_all(disk, work)?;
    for probe in &found.probes {
        let path = place.folder.join(probe);
        at(&path, disk.remove_file(&path))?;
    }
    at(work, disk.create_dir(work))?;
    for (number, file) in plan.written.iter().enumerate() {
        let path = new_file(work, number);
        let done = match &wanted.files[file] {
            Content::Bytes(bytes) => disk.write(&path, bytes),
            Content::SameAs(other) => disk.copy(other, &path),
        };
        at(&path, done)?;
    }
    let copy = copy_folder(work);
    at(&copy, disk.create_dir(&copy))?;
    // Outer folders come first in the order of the set.
    for folder in &found.folders {
        let path = copy.join(folder);
        at(&path, disk.create_dir(&path))?;
    }
    for file in &found.files {
        let path = place.folder.join(file);
        at(&path, disk.copy(&path, &copy.join(file)))?;
    }
    for folder in &found.folders {
        disk.sync_dir(&copy.join(folder));
    }
    disk.sync_dir(&copy);
    for folder in touched(found, plan) {
        let path = place.folder.join(folder);
        let probe = path.join(PROBE);
        at(&path, disk.write(&probe, b""))?;
        at(&probe, disk.remove_file(&probe))?;
    }
    Ok(())
}

/// The crate's folders in which something will change and that exist.
fn touched<'a>(found: &'a Found, plan: &'a Plan) -> BTreeSet<&'a Path> {
    let exists = |folder: &Path| folder == Path::new("") || found.folders.contains(folder);
    if found.files.is_empty() && found.folders.is_empty() {
        return BTreeSet::new();
    }
    [
        &plan.removed,
        &plan.removed_folders,
        &plan.new_folders,
        &plan.written,
    ]
    .into_iter()
    .flatten()
    .filter_map(|path| path.parent())
    .filter(|folder| exists(folder))
    .collect()
}

// ---- 3: keeping

/// Gives the copy its name.
fn keep(
    disk: &mut impl Disk,
    backups: &Path,
    work: &Path,
    slug: &str,
    date: &str,
) -> Result<String, Failed> {
    let mut name = format!("{date}-{slug}");
    let mut number = 1;
    // Whatever is there stays, be it a file or a broken link.
    while fs::symlink_metadata(backups.join(&name)).is_ok() {
        number += 1;
        name = format!("{date}-{slug}-{number}");
    }
    let path = backups.join(&name);
    at(&path, disk.rename(&copy_folder(work), &path))?;
    disk.sync_dir(backups);
    if let Some(root) = backups.parent() {
        disk.sync_dir(root);
    }
    Ok(name)
}

// ---- 4: changing

fn apply(
    disk: &mut impl Disk,
    place: &Place,
    found: &Found,
    plan: &Plan,
    work: &Path,
    copy: Option<&Path>,
) -> Result<(), Failed> {
    let folder = place.folder;
    // An editor may have saved in the meantime: what is not in the backup is
    // not overwritten.
    let still_saved = |file: &Path| {
        let path = folder.join(file);
        let unchanged = match copy {
            Some(copy) if found.files.contains(file) => same(&path, &copy.join(file)),
            _ => Ok(fs::symlink_metadata(&path).is_err()),
        };
        at(
            &path,
            unchanged.and_then(|unchanged| {
                if unchanged {
                    Ok(())
                } else {
                    Err(io::Error::other("it has changed in the meantime"))
                }
            }),
        )
    };
    if fs::symlink_metadata(folder).is_err() {
        at(folder, disk.create_dir(folder))?;
    }
    for file in &plan.removed {
        let path = folder.join(file);
        still_saved(file)?;
        at(&path, disk.remove_file(&path))?;
    }
    for inner in &plan.removed_folders {
        let path = folder.join(inner);
        at(&path, disk.remove_dir(&path))?;
    }
    for inner in &plan.new_folders {
        let path = folder.join(inner);
        at(&path, disk.create_dir(&path))?;
    }
    for (number, file) in plan.written.iter().enumerate() {
        let path = folder.join(file);
        still_saved(file)?;
        at(&path, disk.rename(&new_file(work, number), &path))?;
    }
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for file in plan.written.iter().chain(&plan.removed) {
        folders.extend(file.ancestors().skip(1).map(|inner| folder.join(inner)));
    }
    for folder in folders {
        disk.sync_dir(&folder);
    }
    Ok(())
}

/// Removes a folder of our own and all that is in it, if there is one.
fn remove_all(disk: &mut impl Disk, folder: &Path) -> Result<(), Failed> {
    let metadata = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => at(folder, result)?,
    };
    if !metadata.is_dir() {
        return at(folder, disk.remove_file(folder));
    }
    for entry in at(folder, fs::read_dir(folder))? {
        remove_all(disk, &at(folder, entry)?.path())?;
    }
    at(folder, disk.remove_dir(folder))
}

#[cfg(test)]
mod tests;
