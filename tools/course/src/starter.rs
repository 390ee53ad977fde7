//! The exercise as it was published, for `reset`: git cannot tell, since learners commit
//! their work, and a downloaded archive has none.
//!
//! `steps/NN-slug/starter.patch` says how the exercise differs from the solution, and
//! holds a checksum of each of the exercise's files: what comes out is the published
//! exercise or an error, also when somebody has edited the solution.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path};

use diffy::Patch;
use similar::TextDiff;

/// The patch's name in a step's folder.
pub const FILE: &str = "starter.patch";

const HEAD: &str = "\
How the exercise differs from the solution, for `./run.sh reset`. Not to be
edited: `cargo run -p verify -- starters` writes it.

";

/// A crate's text files: paths relative to its folder, with `/`.
pub type Files = BTreeMap<String, String>;

/// What a `starter.patch` says: for each of the exercise's files its checksum, and where
/// it differs from the solution's.
#[derive(Debug)]
pub struct Starter {
    files: BTreeMap<String, (u64, Option<String>)>,
}

/// The text of a `starter.patch`. The solution's texts are those of
/// [`Step::as_exercise`](crate::Step::as_exercise).
pub fn write(exercise: &Files, solution: &Files) -> String {
    let mut text = HEAD.to_owned();
    for (name, file) in exercise {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "exercise {:016x} {name}", checksum(file));
    }
    for (name, new) in exercise {
        let old = solution.get(name).map_or("", String::as_str);
        if old != new {
            let diff = TextDiff::from_lines(old, new);
            let _ = write!(
                text,
                "\n{}",
                diff.unified_diff()
                    .context_radius(1)
                    .header(&format!("solution/{name}"), &format!("exercise/{name}"))
            );
        }
    }
    text
}

/// Before each file's patch. A patch has no empty lines.
const NEXT_FILE: &str = "\n\n--- solution/";

impl Starter {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        let mut parts = text.split(NEXT_FILE);
        let head = parts.next().unwrap_or_default().lines();
        for entry in head.filter_map(|line| line.strip_prefix("exercise ")) {
            let (sum, name) = entry.split_once(' ').unwrap_or_default();
            match u64::from_str_radix(sum, 16) {
                Ok(checksum) if is_inside(name) => {
                    files.insert(name.to_owned(), (checksum, None));
                }
                _ => return Err(format!("exercise {entry}")),
            }
        }
        for part in parts {
            let (name, rest) = part.split_once('\n').unwrap_or((part, ""));
            let patch = format!("--- solution/{name}\n{}\n", rest.trim_end_matches('\n'));
            Patch::from_str(&patch).map_err(|error| format!("{name}: {error}"))?;
            files.get_mut(name).ok_or(name)?.1 = Some(patch);
        }
        if files.is_empty() {
            return Err("it names no file".into());
        }
        Ok(Self { files })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The exercise's files as they were published, made of the solution's, whose
    /// texts are those of [`Step::as_exercise`](crate::Step::as_exercise); or, of another
    /// solution, the names of the files that come out wrong.
    pub fn apply(&self, solution: &Files) -> Result<Files, Vec<String>> {
        let mut made = Files::new();
        let mut wrong = Vec::new();
        for (name, (sum, patch)) in &self.files {
            let old = solution.get(name).map_or("", String::as_str);
            let text = match patch {
                None => Some(old.to_owned()),
                Some(patch) => Patch::from_str(patch)
                    .ok()
                    .and_then(|patch| diffy::apply(old, &patch).ok()),
            };
            match text.filter(|text| checksum(text) == *sum) {
                Some(text) => drop(made.insert(name.clone(), text)),
                None => wrong.push(name.clone()),
            }
        }
        if wrong.is_empty() {
            Ok(made)
        } else {
            Err(wrong)
        }
    }
}

/// Whether a path stays below the folder that it is joined to.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// FNV-1a, 64 bits: it has to notice edits, not forgeries.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn the_patch_gives_the_exercise_whatever_its_lines_look_like() {
        let long = (0..40).fold(String::new(), |text, line| text + &format!("line {line}\n"));
        for (exercise, solution) in [
            ("a\nb\nc\n", "a\nx\nc\n"),
            ("", "a\n"),
            ("a\n", ""),
            ("a", "a\n"),
            ("a\n", "a"),
            ("b", "a"),
            ("same\n", "same\n"),
            // Lines that look like a patch's own.
            ("-- a\n++ b\n@@ -1 +1 @@\n", "-- c\n\\ d\nexercise 0 x\n"),
            ("\n\na\n", "\n"),
            ("a\r\nb\r\n", "a\r\nc\r\n"),
            ("é\n", "è\n"),
            (&long, &long.replace("line 3", "row 3")),
            (&format!("first\n{long}last"), &long),
        ] {
            let exercise = files(&[("Cargo.toml", "x\n"), ("src/lib.rs", exercise)]);
            let solution = files(&[("Cargo.toml", "x\n"), ("src/lib.rs", solution)]);
            let text = write(&exercise, &solution);
            let starter = Starter::parse(&text).unwrap();
            assert_eq!(starter.apply(&solution), Ok(exercise), "{text}");
        }
    }

    #[test]
    fn another_solution_is_noticed_also_far_from_the_tasks() {
        let solution = "a\nb\nc\nd\ne\nf\ng\n";
        let exercise = files(&[("a.rs", "a\nx\nc\nd\ne\nf\ng\n"), ("b.rs", "b\n")]);
        let published = files(&[("a.rs", solution), ("b.rs", "b\n")]);
        let starter = Starter::parse(&write(&exercise, &published)).unwrap();
        for edited in [
            solution.replace('b', "z"),
            solution.replace('f', "z"),
            "a\n".into(),
            String::new(),
        ] {
            let edited = files(&[("a.rs", &edited), ("b.rs", "b\n")]);
            assert_eq!(starter.apply(&edited), Err(vec!["a.rs".to_owned()]));
        }
    }

    #[test]
    fn a_damaged_patch_is_refused() {
        let good = write(&files(&[("a.rs", "a\n")]), &files(&[("a.rs", "b\n")]));
        for (from, to, reason) in [
            ("a.rs\n", "../a.rs\n", "exercise "),
            ("a.rs\n", "/a.rs\n", "exercise "),
            ("\nexercise ", "\nexercise x", "exercise x"),
            ("--- solution/a", "--- solution/b", "b.rs"),
            ("@@ -1", "@@ -x", "a.rs: "),
            ("@@ -1", "@@ 1", "a.rs: "),
            ("+a\n", "", "a.rs: "),
        ] {
            let text = good.replacen(from, to, 1);
            let failure = Starter::parse(&text).unwrap_err();
            assert!(failure.starts_with(reason), "{failure}\n{text}");
        }
        assert!(Starter::parse("").is_err());
    }
}
