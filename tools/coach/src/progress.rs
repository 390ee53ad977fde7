//! Where the learner is: the file `.progress` in the project's folder.
//!
//! ```text
//! # comments and lines that we do not know stay as they are
//! raw-queries done hints=2:1,3:2
//! engine current failed=2
//! ```
//!
//! A line is a step's id, its folder's name without the number, so that a step
//! keeps its state when steps are renumbered; then words. `done` and `current`
//! are words, `failed=2` says that task 2 failed first at the last check, and
//! `hints=2:1` that the first hint of task 2 has been shown.
//!
//! The file is the learner's as much as ours. Only the words that change are
//! touched; all other bytes stay. Where a step has several lines, they are read
//! as one, and of several values the last counts. Nothing about this file is an
//! error: if it cannot be read or written, stderr says so once, and the verb
//! goes on without it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::project::Step;

const NAME: &str = ".progress";

const HEADER: &str = "\
# Where you are. Written by ./run.sh check, checkout and hint; yours to edit.
# A step's name, then `done`, `current`, `failed=TASK`, `hints=TASK:LEVEL,…`.
";

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What the file holds, with the bytes that it was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Each with its line ending.
    lines: Vec<Vec<u8>>,
}

impl Progress {
    /// Reads the file of the project in this folder. No file is no progress,
    /// and so is one that cannot be read, after a warning.
    pub fn load(root: &Path) -> Self {
        match read(root) {
            Ok(progress) => progress,
            Err(error) => {
                warn(root, &error);
                Self::default()
            }
        }
    }

    /// Reads the file, lets `change` change it, and writes it if that changed
    /// anything. What cannot be read is left alone.
    pub fn update(root: &Path, change: impl FnOnce(&mut Self)) {
        // Two verbs at once (`watch` and a second terminal) take turns. Where
        // folders cannot be locked they go on without: the loss is a word.
        let folder = File::open(root);
        let _held = folder.as_ref().ok().and_then(|folder| folder.lock().ok());
        let result = read(root).and_then(|old| {
            let mut new = old.clone();
            change(&mut new);
            if new == old {
                Ok(())
            } else {
                write(root, &new.bytes())
            }
        });
        if let Err(error) = result {
            warn(root, &error);
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            lines: bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    pub fn is_done(&self, step: &Step) -> bool {
        self.has(id(step), "done")
    }

    /// Marks the step as done, or no longer.
    pub fn set_done(&mut self, step: &Step, done: bool) {
        self.remove(id(step), |word| word == b"done");
        if done {
            self.add(id(step), "done");
        }
    }

    /// The step that is worked on, if one of these is: of several, the one that
    /// is named last.
    pub fn current<'a>(&self, steps: &'a [Step]) -> Option<&'a Step> {
        self.lines.iter().rev().find_map(|line| {
            let words = words(line);
            let (name, states) = words.split_first()?;
            let current = states.iter().any(|word| line[word.clone()] == *b"current");
            steps
                .iter()
                .find(|step| current && names(&line[name.clone()], id(step)))
        })
    }

    /// Makes this step the one that is worked on.
    pub fn set_current(&mut self, step: &Step) {
        for line in &mut self.lines {
            remove_words(line, |word| word == b"current");
        }
        self.add(id(step), "current");
    }

    /// The number of the task that failed first at the step's last check.
    pub fn failed(&self, step: &Step) -> Option<u32> {
        self.value(id(step), "failed")?.parse().ok()
    }

    pub fn set_failed(&mut self, step: &Step, task: Option<u32>) {
        self.set_value(id(step), "failed", task.map(|task| task.to_string()));
    }

    /// The highest level of hint that was shown for this task of the step; 0 if
    /// none was.
    pub fn hint_level(&self, step: &Step, task: u32) -> u32 {
        let levels = self.hint_levels(step);
        let found = levels.iter().rev().find(|(number, _)| *number == task);
        found.map_or(0, |(_, level)| *level)
    }

    pub fn set_hint_level(&mut self, step: &Step, task: u32, level: u32) {
        let mut levels = self.hint_levels(step);
        levels.retain(|(number, _)| *number != task);
        levels.push((task, level));
        levels.sort_unstable();
        let text: Vec<String> = levels
            .iter()
            .map(|(task, level)| format!("{task}:{level}"))
            .collect();
        self.set_value(id(step), "hints", Some(text.join(",")));
    }

    fn hint_levels(&self, step: &Step) -> Vec<(u32, u32)> {
        let text = self.value(id(step), "hints").unwrap_or_default();
        text.split(',')
            .filter_map(|pair| {
                let (task, level) = pair.split_once(':')?;
                Some((task.parse().ok()?, level.parse().ok()?))
            })
            .collect()
    }

    // ---- words

    fn has(&self, id: &str, wanted: &str) -> bool {
        self.lines.iter().any(|line| {
            let words = words(line);
            is_about(line, id)
                && words[1..]
                    .iter()
                    .any(|word| line[word.clone()] == *wanted.as_bytes())
        })
    }

    fn value(&self, id: &str, key: &str) -> Option<String> {
        let start = format!("{key}=");
        let lines = self.lines.iter().rev().filter(|line| is_about(line, id));
        lines
            .flat_map(|line| words(line).into_iter().rev().map(|word| &line[word]))
            .find_map(|word| {
                let value = word.strip_prefix(start.as_bytes())?;
                Some(String::from_utf8_lossy(value).into_owned())
            })
    }

    fn set_value(&mut self, id: &str, key: &str, value: Option<String>) {
        if self.value(id, key) == value {
            return;
        }
        let start = format!("{key}=");
        self.remove(id, |word| word.starts_with(start.as_bytes()));
        if let Some(value) = value {
            self.add(id, &format!("{start}{value}"));
        }
    }

    fn remove(&mut self, id: &str, unwanted: impl Fn(&[u8]) -> bool) {
        for line in self.lines.iter_mut().filter(|line| is_about(line, id)) {
            remove_words(line, &unwanted);
        }
    }

    /// Adds a word to the step's last line, or a line with it.
    fn add(&mut self, id: &str, word: &str) {
        if let Some(line) = self.lines.iter_mut().rev().find(|line| is_about(line, id)) {
            let end = words(line).last().map_or(line.len(), |word| word.end);
            line.splice(end..end, format!(" {word}").into_bytes());
            return;
        }
        let blank = self.lines.iter().all(|line| line.trim_ascii().is_empty());
        if blank {
            self.lines = Self::parse(HEADER.as_bytes()).lines;
        }
        let ending = match self.lines.first() {
            Some(line) if line.ends_with(b"\r\n") => "\r\n",
            _ => "\n",
        };
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with(b"\n")
        {
            last.extend_from_slice(ending.as_bytes());
        }
        self.lines.push(format!("{id} {word}{ending}").into_bytes());
    }
}

/// The words of a line, up to a comment.
fn words(line: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = if line.starts_with(BOM) { BOM.len() } else { 0 };
    while at < line.len() {
        if line[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if line[at] == b'#' {
            break;
        }
        let rest = &line[at..];
        let length = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        found.push(at..at + length);
        at += length;
    }
    found
}

fn is_about(line: &[u8], id: &str) -> bool {
    words(line)
        .first()
        .is_some_and(|word| names(&line[word.clone()], id))
}

/// Whether a line's first word means this step: its id, or the folder's name
/// as a learner may write it by hand.
fn names(word: &[u8], id: &str) -> bool {
    let Ok(word) = str::from_utf8(word) else {
        return false;
    };
    word == id || without_number(word) == id
}

/// Removes words behind the first, each with the blanks before it.
fn remove_words(line: &mut Vec<u8>, unwanted: impl Fn(&[u8]) -> bool) {
    let words = words(line);
    for pair in words.windows(2).rev() {
        if unwanted(&line[pair[1].clone()]) {
            line.drain(pair[0].end..pair[1].end);
        }
    }
}

/// What a step is called here: `engine` for `05-engine`.
fn id(step: &Step) -> &str {
    without_number(&step.slug)
}

fn without_number(slug: &str) -> &str {
    match slug.split_once('-') {
        Some((number, id)) if number.bytes().all(|byte| byte.is_ascii_digit()) => id,
        _ => slug,
    }
}

// ---- the file

fn read(root: &Path) -> io::Result<Progress> {
    match fs::read(root.join(NAME)) {
        Ok(bytes) => Ok(Progress::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
        Err(error) => Err(error),
    }
}

/// Whoever reads meanwhile, or after a crash, finds the old text or the new one.
fn write(root: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link is followed, so that it stays one.
    let path: PathBuf = match root.join(NAME).canonicalize() {
        Ok(path) => path,
        Err(_) => root.join(NAME),
    };
    let permissions = fs::metadata(&path).ok().map(|it| it.permissions());
    if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
        // A rename would get past it, and past what the learner wanted.
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the file is read-only",
        ));
    }
    let mut file = tempfile::Builder::new()
        // Ignored by git, should we be killed before the rename.
        .prefix(".progress-")
        .tempfile_in(path.parent().unwrap_or(root))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// Says it once, however often it happens.
fn warn(root: &Path, error: &io::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        eprintln!(
            "warning: your progress is not kept: {}: {error}",
            root.join(NAME).display()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn step(slug: &str) -> Step {
        Step {
            number: slug[..2].parse().unwrap(),
            slug: slug.to_owned(),
            folder: PathBuf::new(),
        }
    }

    fn steps() -> Vec<Step> {
        ["02-raw-queries", "05-engine", "06-transactions"]
            .map(step)
            .to_vec()
    }

    fn changed(text: &str, change: impl FnOnce(&mut Progress)) -> String {
        let mut progress = Progress::parse(text.as_bytes());
        change(&mut progress);
        String::from_utf8(progress.bytes()).unwrap()
    }

    #[test]
    fn states_are_read_however_the_file_was_edited() {
        let engine = step("05-engine");
        let cases = [
            // text, done, current, failed, level of task 2
            ("", false, false, None, 0),
            ("engine", false, false, None, 0),
            ("engine done", true, false, None, 0),
            ("\t engine\t done current \r\n", true, true, None, 0),
            ("\u{feff}engine current", false, true, None, 0),
            ("05-engine done\n", true, false, None, 0),
            ("07-engine done hints=2:3\n", true, false, None, 3),
            ("engine # done\n# engine done\n", false, false, None, 0),
            (
                "engine done\nengine current failed=4\n",
                true,
                true,
                Some(4),
                0,
            ),
            ("engine failed=1 failed=2\n", false, false, Some(2), 0),
            ("engine failed=1\nengine failed=x\n", false, false, None, 0),
            ("engine hints=1:1,2:2,x,3:,:1,2", false, false, None, 2),
            ("engine hints=2:1,2:3\n", false, false, None, 3),
            ("engine DONE doner =done\n", false, false, None, 0),
            ("done\ncurrent\nengines done\n", false, false, None, 0),
            (
                "engine current\nraw-queries current\n",
                false,
                false,
                None,
                0,
            ),
            ("engine current\ngone current\n", false, true, None, 0),
        ];
        for (text, done, current, failed, level) in cases {
            let progress = Progress::parse(text.as_bytes());
            let steps = steps();
            let found = (
                progress.is_done(&engine),
                progress.current(&steps) == Some(&engine),
                progress.failed(&engine),
                progress.hint_level(&engine, 2),
            );
            assert_eq!(found, (done, current, failed, level), "{text:?}");
        }
    }

    #[test]
    fn a_change_leaves_all_other_bytes() {
        let engine = step("05-engine");
        let done = |text| changed(text, |progress| progress.set_done(&engine, true));
        assert_eq!(done(""), format!("{HEADER}engine done\n"));
        assert_eq!(done("\n"), format!("{HEADER}engine done\n"));
        assert_eq!(done("# mine"), "# mine\nengine done\n");
        assert_eq!(done("a b\r\nc"), "a b\r\nc\r\nengine done\r\n");
        assert_eq!(
            done("engine  current\t# why\r\nx\r\n"),
            "engine  current done\t# why\r\nx\r\n"
        );
        assert_eq!(done("\u{feff}engine"), "\u{feff}engine done");
        assert_eq!(
            changed(
                "x\nengine a done  b done # c\n05-engine done\n",
                |progress| {
                    progress.set_done(&engine, false);
                }
            ),
            "x\nengine a  b # c\n05-engine\n"
        );
        // Only one step is current.
        assert_eq!(
            changed(
                "engine done current\ngone current\nraw-queries\n",
                |progress| {
                    progress.set_current(&step("02-raw-queries"));
                }
            ),
            "engine done\ngone\nraw-queries current\n"
        );
        assert_eq!(
            changed("engine hints=1:2 failed=1 done\n", |progress| {
                progress.set_hint_level(&engine, 3, 1);
                progress.set_failed(&engine, None);
            }),
            "engine done hints=1:2,3:1\n"
        );
        // What is there already is not written again.
        let same = "engine hints=1:2  failed=1 done\n";
        assert_eq!(
            changed(same, |progress| {
                progress.set_hint_level(&engine, 1, 2);
                progress.set_failed(&engine, Some(1));
            }),
            same
        );
        // Bytes that are no text.
        let mut odd = Progress::parse(b"\xff\xfe\nengine \xff\nengine");
        odd.set_done(&engine, true);
        assert_eq!(odd.bytes(), b"\xff\xfe\nengine \xff\nengine done");
    }

    /// Any file, any changes: what was set is read back, after a trip through
    /// bytes, and every word that is not ours is still there, in order.
    #[test]
    fn whatever_the_file_holds_what_is_set_is_read_back() {
        let pieces: [&[u8]; 22] = [
            b"engine",
            b"05-engine",
            b"raw-queries",
            b"gone",
            b"done",
            b"current",
            b"failed=1",
            b"failed=",
            b"hints=1:1",
            b"hints=2:9,x",
            b"note=a",
            b"#",
            b"# engine done",
            b" ",
            b"\t",
            b" ",
            b"\n",
            b"\n",
            b"\r\n",
            BOM,
            b"\xff",
            "ä".as_bytes(),
        ];
        let steps = steps();
        // A fixed seed: the same 3,000 files each time.
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for _ in 0..3000 {
            let mut bytes = Vec::new();
            for _ in 0..random(20) {
                bytes.extend_from_slice(pieces[random(pieces.len())]);
                if random(2) == 0 {
                    bytes.push(b' ');
                }
            }
            let mut progress = Progress::parse(&bytes);
            assert_eq!(progress.bytes(), bytes);
            let foreign = strangers(&bytes);
            let step = &steps[random(steps.len())];
            let other = &steps[random(steps.len())];
            let (task, level) = (u32::try_from(random(4)).unwrap(), 2);
            progress.set_done(step, true);
            progress.set_current(other);
            progress.set_failed(step, Some(task));
            progress.set_hint_level(step, task, level);
            let again = Progress::parse(&progress.bytes());
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert!(again.is_done(step), "{shown:?}");
            assert_eq!(again.current(&steps), Some(other), "{shown:?}");
            assert_eq!(again.failed(step), Some(task), "{shown:?}");
            assert_eq!(again.hint_level(step, task), level, "{shown:?}");
            let kept = strangers(&again.bytes());
            let mut rest = kept.iter();
            for word in &foreign {
                assert!(
                    rest.any(|kept| kept == word),
                    "{shown:?} has lost {:?}",
                    String::from_utf8_lossy(word)
                );
            }
        }
    }

    /// All words, comments included, but for those that we write ourselves.
    fn strangers(bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .filter(|word| {
                let ours: [&[u8]; 6] = [
                    b"done",
                    b"current",
                    b"failed",
                    b"hints",
                    b"engine",
                    b"raw-queries",
                ];
                !ours.iter().any(|start| word.starts_with(start))
            })
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn two_that_write_at_once_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let engine = step("05-engine");
        thread::scope(|scope| {
            for task in 0..8 {
                let (root, engine) = (root.path(), &engine);
                scope.spawn(move || {
                    Progress::update(root, |progress| progress.set_hint_level(engine, task, 1));
                });
            }
        });
        let progress = Progress::load(root.path());
        for task in 0..8 {
            assert_eq!(progress.hint_level(&engine, task), 1, "task {task}");
        }
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_must_not_be_written_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(NAME);
        let engine = step("05-engine");
        fs::write(&path, "engine\n").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        Progress::update(root.path(), |progress| progress.set_done(&engine, true));
        assert_eq!(fs::read_to_string(&path).unwrap(), "engine\n");
        assert!(!Progress::load(root.path()).is_done(&engine));
    }
}
