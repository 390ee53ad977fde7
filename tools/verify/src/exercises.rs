//! Exercises compile and are red for every one of their TODOs, for the reason
//! that the chapter announces; solutions compile and are green.

use std::collections::BTreeSet;

use course::{Check, Side, Step, Verdict, ids};

use crate::cargo;
use crate::document::Document;
use crate::hints;
use crate::regions;
use crate::report::{Outcome, Report, all_of};
use crate::tree::Tree;
use crate::{Env, Proof};

pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let (tree, sandbox, memory) = (proof.tree, proof.sandbox, proof.memory);
    let record = |step: &Step, side: Side| {
        let item = format!("exercises/{}-{side}", step.slug);
        (item, memory.side(step, side, ""))
    };
    let mut sides = Vec::new();
    for step in proof.steps {
        for side in [Side::Exercise, Side::Solution] {
            let (item, key) = record(step, side);
            if !report.recall(memory, &item, &key) {
                sides.push((step, side));
            }
        }
    }
    let compiled = cargo::build_checks(sandbox, &sides)?;
    for (step, side) in sides {
        let compiled = &compiled[&step.crate_dir(side)];
        let (item, key) = record(step, side);
        report.keep(memory, &item, &key, |report| {
            let check = compiled.check();
            let what = format!("{} {side} compiles without warnings", step.slug);
            report.prove(&what, || {
                all_of(compiled.said.clone()).and(check.clone().map(drop))
            });
            let Ok(check) = check else {
                return Ok(());
            };
            let verdict = cargo::run_check(sandbox, &step.crate_dir(side), &check, &[]);
            match side {
                Side::Exercise => prove_red(tree, step, verdict, report),
                Side::Solution => report.prove(&format!("{} solution is green", step.slug), || {
                    cargo::green(&verdict?)
                }),
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn prove_red(tree: &Tree, step: &Step, verdict: Result<Verdict, String>, report: &mut Report) {
    let what = format!("{} exercise is red for every TODO", step.slug);
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(failure) => return report.prove(&what, || Err(failure)),
    };
    report.prove(&what, || red_for_all(tree, step, &verdict));
    let what = format!("{} exercise fails as its chapter announces", step.slug);
    report.prove(&what, || {
        as_announced(&Document::read(tree, &step.readme())?, &verdict)
    });
    if let Ok(hints) = Document::read(tree, &hints::path(step))
        && hints.sections().iter().any(hints::is_condition)
    {
        report.prove(&format!("{} hints name its checks", step.slug), || {
            hints::conditions(&hints, &verdict)
        });
    }
}

/// The ids of all TODO regions of an exercise.
pub fn todo_ids(tree: &Tree, step: &Step) -> Result<BTreeSet<String>, String> {
    let regions = regions::of_side(tree, step, Side::Exercise)?;
    Ok(regions.into_iter().map(|region| region.id).collect())
}

fn red_for_all(tree: &Tree, step: &Step, verdict: &Verdict) -> Outcome {
    let tasks = todo_ids(tree, step)?;
    let named = |check: &Check| ids(&check.todo).map(str::to_owned).collect::<Vec<_>>();
    let checked: BTreeSet<String> = verdict.checks.iter().flat_map(named).collect();
    let failed: BTreeSet<String> = verdict.failures().flat_map(named).collect();
    let unchecked = tasks.difference(&checked);
    let unchecked = unchecked.map(|id| format!("no check names TODO({id})"));
    let unknown = checked
        .difference(&tasks)
        .map(|id| format!("a check names TODO({id}), which the exercise does not have"));
    let passed = checked
        .difference(&failed)
        .map(|id| format!("every check of TODO({id}) passes although nothing is done"));
    all_of(unchecked.chain(unknown).chain(passed))
}

/// The first failed check is the one in the chapter's first console block.
fn as_announced(chapter: &Document, verdict: &Verdict) -> Outcome {
    let block = chapter
        .blocks("console")
        .next()
        .ok_or("the chapter has no console block")?;
    let at = format!("{}:{}", chapter.path, block.line);
    let announced = block
        .text
        .lines()
        .find_map(|line| line.trim().strip_prefix("FAILED  "))
        .ok_or_else(|| format!("{at}: the first console block shows no line `FAILED  …`"))?;
    let first = verdict.failures().next().ok_or("no check fails")?;
    let fails = format!("{}  {}", first.todo, first.name);
    if announced == fails {
        return Ok(());
    }
    Err(format!(
        "{at}\n  announces   {announced}\n  first fails {fails}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(chapter: &str) -> Outcome {
        let verdict = serde_json::from_str(
            r#"{"step":"","passed":1,"failed":1,"checks":[
                {"todo":"05.1","name":"one","status":"passed"},
                {"todo":"05.2","name":"two of them","status":"failed"}]}"#,
        )
        .expect("a verdict");
        as_announced(
            &Document::parse("steps/05-engine/README.md", chapter.to_owned()),
            &verdict,
        )
    }

    #[test]
    fn the_first_failure_must_be_the_announced_one() {
        let block = |line: &str| format!("```console exit=1\n$ x\n05: 1 of 2\n\n{line}\n```\n");
        assert_eq!(announced(&block("FAILED  05.2  two of them")), Ok(()));
        for (chapter, reason) in [
            (block("FAILED  05.2  two"), "announces   05.2  two\n"),
            (block("FAILED  05.1  two of them"), "announces   05.1"),
            (block("passed"), "no line `FAILED  …`"),
            ("text".to_owned(), "no console block"),
        ] {
            let failure = announced(&chapter).expect_err(&chapter);
            assert!(failure.contains(reason), "{failure}");
        }
    }
}
