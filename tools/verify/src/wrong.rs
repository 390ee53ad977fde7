//! Plausible wrong answers are rejected for the right TODO; right answers in
//! another style are accepted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

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
    /// Write into the patches which check of their task fails first
    #[arg(long, requires = "all")]
    write: bool,
}

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

    /// How many a step needs at least.
    fn at_least(self) -> usize {
        match self {
            Self::Wrong => 5,
            Self::Right => 2,
        }
    }
}

/// How many answers are built at once: one for each core of a small machine.
const SLOTS: usize = 2;

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
    kind: Kind,
    /// Relative to the root.
    path: String,
    answer: Result<Answer, String>,
}

impl Trial<'_> {
    /// The check that is said to fail first, of which step.
    fn check(&self) -> Option<(&str, &str)> {
        let named = &self.answer.as_ref().ok()?.rejected_by;
        named
            .contains(SEPARATOR)
            .then_some((&self.step.slug, named))
    }
}

pub fn prove(proof: &Proof, settings: &Settings, report: &mut Report) -> Env<()> {
    let Proof {
        tree,
        sandbox,
        steps,
        ..
    } = *proof;
    let wrong = trials(tree, steps, Kind::Wrong);
    let right = trials(tree, steps, Kind::Right);
    for (kind, trials) in [(Kind::Wrong, &wrong), (Kind::Right, &right)] {
        for step in steps {
            let count = trials.iter().filter(|trial| trial.step == step).count();
            let folder = kind.folder();
            report.prove(
                &format!("{} has {count} {folder} answers", step.slug),
                || enough(count, kind, &format!("tools/verify/{folder}/{}", step.slug)),
            );
        }
    }
    for folder in ["wrong", "right"] {
        report_strays(tree, folder, report);
    }
    let mut named = BTreeSet::new();
    // A patch that does not name its check is tried, and told which it is.
    let (tried, left): (Vec<&Trial>, Vec<&Trial>) = wrong.iter().partition(|trial| {
        let first = trial.check().is_none_or(|check| named.insert(check));
        first || settings.all
    });
    for trial in &left {
        let path = tree.root.join(&trial.path);
        if let Err(git) = sandbox.git(&["apply", "--check", &path.to_string_lossy()]) {
            report.prove(&trial.path, || Err(no_longer_applies(&git)));
        }
    }
    sandbox.copy_solutions(steps, SLOTS)?;
    let prover = Prover {
        proof,
        write: settings.write,
        checks: Mutex::default(),
    };
    let rejected = prove_all(&prover, &tried, report)?;
    let accepted = prove_all(&prover, &right.iter().collect::<Vec<_>>(), report)?;
    sandbox.restore().map_err(Environment)?;
    report.count("wrong answers rejected", rejected);
    report.count("right answers accepted", accepted);
    println!("wrong answers rejected: {rejected}/{}", tried.len());
    println!("right answers accepted: {accepted}/{}", right.len());
    if !left.is_empty() {
        println!("wrong answers left to --all: {}", left.len());
    }
    if settings.write {
        return Ok(()); // The headers have changed under what follows.
    }
    let mut alone = prover.checks.into_inner().unwrap_or_default();
    alone.retain(|(slug, check)| !named.contains(&(slug.as_str(), check.as_str())));
    let count = alone.len();
    println!("checks without a wrong answer of their own: {count}");
    for (_, check) in alone.iter().filter(|_| settings.all) {
        println!("        {check}");
    }
    Ok(())
}

fn trials<'a>(tree: &Tree, steps: &'a [Step], kind: Kind) -> Vec<Trial<'a>> {
    let mut trials = Vec::new();
    for step in steps {
        let folder = format!("tools/verify/{}/{}", kind.folder(), step.slug);
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

/// Tries answers; returns how many came to what they should. While the checks
/// of some run, and mostly wait, the next are built.
fn prove_all(prover: &Prover, trials: &[&Trial], report: &mut Report) -> Env<usize> {
    let mut good = 0;
    let mut open = Vec::new();
    for trial in trials {
        if prover.recall(trial) {
            good += 1;
            report.remembered(1);
        } else {
            open.push(*trial);
        }
    }
    let mut settle = |trial: &Trial, started: Instant, outcome: Result<Accepted, String>| {
        good += usize::from(outcome.is_ok());
        let path = trial.path.trim_start_matches("tools/verify/");
        let what = match &outcome {
            Ok(accepted) => format!("{path}: {}", accepted.label),
            Err(_) => path.to_owned(),
        };
        let outcome = outcome.map(|accepted| prover.keep(trial, accepted.checks));
        report.item(&what, started, outcome);
    };
    std::thread::scope(|scope| -> Env<()> {
        let mut running: Vec<(&Trial, Instant, ScopedJoinHandle<_>)> = Vec::new();
        for (index, batch) in open.chunks(SLOTS).enumerate() {
            let started = Instant::now();
            let built = build(prover.proof.sandbox, batch, index)?;
            for (trial, started, judged) in running.drain(..) {
                settle(trial, started, joined(judged));
            }
            for (trial, built) in batch.iter().copied().zip(built) {
                match built {
                    Err(failure) => settle(trial, started, Err(failure)),
                    Ok(check) => {
                        let judged = scope.spawn(move || prover.judge(trial, &check));
                        running.push((trial, started, judged));
                    }
                }
            }
        }
        for (trial, started, judged) in running {
            settle(trial, started, joined(judged));
        }
        Ok(())
    })?;
    Ok(good)
}

fn joined<T>(judged: ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    judged
        .join()
        .unwrap_or_else(|_| Err("verify panicked while it ran the check".into()))
}

fn enough(patches: usize, kind: Kind, folder: &str) -> Outcome {
    let least = kind.at_least();
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
fn build(sandbox: &Sandbox, batch: &[&Trial], index: usize) -> Env<Vec<Result<PathBuf, String>>> {
    let mut copies = Vec::new();
    for (slot, trial) in batch.iter().enumerate() {
        let answer = trial.answer.as_ref().map_err(Clone::clone);
        copies.push(answer.and_then(|answer| {
            sandbox
                .apply_to_copy(trial.step, slot, &answer.text)
                .map_err(|git| no_longer_applies(&git))
        }));
    }
    let wanted: Vec<Package> = copies.iter().flatten().cloned().collect();
    let compiled = cargo::build_checks(sandbox, &wanted)?;
    let check = |slot: usize, copy: &Package| -> Env<Result<PathBuf, String>> {
        match compiled[&copy.folder].check() {
            Err(errors) => Ok(Err(format!("it does not compile:\n{errors}"))),
            Ok(check) => {
                // The next build of this copy must not replace it while it runs.
                let own = sandbox.build.join(format!("answer-{slot}-{}", index % 2));
                std::fs::rename(check, &own)?;
                Ok(Ok(own))
            }
        }
    };
    let checks = copies.into_iter().enumerate();
    checks
        .map(|(slot, copy)| copy.map_or_else(|failure| Ok(Err(failure)), |copy| check(slot, &copy)))
        .collect()
}

/// What is needed to try answers.
struct Prover<'a> {
    proof: &'a Proof<'a>,
    /// Whether to correct the name of the check in a patch.
    write: bool,
    /// The checks of each step, as its right answers tell.
    checks: Mutex<BTreeSet<(String, String)>>,
}

/// What came of an answer that is as good or bad as it should be.
struct Accepted {
    label: String,
    /// The names of all checks, when they were run.
    checks: Vec<String>,
}

impl Prover<'_> {
    /// The name of a trial's record, and its key.
    fn record(&self, trial: &Trial) -> (String, String) {
        let item = trial.path.trim_start_matches("tools/verify/");
        (
            format!("answers/{item}"),
            self.proof.memory.answer(trial.step, &trial.path),
        )
    }

    /// Whether an answer came to what it should when it was tried last.
    fn recall(&self, trial: &Trial) -> bool {
        let (item, key) = self.record(trial);
        let found = self
            .proof
            .memory
            .recall(&item, &key)
            .filter(|_| !self.write);
        if let Some(found) = &found {
            self.add_checks(trial, found.lines().map(str::to_owned));
        }
        found.is_some()
    }

    fn keep(&self, trial: &Trial, checks: Vec<String>) {
        let (item, key) = self.record(trial);
        // With `--write` the patch is another than the one that was read.
        if !self.write {
            self.proof.memory.keep(&item, &key, &checks.join("\n"));
        }
        self.add_checks(trial, checks);
    }

    fn add_checks(&self, trial: &Trial, checks: impl IntoIterator<Item = String>) {
        if let Ok(mut known) = self.checks.lock() {
            let slug = &trial.step.slug;
            known.extend(checks.into_iter().map(|check| (slug.clone(), check)));
        }
    }

    /// Runs the check of an answer.
    fn judge(&self, trial: &Trial, check: &Path) -> Result<Accepted, String> {
        let answer = trial.answer.as_ref().map_err(Clone::clone)?;
        // Which check fails first is all that counts.
        let verdict = cargo::run_check(
            self.proof.sandbox,
            trial.step,
            Side::Solution,
            check,
            &["--fail-fast"],
        )?;
        let accepted = |label: String, checks: Vec<String>| Ok(Accepted { label, checks });
        let name = |check: &Check| format!("{}{SEPARATOR}{}", check.todo, check.name);
        match (trial.kind, verdict.failures().next().map(name)) {
            (Kind::Right, None) => accepted(
                answer.label.clone(),
                verdict.checks.iter().map(name).collect(),
            ),
            (Kind::Right, Some(_)) => Err(format!(
                "a right answer ({}) is rejected:\n{}",
                answer.label,
                cargo::failures(&verdict)
            )),
            (Kind::Wrong, None) => Err(format!("accepted, though: {}", answer.label)),
            (Kind::Wrong, Some(first)) if first == answer.rejected_by => {
                accepted(answer.label.clone(), Vec::new())
            }
            (Kind::Wrong, Some(first)) if self.write && id(&first) == id(&answer.rejected_by) => {
                let old = format!("rejected-by: {}\n", answer.rejected_by);
                let text = answer
                    .text
                    .replacen(&old, &format!("rejected-by: {first}\n"), 1);
                std::fs::write(self.proof.tree.root.join(&trial.path), text)
                    .map_err(|error| error.to_string())?;
                accepted(format!("wrote {first}"), Vec::new())
            }
            (Kind::Wrong, Some(first)) => Err(format!(
                "rejected first by `{first}`, not by `{}`:\n{}",
                answer.rejected_by,
                cargo::failures(&verdict)
            )),
        }
    }
}

/// `06.3` of `06.3 · the name`.
fn id(check: &str) -> &str {
    check.split_once(SEPARATOR).map_or(check, |(id, _)| id)
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
        Kind::Wrong => (field("misconception:")?, field("rejected-by:")?),
        Kind::Right => (field("style:")?, ""),
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
        rejected_by: rejected_by.to_owned(),
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
        let step = Step::at(Path::new("05-engine")).expect("a step");
        parse(&step, kind, text)
    }

    #[test]
    fn the_head_of_a_patch_is_read() {
        let head = "misconception: one pool per query\nrejected-by: 05.1 · a name\n\n";
        let Ok(answer) = read(Kind::Wrong, &format!("{head}{DIFF}")) else {
            panic!("refused");
        };
        assert_eq!(answer.label, "one pool per query");
        assert_eq!(answer.rejected_by, "05.1 · a name");
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
