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
//! second run out. The tests stop at every single operation of [`run`], and kill the
//! real program.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::trouble::Trouble;

/// The backups' folder, in the project's.
pub const FOLDER: &str = "backups";
/// In it, what is not complete yet.
const WORK: &str = ".work";

/// Called with the name and the path of each operation that changes the disk, before it
/// is done. After an error it is not done: the tests stop at any of them in this way.
pub type Before<'a> = dyn FnMut(&str, &Path) -> io::Result<()> + 'a;

/// Runs an operation; an error names the path.
fn run(
    before: &mut Before,
    name: &str,
    path: &Path,
    operation: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    named(path, before(name, path).and_then(|()| operation(path)))
}

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The file is on the disk when this returns.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The files of a crate: their paths from its folder, and what they hold.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What becomes of a crate's files: `written`, `removed`, or `kept` without being wanted.
pub type Changes = Vec<(&'static str, PathBuf)>;

fn changes(found: &Tree, wanted: &Tree, exactly: bool) -> Changes {
    let written = wanted
        .iter()
        .filter(|(file, bytes)| found.get(*file) != Some(bytes))
        .map(|(file, _)| ("written", file.clone()));
    let others = found.keys().filter(|file| !wanted.contains_key(*file));
    let others = others.map(|file| {
        // A file where a folder is wanted, or the other way round.
        let in_the_way = |it: &PathBuf| it.starts_with(file) || file.starts_with(it);
        let goes = exactly || wanted.keys().any(in_the_way);
        (if goes { "removed" } else { "kept" }, file.clone())
    });
    written.chain(others).collect()
}

/// Makes the crate in `folder` hold the wanted files. Others are removed if it is to hold
/// `exactly` these, and stay otherwise, unless they are in the way. If that changes
/// anything, all of it is saved first, in `backups` under `name` or one that begins so,
/// and `announce` is given the backup's name before the first file is touched; a crate
/// without files needs no backup.
///
/// # Errors
/// Nothing was changed and the text says why; or it was stopped half-way, and
/// the text says how to get back what there was.
pub fn replace(
    before: &mut Before,
    backups: &Path,
    name: &str,
    folder: &Path,
    wanted: &Tree,
    exactly: bool,
    announce: impl FnOnce(&str),
) -> Result<Changes, Trouble> {
    let found = scan(folder).map_err(|it| unchanged(&it))?;
    let changes = changes(&found, wanted, exactly);
    if changes.iter().all(|(change, _)| *change == "kept") {
        return Ok(changes);
    }
    if !backups.is_dir() {
        run(before, "create", backups, |it| fs::create_dir(it)).map_err(|it| unchanged(&it))?;
    }
    // Keeps others out until it is unlocked, also by the program's death. A file system
    // without locks: better to go on than never to work.
    let lock = named(backups, File::create(backups.join(".lock"))).map_err(|it| unchanged(&it))?;
    if matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Err(Trouble::environment(
            "another reset, solve or restore is at work; nothing was changed",
        ));
    }
    let work = backups.join(WORK);
    let saved = save(before, backups, name, &found);
    if let Ok(Some(name)) = &saved {
        announce(name);
    }
    let applied = match &saved {
        Ok(_) => apply(before, folder, &found, wanted, &changes, &work),
        Err(_) => Ok(()),
    };
    // Only copies are left in there, and the next run removes them if we cannot.
    let _ = run(before, "remove all", &work, |it| fs::remove_dir_all(it));
    // Closing it is not enough: a process that another thread starts right now has a copy
    // of the handle until it runs its program.
    let _ = lock.unlock();
    let saved = saved.map_err(|it| unchanged(&it))?;
    applied.map(|()| changes).map_err(|error| {
        let back = saved.map_or_else(String::new, |name| {
            format!(
                "\nwhat was there is whole in {FOLDER}/{name}; \
                 to have it back: ./run.sh restore {name}"
            )
        });
        Trouble::environment(format!("stopped half-way: {error}{back}"))
    })
}

pub fn unchanged(error: &io::Error) -> Trouble {
    Trouble::environment(format!("{error}\nnothing was changed"))
}

/// What the files in a crate's folder hold, which need not exist; without `target/`,
/// which cargo can write again.
pub fn scan(folder: &Path) -> io::Result<Tree> {
    let mut found = Tree::new();
    let mut waiting = Vec::new();
    if !fs::symlink_metadata(folder).is_err_and(|it| it.kind() == io::ErrorKind::NotFound) {
        waiting.push(folder.to_path_buf());
    }
    while let Some(path) = waiting.pop() {
        let name = path.strip_prefix(folder).unwrap_or(&path);
        let kind = named(&path, fs::symlink_metadata(&path))?.file_type();
        if kind.is_dir() {
            if name != Path::new("target") {
                for entry in named(&path, fs::read_dir(&path))? {
                    waiting.push(named(&path, entry)?.path());
                }
            }
        } else if kind.is_file() && path != folder {
            found.insert(name.to_owned(), named(&path, fs::read(&path))?);
        } else {
            let refused = "a backup holds files in folders, and this is something else, \
                           such as a link; move it away";
            return named(&path, Err(io::Error::other(refused)));
        }
    }
    Ok(found)
}

/// Makes an empty `.work`, and of what was found, if anything, a complete backup,
/// whose name it returns.
fn save(
    before: &mut Before,
    backups: &Path,
    name: &str,
    found: &Tree,
) -> io::Result<Option<String>> {
    let work = backups.join(WORK);
    if work.exists() {
        run(before, "remove all", &work, |it| fs::remove_dir_all(it))?;
    }
    run(before, "create", &work, |it| fs::create_dir(it))?;
    if found.is_empty() {
        return Ok(None);
    }
    let copy = work.join("copy");
    for (file, bytes) in found {
        create_parents(before, &copy, file)?;
        run(before, "write", &copy.join(file), |it| write(it, bytes))?;
    }
    let mut numbered = name.to_owned();
    let mut number = 1;
    // Whatever has that name, be it a file or a broken link.
    while fs::symlink_metadata(backups.join(&numbered)).is_ok() {
        number += 1;
        numbered = format!("{name}-{number}");
    }
    run(before, "rename", &backups.join(&numbered), |it| {
        fs::rename(&copy, it)
    })?;
    // The backup's name outlasts a power failure before anything else is changed; where
    // a folder cannot be synced, the system keeps the order.
    let _ = File::open(backups).and_then(|folder| folder.sync_all());
    Ok(Some(numbered))
}

fn apply(
    before: &mut Before,
    folder: &Path,
    found: &Tree,
    wanted: &Tree,
    changes: &Changes,
    work: &Path,
) -> io::Result<()> {
    // An editor may have saved in the meantime: what is not in the backup is not
    // overwritten.
    let still_saved = |file: &Path, path: &Path| {
        let now = if path.is_file() {
            Some(named(path, fs::read(path))?)
        } else {
            None
        };
        if now.as_ref() == found.get(file) {
            return Ok(());
        }
        let newer = io::Error::other("it has changed in the meantime");
        named(path, Err(newer))
    };
    for (_, file) in changes.iter().filter(|(change, _)| *change == "removed") {
        let path = folder.join(file);
        still_saved(file, &path)?;
        run(before, "remove", &path, |it| fs::remove_file(it))?;
    }
    for (_, file) in changes.iter().filter(|(change, _)| *change == "written") {
        let (new, path) = (work.join("new"), folder.join(file));
        run(before, "write", &new, |it| write(it, &wanted[file]))?;
        create_parents(before, folder, file)?;
        remove_empty(before, &path)?;
        still_saved(file, &path)?;
        run(before, "rename", &path, |it| fs::rename(&new, it))?;
    }
    Ok(())
}

fn create_parents(before: &mut Before, folder: &Path, file: &Path) -> io::Result<()> {
    let parents: Vec<&Path> = file.ancestors().skip(1).collect();
    for parent in parents.into_iter().rev().map(|parent| folder.join(parent)) {
        if !parent.is_dir() {
            run(before, "create", &parent, |it| fs::create_dir(it))?;
        }
    }
    Ok(())
}

/// Removes a folder with nothing but empty folders in it, if there is one.
fn remove_empty(before: &mut Before, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            remove_empty(before, &entry?.path())?;
        }
        run(before, "remove", folder, |it| fs::remove_dir(it))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
