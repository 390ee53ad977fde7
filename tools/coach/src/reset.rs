//! `reset`, `solve` and `restore`: other files in place of the learner's, which
//! are saved first.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use course::starter::{self, Files, Starter};
use course::{Progress, Side, Step};

use crate::backup::{self, Before, FOLDER, Tree};
use crate::project::Project;
use crate::trouble::Trouble;

/// What the verbs work with; the tests give other functions and another date.
pub struct Keeper<'a> {
    pub project: &'a Project,
    pub before: Box<Before<'a>>,
    /// For the names of backups, `2026-11-21_225500`.
    pub date: String,
    /// Takes what is to be shown.
    pub say: Box<dyn FnMut(&str) + 'a>,
}

pub fn keeper(project: &Project) -> Keeper<'_> {
    Keeper {
        project,
        before: Box::new(|_, _| Ok(())),
        // UTC, so that the order of the names is that of the backups.
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%d_%H%M%S")
            .to_string(),
        // Not `crate::screen::print`, which ends the program when nobody reads: what was
        // begun is finished.
        say: Box::new(|text| drop(io::stdout().lock().write_all(text.as_bytes()))),
    }
}

impl Keeper<'_> {
    /// Puts the exercise back as it was published. Files that only the learner has
    /// stay. The step is then no longer done.
    pub fn reset(&mut self, step: &str) -> Result<(), Trouble> {
        let (step, _) = self.project.resolve(step)?;
        let files = as_published(self.project, &step)?;
        self.put(&step, &tree(files), false, "as published")?;
        Progress::update(&self.project.root, |progress| {
            progress.set_done(&step, false);
            progress.set_failed(&step, None);
        });
        Ok(())
    }

    /// Puts the solution's files in place of the exercise's. Files that only the
    /// learner has stay.
    pub fn solve(&mut self, step: &str) -> Result<(), Trouble> {
        let (step, _) = self.project.resolve(step)?;
        let (_, files) = solution(self.project, &step)?;
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
                list(project).trim_end()
            )));
        }
        let step = match step {
            Some(step) => project.resolve(step)?.0,
            None => step_of(&project.steps()?, name).cloned().ok_or_else(|| {
                Trouble::usage(format!(
                    "which step is {name} a backup of? Say it: ./run.sh restore {name} --to NN"
                ))
            })?,
        };
        let mut files = backup::scan(&folder).map_err(|it| backup::unchanged(&it))?;
        let new = format!("step{}", step.label());
        if let Some(old) = rename(&mut files, &new) {
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
        let say = &mut self.say;
        let changes = backup::replace(
            &mut *self.before,
            &self.project.root.join(FOLDER),
            &format!("{}-{}", self.date, step.slug),
            &step.crate_folder(Side::Exercise),
            wanted,
            exactly,
            |name| {
                // Before anything is changed, so that it is known also if we are ended.
                say(&format!(
                    "saved     {FOLDER}/{name}\nundo      ./run.sh restore {name}\n"
                ));
            },
        )?;
        let nothing = changes.iter().all(|(change, _)| *change == "kept");
        let head = if nothing {
            "nothing to do:"
        } else {
            "now      "
        };
        let mut report = format!("{head} {} is {what}\n", step.crate_dir(Side::Exercise));
        for (change, file) in changes {
            let note = if change == "kept" {
                " (yours alone)"
            } else {
                ""
            };
            // Writing into a String cannot fail.
            let _ = writeln!(report, "{change:9} {}{note}", file.display());
        }
        (self.say)(&report);
        Ok(())
    }
}

/// The backups, the newest first, and how to restore one.
pub fn list(project: &Project) -> String {
    let entries = fs::read_dir(project.root.join(FOLDER));
    let entries = entries.into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    let Some(newest) = names.last() else {
        return "no backups yet: reset, solve and restore make them\n".into();
    };
    let all: String = names.iter().rev().flat_map(|name| [name, "\n"]).collect();
    format!("{all}\nTo have one back: ./run.sh restore {newest}\n")
}

/// The step that a backup's name speaks of, `2026-11-21_225500-05-engine-2`. The last
/// number tells backups of one second apart, unless it is of the step's name.
fn step_of<'a>(steps: &'a [Step], name: &str) -> Option<&'a Step> {
    let words = name.get("2026-11-21_225500-05-".len()..)?;
    let is_number = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = words.rsplit_once('-').filter(|(_, rest)| is_number(rest));
    let with = |words: &str| steps.iter().find(|step| step.id() == words);
    with(words).or_else(|| with(numbered?.0))
}

/// Gives the package and the library of a backup that was made when the step had another
/// number the name that they have now, and returns the old one. Two packages of one name
/// would keep cargo from building anything, and the check looks for the library by its
/// new name.
fn rename(files: &mut Tree, new: &str) -> Option<String> {
    let manifest = str::from_utf8(files.get(Path::new("Cargo.toml"))?).ok()?;
    let mut lines = manifest.lines();
    let old = lines.find_map(|line| line.strip_prefix("name = \"")?.strip_suffix("-exercise\""));
    let old = old.filter(|old| *old != new)?.to_owned();
    for (file, bytes) in files {
        let ending = file.extension().unwrap_or_default();
        if (ending == "rs" || ending == "toml")
            && let Ok(text) = str::from_utf8(bytes)
        {
            *bytes = text.replace(&old, new).into_bytes();
        }
    }
    Some(old)
}

pub fn as_published(project: &Project, step: &Step) -> Result<Files, Trouble> {
    let (starter, solution) = solution(project, step)?;
    starter.apply(&solution).map_err(|wrong| {
        let folder = step.crate_dir(Side::Solution);
        Trouble::environment(format!(
            "the exercise is made from the solution's, and there {} is not as published: \
             git checkout -- {folder}, or download the project again\nnothing was changed",
            wrong.join(", ")
        ))
    })
}

/// What the step's `starter.patch` says, and the solution's files that the exercise has,
/// too, as the exercise has them.
fn solution(project: &Project, step: &Step) -> Result<(Starter, Files), Trouble> {
    let damaged = |path: &Path, error: String| {
        Trouble::environment(format!(
            "{}: {error}\ngit checkout -- steps, or download the project again; \
             nothing was changed",
            project.short(path).display()
        ))
    };
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|error| damaged(path, error.to_string()));
    let path = step.folder.join(starter::FILE);
    let starter = Starter::parse(&read(&path)?).map_err(|error| damaged(&path, error))?;
    let folder = step.crate_folder(Side::Solution);
    let mut files = Files::new();
    for name in starter.names() {
        let text = read(&folder.join(name))?;
        files.insert(name.to_owned(), step.as_exercise(&text));
    }
    Ok((starter, files))
}

fn tree(files: Files) -> Tree {
    let files = files.into_iter();
    files
        .map(|(name, text)| (name.into(), text.into_bytes()))
        .collect()
}
