//! What is to be written: all of it or nothing, and nothing that is there is overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use course::slashed;
use tempfile::{NamedTempFile, TempDir};

use super::lines::Insertion;
use super::render;
use crate::trouble::Trouble;
use crate::{diff, screen};

/// Texts by their path below a folder.
pub type Files = BTreeMap<PathBuf, String>;

/// Changes of one folder.
pub struct Plan {
    folder: PathBuf,
    new: Files,
    /// The old text and the new one.
    edited: BTreeMap<PathBuf, (String, String)>,
}

impl Plan {
    /// Nothing is written yet. Fails if a file that is new exists, or an insertion has no
    /// place; then the message has all lines to insert by hand.
    pub fn new(folder: &Path, new: Files, insertions: &[Insertion]) -> Result<Self, Trouble> {
        for file in new.keys() {
            let path = folder.join(file);
            if path.symlink_metadata().is_ok() {
                return Err(Trouble::failed(format!(
                    "{} exists already and is not overwritten; nothing was written",
                    path.display()
                )));
            }
        }
        let mut edited: BTreeMap<PathBuf, (String, String)> = BTreeMap::new();
        let mut homeless = Vec::new();
        for insertion in insertions {
            let path = folder.join(&insertion.file);
            let texts = match edited.remove(&insertion.file) {
                Some(texts) => Some(texts),
                None => match fs::read_to_string(&path) {
                    Ok(text) => Some((text.clone(), text)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(Trouble::at(&path)(error)),
                },
            };
            let text = texts.as_ref().and_then(|(_, text)| insertion.apply(text));
            match (texts, text) {
                (Some((old, _)), Some(text)) => {
                    edited.insert(insertion.file.clone(), (old, text));
                }
                (texts, _) => {
                    homeless.push(insertion);
                    edited.extend(texts.map(|texts| (insertion.file.clone(), texts)));
                }
            }
        }
        if !homeless.is_empty() {
            let places: Vec<String> = homeless.iter().map(ToString::to_string).collect();
            let places = places.join("\n");
            return Err(Trouble::failed(format!(
                "these lines have no place, since the lines that mark it are gone; \
                 nothing was written\n\n{places}\n\
                 Put the marking lines back, or paste the lines where they belong; then give \
                 the command again."
            )));
        }
        edited.retain(|_, (old, new)| old != new);
        for (file, (old, new)) in &mut edited {
            render::format_as(file, old, new);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            new,
            edited,
        })
    }

    /// Prints the changes as a patch that `git apply` takes.
    pub fn show(&self) {
        let mut patch = String::new();
        for (file, text) in &self.new {
            diff::add(&mut patch, &slashed(file), None, Some(text), false);
        }
        for (file, (old, new)) in &self.edited {
            diff::add(&mut patch, &slashed(file), Some(old), Some(new), false);
        }
        screen::print(&patch);
    }

    /// Writes everything, and says what.
    pub fn write(&self) -> Result<(), Trouble> {
        let mut done = Undo::default();
        self.write_files(&mut done).map_err(|(file, error)| {
            Trouble::environment(format!(
                "{}: {error}; nothing was changed",
                self.folder.join(file).display()
            ))
        })?;
        done.keep();
        for file in self.new.keys() {
            screen::print(&format!("written   {}\n", slashed(file)));
        }
        for file in self.edited.keys() {
            screen::print(&format!("changed   {}\n", slashed(file)));
        }
        Ok(())
    }

    /// First everything is written beside its place, where it can fail without harm; then
    /// each file takes its place in one step. A process that is killed between these steps
    /// undoes nothing: new files therefore come first, and `src/app.rs`, which uses all
    /// others, comes last, so that what a new module leaves half done still compiles.
    fn write_files<'a>(&'a self, done: &mut Undo) -> Result<(), (&'a Path, io::Error)> {
        let mut waiting = Vec::new();
        let all = self.new.iter().map(|(file, text)| (file, text, None));
        let all = all.chain(self.edits());
        for (file, text, old) in all {
            let path = self.folder.join(file);
            let written = done
                .create_folders(&self.folder, &path)
                .and_then(|()| beside(&path, text, old.is_some()));
            let (path, temporary) = written.map_err(|error| (file.as_path(), error))?;
            waiting.push((file, path, temporary, old));
        }
        for (file, path, temporary, old) in waiting {
            let placed = if let Some(old) = old {
                let placed = temporary.persist(&path);
                if placed.is_ok() {
                    done.edited.push((path, old.clone()));
                }
                placed
            } else {
                // A file that has come in the meantime is not overwritten, either.
                let placed = temporary.persist_noclobber(&path);
                if placed.is_ok() {
                    done.new.push(path);
                }
                placed
            };
            placed.map_err(|it| (file.as_path(), it.error))?;
        }
        Ok(())
    }

    /// The files that are changed, with their new and their old text, in the order in which
    /// they are.
    fn edits(&self) -> Vec<(&PathBuf, &String, Option<&String>)> {
        let edited = self.edited.iter();
        let mut edits: Vec<_> = edited
            .map(|(file, (old, text))| (file, text, Some(old)))
            .collect();
        edits.sort_by_key(|(file, ..)| file.ends_with("src/app.rs"));
        edits
    }

    /// Writes the plan's files as a folder of their own: beside its place first, so that it
    /// appears whole. An empty folder that is there is filled.
    pub fn write_folder(&self) -> Result<(), Trouble> {
        let target = &self.folder;
        let parent = target.parent().unwrap_or(target);
        let staged = temporary_folder(parent).map_err(Trouble::at(parent))?;
        for (file, text) in &self.new {
            let path = staged.path().join(file);
            let folder = path.parent().unwrap_or(&path);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .map_err(Trouble::at(target.join(file)))?;
        }
        if target.is_dir() {
            // It stays the folder that the caller stands in.
            let mut done = Undo::default();
            let names: BTreeSet<_> = self.new.keys().filter_map(|it| it.iter().next()).collect();
            for name in names {
                let path = target.join(name);
                fs::rename(staged.path().join(name), &path).map_err(Trouble::at(&path))?;
                done.new.push(path);
            }
            done.keep();
            return Ok(());
        }
        fs::rename(staged.path(), target).map_err(Trouble::at(target))?;
        // Nothing is at the temporary path now.
        let _ = staged.keep();
        Ok(())
    }
}

/// What takes back the changes that were made, unless they are kept.
#[derive(Default)]
struct Undo {
    folders: Vec<PathBuf>,
    new: Vec<PathBuf>,
    edited: Vec<(PathBuf, String)>,
}

impl Undo {
    /// Creates the folders that the file needs, below `root`.
    fn create_folders(&mut self, root: &Path, file: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = file
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != root && !folder.is_dir())
            .collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            self.folders.push(folder.to_path_buf());
        }
        Ok(())
    }

    fn keep(mut self) {
        self.folders.clear();
        self.new.clear();
        self.edited.clear();
    }
}

impl Drop for Undo {
    /// As far as the system lets us: what has failed once may fail again.
    fn drop(&mut self) {
        for path in self.new.drain(..).rev() {
            let _ = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
        }
        for (path, old) in self.edited.drain(..).rev() {
            let _ = fs::write(path, old);
        }
        for folder in self.folders.drain(..).rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A temporary file with this text in the folder of `path`, and the path that it is to
/// take: that of the file itself where a link leads to it.
fn beside(path: &Path, text: &str, exists: bool) -> io::Result<(PathBuf, NamedTempFile)> {
    let path = if exists {
        path.canonicalize()?
    } else {
        path.to_path_buf()
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    let permissions = if exists {
        Some(fs::metadata(&path)?.permissions())
    } else {
        default_permissions(0o666)
    };
    if let Some(permissions) = permissions.clone() {
        builder.permissions(permissions);
    }
    let mut file = builder.tempfile_in(path.parent().unwrap_or(&path))?;
    file.write_all(text.as_bytes())?;
    if exists && let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    Ok((path, file))
}

fn temporary_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-app-");
    if let Some(permissions) = default_permissions(0o777) {
        builder.permissions(permissions);
    }
    builder.tempdir_in(parent)
}

/// As the system gives them to any new file, less what the user's mask takes away;
/// temporary files are otherwise for their owner alone.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "other systems have none")]
fn default_permissions(mode: u32) -> Option<fs::Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn default_permissions(_mode: u32) -> Option<fs::Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new::lines;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// New files `a/b/c.rs` and `d.rs`, and a line in `lib.rs`.
    fn plan(folder: &Path) -> Plan {
        fs::write(folder.join("lib.rs"), "// begin m\n// end m\n").unwrap();
        let new = [("a/b/c.rs", "c\n"), ("d.rs", "d\n")];
        let new = new.map(|(file, text)| (file.into(), text.to_owned()));
        let lines = lines::parse("@sorted lib.rs m\nmod a;\n").unwrap();
        Plan::new(folder, new.into_iter().collect(), &lines).unwrap()
    }

    #[test]
    fn the_file_that_uses_all_others_is_changed_last() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        let files = ["Cargo.toml", "src/app.rs", "src/lib.rs", "tests.rs"];
        let lines = files.map(|file| {
            fs::write(folder.path().join(file), "// begin m\n// end m\n").unwrap();
            format!("@sorted {file} m\nmod a;\n")
        });
        let lines = lines.concat();
        let lines = lines::parse(&lines).unwrap();
        let plan = Plan::new(folder.path(), BTreeMap::new(), &lines).unwrap();
        let last = plan.edits().pop().map(|(file, ..)| file.as_path());
        assert_eq!(last, Some(Path::new("src/app.rs")));
    }

    #[test]
    fn everything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        plan(folder).write_files(&mut Undo::default()).unwrap();
        // The undo has gone out of scope without having been kept.
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        let mut done = Undo::default();
        plan(folder).write_files(&mut done).unwrap();
        done.keep();
        assert_eq!(text(&folder.join("a/b/c.rs")), "c\n");
        assert_eq!(
            text(&folder.join("lib.rs")),
            "// begin m\nmod a;\n// end m\n"
        );
        assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_has_come_in_the_meantime_stays_and_the_rest_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let plan = plan(folder);
        fs::write(folder.join("d.rs"), "mine\n").unwrap();
        let trouble = plan.write().unwrap_err();
        assert_eq!(trouble.code, 3);
        assert!(
            trouble.to_string().contains("nothing was changed"),
            "{trouble}"
        );
        assert_eq!(text(&folder.join("d.rs")), "mine\n");
        assert_eq!(text(&folder.join("lib.rs")), "// begin m\n// end m\n");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
    }
}
