//! A source file cut at the regions that belong to the learner, in a form that
//! two files can be compared in. The markers must be well formed.

use course::{Marker, Side, Step, Task, marker};

use crate::tree::Tree;

/// All regions of one side, in files relative to it, without those in the learner's own tests.
pub fn of_side(tree: &Tree, step: &Step, side: Side) -> Result<Vec<Task>, String> {
    let folder = step.crate_dir(side);
    let mut regions = Vec::new();
    for file in tree.below(&folder) {
        let path = format!("{folder}/{file}");
        // A file that is not text has no regions.
        if step.is_of_course(file)
            && let Ok(text) = tree.read(&path)
        {
            Source::parse(&text, step.label()).map_err(|failure| format!("{path}: {failure}"))?;
            regions.extend(course::regions(file, &text));
        }
    }
    Ok(regions)
}

/// A source file taken apart.
#[derive(Debug, PartialEq)]
pub struct Source<'a> {
    pub lines: Vec<Line<'a>>,
}

/// One line.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
    pub kind: Kind,
    /// Whether it is neither blank nor a part of a `use` declaration.
    counts: bool,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Outside all regions.
    Outside,
    /// Between the markers of a region.
    Inside,
    Begin,
    End,
}

impl<'a> Source<'a> {
    /// Takes `text` apart; `number` is that of the step, `05`.
    ///
    /// # Errors
    /// The line and the rule that it breaks: markers that are malformed, carry
    /// another step's number, do not pair up or are nested.
    pub fn parse(text: &'a str, number: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        let (mut open, mut within_use) = (None, false);
        for (number_of_line, text) in (1..).zip(text.lines()) {
            let at = |rule: &str| format!("line {number_of_line}: {rule}");
            let kind = match (marker(text).map_err(at)?, open) {
                (None, None) => Kind::Outside,
                (None, Some(_)) => Kind::Inside,
                (Some(Marker::Begin { id, .. }), None) => {
                    let rest = id.strip_prefix(number).and_then(|it| it.strip_prefix('.'));
                    if rest.is_none_or(|task| task.parse::<u32>().is_err()) {
                        return Err(at(&format!(
                            "TODO({id}): the id must be {number}.1, {number}.2, …"
                        )));
                    }
                    open = Some(id);
                    Kind::Begin
                }
                (Some(Marker::End { id }), Some(begun)) if id == begun => {
                    open = None;
                    Kind::End
                }
                (_, Some(begun)) => {
                    return Err(at(&format!("`{}` inside TODO({begun})", text.trim())));
                }
                (_, None) => return Err(at(&format!("`{}` without its TODO", text.trim()))),
            };
            let used = within_use || text.trim().starts_with("use ");
            within_use = used && !text.contains(';');
            lines.push(Line {
                number: number_of_line,
                text,
                kind,
                counts: !used && !text.trim().is_empty(),
            });
        }
        match open {
            Some(id) => Err(format!("TODO({id}) has no END TODO({id})")),
            None => Ok(Self { lines }),
        }
    }

    /// All lines but the markers.
    pub fn plain(&self) -> Vec<&'a str> {
        let plain = |line: &&Line| matches!(line.kind, Kind::Inside | Kind::Outside);
        self.lines.iter().filter(plain).map(|it| it.text).collect()
    }

    /// The lines of these kinds that count in a comparison.
    pub fn counted(&self, kinds: [Kind; 2]) -> Vec<&Line<'a>> {
        let counted = |line: &&Line| line.counts && kinds.contains(&line.kind);
        self.lines.iter().filter(counted).collect()
    }

    /// What counts outside the regions, cut at each region.
    pub fn outside(&self) -> Vec<Vec<&Line<'a>>> {
        let counted = self.counted([Kind::Outside, Kind::Begin]);
        let parts = counted.split(|line| line.kind == Kind::Begin);
        parts.map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
use a::{
    b,
};

fn f() {
    // TODO(05.1): count
    let x = 1;
    // END TODO(05.1)
    use c::d;
    g(x);
}
// TODO(05.2): write h
// END TODO(05.2)
";

    #[test]
    fn a_file_is_cut_at_its_regions() {
        let source = Source::parse(FILE, "05").expect("well formed");
        let outside: Vec<Vec<&str>> = source
            .outside()
            .iter()
            .map(|part| part.iter().map(|line| line.text.trim()).collect())
            .collect();
        assert_eq!(outside, [vec!["fn f() {"], vec!["g(x);", "}"], vec![]]);
        assert_eq!(source.counted([Kind::Outside, Kind::Inside]).len(), 4);
        assert_eq!(source.plain().len(), 9);
    }

    #[test]
    fn markers_that_break_a_rule_are_refused() {
        for (text, rule) in [
            ("// TODO(05.1): x", "has no END"),
            ("// END TODO(05.1)", "without its"),
            ("// TODO(05.1): x\n// END TODO(05.2)", "inside TODO(05.1)"),
            ("// TODO(05.1): x\n// TODO(05.2): y", "inside TODO(05.1)"),
            ("// TODO(05.1) x\n// END TODO(05.1)", "a marker reads"),
            ("// TODO(05.1):\n// END TODO(05.1)", "a marker reads"),
            ("// TODO(04.1): x\n// END TODO(04.1)", "must be 05.1"),
            ("# TODO(05.x): x\n# END TODO(05.x)", "must be 05.1"),
        ] {
            let failure = Source::parse(text, "05").expect_err(text);
            assert!(failure.contains(rule), "{text:?}: {failure}");
        }
    }

    #[test]
    fn prose_about_a_task_is_no_marker() {
        let text = "/// Belongs to TODO(05.1).\n// see TODO(05.1)\nlet x = 1; // TODO(05.1)\n";
        let source = Source::parse(text, "05").expect("well formed");
        assert!(source.lines.iter().all(|it| it.kind == Kind::Outside));
    }
}
