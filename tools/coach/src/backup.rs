//! Changing the learner's crate without losing a byte of it.
//!
//! Everything that replaces files of an exercise goes through [`replace`]:
//!
//! 1. Read the crate and refuse what a backup cannot hold (links, devices, what
//!    cannot be read). Nothing has been written.
//! 2. Write what was read to `backups/.work` and rename that to
//!    `backups/DATE-NN-slug`. So a backup with such a name is complete, always.
//! 3. Move the new files into the crate, one rename each, after a look whether the
//!    file there is still the one in the backup.
//!
//! Whenever the program dies, what the learner wrote is in the crate or in a complete
//! backup. The next run throws away `.work`, which holds only copies. A lock keeps a
//! second run out. The tests stop at every single operation of [`Disk`], and kill the
//! real program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use course::{Side, Step};

use crate::trouble::Trouble;

/// The backups' folder, in the project's.
pub const FOLDER: &str = "backups";
/// In it, what is not complete yet.
const WORK: &str = ".work";

/// An operation that changes the disk.
pub enum Op<'a> {
    CreateDir(&'a Path),
    /// The file is on the disk when this returns.
    Write(&'a Path, &'a [u8]),
    Rename(&'a Path, &'a Path),
    RemoveFile(&'a Path),
    RemoveDir(&'a Path),
    /// A folder of our own and all that is in it.
    RemoveAll(&'a Path),
    /// Makes the names in a folder outlast a power failure, where the file system can
    /// do that.
    SyncDir(&'a Path),
}

/// What runs the operations; a test's can stop at any of them.
pub trait Disk {
    fn run(&mut self, op: &Op<'_>) -> io::Result<()>;
}

pub struct RealDisk;

impl Disk for RealDisk {
    fn run(&mut self, op: &Op<'_>) -> io::Result<()> {
        match *op {
            Op::CreateDir(folder) => fs::create_dir(folder),
            Op::Write(file, bytes) => {
                let mut file = File::create(file)?;
                file.write_all(bytes)?;
                file.sync_all()
            }
            Op::Rename(from, to) => fs::rename(from, to),
            Op::RemoveFile(file) => fs::remove_file(file),
            Op::RemoveDir(folder) => fs::remove_dir(folder),
            Op::RemoveAll(folder) => fs::remove_dir_all(folder),
            Op::SyncDir(folder) => {
                // Some file systems of WSL and of networks cannot, and lose nothing
                // that they would otherwise keep.
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
                Ok(())
            }
        }
    }
}

/// Runs an operation; an error names the path.
fn run(disk: &mut impl Disk, op: &Op<'_>) -> io::Result<()> {
    let (Op::CreateDir(path)
    | Op::Write(path, _)
    | Op::Rename(_, path)
    | Op::RemoveFile(path)
    | Op::RemoveDir(path)
    | Op::RemoveAll(path)
    | Op::SyncDir(path)) = *op;
    disk.run(op).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The files of a crate: their paths from its folder, and what they hold.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

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

    fn new(found: &Tree, wanted: &Tree, exactly: bool) -> Self {
        let written = wanted
            .iter()
            .filter(|(file, bytes)| found.get(*file) != Some(bytes));
        let others = found
            .keys()
            .filter(|file| !wanted.contains_key(*file))
            .cloned();
        // In the way: a file where a folder is wanted, and the other way round.
        let goes = |file: &PathBuf| {
            exactly
                || wanted
                    .keys()
                    .any(|it| it.starts_with(file) || file.starts_with(it))
        };
        let (removed, kept) = others.partition(goes);
        Self {
            written: written.map(|(file, _)| file.clone()).collect(),
            removed,
            kept,
        }
    }
}

/// Makes the step's exercise hold the wanted files. Others are removed if it is to hold
/// `exactly` these, and stay otherwise, unless they are in the way. If that changes
/// anything, all of it is saved first, and `announce` is given the backup's name
/// before the first file is touched; a crate without files needs no backup.
///
/// # Errors
/// Nothing was changed and the text says why; or it was stopped half-way, and
/// the text says how to get back what there was.
pub fn replace(
    disk: &mut impl Disk,
    root: &Path,
    step: &Step,
    wanted: &Tree,
    exactly: bool,
    date: &str,
    announce: impl FnOnce(&str),
) -> Result<Changes, Trouble> {
    let folder = step.crate_folder(Side::Exercise);
    let found = scan(&folder)?;
    let changes = Changes::new(&found, wanted, exactly);
    if changes.is_empty() {
        return Ok(changes);
    }
    let backups = root.join(FOLDER);
    let _lock = lock(disk, &backups)?;
    let work = backups.join(WORK);
    let saved = save(disk, root, &step.slug, &found, date);
    let saved = saved.map_err(|error| {
        let _ = disk.run(&Op::RemoveAll(&work));
        unchanged(&error)
    })?;
    if let Some(name) = &saved {
        announce(name);
    }
    let applied = apply(disk, &folder, &found, wanted, &changes, &work);
    // Only copies are left in there, and the next run removes them if we cannot.
    let _ = disk.run(&Op::RemoveAll(&work));
    match (applied, saved) {
        (Ok(()), _) => Ok(changes),
        (Err(error), None) => Err(Trouble::environment(format!("stopped half-way: {error}"))),
        (Err(error), Some(name)) => Err(Trouble::environment(format!(
            "stopped half-way: {error}\nwhat was there is whole in {FOLDER}/{name}; \
             to have it back: ./run.sh restore {name}"
        ))),
    }
}

fn unchanged(error: &io::Error) -> Trouble {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; ./run.sh clean removes what can be built again"
        }
        _ => "",
    };
    Trouble::environment(format!("{error}\nnothing was changed{advice}"))
}

/// What the files in a crate's folder hold, which need not exist; without `target/`,
/// which cargo can write again.
pub fn scan(folder: &Path) -> Result<Tree, Trouble> {
    fn read(folder: &Path, inner: &Path, found: &mut Tree) -> io::Result<()> {
        for entry in fs::read_dir(folder.join(inner))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let name = inner.join(entry.file_name());
            let refused = |reason: &str| Err(named(&path, &io::Error::other(reason)));
            if kind.is_dir() {
                if name != Path::new("target") {
                    read(folder, &name, found).map_err(|error| named(&path, &error))?;
                }
            } else if kind.is_file() {
                let bytes = fs::read(&path).map_err(|error| named(&path, &error))?;
                found.insert(name, bytes);
            } else if kind.is_symlink() {
                return refused(
                    "it is a link, and a backup would not hold what it leads to; \
                     put the file itself there, or move the link away",
                );
            } else {
                return refused("it is neither a file nor a folder; move it away");
            }
        }
        Ok(())
    }
    let mut found = Tree::new();
    let result = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(named(folder, &error)),
        Ok(metadata) if !metadata.is_dir() => {
            Err(named(folder, &io::Error::other("it is not a folder")))
        }
        Ok(_) => read(folder, Path::new(""), &mut found),
    };
    result.map_err(|error| unchanged(&error))?;
    Ok(found)
}

/// Keeps others out until the file is closed, also by the program's death.
fn lock(disk: &mut impl Disk, backups: &Path) -> Result<File, Trouble> {
    if !backups.is_dir() {
        run(disk, &Op::CreateDir(backups)).map_err(|error| unchanged(&error))?;
    }
    let path = backups.join(".lock");
    let file = File::create(&path).map_err(|error| unchanged(&named(&path, &error)))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Trouble::environment(
            "another reset, solve or restore is at work; nothing was changed",
        )),
        // A file system without locks: better to go on than never to work.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Makes an empty `.work`, and of what was found, if anything, a complete backup,
/// whose name it returns.
fn save(
    disk: &mut impl Disk,
    root: &Path,
    slug: &str,
    found: &Tree,
    date: &str,
) -> io::Result<Option<String>> {
    let backups = root.join(FOLDER);
    let work = backups.join(WORK);
    if work.exists() {
        run(disk, &Op::RemoveAll(&work))?;
    }
    run(disk, &Op::CreateDir(&work))?;
    if found.is_empty() {
        return Ok(None);
    }
    let copy = work.join("copy");
    run(disk, &Op::CreateDir(&copy))?;
    for (file, bytes) in found {
        create_parents(disk, &copy, file)?;
        run(disk, &Op::Write(&copy.join(file), bytes))?;
    }
    sync_folders(disk, &copy, found.keys())?;
    let mut name = format!("{date}-{slug}");
    let mut number = 1;
    // Whatever has that name, be it a file or a broken link.
    while fs::symlink_metadata(backups.join(&name)).is_ok() {
        number += 1;
        name = format!("{date}-{slug}-{number}");
    }
    run(disk, &Op::Rename(&copy, &backups.join(&name)))?;
    for folder in [&backups, root] {
        run(disk, &Op::SyncDir(folder))?;
    }
    Ok(Some(name))
}

fn apply(
    disk: &mut impl Disk,
    folder: &Path,
    found: &Tree,
    wanted: &Tree,
    changes: &Changes,
    work: &Path,
) -> io::Result<()> {
    // An editor may have saved in the meantime: what is not in the backup is not
    // overwritten.
    let still_saved = |file: &Path| {
        let path = folder.join(file);
        let now = match fs::read(&path) {
            Err(_) if !path.is_file() => None,
            read => Some(read.map_err(|error| named(&path, &error))?),
        };
        if now.as_ref() == found.get(file) {
            return Ok(());
        }
        let newer = io::Error::other("it has changed in the meantime");
        Err(named(&path, &newer))
    };
    if fs::symlink_metadata(folder).is_err() {
        run(disk, &Op::CreateDir(folder))?;
    }
    for file in &changes.removed {
        still_saved(file)?;
        run(disk, &Op::RemoveFile(&folder.join(file)))?;
    }
    for file in &changes.written {
        let (new, path) = (work.join("new"), folder.join(file));
        still_saved(file)?;
        run(disk, &Op::Write(&new, &wanted[file]))?;
        create_parents(disk, folder, file)?;
        remove_empty(disk, &path)?;
        run(disk, &Op::Rename(&new, &path))?;
    }
    sync_folders(disk, folder, changes.written.iter().chain(&changes.removed))
}

/// Makes the names of these files below `folder` outlast a power failure.
fn sync_folders<'a>(
    disk: &mut impl Disk,
    folder: &Path,
    files: impl Iterator<Item = &'a PathBuf>,
) -> io::Result<()> {
    let folders: BTreeSet<&Path> = files.flat_map(|file| file.ancestors().skip(1)).collect();
    for inner in folders {
        run(disk, &Op::SyncDir(&folder.join(inner)))?;
    }
    Ok(())
}

fn create_parents(disk: &mut impl Disk, folder: &Path, file: &Path) -> io::Result<()> {
    let parents: Vec<&Path> = file.ancestors().skip(1).collect();
    for parent in parents.into_iter().rev().map(|parent| folder.join(parent)) {
        if !parent.is_dir() {
            run(disk, &Op::CreateDir(&parent))?;
        }
    }
    Ok(())
}

/// Removes a folder with nothing but empty folders in it, if there is one.
fn remove_empty(disk: &mut impl Disk, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            remove_empty(disk, &entry?.path())?;
        }
        run(disk, &Op::RemoveDir(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
