//! Plausible wrong answers are rejected for the right TODO; right answers in
//! another style are accepted.

use std::collections::BTreeSet;
use std::fs;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use clap::Args;
use course::{Check, Side, Step};

use crate::cargo;
use crate::memory::Memory;
use crate::report::{Outcome, Report};
use crate::sandbox::Sandbox;
use crate::scaffold;
use crate::{Env, Environment, Only, Proof};

#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pub only: Only,
    /// All wrong answers, not only the first for each check
    #[arg(long)]
    pub all: bool,
}

/// How many answers are built at once, and how many run their checks meanwhile: one for
/// each core of a small machine. With more, checks began to judge otherwise.
const AT_ONCE: usize = 2;

/// A patch on a solution.
struct Answer<'a> {
    step: &'a Step,
    /// Relative to `tools/verify/`: `wrong/06-transactions/half-order.patch`.
    name: String,
    text: String,
    /// Which misconception, or which other style.
    label: String,
    /// The check that fails first: `06.3 · its name`. `None` for a right answer.
    rejected_by: Option<String>,
}

pub fn prove(proof: &Proof, every: bool, report: &mut Report) -> Env<()> {
    let wrong = read(proof, "wrong", 5, report);
    let right = read(proof, "right", 2, report);
    let mut named = BTreeSet::new();
    let (tried, left): (Vec<_>, Vec<_>) = wrong
        .iter()
        .partition(|answer| named.insert(answer.rejected_by.as_deref()) || every);
    for answer in &left {
        if let Err(failure) = applies(proof.sandbox, answer, &["--check"]) {
            report.prove(&answer.name, || Err(failure));
        }
    }
    let (rejected, _) = try_all(proof, &tried, report)?;
    let (accepted, mut checks) = try_all(proof, &right.iter().collect::<Vec<_>>(), report)?;
    report.totals.count("wrong answers rejected", rejected);
    report.totals.count("right answers accepted", accepted);
    println!("wrong answers rejected: {rejected}/{}", tried.len());
    println!("right answers accepted: {accepted}/{}", right.len());
    if !left.is_empty() {
        println!("wrong answers left to --all: {}", left.len());
    }
    // The right answers tell which checks there are.
    checks.retain(|check| !named.contains(&Some(check)));
    let count = checks.len();
    println!("checks without a wrong answer of their own: {count}");
    for check in checks.iter().filter(|_| every) {
        println!("        {check}");
    }
    Ok(())
}

/// The answers in a folder below `tools/verify/`, of which each step needs `least`. A file
/// that is not one is a failure.
fn read<'a>(proof: &Proof<'a>, folder: &str, least: usize, report: &mut Report) -> Vec<Answer<'a>> {
    let mut answers = Vec::new();
    let mut counts = vec![0; proof.steps.len()];
    for file in proof.tree.below(&format!("tools/verify/{folder}")) {
        let slug = file.split('/').next().unwrap_or_default();
        let name = format!("{folder}/{file}");
        let text = proof.tree.read(&format!("tools/verify/{name}"));
        let answer = match proof.steps.iter().position(|step| step.slug == slug) {
            None if proof.whole => Err("not in the folder of a step".into()),
            None => continue,
            Some(index) => {
                counts[index] += 1;
                text.and_then(|text| parse(&proof.steps[index], &name, text))
            }
        };
        match answer {
            Ok(answer) => answers.push(answer),
            Err(failure) => report.prove(&name, || Err(failure)),
        }
    }
    for (step, count) in proof.steps.iter().zip(counts) {
        // Nobody has begun, as in a new step.
        let open = if count == 0 { scaffold::OPEN } else { "" };
        let few = format!("{open}at least {least} are needed");
        let what = format!("{} has {count} {folder} answers", step.slug);
        report.prove(&what, || (count >= least).then_some(()).ok_or(few));
    }
    answers
}

fn applies(sandbox: &Sandbox, answer: &Answer, options: &[&str]) -> Outcome {
    sandbox
        .apply(&answer.text, options)
        .map_err(|Environment(git)| format!("it no longer applies:\n{git}"))
}

fn record(memory: &Memory, answer: &Answer) -> (String, String) {
    let patch = format!("tools/verify/{}", answer.name);
    let key = memory.side(answer.step, Side::Solution, &patch);
    (format!("answers/{}", answer.name), key)
}

/// Tries answers; returns how many came to what they should, and the names of the checks
/// that the right ones ran. While the checks of some run, and mostly wait, the next are
/// built.
fn try_all(
    proof: &Proof,
    answers: &[&Answer],
    report: &mut Report,
) -> Env<(usize, BTreeSet<String>)> {
    let (sandbox, memory) = (proof.sandbox, proof.memory);
    let mut good = 0;
    let mut checks = BTreeSet::new();
    // Each is built in the solution itself, so those built at once are of different steps.
    let mut batches: Vec<Vec<&Answer>> = Vec::new();
    for answer in answers.iter().copied() {
        let (item, key) = record(memory, answer);
        if let Some(found) = memory.recall(&item, &key) {
            good += 1;
            report.remembered(1);
            checks.extend(found.lines().map(str::to_owned));
            continue;
        }
        let mut open = batches.iter_mut().filter(|batch| batch.len() < AT_ONCE);
        match open.find(|batch| batch.iter().all(|it| it.step != answer.step)) {
            Some(batch) => batch.push(answer),
            None => batches.push(vec![answer]),
        }
    }
    let mut settle = |answer: &Answer, started: Instant, outcome: Result<Vec<String>, String>| {
        let outcome = outcome.map(|ran| {
            good += 1;
            let (item, key) = record(memory, answer);
            memory.keep(&item, &key, &ran.join("\n"));
            checks.extend(ran);
        });
        let what = format!("{}: {}", answer.name, answer.label);
        report.item(&what, started, outcome);
    };
    std::thread::scope(|scope| -> Env<()> {
        let mut running: Vec<(&Answer, Instant, ScopedJoinHandle<_>)> = Vec::new();
        // One more, without answers, for the checks of the last.
        batches.push(Vec::new());
        for (index, batch) in batches.iter().enumerate() {
            let started = Instant::now();
            let built = build(sandbox, batch, index)?;
            for (answer, started, judged) in running.drain(..) {
                let panicked = |_| Err("verify panicked while it ran the check".into());
                settle(answer, started, judged.join().unwrap_or_else(panicked));
            }
            for (answer, check) in batch.iter().copied().zip(built) {
                match check {
                    Err(failure) => settle(answer, started, Err(failure)),
                    Ok(check) => {
                        let judged = scope.spawn(move || {
                            judge(sandbox, answer, &check)
                                .or_else(|failure| again(sandbox, answer, &check, failure))
                        });
                        running.push((answer, started, judged));
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok((good, checks))
}

/// Applies each answer of a batch to its solution, builds their checks in one go, and
/// puts the solutions back. For each its check, or why there is none.
fn build(
    sandbox: &Sandbox,
    batch: &[&Answer],
    index: usize,
) -> Env<Vec<Result<cargo::Check, String>>> {
    let folder = |answer: &Answer| answer.step.crate_dir(Side::Solution);
    let mut applied = Vec::new();
    for answer in batch {
        // Cargo would link the program along with the check, which needs the library only.
        let main = sandbox.tree.join(folder(answer) + "/src/main.rs");
        if !answer.text.contains("/src/main.rs") && main.exists() {
            fs::remove_file(main)?;
        }
        applied.push(applies(sandbox, answer, &[]));
    }
    let both = batch.iter().zip(&applied);
    let wanted = both.filter(|(_, applied)| applied.is_ok());
    let wanted = wanted.map(|(answer, _)| (answer.step, Side::Solution));
    let compiled = cargo::build_checks(sandbox, &wanted.collect::<Vec<_>>())?;
    let mut checks = Vec::new();
    for (answer, applied) in batch.iter().zip(applied) {
        let folder = folder(answer);
        sandbox.put_back(&folder)?;
        // The next build must not replace the programs while they run, the one after it may.
        let own = format!("answer-{}-{}", index % 2, checks.len());
        let own = sandbox.build.join(own);
        let check = applied.and_then(|()| compiled[&folder].check());
        checks.push(check.map(|check| check.moved(&own)));
    }
    Ok(checks)
}

/// Runs the check of an answer.
fn judge(sandbox: &Sandbox, answer: &Answer, check: &cargo::Check) -> Result<Vec<String>, String> {
    // Which check fails first is all that counts.
    let folder = answer.step.crate_dir(Side::Solution);
    let verdict = cargo::run_check(sandbox, &folder, check, &["--fail-fast"])?;
    let name = |check: &Check| format!("{} · {}", check.todo, check.name);
    let first = verdict.failures().next().map(name);
    if first == answer.rejected_by {
        let all = verdict.checks.iter().filter(|_| first.is_none());
        return Ok(all.map(name).collect());
    }
    let failures = cargo::green(&verdict).err().unwrap_or_default();
    Err(match (first, &answer.rejected_by) {
        (None, _) => format!("accepted, though: {}", answer.label),
        (Some(_), None) => format!("a right answer is rejected:\n{failures}"),
        (Some(first), Some(named)) => {
            format!("rejected first by `{first}`, not by `{named}`:\n{failures}")
        }
    })
}

/// Runs the check of a wrong answer a second time, beside whatever runs by then, and says
/// so: some mistakes only show when two things happen in a certain order, which a busy
/// machine may prevent once. A right answer has no second try, as a learner's has none.
fn again(
    sandbox: &Sandbox,
    answer: &Answer,
    check: &cargo::Check,
    failure: String,
) -> Result<Vec<String>, String> {
    if answer.rejected_by.is_none() {
        return Err(failure);
    }
    println!("again   {}: {failure}", answer.name);
    judge(sandbox, answer, check)
}

/// Reads the leading lines of a patch and the files that it changes.
fn parse<'a>(step: &'a Step, name: &str, text: String) -> Result<Answer<'a>, String> {
    if !text.contains("\n@@ ") {
        let add = format!("git add {}", step.dir());
        return Err(format!(
            "it holds no diff; is the step in git's index? {add}"
        ));
    }
    let field = |name: &str| {
        let head = text.lines().take_while(|line| !line.starts_with("--- "));
        let mut values = head.filter_map(|line| line.strip_prefix(name));
        let value = values.next().unwrap_or_default().trim().to_owned();
        let missing = format!("its first lines need `{name} …`");
        (!value.is_empty()).then_some(value).ok_or(missing)
    };
    let (label, rejected_by) = if name.starts_with("right/") {
        (field("style:")?, None)
    } else {
        (field("misconception:")?, Some(field("rejected-by:")?))
    };
    let solution = format!("/{}/", step.crate_dir(Side::Solution));
    let foreign =
        |it: &str| it.starts_with("+++ ") && !it.contains(&solution) && !it.ends_with("/dev/null");
    if let Some(line) = text.lines().find(|line| foreign(line)) {
        return Err(format!("{line} is not below {solution}"));
    }
    Ok(Answer {
        step,
        name: name.to_owned(),
        text,
        label,
        rejected_by,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const DIFF: &str = "\
--- a/steps/05-engine/solution/src/a.rs
+++ b/steps/05-engine/solution/src/a.rs
@@ -1 +1 @@
-a
+b
";

    fn read(folder: &str, text: &str) -> Result<(String, Option<String>), String> {
        let step = Step::at(Path::new("05-engine")).expect("a step");
        let answer = parse(
            &step,
            &format!("{folder}/05-engine/1.patch"),
            text.to_owned(),
        )?;
        Ok((answer.label, answer.rejected_by))
    }

    #[test]
    fn the_head_of_a_patch_is_read() {
        let head = "misconception: one pool per query\nrejected-by: 05.1 · a name\n\n";
        let answer = read("wrong", &format!("{head}{DIFF}")).expect("read");
        assert_eq!(answer.0, "one pool per query");
        assert_eq!(answer.1.as_deref(), Some("05.1 · a name"));
        assert!(read("right", &format!("style: a loop\n{DIFF}")).is_ok());
    }

    #[test]
    fn an_incomplete_patch_is_refused() {
        for (kind, text, reason) in [
            (
                "wrong",
                format!("rejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            ("wrong", format!("misconception: x\n{DIFF}"), "rejected-by:"),
            (
                "wrong",
                format!("misconception:\nrejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            ("right", DIFF.to_owned(), "style:"),
            ("right", "style: x\n".to_owned(), "git add steps/05-engine"),
            (
                "right",
                format!("style: x\n{}", DIFF.replace("solution", "exercise")),
                "not below",
            ),
        ] {
            let failure = read(kind, &text).expect_err(&text);
            assert!(failure.contains(reason), "{failure}");
        }
    }
}
