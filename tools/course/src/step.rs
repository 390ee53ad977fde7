//! Steps and their two sides. Steps are found by looking; no code names one.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::{Chapter, Task, tasks};

/// One step: `steps/05-engine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
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

impl Side {
    /// The folder below the step's, and the end of the package's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exercise => "exercise",
            Self::Solution => "solution",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Step {
    /// The step in this folder, if its name is a step's: two digits and a title.
    pub fn at(folder: &Path) -> Option<Self> {
        let slug = folder.file_name()?.to_str()?;
        let (number, title) = slug.split_once('-')?;
        let numeric = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        (numeric && !title.is_empty()).then(|| Self {
            slug: slug.to_owned(),
            folder: folder.to_path_buf(),
        })
    }

    pub fn label(&self) -> &str {
        &self.slug[..2]
    }

    /// The name without the number, `engine`: it stays when steps are renumbered.
    pub fn id(&self) -> &str {
        &self.slug[3..]
    }

    /// `steps/05-engine`
    pub fn dir(&self) -> String {
        format!("steps/{}", self.slug)
    }

    /// `steps/05-engine/exercise`
    pub fn crate_dir(&self, side: Side) -> String {
        format!("steps/{}/{side}", self.slug)
    }

    /// `steps/05-engine/README.md`
    pub fn readme(&self) -> String {
        format!("steps/{}/README.md", self.slug)
    }

    /// `step05-exercise`
    pub fn package(&self, side: Side) -> String {
        format!("step{}-{side}", self.label())
    }

    /// A text of the solution as the exercise has it. Cargo puts what it builds
    /// from both crates into one folder, so the names of package and library
    /// differ, and a file beside `check.rs` runs the checks under the other name.
    pub fn as_exercise(&self, text: &str) -> String {
        let library = format!("step{}", self.label());
        text.replace(&self.package(Side::Solution), &self.package(Side::Exercise))
            .replace(&format!("{library}_{}", Side::Solution), &library)
            .replace("../check_solution.rs", "../check.rs")
    }

    pub fn crate_folder(&self, side: Side) -> PathBuf {
        self.folder.join(side.name())
    }

    /// Whether a file, named from the exercise's folder, is one of the course's. Below
    /// `tests/` these are the files that the solution has as well; all others there
    /// are the learner's own.
    pub fn is_of_course(&self, file: &str) -> bool {
        !file.starts_with("tests/") || self.crate_folder(Side::Solution).join(file).is_file()
    }

    /// The tasks of one side, whose files are named from `root`.
    pub fn tasks(&self, root: &Path, side: Side) -> Vec<Task> {
        tasks(root, &self.crate_folder(side))
    }

    /// The chapter's title; without one, the words of the folder's name.
    pub fn title(&self, chapter: &Chapter) -> String {
        let title = chapter.title.clone();
        title.unwrap_or_else(|| self.id().replace('-', " "))
    }

    pub fn chapter(&self) -> Chapter {
        Chapter::parse(&self.chapter_text())
    }

    /// Empty where there is no chapter, and so is what it says.
    pub fn chapter_text(&self) -> String {
        let bytes = fs::read(self.folder.join("README.md")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// All steps below `root` in order.
pub fn steps(root: &Path) -> io::Result<Vec<Step>> {
    let mut steps: Vec<Step> = fs::read_dir(root.join("steps"))?
        .filter_map(|entry| Step::at(&entry.ok()?.path()))
        // A folder with an old name may still hold files of the learner's.
        .filter(|step| step.crate_folder(Side::Solution).is_dir())
        .collect();
    steps.sort_by(|a, b| a.slug.cmp(&b.slug));
    Ok(steps)
}

/// The step that is meant by `5`, `05`, `05-engine`, `05-engine/exercise` or a
/// path that ends so; the side only where the text names it.
pub fn find<'a>(steps: &'a [Step], text: &str) -> Option<(&'a Step, Option<Side>)> {
    let mut parts = text
        .split(['/', '\\'])
        .filter(|part| !matches!(*part, "" | "."))
        .rev();
    let mut name = parts.next()?;
    let side = match name {
        "exercise" => Some(Side::Exercise),
        "solution" => Some(Side::Solution),
        _ => None,
    };
    if side.is_some() {
        name = parts.next()?;
    }
    let number = format!("{:0>2}", name.trim_start_matches('0'));
    let found = steps
        .iter()
        .find(|step| step.slug == name || step.label() == number)?;
    Some((found, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_by_number_slug_or_path() {
        let steps = [Step::at(Path::new("/x/steps/05-engine")).unwrap()];
        for (text, side) in [
            ("5", None),
            ("05", None),
            ("005", None),
            ("05-engine", None),
            ("steps/05-engine/", None),
            (".\\steps\\05-engine\\exercise", Some(Side::Exercise)),
            ("5/solution", Some(Side::Solution)),
        ] {
            assert_eq!(find(&steps, text), Some((&steps[0], side)), "{text}");
        }
        for text in ["6", "0", "05-eng", "", "exercise", "+5"] {
            assert_eq!(find(&steps, text), None, "{text}");
        }
        assert_eq!(steps[0].package(Side::Exercise), "step05-exercise");
        assert_eq!((steps[0].label(), steps[0].id()), ("05", "engine"));
    }

    #[test]
    fn a_text_of_the_solution_is_read_as_the_exercises() {
        let step = Step::at(Path::new("/x/steps/05-engine")).unwrap();
        for (solution, exercise) in [
            ("name = \"step05-solution\"", "name = \"step05-exercise\""),
            ("name = \"step05_solution\"", "name = \"step05\""),
            ("path = \"../check_solution.rs\"", "path = \"../check.rs\""),
            ("use step05_solution::db;", "use step05::db;"),
            ("use step06_solution::db;", "use step06_solution::db;"),
        ] {
            assert_eq!(step.as_exercise(solution), exercise);
        }
    }

    #[test]
    fn tests_that_the_solution_has_are_the_courses() {
        let folder = tempfile::tempdir().unwrap();
        let step = Step::at(&folder.path().join("05-engine")).unwrap();
        let text = "// TODO(05.1): one\n// END TODO(05.1)\n";
        for file in [
            "solution/tests/books.rs",
            "solution/tests/data/rows.rs",
            "exercise/tests/books.rs",
            "exercise/tests/mine.rs",
            "exercise/src/lib.rs",
        ] {
            let path = step.folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (file, of_course) in [
            ("src/mine.rs", true),
            ("tests/books.rs", true),
            ("tests/data/rows.rs", true),
            ("tests/mine.rs", false),
            ("tests/data/mine.rs", false),
        ] {
            assert_eq!(step.is_of_course(file), of_course, "{file}");
        }
        let programs = |side| crate::test_programs(&step.crate_folder(side));
        assert_eq!(programs(Side::Solution), ["books"]);
        assert_eq!(programs(Side::Exercise), ["books"]);
        let tasks = step.tasks(&step.folder, Side::Exercise);
        let files: Vec<&str> = tasks.iter().map(|task| task.file.as_str()).collect();
        assert_eq!(files, ["exercise/src/lib.rs", "exercise/tests/books.rs"]);
        fs::remove_file(step.folder.join("exercise/tests/books.rs")).unwrap();
        assert!(programs(Side::Exercise).is_empty());
        assert_eq!(step.tasks(&step.folder, Side::Exercise).len(), 1);
    }

    #[test]
    fn only_two_digits_and_a_title_make_a_step() {
        for slug in [
            "5-engine",
            "05",
            "05-",
            "xx-engine",
            "README.md",
            "+5-engine",
        ] {
            assert_eq!(Step::at(Path::new(slug)), None, "{slug}");
        }
    }
}
