//! Plausible wrong answers are rejected for the right TODO; right answers in
//! another style are accepted.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::cargo;
use crate::exercises::todo_ids;
use crate::report::{Outcome, Report};
use crate::sandbox::Sandbox;
use crate::tree::{Side, Step, Tree, has_extension};
use crate::{Env, Environment};

/// How many wrong answers a step must reject at least.
const AT_LEAST: usize = 5;

/// What an answer is expected to come to.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Wrong,
    Right,
}

impl Kind {
    /// Folder of the patches, below `tools/verify/`.
    fn folder(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Right => "right",
        }
    }
}

/// A patch on a solution.
struct Answer {
    text: String,
    /// Which misconception, or which other style.
    label: String,
    /// TODO ids of which the first failed check names one. Empty for a right answer.
    rejected_by: Vec<String>,
}

/// Proves the patches of `steps`.
pub fn prove(tree: &Tree, sandbox: &Sandbox, steps: &[Step], report: &mut Report) -> Env<()> {
    let mut sums = Vec::new();
    for (kind, label) in [
        (Kind::Wrong, "wrong answers rejected"),
        (Kind::Right, "right answers accepted"),
    ] {
        let (mut good, mut all) = (0, 0);
        for step in steps {
            let folder = format!("tools/verify/{}/{}", kind.folder(), step.slug);
            let patches: Vec<&str> = tree
                .below(&folder)
                .into_iter()
                .filter(|file| has_extension(file, "patch"))
                .collect();
            if kind == Kind::Wrong {
                report.prove(
                    &format!("{} has {} wrong answers", step.slug, patches.len()),
                    || enough(patches.len(), &folder),
                );
            }
            for patch in patches {
                let started = Instant::now();
                let path = format!("{folder}/{patch}");
                let outcome = prove_answer(tree, sandbox, step, kind, &path)?;
                sandbox.restore().map_err(Environment)?;
                all += 1;
                good += usize::from(outcome.is_ok());
                let what = match &outcome {
                    Ok(label) => format!("{}/{}/{patch}: {label}", kind.folder(), step.slug),
                    Err(_) => format!("{}/{}/{patch}", kind.folder(), step.slug),
                };
                report.item(&what, started, outcome.map(drop));
            }
        }
        sums.push(format!("{label}: {good}/{all}"));
    }
    for folder in ["wrong", "right"] {
        report_strays(tree, folder, report);
    }
    println!("{}", sums.join("\n"));
    Ok(())
}

fn enough(patches: usize, folder: &str) -> Outcome {
    if patches >= AT_LEAST {
        return Ok(());
    }
    Err(format!(
        "{folder} holds {patches} patches, at least {AT_LEAST} are needed"
    ))
}

/// A file that no step owns would never be tried.
fn report_strays(tree: &Tree, folder: &str, report: &mut Report) {
    let steps = tree.steps();
    for file in tree.below(&format!("tools/verify/{folder}")) {
        let owned = file.split_once('/').is_some_and(|(slug, patch)| {
            steps.iter().any(|step| step.slug == slug)
                && !patch.contains('/')
                && has_extension(patch, "patch")
        });
        if !owned {
            report.prove(&format!("{folder}/{file}"), || {
                Err("not a .patch in the folder of a step".into())
            });
        }
    }
}

/// Tries one answer; `Ok` holds its label.
fn prove_answer(
    tree: &Tree,
    sandbox: &Sandbox,
    step: &Step,
    kind: Kind,
    path: &str,
) -> Env<Result<String, String>> {
    let prepare = || -> Result<Answer, String> {
        let answer = parse(step, kind, &tree.read(path)?)?;
        let ids = todo_ids(tree, step)?;
        if let Some(unknown) = answer.rejected_by.iter().find(|id| !ids.contains(*id)) {
            return Err(format!("rejected-by: the step has no TODO({unknown})"));
        }
        sandbox
            .apply(&answer.text)
            .map_err(|git| format!("it no longer applies:\n{git}"))?;
        Ok(answer)
    };
    let answer = match prepare() {
        Ok(answer) => answer,
        Err(failure) => return Ok(Err(failure)),
    };
    let compiled = cargo::build_checks(sandbox, &[(step, Side::Solution)])?;
    let judge = || -> Outcome {
        let check = compiled[&step.side(Side::Solution)]
            .check()
            .map_err(|errors| format!("it does not compile:\n{errors}"))?;
        let verdict = cargo::run_check(sandbox, step, Side::Solution, check)?;
        match (kind, verdict.first_failed()) {
            (Kind::Right, None) => Ok(()),
            (Kind::Right, Some(_)) => Err(format!(
                "a right answer ({}) is rejected:\n{}",
                answer.label,
                verdict.failures()
            )),
            (Kind::Wrong, None) => Err(format!("accepted, though: {}", answer.label)),
            (Kind::Wrong, Some(first)) => {
                if cargo::ids(&first.todo).any(|id| answer.rejected_by.iter().any(|by| by == id)) {
                    return Ok(());
                }
                Err(format!(
                    "rejected first by {}, not by {}:\n{}",
                    first.todo,
                    answer.rejected_by.join(" or "),
                    verdict.failures()
                ))
            }
        }
    };
    Ok(judge().map(|()| answer.label.clone()))
}

/// Reads the leading lines of a patch and the files that it changes.
fn parse(step: &Step, kind: Kind, text: &str) -> Result<Answer, String> {
    let head: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "))
        .collect();
    let field = |name: &str| {
        head.iter()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("its first lines need `{name} …`"))
    };
    let (label, rejected_by) = match kind {
        Kind::Wrong => (
            field("misconception:")?,
            cargo::ids(field("rejected-by:")?)
                .map(str::to_owned)
                .collect(),
        ),
        Kind::Right => (field("style:")?, Vec::new()),
    };
    let solution = format!("{}/", step.side(Side::Solution));
    let lines: Vec<&str> = text.lines().collect();
    let changed: BTreeSet<&str> = lines
        .windows(2)
        // A removed SQL comment looks like the first of the two alone.
        .filter_map(|pair| Some((pair[0].strip_prefix("--- ")?, pair[1].strip_prefix("+++ ")?)))
        .flat_map(|(old, new)| [old, new])
        .filter_map(|path| path.split('\t').next())
        .filter(|path| *path != "/dev/null")
        .map(|path| path.split_once('/').map_or(path, |(_, path)| path))
        .collect();
    if changed.is_empty() {
        return Err("it changes nothing".into());
    }
    if let Some(foreign) = changed.iter().find(|path| !path.starts_with(&solution)) {
        return Err(format!(
            "it changes {foreign}, which is not below {solution}"
        ));
    }
    Ok(Answer {
        text: text.to_owned(),
        label: label.to_owned(),
        rejected_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "\
--- a/steps/05-engine/solution/src/a.rs
+++ b/steps/05-engine/solution/src/a.rs
@@ -1 +1 @@
-a
+b
";

    fn read(kind: Kind, text: &str) -> Result<Answer, String> {
        let step = Step {
            number: "05".into(),
            slug: "05-engine".into(),
        };
        parse(&step, kind, text)
    }

    #[test]
    fn the_head_of_a_patch_is_read() {
        let head = "misconception: one pool per query\nrejected-by: 05.1, 05.2\n\n";
        let Ok(answer) = read(Kind::Wrong, &format!("{head}{DIFF}")) else {
            panic!("refused");
        };
        assert_eq!(answer.label, "one pool per query");
        assert_eq!(answer.rejected_by, ["05.1", "05.2"]);
        assert!(read(Kind::Right, &format!("style: a loop\n{DIFF}")).is_ok());
    }

    #[test]
    fn an_incomplete_patch_is_refused() {
        for (kind, text, reason) in [
            (
                Kind::Wrong,
                format!("rejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            (
                Kind::Wrong,
                format!("misconception: x\n{DIFF}"),
                "rejected-by:",
            ),
            (
                Kind::Wrong,
                format!("misconception:\nrejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            (Kind::Right, DIFF.to_owned(), "style:"),
            (Kind::Right, "style: x\n".to_owned(), "changes nothing"),
            (
                Kind::Right,
                format!("style: x\n{}", DIFF.replace("solution", "exercise")),
                "not below",
            ),
        ] {
            let Err(failure) = read(kind, &text) else {
                panic!("accepted: {text}");
            };
            assert!(failure.contains(reason), "{failure}");
        }
    }
}
