//! `starter.patch` makes the exercise out of the solution: this is what
//! `./run.sh reset` relies on.

use std::fs;
use std::process::ExitCode;

use course::starter::{self, FILE, Files, Starter};
use course::{Side, Step};

use crate::Env;
use crate::report::{Outcome, Report};
use crate::tree::Tree;

/// Proves that each step's patch gives its exercise, byte for byte.
pub fn prove(tree: &Tree, steps: &[Step], report: &mut Report) {
    for step in steps {
        let what = format!("{} {FILE} makes the exercise of the solution", step.slug);
        let anew = "to write it anew: cargo run -p verify -- starters";
        report.prove(&what, || {
            gives_the_exercise(tree, step).map_err(|it| format!("{it}\n{anew}"))
        });
    }
}

pub fn write(tree: &Tree, steps: &[Step]) -> Env<ExitCode> {
    for step in steps {
        let (exercise, solution) = sides(tree, step)?;
        let file = format!("{}/{FILE}", step.dir());
        fs::write(tree.root.join(&file), starter::write(&exercise, &solution))?;
        println!("wrote {file}");
    }
    Ok(ExitCode::SUCCESS)
}

fn gives_the_exercise(tree: &Tree, step: &Step) -> Outcome {
    let (exercise, solution) = sides(tree, step)?;
    let file = format!("{}/{FILE}", step.dir());
    let starter =
        Starter::parse(&tree.read(&file)?).map_err(|failure| format!("{file}: {failure}"))?;
    let made = starter
        .apply(&solution)
        .map_err(|files| format!("it does not fit the solution's {}", files.join(", ")))?;
    let mut names = made.keys().chain(exercise.keys());
    match names.find(|name| made.get(*name) != exercise.get(*name)) {
        Some(name) => Err(format!("it does not give exercise/{name}")),
        None => Ok(()),
    }
}

/// The files of the exercise, without the learner's own tests, and of the
/// solution; both as the exercise has them.
fn sides(tree: &Tree, step: &Step) -> Result<(Files, Files), String> {
    let read = |side: Side| -> Result<Files, String> {
        let folder = step.crate_dir(side);
        tree.below(&folder)
            .into_iter()
            .filter(|file| step.is_of_course(file))
            .map(|file| Ok((file.to_owned(), tree.read(&format!("{folder}/{file}"))?)))
            .collect()
    };
    let mut solution = read(Side::Solution)?;
    for text in solution.values_mut() {
        *text = step.as_exercise(text);
    }
    Ok((read(Side::Exercise)?, solution))
}
