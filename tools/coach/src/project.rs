//! The project's folder, and which step a learner means.

use std::env;
use std::path::{Path, PathBuf};

use course::{Progress, Side, Step};

use crate::trouble::Trouble;

pub struct Project {
    pub root: PathBuf,
}

impl Project {
    /// Takes the folder given, or looks for the project from the current
    /// folder upwards.
    pub fn find(given: Option<PathBuf>) -> Result<Self, Trouble> {
        let here = env::current_dir().map_err(Trouble::at("the current folder"))?;
        let start = given.unwrap_or(here);
        let root = start
            .ancestors()
            .find(|folder| folder.join("steps").is_dir() && folder.join("Cargo.toml").is_file())
            .ok_or_else(|| {
                Trouble::environment(format!(
                    "no project here: neither {} nor a folder above it has steps/ and Cargo.toml",
                    start.display()
                ))
            })?;
        Ok(Self { root: root.into() })
    }

    pub fn steps(&self) -> Result<Vec<Step>, Trouble> {
        course::steps(&self.root).map_err(Trouble::at(self.root.join("steps")))
    }

    /// The step that follows this one, if one does.
    pub fn next_step(&self, step: &Step) -> Result<Option<Step>, Trouble> {
        let mut steps = self.steps()?.into_iter();
        Ok(steps.find(|other| other.slug > step.slug))
    }

    /// Where cargo builds, unless a file with cargo's settings says otherwise.
    pub fn target(&self) -> PathBuf {
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        self.root.join(target)
    }

    /// The step that a learner means: see [`course::find`].
    pub fn resolve(&self, text: &str) -> Result<(Step, Option<Side>), Trouble> {
        let steps = self.steps()?;
        let found = course::find(&steps, text).map(|(step, side)| (step.clone(), side));
        found.ok_or_else(|| {
            Trouble::usage(format!(
                "there is no step \"{text}\"; the steps are:{}",
                names(&steps)
            ))
        })
    }

    /// The step that a learner means, and the number of the task where the text
    /// names one: `05.2`, `5.2`, `05-engine.2`, `TODO(05.2)`.
    pub fn resolve_task(&self, text: &str) -> Result<(Step, Option<u32>), Trouble> {
        let bare = text.trim_start_matches("TODO(").trim_end_matches(')');
        if let Some((step, number)) = bare.rsplit_once('.')
            && let Ok(number) = number.parse()
        {
            return Ok((self.resolve(step)?.0, Some(number)));
        }
        Ok((self.resolve(text)?.0, None))
    }

    /// As [`Project::resolve`], or [`Project::current`] if there is no text.
    pub fn named(&self, text: Option<&str>) -> Result<(Step, Option<Side>), Trouble> {
        text.map_or_else(|| self.current(), |text| self.resolve(text))
    }

    /// The step to use when none is named: the one whose folder we are in, with
    /// the side, else the current one of the learner's progress.
    pub fn current(&self) -> Result<(Step, Option<Side>), Trouble> {
        let steps = self.steps()?;
        let here = env::current_dir().and_then(|here| here.canonicalize());
        for step in &steps {
            if let (Ok(here), Ok(folder)) = (&here, step.folder.canonicalize())
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

/// The solution if it is asked for, else the side that the step was named with.
pub fn chosen(solution: bool, side: Option<Side>) -> Side {
    if solution {
        Side::Solution
    } else {
        side.unwrap_or(Side::Exercise)
    }
}

/// The steps' folders, one a line, to follow a colon.
fn names(steps: &[Step]) -> String {
    steps
        .iter()
        .fold(String::new(), |text, step| text + "\n  " + &step.slug)
}
