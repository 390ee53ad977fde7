//! The pages of a step: sections of its chapter and of its hints.
//!
//! A heading counts up to the third level and outside of fenced code.

use crate::{Reread, task_number};

/// A heading and the text below it, up to the next heading.
#[derive(Debug, PartialEq, Eq)]
pub struct Section<'a> {
    pub level: usize,
    pub heading: &'a str,
    /// Of the heading, from 1.
    pub line: usize,
    pub text: &'a str,
}

pub fn sections(page: &str) -> Vec<Section<'_>> {
    let mut found: Vec<Section> = Vec::new();
    let (mut at, mut begin, mut fenced) = (0, 0, false);
    for (index, line) in page.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && (1..=3).contains(&level) && title.starts_with(' ') {
            begin = end;
            found.push(Section {
                level,
                heading: title.trim(),
                line: index + 1,
                text: "",
            });
        } else if let Some(section) = found.last_mut() {
            section.text = &page[begin..end];
        }
        at = end;
    }
    found
}

/// What the head of a step's chapter says. A part that is missing stays empty,
/// so that a half-written chapter never stops a learner.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chapter {
    pub title: Option<String>,
    pub goal: Option<String>,
    /// As written: "about 30".
    pub minutes: Option<String>,
    /// What can be done with the service once the step is solved.
    pub now_works: Option<String>,
    /// What to try by hand then: command lines in backquotes, joined with words.
    pub try_by_hand: Option<String>,
}

impl Chapter {
    /// Reads `# 05 · The engine`, below it `Goal: …` and `Minutes: about 30 (an
    /// estimate) · Files: …`, and in the section `## Done when` the lines
    /// `Now works: …` and `Try by hand: …`.
    pub fn parse(text: &str) -> Self {
        let sections = sections(text);
        let line = |section: Option<&Section>, start: &str| {
            let mut lines = section?.text.lines();
            let rest = lines.find_map(|line| line.strip_prefix(start))?;
            Some(rest.trim().to_owned())
        };
        let head = sections.first().filter(|section| section.level == 1);
        let done = sections
            .iter()
            .find(|section| section.level == 2 && section.heading == "Done when");
        let minutes = line(head, "Minutes:");
        Self {
            title: head.map(|head| {
                let title = head.heading.split_once('·').map(|(_, title)| title.trim());
                title.unwrap_or(head.heading).to_owned()
            }),
            goal: line(head, "Goal:"),
            minutes: minutes.and_then(|it| Some(it.split(['·', '(']).next()?.trim().to_owned())),
            now_works: line(done, "Now works:"),
            try_by_hand: line(done, "Try by hand:"),
        }
    }
}

/// The sections that explain what a task needs: those that the line `Read first:
/// [heading](#…)` of the task's own section links to. Without such a line it is
/// the task's section: the first below `## Tasks` that names `TODO(id)`. `None`
/// where none does. `file` is the chapter, as one types it.
pub fn reread(chapter: &str, file: &str, id: &str) -> Option<Reread> {
    let mark = format!("TODO({id})");
    let plain = |text: &str| text.replace('`', "");
    let sections = sections(chapter);
    let mut below = false;
    let own = sections.iter().find(|section| {
        if section.level == 2 {
            below = section.heading == "Tasks";
        }
        below && (section.heading.contains(&mark) || section.text.contains(&mark))
    })?;
    let text = own.text.lines();
    let links = text
        .filter_map(|it| it.strip_prefix("Read first: "))
        .flat_map(|line| line.split('[').skip(1))
        .filter_map(|rest| Some(plain(rest.split_once("](")?.0)));
    let mut wanted: Vec<&Section> = links
        .filter_map(|link| sections.iter().find(|it| plain(it.heading) == link))
        .collect();
    if wanted.is_empty() {
        wanted.push(own);
    }
    let mut wanted = wanted.into_iter().map(|it| (plain(it.heading), it.line));
    let (section, line) = wanted.next()?;
    Some(Reread {
        section,
        file: file.to_owned(),
        line,
        more: wanted.collect(),
    })
}

/// What the three levels of hints are called, the gentlest first.
pub const LEVELS: [&str; 3] = ["Nudge", "Pointer", "Near-answer"];

/// The words in quotes of a heading `If "…" fails` in a step's hints.
pub fn condition(heading: &str) -> Option<&str> {
    let words = heading.strip_prefix("If \"")?.strip_suffix("\" fails")?;
    (!words.is_empty()).then_some(words)
}

/// The parts of the hints for each task: `## 05.1`, and in it a `### Nudge` and
/// so on. Only the task's number counts, so that a renumbered step keeps its
/// hints.
pub fn hints(page: &str) -> Vec<(u32, Vec<Section<'_>>)> {
    let mut found: Vec<(u32, Vec<Section>)> = Vec::new();
    let mut of_a_task = false;
    for section in sections(page) {
        if section.level < 3 {
            let number = task_number(section.heading).filter(|_| section.level == 2);
            of_a_task = number.is_some();
            found.extend(number.map(|number| (number, Vec::new())));
        } else if of_a_task && let Some((_, parts)) = found.last_mut() {
            parts.push(section);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_says_what_it_is_and_what_works_at_its_end() {
        let text = "# 05 · The engine\nNow works: not this.\n\nGoal: share connections.\n\
            Minutes: about 30 (an estimate) · Files: `a.rs`\n\n## Start\nGoal: not this.\n\
            ## Done when\n```console\n$ x\n```\n\n\
            Now works: queries share connections.\n\nTry by hand: `a`, then `b`\n\n\
            ## Test\nNow works: nor this.\n";
        let some = |text: &str| Some(text.to_owned());
        let chapter = Chapter {
            title: some("The engine"),
            goal: some("share connections."),
            minutes: some("about 30"),
            now_works: some("queries share connections."),
            try_by_hand: some("`a`, then `b`"),
        };
        assert_eq!(Chapter::parse(text), chapter);
        assert_eq!(Chapter::parse("notes\n## Start\n"), Chapter::default());
        assert_eq!(Chapter::parse("# The engine").title, some("The engine"));
    }

    #[test]
    fn a_task_is_found_in_its_section() {
        let chapter = "# 05 · Engine\n\nTODO(05.1) is not here\n\n## Tasks\n\n### 1 · One\n\n\
             ```text\n## Why\n```\n`TODO(05.1)` in `a.rs`.\n\n### 2. `TODO(05.2)`: two\n\ntext\n\n\
             ## Done when\n\n### 3\n\nTODO(05.3)\n";
        let section = |id| reread(chapter, "x", id).map(|it| (it.section, it.line));
        assert_eq!(section("05.1"), Some(("1 · One".into(), 7)));
        assert_eq!(section("05.2"), Some(("2. TODO(05.2): two".into(), 14)));
        assert_eq!(section("05.3"), None);
        assert_eq!(section("05.9"), None);
        assert_eq!(
            reread("## Tasks\nTODO(05.1)\n", "x", "05.1").unwrap().line,
            1
        );
    }

    #[test]
    fn all_sections_to_read_first_are_named() {
        let read = |line: &str| {
            let chapter = format!(
                "## Concepts\n\n### A `pool`\n\n### A lock\n\n## Tasks\n\n### 1 · One\n\nTODO(05.1)\n\n{line}\n\n\
                 ### 2 · Two\n\nTODO(05.2)\n"
            );
            assert_eq!(reread(&chapter, "x", "05.2").unwrap().section, "2 · Two");
            reread(&chapter, "x", "05.1").unwrap().to_string()
        };
        let pool = "\"A pool\" in x:3";
        assert_eq!(read("Read first: [A `pool`](#a-pool)"), pool);
        assert_eq!(
            read("Read first: [A `pool`](#a-pool), [A lock](#a-lock)"),
            format!("{pool}\n\"A lock\" in x:5")
        );
        for line in ["", "Read first: nothing", "Read first: [A queue](#a-queue)"] {
            assert_eq!(read(line), "\"1 · One\" in x:9", "{line}");
        }
    }

    #[test]
    fn hints_belong_to_the_task_above_them() {
        let page = "# Hints\n\n## 05.1\n\n### Nudge\n\na\n```\n## b\n```\n## notes\n### Nudge\n\n## 05.2\n";
        let found = hints(page);
        let parts: Vec<_> = found
            .iter()
            .map(|(task, parts)| (*task, parts.len()))
            .collect();
        assert_eq!(parts, [(1, 1), (2, 0)]);
        assert_eq!(found[0].1[0].text, "\na\n```\n## b\n```\n");
        assert_eq!(condition("If \"a b\" fails"), Some("a b"));
        assert_eq!(condition("If \"\" fails"), None);
    }
}
