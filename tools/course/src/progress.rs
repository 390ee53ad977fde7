//! Where the learner is: the file `.progress` in the project's folder.
//!
//! ```text
//! # comments and lines that we do not know stay as they are
//! raw-queries done hints=2:1,3:2
//! engine current failed=2
//! ```
//!
//! A line is a step's id, which stays when steps are renumbered, and words: `failed=2`
//! says that task 2 failed first at the last check, `hints=2:1` that the first hint of
//! task 2 has been shown. Several lines of a step are read as one, and of several values
//! the last counts. Nothing about this file is an error: if it cannot be read or written,
//! stderr says so once, and the verb goes on without it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Once;

use crate::Step;

const NAME: &str = ".progress";

const HEADER: &str = "\
# Where you are. Written by ./run.sh check, checkout and hint; yours to edit.
# A step's name, then `done`, `current`, `failed=TASK`, `hints=TASK:LEVEL,…`.
";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    lines: Vec<String>,
}

impl Progress {
    /// Reads the file of the project in this folder. A file that is missing says
    /// nothing, and so does one that cannot be read, after a warning.
    pub fn load(root: &Path) -> Self {
        read(root).unwrap_or_else(|error| {
            warn(root, &error);
            Self::default()
        })
    }

    /// Reads the file, lets `change` change it, and writes it if that changed
    /// anything. A file that cannot be read is left alone.
    pub fn update(root: &Path, change: impl FnOnce(&mut Self)) {
        // `watch` and a second terminal may write at once. Where folders cannot
        // be locked they go on without: the loss is a word.
        let folder = File::open(root);
        let _held = folder.as_ref().ok().and_then(|folder| folder.lock().ok());
        let result = read(root).and_then(|old| {
            let mut new = old.clone();
            change(&mut new);
            if new == old { Ok(()) } else { new.write(root) }
        });
        if let Err(error) = result {
            warn(root, &error);
        }
    }

    fn parse(text: &str) -> Self {
        // Some editors put a byte order mark before the first line.
        let lines = text.trim_start_matches('\u{feff}').lines();
        Self {
            lines: lines.map(str::to_owned).collect(),
        }
    }

    fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// A reader meanwhile, or after a crash, finds the old text or the new one.
    fn write(&self, root: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            // Ignored by git, should we be killed before the rename.
            .prefix(".progress-")
            .tempfile_in(root)?;
        file.write_all(self.text().as_bytes())?;
        file.persist(root.join(NAME))?;
        Ok(())
    }

    pub fn is_done(&self, step: &Step) -> bool {
        self.word(step, "done").is_some()
    }

    pub fn set_done(&mut self, step: &Step, done: bool) {
        self.set(step, "done", done.then(|| "done".to_owned()));
    }

    /// The step that is worked on, if one of these is: of several, the one that
    /// is named last.
    pub fn current<'a>(&self, steps: &'a [Step]) -> Option<&'a Step> {
        self.lines.iter().rev().find_map(|line| {
            let current = words(line).skip(1).any(|word| word == "current");
            steps.iter().find(|step| current && is_about(line, step))
        })
    }

    pub fn set_current(&mut self, step: &Step) {
        for line in &mut self.lines {
            remove(line, "current");
        }
        self.set(step, "current", Some("current".to_owned()));
    }

    pub fn failed(&self, step: &Step) -> Option<u32> {
        self.value(step, "failed")?.parse().ok()
    }

    pub fn set_failed(&mut self, step: &Step, task: Option<u32>) {
        self.set(step, "failed", task.map(|task| format!("failed={task}")));
    }

    /// The highest level of hint that was shown for this task of the step; 0 if
    /// none was.
    pub fn hint_level(&self, step: &Step, task: u32) -> u32 {
        let levels = self.hint_levels(step);
        levels.get(&task).copied().unwrap_or(0)
    }

    pub fn set_hint_level(&mut self, step: &Step, task: u32, level: u32) {
        let mut levels = self.hint_levels(step);
        levels.insert(task, level);
        let levels = levels.iter().map(|(task, level)| format!("{task}:{level}"));
        let text = levels.collect::<Vec<_>>().join(",");
        self.set(step, "hints", Some(format!("hints={text}")));
    }

    fn hint_levels(&self, step: &Step) -> BTreeMap<u32, u32> {
        let pairs = self.value(step, "hints").unwrap_or_default().split(',');
        let pairs = pairs.filter_map(|pair| {
            let (task, level) = pair.split_once(':')?;
            Some((task.parse().ok()?, level.parse().ok()?))
        });
        pairs.collect()
    }

    fn word(&self, step: &Step, key: &str) -> Option<&str> {
        let lines = self.lines.iter().filter(|line| is_about(line, step));
        let words = lines.flat_map(|line| words(line).skip(1));
        words.filter(|word| is(word, key)).last()
    }

    fn value(&self, step: &Step, key: &str) -> Option<&str> {
        Some(self.word(step, key)?.split_once('=')?.1)
    }

    /// Makes this word the step's only one of its kind, in the step's last line,
    /// or in a line of its own.
    fn set(&mut self, step: &Step, key: &str, word: Option<String>) {
        if self.word(step, key) == word.as_deref() {
            return;
        }
        for line in self.lines.iter_mut().filter(|line| is_about(line, step)) {
            remove(line, key);
        }
        let Some(word) = word else { return };
        let mut own = self.lines.iter_mut().rev();
        if let Some(line) = own.find(|line| is_about(line, step)) {
            line.insert_str(before_comment(line).len(), &format!(" {word}"));
            return;
        }
        if self.lines.is_empty() {
            *self = Self::parse(HEADER);
        }
        self.lines.push(format!("{} {word}", step.id()));
    }
}

/// A line without its comment and the blanks at its end.
fn before_comment(line: &str) -> &str {
    let words = line.split_inclusive(char::is_whitespace);
    let state = words.take_while(|word| !word.starts_with('#'));
    line[..state.map(str::len).sum()].trim_end()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    before_comment(line).split_whitespace()
}

fn remove(line: &mut String, key: &str) {
    let is_kept = |word: &&str| !is(word, key);
    if !words(line).skip(1).all(|word| is_kept(&word)) {
        let name = words(line).take(1);
        let kept = name.chain(words(line).skip(1).filter(is_kept));
        let kept = kept.collect::<Vec<_>>().join(" ");
        *line = kept + &line[before_comment(line).len()..];
    }
}

/// Whether a word is of this kind: `done`, or `failed=2` for `failed`.
fn is(word: &str, key: &str) -> bool {
    let rest = word.strip_prefix(key);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// Whether a line begins with the step's id, or with a folder's name as a
/// learner may write it by hand.
fn is_about(line: &str, step: &Step) -> bool {
    words(line).next().is_some_and(|name| {
        let bare = name.trim_start_matches(|letter: char| letter.is_ascii_digit());
        name == step.id() || bare.strip_prefix('-') == Some(step.id())
    })
}

fn read(root: &Path) -> io::Result<Progress> {
    match fs::read_to_string(root.join(NAME)) {
        Ok(text) => Ok(Progress::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
        Err(error) => Err(error),
    }
}

fn warn(root: &Path, error: &io::Error) {
    static SAID: Once = Once::new();
    let file = root.join(NAME);
    SAID.call_once(|| {
        eprintln!(
            "warning: your progress is not kept: {}: {error}",
            file.display()
        );
    });
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn step(slug: &str) -> Step {
        Step::at(Path::new(slug)).unwrap()
    }

    fn steps() -> Vec<Step> {
        ["02-raw-queries", "05-engine", "06-transactions"]
            .map(step)
            .to_vec()
    }

    fn changed(text: &str, change: impl FnOnce(&mut Progress)) -> String {
        let mut progress = Progress::parse(text);
        change(&mut progress);
        progress.text()
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
            let progress = Progress::parse(text);
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
    fn a_change_leaves_all_other_words() {
        let engine = step("05-engine");
        let done = |text| changed(text, |progress| progress.set_done(&engine, true));
        assert_eq!(done(""), format!("{HEADER}engine done\n"));
        assert_eq!(done("# mine"), "# mine\nengine done\n");
        assert_eq!(done("a  b\r\nc"), "a  b\nc\nengine done\n");
        assert_eq!(
            done("engine  current\t# why  so\r\nx\r\n"),
            "engine  current done\t# why  so\nx\n"
        );
        assert_eq!(done("\u{feff}engine"), "engine done\n");
        assert_eq!(
            changed(
                "x\nengine a done  b done # c\n05-engine done\n",
                |progress| {
                    progress.set_done(&engine, false);
                }
            ),
            "x\nengine a b # c\n05-engine\n"
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
    }

    /// Any file, any changes: what was set is read back, after a trip through
    /// bytes, and every word that is not ours is still there, in order.
    #[test]
    fn whatever_the_file_holds_what_is_set_is_read_back() {
        let pieces: [&str; 20] = [
            "engine",
            "05-engine",
            "raw-queries",
            "gone",
            "done",
            "current",
            "failed=1",
            "failed=",
            "hints=1:1",
            "hints=2:9,x",
            "note=a",
            "#",
            "# engine done",
            " ",
            "\t",
            " ",
            "\n",
            "\n",
            "\r\n",
            "ä",
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
            let mut text = String::new();
            for _ in 0..random(20) {
                text += pieces[random(pieces.len())];
                if random(2) == 0 {
                    text.push(' ');
                }
            }
            let mut progress = Progress::parse(&text);
            let foreign = strangers(&text);
            let step = &steps[random(steps.len())];
            let other = &steps[random(steps.len())];
            let (task, level) = (u32::try_from(random(4)).unwrap(), 2);
            progress.set_done(step, true);
            progress.set_current(other);
            progress.set_failed(step, Some(task));
            progress.set_hint_level(step, task, level);
            let again = Progress::parse(&progress.text());
            assert!(again.is_done(step), "{text:?}");
            assert_eq!(again.current(&steps), Some(other), "{text:?}");
            assert_eq!(again.failed(step), Some(task), "{text:?}");
            assert_eq!(again.hint_level(step, task), level, "{text:?}");
            let kept = strangers(&again.text());
            let mut rest = kept.iter();
            for word in &foreign {
                assert!(rest.any(|kept| kept == word), "{text:?} has lost {word:?}");
            }
        }
    }

    /// All words, comments included, but for those that we write ourselves.
    fn strangers(text: &str) -> Vec<String> {
        let ours = [
            "done",
            "current",
            "failed",
            "hints",
            "engine",
            "raw-queries",
        ];
        text.split_whitespace()
            .filter(|word| !ours.iter().any(|start| word.starts_with(start)))
            .map(str::to_owned)
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
}
