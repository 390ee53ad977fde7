//! Plausible wrong answers are rejected for the right TODO; right answers in
//! another style are accepted.

use std::collections::BTreeSet;
use std::thread::ScopedJoinHandle;
use std::time::{Instant, SystemTime};

use clap::Args;
use course::{Check, Side, Step};

use crate::cargo::{self, Package};
use crate::report::{Outcome, Report};
use crate::sandbox::Sandbox;
use crate::scaffold;
use crate::tree::{Tree, has_extension};
use crate::{Env, Environment, Proof};

#[derive(Args, Default)]
pub struct Settings {
    /// One step only: 5, 05 or 05-engine
    pub step: Option<String>,
    /// All wrong answers, not only the first for each check
    #[arg(long)]
    all: bool,
    /// Write the name of the check that fails first into each patch
    #[arg(long, requires = "all")]
    write: bool,
}

/// A kind of answer.
#[derive(PartialEq)]
struct Kind {
    /// Of the patches, below `tools/verify/`.
    folder: &'static str,
    /// How many a step needs.
    least: usize,
}

const WRONG: &Kind = &Kind {
    folder: "wrong",
    least: 5,
};

const RIGHT: &Kind = &Kind {
    folder: "right",
    least: 2,
};

/// How many answers are built at once: one for each core of a small machine.
const SLOTS: usize = 2;

/// How many checks may still run while the next answers are built. With four of them,
/// checks began to judge otherwise, because the machine was too busy.
const RUNNING: usize = 2;

/// Between the id of a check and its name.
const SEPARATOR: &str = " · ";

/// A patch on a solution.
struct Answer {
    text: String,
    /// Which misconception, or which other style.
    label: String,
    /// The check that fails first: `06.3 · its name`. Empty for a right answer.
    rejected_by: String,
}

/// One patch to try.
struct Trial<'a> {
    step: &'a Step,
    kind: &'static Kind,
    /// Relative to the root.
    path: String,
    answer: Result<Answer, String>,
}

impl Trial<'_> {
    /// The check that is said to fail first.
    fn check(&self) -> Option<&str> {
        let named = &self.answer.as_ref().ok()?.rejected_by;
        named.contains(SEPARATOR).then_some(named)
    }

    /// `wrong/06-transactions/half-order.patch`
    fn name(&self) -> &str {
        self.path.trim_start_matches("tools/verify/")
    }
}

pub fn prove(proof: &Proof, settings: &Settings, report: &mut Report) -> Env<()> {
    let (tree, sandbox, steps) = (proof.tree, proof.sandbox, proof.steps);
    let began = SystemTime::now();
    let wrong = trials(tree, steps, WRONG);
    let right = trials(tree, steps, RIGHT);
    for (kind, trials) in [(WRONG, &wrong), (RIGHT, &right)] {
        report_strays(tree, kind.folder, report);
        for step in steps {
            let count = trials.iter().filter(|trial| trial.step == step).count();
            let folder = kind.folder;
            report.prove(
                &format!("{} has {count} {folder} answers", step.slug),
                || enough(count, kind, &format!("tools/verify/{folder}/{}", step.slug)),
            );
        }
    }
    let mut named = BTreeSet::new();
    // A patch that does not name its check is tried, and told which it is.
    let (tried, left): (Vec<&Trial>, Vec<&Trial>) = wrong.iter().partition(|trial| {
        let first = trial.check().is_none_or(|check| named.insert(check));
        first || settings.all
    });
    for trial in &left {
        let path = tree.root.join(&trial.path);
        if let Err(Environment(git)) = sandbox.git(&["apply", "--check", &path.to_string_lossy()]) {
            report.prove(&trial.path, || Err(no_longer_applies(&git)));
        }
    }
    sandbox.copy_solutions(steps, SLOTS)?;
    let mut prove_all = |trials: &[&Trial], checks: &mut BTreeSet<String>| {
        prove_all(proof, settings.write, trials, checks, report)
    };
    // All checks, as the right answers tell.
    let mut alone = BTreeSet::new();
    let rejected = prove_all(&tried, &mut alone)?;
    let accepted = prove_all(&right.iter().collect::<Vec<_>>(), &mut alone)?;
    sandbox.restore()?;
    // Whoever works on one step builds its copies again and again.
    if proof.whole {
        sandbox.forget_copies(began)?;
        proof.memory.forget_gone()?;
    }
    report.totals.count("wrong answers rejected", rejected);
    report.totals.count("right answers accepted", accepted);
    println!("wrong answers rejected: {rejected}/{}", tried.len());
    println!("right answers accepted: {accepted}/{}", right.len());
    if !left.is_empty() {
        println!("wrong answers left to --all: {}", left.len());
    }
    if settings.write {
        return Ok(()); // The headers have changed under what follows.
    }
    alone.retain(|check| !named.contains(check.as_str()));
    let count = alone.len();
    println!("checks without a wrong answer of their own: {count}");
    for check in alone.iter().filter(|_| settings.all) {
        println!("        {check}");
    }
    Ok(())
}

fn trials<'a>(tree: &Tree, steps: &'a [Step], kind: &'static Kind) -> Vec<Trial<'a>> {
    let mut trials = Vec::new();
    for step in steps {
        let folder = format!("tools/verify/{}/{}", kind.folder, step.slug);
        for file in tree.below(&folder) {
            if has_extension(file, "patch") {
                let path = format!("{folder}/{file}");
                trials.push(Trial {
                    step,
                    kind,
                    answer: tree.read(&path).and_then(|text| parse(step, kind, &text)),
                    path,
                });
            }
        }
    }
    trials
}

/// Tries answers; returns how many came to what they should, and adds to `checks`
/// those that the right ones ran. While the checks of some run, and mostly wait,
/// the next are built.
fn prove_all(
    proof: &Proof,
    write: bool,
    trials: &[&Trial],
    checks: &mut BTreeSet<String>,
    report: &mut Report,
) -> Env<usize> {
    let mut good = 0;
    let mut open = Vec::new();
    let memory = proof.memory;
    let record = |trial: &Trial| {
        let key = memory.solution_with(trial.step, &trial.path);
        (format!("answers/{}", trial.name()), key)
    };
    for trial in trials {
        let (item, key) = record(trial);
        match memory.recall(&item, &key).filter(|_| !write) {
            None => open.push(*trial),
            Some(found) => {
                good += 1;
                report.remembered(1);
                checks.extend(found.lines().map(str::to_owned));
            }
        }
    }
    let mut settle = |trial: &Trial, started: Instant, outcome: Result<Accepted, String>| {
        let mut what = trial.name().to_owned();
        let outcome = outcome.map(|accepted| {
            good += 1;
            what = format!("{what}: {}", accepted.label);
            // With `--write` the patch is another than the one that was read.
            if !write {
                let (item, key) = record(trial);
                memory.keep(&item, &key, &accepted.checks.join("\n"));
            }
            checks.extend(accepted.checks);
        });
        report.item(&what, started, outcome);
    };
    std::thread::scope(|scope| -> Env<()> {
        let mut running: Vec<(&Trial, Instant, ScopedJoinHandle<_>)> = Vec::new();
        let panicked = |_| Err("verify panicked while it ran the check".into());
        for (index, batch) in open.chunks(SLOTS).enumerate() {
            let started = Instant::now();
            let built = build(proof.sandbox, batch, index)?;
            for (trial, built) in batch.iter().copied().zip(built) {
                match built {
                    Err(failure) => settle(trial, started, Err(failure)),
                    Ok(check) => {
                        let judged = scope.spawn(move || judge(proof, write, trial, &check));
                        running.push((trial, started, judged));
                    }
                }
            }
            while running.len() > RUNNING || running.iter().any(|it| it.2.is_finished()) {
                let ended = running.iter().position(|it| it.2.is_finished());
                let (trial, started, judged) = running.remove(ended.unwrap_or(0));
                settle(trial, started, judged.join().unwrap_or_else(panicked));
            }
        }
        for (trial, started, judged) in running {
            settle(trial, started, judged.join().unwrap_or_else(panicked));
        }
        Ok(())
    })?;
    Ok(good)
}

fn enough(patches: usize, kind: &Kind, folder: &str) -> Outcome {
    let least = kind.least;
    if patches >= least {
        return Ok(());
    }
    // Nobody has begun, as in a new step.
    let open = if patches == 0 { scaffold::OPEN } else { "" };
    Err(format!(
        "{open}{folder} holds {patches} patches, at least {least} are needed"
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

fn no_longer_applies(git: &str) -> String {
    format!("it no longer applies:\n{git}")
}

/// Applies each answer of a batch to a copy of its solution, and builds their
/// checks in one go. For each its check, or why there is none.
fn build(
    sandbox: &Sandbox,
    batch: &[&Trial],
    index: usize,
) -> Env<Vec<Result<cargo::Check, String>>> {
    let mut copies = Vec::new();
    for (slot, trial) in batch.iter().enumerate() {
        let answer = trial.answer.as_ref().map_err(Clone::clone);
        copies.push(answer.and_then(|answer| {
            sandbox
                .apply_to_copy(trial.step, slot, &answer.text)
                .map_err(|Environment(git)| no_longer_applies(&git))
        }));
    }
    let wanted: Vec<Package> = copies.iter().flatten().cloned().collect();
    let compiled = cargo::build_checks(sandbox, &wanted)?;
    let mut checks = Vec::new();
    for (slot, copy) in copies.into_iter().enumerate() {
        let built = copy.and_then(|copy| {
            let check = compiled[&copy.folder].check();
            check.map_err(|errors| format!("it does not compile:\n{errors}"))
        });
        checks.push(match built {
            Err(failure) => Err(failure),
            Ok(mut check) => {
                // The next build of this copy must not replace them while they run.
                let own = sandbox.build.join(format!("answer-{index}-{slot}"));
                for (name, program) in &mut check.tests {
                    let own = own.with_extension(name);
                    std::fs::rename(&*program, &own)?;
                    *program = own;
                }
                std::fs::rename(check.program, &own)?;
                check.program = own;
                Ok(check)
            }
        });
    }
    Ok(checks)
}

/// What came of an answer that is as good or bad as it should be.
struct Accepted {
    label: String,
    /// The names of all checks, when they were run.
    checks: Vec<String>,
}

/// Runs the check of an answer.
fn judge(
    proof: &Proof,
    write: bool,
    trial: &Trial,
    check: &cargo::Check,
) -> Result<Accepted, String> {
    let answer = trial.answer.as_ref().map_err(Clone::clone)?;
    // Which check fails first is all that counts.
    let verdict = cargo::run_check(
        proof.sandbox,
        trial.step,
        Side::Solution,
        check,
        &["--fail-fast"],
    );
    for program in check.tests.values().chain([&check.program]) {
        let _ = std::fs::remove_file(program);
    }
    let verdict = verdict?;
    let accepted = |label: String, checks: Vec<String>| Ok(Accepted { label, checks });
    let name = |check: &Check| format!("{}{SEPARATOR}{}", check.todo, check.name);
    match (*trial.kind == *RIGHT, verdict.failures().next().map(name)) {
        (true, None) => accepted(
            answer.label.clone(),
            verdict.checks.iter().map(name).collect(),
        ),
        (true, Some(_)) => Err(format!(
            "a right answer ({}) is rejected:\n{}",
            answer.label,
            cargo::failures(&verdict)
        )),
        (false, None) => Err(format!("accepted, though: {}", answer.label)),
        (false, Some(first)) if first == answer.rejected_by => {
            accepted(answer.label.clone(), Vec::new())
        }
        (false, Some(first)) if write && id(&first) == id(&answer.rejected_by) => {
            let old = format!("rejected-by: {}\n", answer.rejected_by);
            let text = answer
                .text
                .replacen(&old, &format!("rejected-by: {first}\n"), 1);
            std::fs::write(proof.tree.root.join(&trial.path), text)
                .map_err(|error| error.to_string())?;
            accepted(format!("wrote {first}"), Vec::new())
        }
        (false, Some(first)) => Err(format!(
            "rejected first by `{first}`, not by `{}`:\n{}",
            answer.rejected_by,
            cargo::failures(&verdict)
        )),
    }
}

/// `06.3` of `06.3 · the name`.
fn id(check: &str) -> &str {
    check.split_once(SEPARATOR).map_or(check, |(id, _)| id)
}

/// Reads the leading lines of a patch and the files that it changes.
fn parse(step: &Step, kind: &Kind, text: &str) -> Result<Answer, String> {
    if !text.contains("\n@@ ") {
        let add = format!("git add {}", step.dir());
        return Err(format!(
            "it holds no diff; is the step in git's index? {add}"
        ));
    }
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
    let (label, rejected_by) = if *kind == *RIGHT {
        (field("style:")?, "")
    } else {
        (field("misconception:")?, field("rejected-by:")?)
    };
    let solution = format!("{}/", step.crate_dir(Side::Solution));
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
    if let Some(foreign) = changed.iter().find(|path| !path.starts_with(&solution)) {
        return Err(format!(
            "it changes {foreign}, which is not below {solution}"
        ));
    }
    Ok(Answer {
        text: text.to_owned(),
        label: label.to_owned(),
        rejected_by: rejected_by.to_owned(),
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

    fn read(kind: &Kind, text: &str) -> Result<Answer, String> {
        let step = Step::at(Path::new("05-engine")).expect("a step");
        parse(&step, kind, text)
    }

    #[test]
    fn the_head_of_a_patch_is_read() {
        let head = "misconception: one pool per query\nrejected-by: 05.1 · a name\n\n";
        let Ok(answer) = read(WRONG, &format!("{head}{DIFF}")) else {
            panic!("refused");
        };
        assert_eq!(answer.label, "one pool per query");
        assert_eq!(answer.rejected_by, "05.1 · a name");
        assert!(read(RIGHT, &format!("style: a loop\n{DIFF}")).is_ok());
    }

    #[test]
    fn an_incomplete_patch_is_refused() {
        for (kind, text, reason) in [
            (
                WRONG,
                format!("rejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            (WRONG, format!("misconception: x\n{DIFF}"), "rejected-by:"),
            (
                WRONG,
                format!("misconception:\nrejected-by: 05.1\n{DIFF}"),
                "misconception:",
            ),
            (RIGHT, DIFF.to_owned(), "style:"),
            (RIGHT, "style: x\n".to_owned(), "git add steps/05-engine"),
            (
                RIGHT,
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
