//! What is where: the project's folder, its steps, and what a chapter says
//! about itself. Steps are found by looking; nothing here names one.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::progress::Progress;
use crate::trouble::Trouble;

/// The project's folder.
pub struct Project {
    pub root: PathBuf,
}

/// One step: `steps/05-engine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub number: u32,
    /// The folder's name, `05-engine`.
    pub slug: String,
    pub folder: PathBuf,
}

/// The learner's crate or ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Exercise,
    Solution,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exercise => "exercise",
            Self::Solution => "solution",
        })
    }
}

/// What the head of a step's chapter says. A part that is missing stays empty,
/// so that a half-written chapter never stops a learner.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chapter {
    pub title: Option<String>,
    pub goal: Option<String>,
    /// As written: "30", "20 to 30".
    pub minutes: Option<String>,
    /// What can be done with the service once the step is solved.
    pub now_works: Option<String>,
    /// What to try by hand then: command lines in backquotes, joined with words.
    pub try_by_hand: Option<String>,
}

impl Project {
    /// Takes the folder given, or looks for the project from the current
    /// folder upwards.
    ///
    /// # Errors
    /// Neither holds a workspace with steps (exit code 3).
    pub fn find(given: Option<PathBuf>) -> Result<Self, Trouble> {
        let here = env::current_dir()
            .map_err(|error| Trouble::environment(format!("the current folder: {error}")))?;
        let start = given.unwrap_or(here);
        start
            .ancestors()
            .find(|folder| folder.join("steps").is_dir() && folder.join("Cargo.toml").is_file())
            .map(|folder| Self {
                root: folder.to_path_buf(),
            })
            .ok_or_else(|| {
                Trouble::environment(format!(
                    "no project here: neither {} nor a folder above it has steps/ and Cargo.toml",
                    start.display()
                ))
            })
    }

    /// All steps in order.
    ///
    /// # Errors
    /// `steps/` cannot be read (exit code 3).
    pub fn steps(&self) -> Result<Vec<Step>, Trouble> {
        let folder = self.root.join("steps");
        let entries = fs::read_dir(&folder)
            .map_err(|error| Trouble::environment(format!("{}: {error}", folder.display())))?;
        let mut steps: Vec<Step> = entries
            .filter_map(|entry| Step::at(&entry.ok()?.path()))
            .collect();
        steps.sort_by(|a, b| (a.number, &a.slug).cmp(&(b.number, &b.slug)));
        Ok(steps)
    }

    /// The step that a learner means by `5`, `05`, `05-engine`,
    /// `05-engine/exercise` or a path that ends so; the side only where the
    /// text names it.
    ///
    /// # Errors
    /// No step fits; the text lists those there are (exit code 2).
    pub fn resolve(&self, text: &str) -> Result<(Step, Option<Side>), Trouble> {
        let steps = self.steps()?;
        let mut parts = text
            .split(['/', '\\'])
            .filter(|part| !part.is_empty() && *part != ".")
            .rev();
        let mut name = parts.next().unwrap_or_default();
        let side = match name {
            "exercise" => Some(Side::Exercise),
            "solution" => Some(Side::Solution),
            _ => None,
        };
        if side.is_some() {
            name = parts.next().unwrap_or_default();
        }
        let found = if name.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: Option<u32> = name.parse().ok();
            steps.iter().find(|step| Some(step.number) == number)
        } else {
            steps.iter().find(|step| step.slug == name)
        };
        match found {
            Some(step) => Ok((step.clone(), side)),
            None => Err(Trouble::usage(format!(
                "there is no step \"{text}\"; the steps are:{}",
                names(&steps)
            ))),
        }
    }

    /// The step that a learner means, and the number of the task where the text
    /// names one: `05.2`, `5.2`, `05-engine.2`, `TODO(05.2)`.
    ///
    /// # Errors
    /// As [`Project::resolve`].
    pub fn resolve_task(&self, text: &str) -> Result<(Step, Option<u32>), Trouble> {
        let bare = text
            .strip_prefix("TODO(")
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap_or(text);
        if let Some((step, number)) = bare.rsplit_once('.')
            && let Ok(number) = number.parse()
        {
            return Ok((self.resolve(step)?.0, Some(number)));
        }
        Ok((self.resolve(text)?.0, None))
    }

    /// The step to use when none is named: the one whose folder we are in, with
    /// the side, else the current one of the learner's progress.
    ///
    /// # Errors
    /// There is neither; the text lists the steps (exit code 2).
    pub fn current(&self) -> Result<(Step, Option<Side>), Trouble> {
        let here = env::current_dir()
            .ok()
            .and_then(|it| it.canonicalize().ok());
        let steps = self.steps()?;
        for step in &steps {
            let folder = step.folder.canonicalize().ok();
            if let (Some(here), Some(folder)) = (&here, folder)
                && let Ok(inside) = here.strip_prefix(&folder)
            {
                let side = inside.starts_with("solution").then_some(Side::Solution);
                return Ok((step.clone(), side));
            }
        }
        if let Some(step) = Progress::load(&self.root).current(&steps) {
            return Ok((step.clone(), None));
        }
        Err(Trouble::usage(format!(
            "which step? Name one, or make one current with ./run.sh checkout NN; the steps are:{}",
            names(&steps)
        )))
    }

    /// A path as one types it in the project's folder.
    pub fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

impl Step {
    /// The step in this folder, if its name is that of a step.
    fn at(folder: &Path) -> Option<Self> {
        let slug = folder.file_name()?.to_str()?;
        let (number, _) = slug.split_once('-')?;
        // `parse` alone would take "+5".
        // Of a step that has another name by now, files of the learner's may be left.
        let is_step = folder.join("solution").is_dir();
        if !is_step || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            number: number.parse().ok()?,
            slug: slug.to_owned(),
            folder: folder.to_path_buf(),
        })
    }

    /// The folder of one side's crate.
    pub fn crate_folder(&self, side: Side) -> PathBuf {
        self.folder.join(side.to_string())
    }

    /// The number as the folder has it, `05`.
    pub fn label(&self) -> &str {
        self.slug.split('-').next().unwrap_or(&self.slug)
    }

    pub fn chapter_file(&self) -> PathBuf {
        self.folder.join("README.md")
    }

    /// The chapter's title; without one the folder's name has to do.
    pub fn title(&self, chapter: &Chapter) -> String {
        chapter.title.clone().unwrap_or_else(|| {
            let (_, words) = self.slug.split_once('-').unwrap_or(("", &self.slug));
            words.replace('-', " ")
        })
    }

    /// What the chapter says about itself; nothing where there is no chapter.
    pub fn chapter(&self) -> Chapter {
        Chapter::parse(&self.chapter_text())
    }

    /// The chapter's text; empty where there is no chapter.
    pub fn chapter_text(&self) -> String {
        fs::read(self.chapter_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Chapter {
    /// Reads the head of a chapter, `# 05 · The engine`, `Goal: …` and
    /// `Minutes: about 30 (an estimate) · Files: …`, up to the first section, and of the section
    /// `## Done when` the lines `Now works: …` and `Try by hand: …`.
    fn parse(text: &str) -> Self {
        let mut chapter = Self::default();
        let mut section = None;
        for line in text.lines().map(str::trim_end) {
            if let Some(heading) = line.strip_prefix("## ") {
                section = Some(heading.trim());
                continue;
            }
            let (slot, rest) = match section {
                None => {
                    if let Some(heading) = line.strip_prefix("# ") {
                        let title = heading.split_once('·').map_or(heading, |(_, title)| title);
                        (&mut chapter.title, title)
                    } else if let Some(goal) = line.strip_prefix("Goal:") {
                        (&mut chapter.goal, goal)
                    } else if let Some(rest) = line.strip_prefix("Minutes:") {
                        (
                            &mut chapter.minutes,
                            rest.split(['·', '(']).next().unwrap_or(rest),
                        )
                    } else {
                        continue;
                    }
                }
                Some("Done when") => {
                    if let Some(rest) = line.strip_prefix("Now works:") {
                        (&mut chapter.now_works, rest)
                    } else if let Some(rest) = line.strip_prefix("Try by hand:") {
                        (&mut chapter.try_by_hand, rest)
                    } else {
                        continue;
                    }
                }
                Some(_) => continue,
            };
            // The first of several counts.
            slot.get_or_insert_with(|| rest.trim().to_owned());
        }
        chapter
    }
}

/// The steps' folders, one a line, to follow a colon.
fn names(steps: &[Step]) -> String {
    steps
        .iter()
        .fold(String::new(), |text, step| text + "\n  " + &step.slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_chapter() {
        let text = "# 05 · The engine\n\nGoal: share connections.\nMinutes: about 30 (an estimate) · Files: `a.rs`\n\n## Start\nGoal: not this.\n";
        assert_eq!(
            Chapter::parse(text),
            Chapter {
                title: Some("The engine".into()),
                goal: Some("share connections.".into()),
                minutes: Some("about 30".into()),
                ..Chapter::default()
            }
        );
    }

    #[test]
    fn what_a_chapter_says_of_its_end() {
        let text = "# 05 · The engine\nNow works: not this.\n## Done when\n```console\n$ x\n```\n\n\
            Now works: queries share connections.\n\nTry by hand: `a`, then `b`\n\n## Test\nNow works: nor this.\n";
        let chapter = Chapter::parse(text);
        assert_eq!(
            chapter.now_works.as_deref(),
            Some("queries share connections.")
        );
        assert_eq!(chapter.try_by_hand.as_deref(), Some("`a`, then `b`"));
    }

    #[test]
    fn a_chapter_without_its_head() {
        assert_eq!(Chapter::parse("notes\n## Start\n"), Chapter::default());
        let chapter = Chapter::parse("# The engine");
        assert_eq!(chapter.title.as_deref(), Some("The engine"));
    }
}
