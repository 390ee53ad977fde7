//! `reset`, `solve` and `restore`: other files in place of the learner's, which
//! are saved first.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use course::starter::{self, Files, Starter};
use course::{Progress, Side, Step};

use crate::backup::{self, Changes, Disk, FOLDER, RealDisk, Tree};
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// What the verbs work with; the tests give another disk and another date.
pub struct Keeper<'a, D: Disk> {
    pub project: &'a Project,
    pub disk: D,
    /// For the names of backups, `2026-11-21_225500`.
    pub date: String,
    /// Takes what is to be shown.
    pub say: Box<dyn FnMut(&str) + 'a>,
}

pub fn keeper(project: &Project) -> Keeper<'_, RealDisk> {
    Keeper {
        project,
        disk: RealDisk,
        // UTC, so that the order of the names is that of the backups.
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%d_%H%M%S")
            .to_string(),
        // Not `screen::print`, which ends the program when nobody reads: what was
        // begun is finished.
        say: Box::new(|text| drop(io::stdout().lock().write_all(text.as_bytes()))),
    }
}

/// See [`Keeper::reset`]. The step is then no longer done.
pub fn reset(project: &Project, step: &str) -> Result<(), Trouble> {
    keeper(project).reset(step)?;
    let (step, _) = project.resolve(step)?;
    Progress::update(&project.root, |progress| {
        progress.set_done(&step, false);
        progress.set_failed(&step, None);
    });
    Ok(())
}

/// See [`Keeper::restore`]; without a name, lists the backups.
pub fn restore(project: &Project, name: Option<&str>, step: Option<&str>) -> Result<(), Trouble> {
    match name {
        None => screen::print(&list(project)?),
        Some(name) => keeper(project).restore(name, step)?,
    }
    Ok(())
}

impl<D: Disk> Keeper<'_, D> {
    /// Puts the exercise back as it was published. Files that only the learner has
    /// stay.
    pub fn reset(&mut self, step: &str) -> Result<(), Trouble> {
        let project = self.project;
        let (step, _) = project.resolve(step)?;
        let files = as_published(project, &step)?;
        self.put(&step, &tree(files), false, "as published")
    }

    /// Puts the solution's files in place of the exercise's. Files that only the
    /// learner has stay.
    pub fn solve(&mut self, step: &str) -> Result<(), Trouble> {
        let (step, _) = self.project.resolve(step)?;
        let starter = read_starter(self.project, &step)?;
        let files = solution(self.project, &step, &starter)?;
        self.put(&step, &tree(files), false, "the solution")
    }

    /// Makes the exercise what it was when the backup was made. The step is the one
    /// whose folder has the same words, whatever its number is now; `step` names
    /// another.
    pub fn restore(&mut self, name: &str, step: Option<&str>) -> Result<(), Trouble> {
        let project = self.project;
        let name = name.trim_end_matches('/');
        let name = name.rsplit('/').next().unwrap_or(name);
        let folder = project.root.join(FOLDER).join(name);
        if name.is_empty() || name.starts_with('.') || !folder.is_dir() {
            return Err(Trouble::usage(format!(
                "there is no backup \"{name}\"\n{}",
                list(project)?.trim_end()
            )));
        }
        let step = match step {
            Some(step) => project.resolve(step)?.0,
            None => step_of(&project.steps()?, name).ok_or_else(|| {
                Trouble::usage(format!(
                    "which step is {name} a backup of? Say it: ./run.sh restore {name} --to NN"
                ))
            })?,
        };
        let mut files = backup::scan(&folder)?;
        if let Some((old, new)) = renumbered(&files, &step) {
            rename(&mut files, &old, &new);
            (self.say)(&format!(
                "renamed   {old} to {new}, as the step is called now\n"
            ));
        }
        self.put(&step, &files, true, &format!("as in {FOLDER}/{name}"))
    }

    fn put(
        &mut self,
        step: &Step,
        wanted: &Tree,
        exactly: bool,
        what: &str,
    ) -> Result<(), Trouble> {
        let folder = step.crate_folder(Side::Exercise);
        let say = &mut self.say;
        let changes = backup::replace(
            &mut self.disk,
            &self.project.root,
            step,
            wanted,
            exactly,
            &self.date,
            |name| {
                // Before anything is changed, so that it is known also if we are ended.
                say(&format!(
                    "saved     {FOLDER}/{name}\nundo      ./run.sh restore {name}\n"
                ));
            },
        )?;
        (self.say)(&report(&changes, self.project.short(&folder), what));
        Ok(())
    }
}

/// The backups, the newest first, and how to restore one.
fn list(project: &Project) -> Result<String, Trouble> {
    let folder = project.root.join(FOLDER);
    let mut names = Vec::new();
    if folder.is_dir() {
        let entries = fs::read_dir(&folder)
            .map_err(|error| Trouble::environment(format!("{}: {error}", folder.display())))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !name.starts_with('.') {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    let Some(newest) = names.last() else {
        return Ok("no backups yet: reset, solve and restore make them\n".into());
    };
    let all: String = names.iter().rev().flat_map(|name| [name, "\n"]).collect();
    Ok(format!(
        "{all}\nTo have one back: ./run.sh restore {newest}\n"
    ))
}

/// The step that a backup's name speaks of, `2026-11-21_225500-05-engine-2`.
fn step_of(steps: &[Step], name: &str) -> Option<Step> {
    let (_, rest) = name.split_once('_')?;
    let (_, slug) = rest.split_once('-')?;
    let (_, words) = slug.split_once('-')?;
    let with = |words: &str| {
        steps
            .iter()
            .find(|step| step.slug.split_once('-').is_some_and(|it| it.1 == words))
    };
    // The last number tells backups of one second apart, if it is no word of
    // the step's.
    let shorter = words
        .rsplit_once('-')
        .filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    with(words).or_else(|| with(shorter?.0)).cloned()
}

/// `("step05", "step06")` if the backup was made when the step had another
/// number.
fn renumbered(backup: &Tree, step: &Step) -> Option<(String, String)> {
    let new = format!("step{}", step.label());
    let old = str::from_utf8(backup.get(Path::new("Cargo.toml"))?).ok()?;
    let old = old
        .lines()
        .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix("-exercise\""))?;
    (old != new).then(|| (old.to_owned(), new))
}

/// Two packages of one name would keep cargo from building anything, and the
/// check looks for the library by its new name.
fn rename(files: &mut Tree, old: &str, new: &str) {
    for (file, bytes) in files {
        let ending = file.extension().unwrap_or_default();
        if (ending == "rs" || ending == "toml")
            && let Ok(text) = str::from_utf8(bytes)
        {
            *bytes = text.replace(old, new).into_bytes();
        }
    }
}

pub fn as_published(project: &Project, step: &Step) -> Result<Files, Trouble> {
    let starter = read_starter(project, step)?;
    starter
        .apply(&solution(project, step, &starter)?)
        .map_err(|wrong| {
            let folder = step.crate_folder(Side::Solution);
            let folder = project.short(&folder).display();
            Trouble::environment(format!(
                "the exercise is made from the solution's, and there {} is not as published: \
                 git checkout -- {folder}, or download the project again\nnothing was changed",
                wrong.join(", ")
            ))
        })
}

fn read_starter(project: &Project, step: &Step) -> Result<Starter, Trouble> {
    let path = step.folder.join(starter::FILE);
    let short = project.short(&path).display();
    let text = fs::read_to_string(&path).map_err(|error| damaged(&format!("{short}: {error}")))?;
    Starter::parse(&text).map_err(|error| damaged(&format!("{short}: {error}")))
}

fn damaged(what: &str) -> Trouble {
    Trouble::environment(format!(
        "{what}\ngit checkout -- steps, or download the project again; nothing was changed"
    ))
}

/// The solution's files that the exercise has, too, as the exercise has them.
fn solution(project: &Project, step: &Step, starter: &Starter) -> Result<Files, Trouble> {
    let folder = step.crate_folder(Side::Solution);
    let mut files = Files::new();
    for name in starter.names() {
        let path = folder.join(name);
        let text = fs::read_to_string(&path)
            .map_err(|error| damaged(&format!("{}: {error}", project.short(&path).display())))?;
        files.insert(name.to_owned(), step.as_exercise(&text));
    }
    Ok(files)
}

fn tree(files: Files) -> Tree {
    let files = files.into_iter();
    files
        .map(|(name, text)| (name.into(), text.into_bytes()))
        .collect()
}

fn report(changes: &Changes, folder: &Path, what: &str) -> String {
    let folder = folder.display();
    let mut text = if changes.is_empty() {
        format!("nothing to do: {folder} is {what}\n")
    } else {
        format!("now       {folder} is {what}\n")
    };
    for (word, files) in [
        ("written", &changes.written),
        ("removed", &changes.removed),
        ("kept", &changes.kept),
    ] {
        for file in files {
            let note = if word == "kept" { " (yours alone)" } else { "" };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{word:9} {}{note}", file.display());
        }
    }
    text
}
