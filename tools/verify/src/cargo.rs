//! Builds check binaries and reads their verdicts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use course::{Side, Step, Verdict};
use serde_json::Value;

use crate::Env;
use crate::process::{self, Finished};
use crate::report::{Outcome, all_of};
use crate::sandbox::Sandbox;

/// A cold build of everything on a small machine.
pub const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// A check ends its own checks after 10 s each; this is for one that does not.
const CHECK_LIMIT: Duration = Duration::from_mins(2);

/// The programs that a verdict needs.
#[derive(Clone, Default)]
pub struct Check {
    pub program: PathBuf,
    /// The step's test programs that it runs, each with the variable of the
    /// environment that says where it is.
    tests: BTreeMap<String, PathBuf>,
}

impl Check {
    /// Moves the programs to names that begin with `own`. One that cannot be moved does
    /// not run either.
    pub fn moved(mut self, own: &Path) -> Self {
        let programs = self.tests.values_mut().chain([&mut self.program]);
        for (index, program) in programs.enumerate() {
            let to = own.with_extension(index.to_string());
            let _ = fs::rename(&*program, &to);
            *program = to;
        }
        self
    }
}

/// What the compiler made of one side of a step.
#[derive(Default)]
pub struct Compiled {
    check: Check,
    /// What the compiler said: errors where there is no check, else warnings.
    pub said: Vec<String>,
}

impl Compiled {
    fn is_built(&self) -> bool {
        !self.check.program.as_os_str().is_empty()
    }

    /// The check, or what the compiler said instead.
    pub fn check(&self) -> Result<Check, String> {
        if self.is_built() {
            return Ok(self.check.clone());
        }
        if self.said.is_empty() {
            return Err("no check was built: Cargo.toml needs a [[test]] with name = \"check\", path = \"../check.rs\", harness = false".into());
        }
        Err(format!("it does not compile:\n{}", self.said.join("\n")))
    }
}

/// No check has failed; otherwise those that have, in full.
pub fn green(verdict: &Verdict) -> Outcome {
    let failures = verdict.failures();
    let texts = failures.map(|check| format!("FAILED  {}  {}\n{check}", check.todo, check.name));
    all_of(texts)
}

/// Builds the checks of these sides of steps in the sandbox, the test programs that they
/// run, and what these depend on. The result has an entry for each, keyed by its folder.
pub fn build_checks(sandbox: &Sandbox, sides: &[(&Step, Side)]) -> Env<BTreeMap<String, Compiled>> {
    let mut compiled: BTreeMap<String, Compiled> = BTreeMap::new();
    let mut command = sandbox.command("cargo");
    command.args(["build", "--keep-going", "--message-format=json"]);
    command.args(["--test", "check"]);
    for (step, side) in sides {
        let folder = step.crate_dir(*side);
        command.args(["-p", &step.package(*side)]);
        for test in course::test_programs(&sandbox.tree.join(&folder)) {
            command.args(["--test", &test]);
        }
        compiled.insert(folder, Compiled::default());
    }
    if sides.is_empty() {
        return Ok(compiled);
    }
    let output = process::run(&mut command, BUILD_LIMIT, false)?;

    let mut elsewhere = Vec::new();
    for line in output.stdout.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let string = |place: &str| message.pointer(place).and_then(Value::as_str);
        let manifest = Path::new(string("/manifest_path").unwrap_or_default());
        let folder = manifest
            .strip_prefix(&sandbox.tree)
            .ok()
            .and_then(Path::parent);
        let folder = folder.and_then(Path::to_str).unwrap_or_default();
        let text = string("/message/rendered").unwrap_or_default().to_owned();
        let error = string("/message/level").is_some_and(|it| it.starts_with("error"));
        let program = string("/executable").filter(|_| string("/target/kind/0") == Some("test"));
        match (compiled.get_mut(folder), program, string("/target/name")) {
            (Some(entry), Some(program), Some("check")) => entry.check.program = program.into(),
            (Some(entry), Some(program), Some(name)) => {
                entry
                    .check
                    .tests
                    .insert(course::test_variable(name), program.into());
            }
            // "1 warning emitted" and the like carry no place.
            (Some(entry), ..) if error || message.pointer("/message/spans/0").is_some() => {
                entry.said.push(text);
            }
            (None, ..) if error => elsewhere.push(text),
            _ => {}
        }
    }
    let broken = |entry: &Compiled| !entry.is_built() && !entry.said.is_empty();
    let explained = compiled.values().any(broken)
        // Where nothing else is built, cargo takes that for an error; see `Compiled::check`.
        || output.stderr.contains("no test target named `check`");
    if !elsewhere.is_empty() || !(output.succeeded() || explained) {
        let said = elsewhere.join("\n");
        return Err(format!("cargo build failed:\n{said}{}", output.stderr).into());
    }
    Ok(compiled)
}

/// Runs a check for its verdict in its package's `folder`.
pub fn run_check(
    sandbox: &Sandbox,
    folder: &str,
    check: &Check,
    arguments: &[&str],
) -> Result<Verdict, String> {
    let mut command = check_command(sandbox, check, folder);
    command.arg("--json").args(arguments);
    read_verdict(&process::run(&mut command, CHECK_LIMIT, false)?)
}

/// As cargo would run a check.
pub fn check_command(sandbox: &Sandbox, check: &Check, folder: &str) -> Command {
    let folder = sandbox.tree.join(folder);
    let mut command = sandbox.command(&check.program.to_string_lossy());
    command
        .envs(&check.tests)
        .env("CARGO_MANIFEST_DIR", &folder)
        .current_dir(folder);
    command
}

/// Reads what a check binary printed with `--json`, or says what it did instead of
/// giving a verdict that agrees with itself.
fn read_verdict(finished: &Finished) -> Result<Verdict, String> {
    let Finished { stdout, stderr, .. } = finished;
    let Some(status) = finished.status else {
        return Err(format!(
            "the check did not end in time; it printed\n{stdout}{stderr}"
        ));
    };
    // A service may print lines of its own before the verdict.
    let mut lines = stdout.lines().rev();
    let verdict: Verdict = lines
        .find_map(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| format!("no verdict, {status}; it printed\n{stdout}{stderr}"))?;
    let all = verdict.checks.len();
    let failed = verdict.failures().count();
    let consistent = verdict.failed == failed
        && verdict.passed + failed == all
        && status.code() == Some(i32::from(failed > 0));
    if !consistent || all == 0 {
        return Err(format!(
            "the verdict contradicts itself: {} passed, {} failed, {all} checks of which {failed} failed, {status}",
            verdict.passed, verdict.failed
        ));
    }
    if !finished.left.is_empty() {
        let left = finished.left.join("\n");
        return Err(format!("the check left processes running:\n{left}"));
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn finished(stdout: &str, code: i32) -> Finished {
        Finished {
            status: Some(ExitStatus::from_raw(code << 8)),
            stdout: stdout.to_owned(),
            stderr: String::new(),
            left: Vec::new(),
            took: Duration::ZERO,
        }
    }

    const RED: &str = r#"{"step":"05-engine","passed":1,"failed":1,"checks":[
        {"todo":"05.1","name":"a","status":"passed"},
        {"todo":"05.2","name":"b","status":"failed","asked":"x","expected":"y","got":"z","file":"f","line":1}]}"#;

    #[test]
    fn a_verdict_is_read() {
        let red = RED.replace('\n', "");
        let verdict = read_verdict(&finished(&red, 1)).expect("a verdict");
        assert_eq!(
            verdict.failures().next().map(|check| check.todo.as_str()),
            Some("05.2")
        );
        assert!(green(&verdict).is_err_and(|it| it.contains("got       z")));
        let noisy = format!("served\n{red}\n");
        assert!(read_verdict(&finished(&noisy, 1)).is_ok());
    }

    #[test]
    fn a_verdict_that_contradicts_itself_is_refused() {
        for (stdout, code) in [
            (RED.to_owned(), 0),
            (RED.replace("\"failed\":1", "\"failed\":2"), 1),
            (
                r#"{"step":"","passed":0,"failed":0,"checks":[]}"#.to_owned(),
                0,
            ),
            ("thread panicked".to_owned(), 1),
        ] {
            assert!(read_verdict(&finished(&stdout, code)).is_err(), "{stdout}");
        }
    }
}
