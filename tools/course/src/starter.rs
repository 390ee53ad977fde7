//! The exercise as it was published, as a patch on the solution.
//!
//! `reset` needs to know how an exercise looked before the learner touched it.
//! Git cannot tell: learners commit their work, and a downloaded archive has no
//! git at all. A second copy of each exercise would double what has to
//! be kept in step. But exercise and solution differ only in the tasks, so
//! `steps/NN-slug/starter.patch` holds just that, and a checksum of each of the
//! exercise's files: what comes out is the published exercise or an error, also
//! when somebody has edited the solution.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use similar::TextDiff;

/// The patch's name in a step's folder.
pub const FILE: &str = "starter.patch";

const HEAD: &str = "\
How the exercise differs from the solution, for `./run.sh reset`. Not to be
edited: `cargo run -p verify -- starters` writes it.

";

/// A crate's text files: paths relative to its folder, with `/`.
pub type Files = BTreeMap<String, String>;

/// What a `starter.patch` says.
#[derive(Debug)]
pub struct Starter {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Default)]
struct File {
    /// Of the exercise's file.
    checksum: u64,
    hunks: Vec<Hunk>,
}

#[derive(Debug)]
struct Hunk {
    /// Index of the first of the solution's lines that it covers.
    start: usize,
    /// With their line ends.
    old: Vec<String>,
    new: Vec<String>,
}

/// The name of an exercise's package and that of its solution, told by the
/// solution's Cargo.toml: the folder may have been renumbered.
///
/// `None` if no line reads `name = "…-solution"`.
pub fn package_names(manifest: &str) -> Option<(String, String)> {
    manifest.lines().find_map(|line| {
        let name = line.strip_prefix("name")?.trim_start().strip_prefix('=')?;
        let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
        let step = name.strip_suffix("-solution")?;
        Some((format!("{step}-exercise"), name.to_owned()))
    })
}

/// The text of a `starter.patch`. Both crates name their package
/// `…-exercise`: see [`package_names`].
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

impl Starter {
    /// Reads a `starter.patch`.
    ///
    /// # Errors
    /// A line has no meaning; the text names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut files: BTreeMap<String, File> = BTreeMap::new();
        let mut current = String::new();
        let mut lines = text.split_inclusive('\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let bad = || format!("line {}: {}", index + 1, line.trim_end());
            if let Some(rest) = line.strip_prefix("exercise ") {
                let (sum, name) = rest.trim_end().split_once(' ').ok_or_else(bad)?;
                let checksum = u64::from_str_radix(sum, 16).map_err(|_| bad())?;
                if !is_inside(name) {
                    return Err(bad());
                }
                let file = File {
                    checksum,
                    hunks: Vec::new(),
                };
                files.insert(name.to_owned(), file);
            } else if let Some(name) = line.strip_prefix("+++ exercise/") {
                name.trim_end().clone_into(&mut current);
            } else if let Some(ranges) = line.strip_prefix("@@ -") {
                let file = files.get_mut(&current).ok_or_else(bad)?;
                let (old, new) = ranges
                    .split_once(" +")
                    .and_then(|(old, rest)| Some((old, rest.split_once(" @@")?.0)))
                    .ok_or_else(bad)?;
                let (first, old_lines) = range(old).ok_or_else(bad)?;
                let (_, new_lines) = range(new).ok_or_else(bad)?;
                let mut hunk = Hunk {
                    // An empty range names the line before it, another its first.
                    start: first - usize::from(old_lines > 0 && first > 0),
                    old: Vec::new(),
                    new: Vec::new(),
                };
                while hunk.old.len() < old_lines || hunk.new.len() < new_lines {
                    let (_, line) = lines.next().ok_or_else(bad)?;
                    let mut rest = line.get(1..).ok_or_else(bad)?;
                    if lines.peek().is_some_and(|(_, next)| next.starts_with('\\')) {
                        rest = rest.trim_end_matches('\n');
                        lines.next();
                    }
                    if !line.starts_with('+') {
                        hunk.old.push(rest.to_owned());
                    }
                    if !line.starts_with('-') {
                        hunk.new.push(rest.to_owned());
                    }
                }
                file.hunks.push(hunk);
            } else if !(files.is_empty()
                || line.trim().is_empty()
                || line.starts_with("--- solution/"))
            {
                return Err(bad());
            }
        }
        if files.is_empty() {
            return Err("it names no file".into());
        }
        Ok(Self { files })
    }

    /// The exercise's files, relative to its folder.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The exercise's files as they were published, made of the solution's,
    /// which name their package `…-exercise` already.
    ///
    /// # Errors
    /// The solution is not the one that the patch was made for: the names of
    /// the files that come out wrong.
    pub fn apply(&self, solution: &Files) -> Result<Files, Vec<String>> {
        let mut made = Files::new();
        let mut wrong = Vec::new();
        for (name, file) in &self.files {
            let old = solution.get(name).map_or("", String::as_str);
            match file.apply(old) {
                Some(text) if checksum(&text) == file.checksum => {
                    made.insert(name.clone(), text);
                }
                _ => wrong.push(name.clone()),
            }
        }
        if wrong.is_empty() {
            Ok(made)
        } else {
            Err(wrong)
        }
    }
}

impl File {
    fn apply(&self, old: &str) -> Option<String> {
        let lines: Vec<&str> = old.split_inclusive('\n').collect();
        let mut text = String::new();
        let mut at = 0;
        for hunk in &self.hunks {
            let end = hunk.start + hunk.old.len();
            if hunk.start < at || lines.get(hunk.start..end)? != hunk.old.as_slice() {
                return None;
            }
            text.extend(lines[at..hunk.start].iter().copied());
            text.extend(hunk.new.iter().map(String::as_str));
            at = end;
        }
        text.extend(lines[at..].iter().copied());
        Some(text)
    }
}

/// `12,3` or `12`: first line and number of lines.
fn range(text: &str) -> Option<(usize, usize)> {
    let (first, count) = text.split_once(',').unwrap_or((text, "1"));
    Some((first.parse().ok()?, count.parse().ok()?))
}

/// Whether a path stays below the folder that it is joined to.
fn is_inside(name: &str) -> bool {
    name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\\')
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
            ("a.rs\n", "../a.rs\n", "line 4: exercise"),
            ("a.rs\n", "/a.rs\n", "line 4: exercise"),
            ("\nexercise ", "\nexercise x", "line 4: exercise"),
            ("+++ exercise/a", "+++ exercise/b", "line 8: @@"),
            ("@@ -1", "@@ -x", "line 8: @@"),
            ("@@ -1", "@@ 1", "line 8: @@"),
            ("+a\n", "", "line 8: @@"),
        ] {
            let text = good.replacen(from, to, 1);
            let failure = Starter::parse(&text).unwrap_err();
            assert!(failure.starts_with(reason), "{failure}\n{text}");
        }
        assert!(Starter::parse("").is_err());
    }

    #[test]
    fn the_solution_names_the_packages() {
        let manifest = "[package]\nname = \"step05-solution\"\n[lib]\nname = \"step05\"\n";
        let names = ("step05-exercise".to_owned(), "step05-solution".to_owned());
        assert_eq!(package_names(manifest), Some(names));
        assert_eq!(package_names("name = \"step05\"\n"), None);
    }
}
