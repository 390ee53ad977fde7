//! The exercise equals its solution outside the TODO regions, and continues
//! the solution of the step before.

use std::collections::BTreeSet;

use course::{Side, Step};

use crate::document::{Document, Item};
use crate::regions::{Kind, Line, Source};
use crate::report::{Outcome, Report, all_of};
use crate::scaffold;
use crate::tree::Tree;

/// The section of a chapter that names what an exercise does not take over
/// from the solution before it.
pub const CHANGED: &str = "What changed in the starter";

/// Proves parity for `steps`.
pub fn prove(tree: &Tree, steps: &[Step], report: &mut Report) {
    let all = tree.steps();
    if scaffold::is_promoted(tree) {
        report.prove("the finished service is the last solution", || {
            scaffold::is_the_last_solution(tree)
        });
    }
    for step in steps {
        let slug = &step.slug;
        let what = format!("{slug} exercise and solution differ in TODO regions only");
        report.prove(&what, || with_solution(tree, step));
        let mut before = all.iter().take_while(|other| *other != step);
        let Some(last) = before.clone().last() else {
            continue;
        };
        let section = changes(tree, step);
        let mut items = section.iter().flat_map(|section| &section.items);
        let directive = items.find_map(|item| match item {
            Item::Directive(it, _) if it == "new start" || it.starts_with("continues: ") => {
                Some(it.as_str())
            }
            _ => None,
        });
        // What the section tells its reader, too.
        let (number, words) = match directive {
            None => (last.label(), String::new()),
            Some("new start") => ("", "starts afresh".to_owned()),
            Some(other) => {
                let number = other.trim_start_matches("continues: ");
                (number, format!("continues step {number}"))
            }
        };
        let what = match number {
            "" => format!("{slug} starts afresh, as its chapter says"),
            number => format!("{slug} exercise continues solution {number}"),
        };
        report.prove(&what, || {
            let section = section.as_ref()?;
            if !number.is_empty() {
                let before = before.find(|it| it.label() == number);
                let before = before.ok_or("there is no such step before it")?;
                continues(tree, before, step, section)?;
            }
            let fault = format!("the section \"{CHANGED}\" does not say \"This step {words}\"");
            section.text.contains(&words).then_some(()).ok_or(fault)
        });
    }
}

/// The section of a chapter that names what has changed. Its directives say that the step
/// does not continue the one before it: `new start`, or `continues: 12`.
fn changes(tree: &Tree, step: &Step) -> Result<Document, String> {
    let chapter = Document::read(tree, &step.readme())?;
    let section = chapter.section(CHANGED);
    let missing = format!("{}: there is no `## {CHANGED}`", chapter.path);
    Ok(Document::parse(&chapter.path, section.ok_or(missing)?))
}

/// The files of one side that take part, relative to it.
fn files<'a>(tree: &'a Tree, step: &Step, side: Side) -> BTreeSet<&'a str> {
    tree.below(&step.crate_dir(side))
        .into_iter()
        .filter(|file| step.is_of_course(file))
        .collect()
}

fn with_solution(tree: &Tree, step: &Step) -> Outcome {
    let exercise = files(tree, step, Side::Exercise);
    let solution = files(tree, step, Side::Solution);
    let mut failures = Vec::new();
    for file in exercise.symmetric_difference(&solution) {
        let side = if exercise.contains(file) {
            Side::Exercise
        } else {
            Side::Solution
        };
        failures.push(format!("{file}: only in the {side}"));
    }
    let both = exercise.intersection(&solution);
    failures.extend(both.filter_map(|file| equal_outside(tree, step, file).err()));
    if exercise.is_empty() || solution.is_empty() {
        failures.push("the step needs an exercise and a solution".into());
    }
    all_of(failures)
}

fn equal_outside(tree: &Tree, step: &Step, file: &str) -> Outcome {
    let [exercise, solution] =
        [Side::Exercise, Side::Solution].map(|side| format!("{}/{file}", step.crate_dir(side)));
    let one = tree.read(&exercise)?;
    let other = step.as_exercise(&tree.read(&solution)?);
    let compared = [Kind::Outside, Kind::Begin];
    let (one, other) = (
        parse(&exercise, &one, step)?,
        parse(&solution, &other, step)?,
    );
    let (one, other) = (one.counted(compared), other.counted(compared));
    let same = prefix(&one, &other);
    if same == one.len() && same == other.len() {
        return Ok(());
    }
    let shown = |path: &str, lines: &[&Line]| match lines.get(same) {
        Some(line) => format!("\n  {path}:{}: {}", line.number, line.text),
        None => format!("\n  {path}: nothing more"),
    };
    let (one, other) = (shown(&exercise, &one), shown(&solution, &other));
    Err(format!(
        "a difference outside the TODO regions:{one}{other}"
    ))
}

fn parse<'a>(path: &str, text: &'a str, step: &Step) -> Result<Source<'a>, String> {
    Source::parse(text, step.label()).map_err(|failure| format!("{path}: {failure}"))
}

/// How many lines of both are equal from the beginning on.
fn prefix<'a, 'b: 'a>(
    one: impl IntoIterator<Item = &'a &'a Line<'b>>,
    other: impl IntoIterator<Item = &'a &'a Line<'b>>,
) -> usize {
    let pairs = one.into_iter().zip(other);
    let equal = |pair: &(&&Line, &&Line)| pair.0.text.trim_end() == pair.1.text.trim_end();
    pairs.take_while(equal).count()
}

/// The section of changes names each file of the exercise that differs from that of the
/// solution before it outside TODO regions, and none that is the same.
fn continues(tree: &Tree, before: &Step, step: &Step, section: &Document) -> Outcome {
    let exercise = files(tree, step, Side::Exercise);
    let solution = files(tree, before, Side::Solution);
    let is_named = |file: &str| {
        section.codes.iter().any(|code| {
            let code = code.strip_prefix("exercise/").unwrap_or(code);
            // `examples/` stands for all files below it.
            code == file || code.ends_with('/') && code.len() > 1 && file.starts_with(code)
        })
    };
    let mut failures = Vec::new();
    for file in exercise.union(&solution) {
        let compared = match (exercise.contains(file), solution.contains(file)) {
            (true, true) => compare(tree, before, step, file)?,
            (true, false) => Compared::Differs("is new".into()),
            _ => Compared::Differs("is gone".into()),
        };
        match (compared, is_named(file)) {
            (Compared::Differs(difference), false) => failures.push(format!(
                "`{file}` is not named under \"{CHANGED}\", but {difference}"
            )),
            (Compared::Same, true) => failures.push(format!(
                "`{file}` is named under \"{CHANGED}\", but equals that of {}",
                before.crate_dir(Side::Solution)
            )),
            _ => {}
        }
    }
    all_of(failures)
}

/// How a file of exercise N compares with the same file of solution N−1.
enum Compared {
    /// Equal, `use` declarations and blank lines included.
    Same,
    /// Nothing differs but TODO regions, `use` declarations, blank lines.
    Regions,
    /// Something else differs; the first such place.
    Differs(String),
}

/// What one step is called in its files, and another one in its own.
pub fn names(before: &Step, step: &Step) -> Vec<(String, String)> {
    let (old, new) = (before.label(), step.label());
    let words = ["step", "Step ", "run "].into_iter();
    words
        .map(|word| (format!("{word}{old}"), format!("{word}{new}")))
        .chain([(before.dir(), step.dir())])
        .collect()
}

fn compare(tree: &Tree, before: &Step, step: &Step, file: &str) -> Result<Compared, String> {
    let exercise_path = format!("{}/{file}", step.crate_dir(Side::Exercise));
    let solution_path = format!("{}/{file}", before.crate_dir(Side::Solution));
    let exercise_text = tree.read(&exercise_path)?;
    let mut solution_text = before.as_exercise(&tree.read(&solution_path)?);
    for (old, new) in names(before, step) {
        solution_text = solution_text.replace(&old, &new);
    }
    let exercise = parse(&exercise_path, &exercise_text, step)?;
    // Its markers carry the number of its own step.
    let solution = parse(&solution_path, &solution_text, before)?;

    let tasks = exercise.lines.iter().any(|line| line.kind == Kind::Begin);
    if !tasks && exercise.plain() == solution.plain() {
        return Ok(Compared::Same);
    }
    let parts = exercise.outside();
    let text = solution.counted([Kind::Outside, Kind::Inside]);
    let (path, other, line) = match first_gap(&parts, &text) {
        None => return Ok(Compared::Regions),
        Some((Side::Exercise, line)) => (exercise_path, solution_path, line),
        Some((Side::Solution, line)) => (solution_path, exercise_path, line),
    };
    Ok(Compared::Differs(format!(
        "{path}:{}: {}\n  is not in {other}, or not there",
        line.number,
        line.text.trim()
    )))
}

/// Whether `text` is the `parts` in order with anything between them: the
/// solution before may hold anything where a region of the exercise is.
/// Returns the first line of a part, or of the text, that has no place.
fn first_gap<'a, 'b>(
    parts: &'b [Vec<&'b Line<'a>>],
    text: &'b [&'b Line<'a>],
) -> Option<(Side, &'b Line<'a>)> {
    let (first, rest) = parts.split_first()?;
    let same = prefix(first, text);
    if same < first.len() {
        return Some((Side::Exercise, first[same]));
    }
    let mut text = &text[same..];
    let Some((last, middle)) = rest.split_last() else {
        return text.first().map(|line| (Side::Solution, *line));
    };
    for part in middle {
        let mut starts = 0..=text.len();
        let start = starts.find(|it| prefix(part, &text[*it..]) == part.len());
        let Some(start) = start else {
            return part.first().map(|line| (Side::Exercise, *line));
        };
        text = &text[start + part.len()..];
    }
    let same = prefix(last.iter().rev(), text.iter().rev());
    let rest = &last[..last.len() - same];
    rest.last().map(|line| (Side::Exercise, *line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(exercise: &str, solution: &str) -> Option<String> {
        let exercise = Source::parse(exercise, "05").expect("well formed");
        let solution = Source::parse(solution, "04").expect("well formed");
        let counted = solution.counted([Kind::Outside, Kind::Inside]);
        first_gap(&exercise.outside(), &counted).map(|(_, line)| line.text.to_owned())
    }

    #[test]
    fn a_region_may_stand_for_anything() {
        let exercise = "a\n// TODO(05.1): x\nnew\n// END TODO(05.1)\nb\n// TODO(05.2): y\n// END TODO(05.2)\nc\n";
        for solution in [
            "a\nb\nc\n",
            "a\nold\nolder\nb\nc\n",
            "a\n// TODO(04.1): z\nold\n// END TODO(04.1)\nb\nmore\nc\n",
            "a\nb\nb\nc\nc\n",
        ] {
            assert_eq!(gap(exercise, solution), None, "{solution:?}");
        }
    }

    #[test]
    fn what_stands_outside_is_compared() {
        let exercise = "a\n// TODO(05.1): x\nnew\n// END TODO(05.1)\nb\nc\n";
        for (solution, line) in [
            ("z\na\nb\nc\n", "a"),
            ("a\nold\nb\nc\nd\n", "c"),
            ("a\nold\nc\n", "b"),
            ("a\n", "c"),
        ] {
            assert_eq!(
                gap(exercise, solution).as_deref(),
                Some(line),
                "{solution:?}"
            );
        }
        assert_eq!(gap("a\nb\n", "a\nb\nc\n").as_deref(), Some("c"));
        assert_eq!(gap("a\nuse x;\n\nb\n", "a\nb\nuse y;\n"), None);
    }
}
