//! Measures how long a learner waits from saving a file to the verdict.
//!
//! Each step's exercise is solved in the copy. Then, again and again, a comment
//! is put at the beginning of its first task, as if somebody had edited there,
//! and `./run.sh check` runs as it does for a learner.

use std::fs;
use std::num::NonZero;
use std::process::ExitCode;

use clap::Args;
use course::{Side, Step};
use serde_json::{Value, json};

use crate::cargo::BUILD_LIMIT;
use crate::process;
use crate::sandbox::Sandbox;
use crate::{Env, Environment, Only, Proof};

/// What the command line asks for.
#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pub only: Only,
    /// How often each step is edited
    #[arg(long, value_name = "N", default_value = "5")]
    times: NonZero<usize>,
}

/// Measures `steps` and prints the figures as one JSON object. A step whose checks
/// do not pass is a failure and has none.
pub fn print(proof: &Proof, settings: &Settings) -> Env<ExitCode> {
    let Proof { sandbox, steps, .. } = *proof;
    let mut measured = Vec::new();
    for step in steps {
        let figures = measure(sandbox, step, settings.times.get());
        sandbox.put_back(&step.crate_dir(Side::Exercise))?;
        match figures {
            Ok(figures) => measured.push(figures),
            Err(Environment(failure)) => eprintln!("{}: {failure}", step.slug),
        }
    }
    let code = ExitCode::from(u8::from(measured.len() < steps.len()));
    println!("{}", json!({"steps": measured}));
    Ok(code)
}

/// Seconds of each edit, and of the verb after it, when nothing has changed.
fn measure(sandbox: &Sandbox, step: &Step, times: usize) -> Env<Value> {
    sandbox.solve(step)?;
    let exercise = sandbox.tree.join(step.crate_dir(Side::Exercise));
    let tasks = course::tasks(&sandbox.tree, &exercise);
    let task = tasks.first().ok_or("there is no task")?;
    let file = sandbox.tree.join(&task.file);
    let original = fs::read_to_string(&file)?;
    // Builds what nobody waits for at each edit.
    check(sandbox, step)?;
    let (mut edits, mut unchanged) = (Vec::new(), Vec::new());
    for edit in 1..=times {
        fs::write(&file, edited(&original, task.line, edit))?;
        edits.push(check(sandbox, step)?);
        unchanged.push(check(sandbox, step)?);
    }
    Ok(json!({"step": step.slug, "edits": edits, "unchanged": unchanged}))
}

/// Runs the verb; gives its seconds when all checks pass.
fn check(sandbox: &Sandbox, step: &Step) -> Result<f64, String> {
    let mut command = sandbox.command("./run.sh");
    command.args(["check", step.label()]);
    let finished = process::run(&mut command, BUILD_LIMIT, true)?;
    if finished.succeeded() {
        return Ok(finished.took.as_secs_f64());
    }
    let (label, said) = (step.label(), finished.stdout);
    Err(format!(
        "./run.sh check {label} of the solved exercise does not pass:\n{said}"
    ))
}

/// The text with comments below this line: all that follows is in another line
/// than before, as it is after most edits.
fn edited(text: &str, line: usize, edit: usize) -> String {
    let at = text.split_inclusive('\n').take(line).map(str::len).sum();
    let (before, after) = text.split_at(at);
    format!("{before}{}{after}", "    // An edit.\n".repeat(edit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_moves_the_code_of_the_first_task() {
        let text = "use a;\n// TODO(05.1): do it\nlet a = 1;\n// END TODO(05.1)\n";
        let first = edited(text, 2, 1);
        assert_eq!(
            first,
            "use a;\n// TODO(05.1): do it\n    // An edit.\nlet a = 1;\n// END TODO(05.1)\n"
        );
        let place = |text: &str| text.lines().position(|line| line == "let a = 1;");
        assert_eq!(place(&edited(text, 2, 2)), Some(4));
    }
}
