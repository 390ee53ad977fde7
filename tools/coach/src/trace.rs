//! `trace`: runs a step's program with recording on, and draws what ran when.
//!
//! The program draws itself: it is linked with `tools/timeline`, which two
//! variables of the environment tell to draw, and where. The coach builds and
//! runs it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use clap::Args;

use crate::cargo::{self, Wanted};
use crate::project::{Project, chosen};
use crate::run::exit_code;
use crate::trouble::Trouble;

/// The same as `timeline::TEXT` and `timeline::SVG`; our tests draw, so they find
/// a difference. The coach does not depend on that crate, to be built sooner.
const TEXT: &str = "MARKETSVC_TIMELINE_TEXT";
const SVG: &str = "MARKETSVC_TIMELINE_SVG";

#[derive(Args)]
pub struct Request {
    /// 4, 04, 04-orders-total or steps/04-orders-total
    step: String,
    /// A program of the step; without it, the usual one
    program: Option<String>,
    /// The solution instead of the exercise
    #[arg(long)]
    solution: bool,
    /// Where to put the picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs the program and draws it: as text on stdout, and as a picture whose
/// file's name is printed. The exit code is the program's, 1 if it does not
/// compile.
pub fn trace(project: &Project, request: &Request) -> Result<ExitCode, Trouble> {
    let (step, side) = project.resolve(&request.step)?;
    let side = chosen(request.solution, side);
    let folder = step.crate_folder(side);
    let name = request.program.as_deref();
    let example = name.unwrap_or("trace");
    let examples = course::programs(&folder.join("examples"));
    let wanted = if examples.iter().any(|known| known == example) {
        Wanted::Example(example)
    } else if examples.is_empty() {
        // A crate without examples whose program is linked with the timeline.
        Wanted::Bin
    } else {
        return Err(Trouble::usage(format!(
            "{} has no program \"{example}\"; it has: {}",
            step.slug,
            examples.join(", ")
        )));
    };
    // A service would start, and stay.
    let draws = fs::read_to_string(folder.join("Cargo.toml"))
        .is_ok_and(|text| text.lines().any(|line| line.starts_with("timeline")));
    if matches!(wanted, Wanted::Bin) && !draws {
        return Err(Trouble::usage(format!(
            "{} has nothing that can be traced; ./run.sh help trace says which steps have",
            step.slug
        )));
    }
    let Some(program) = cargo::program(project, &step, side, &wanted)? else {
        return Ok(ExitCode::FAILURE);
    };
    let here = env::current_dir().unwrap_or_else(|_| project.root.clone());
    let svg = if let Some(file) = &request.svg {
        here.join(file)
    } else {
        // `target/trace/04.svg`, `target/trace/01-tasks.svg`
        let folder = project.target().join("trace");
        fs::create_dir_all(&folder).map_err(Trouble::at(&folder))?;
        let words: Vec<&str> = [step.label()].into_iter().chain(name).collect();
        folder.join(format!("{}.svg", words.join("-")))
    };
    // An old picture must not be taken for one of this run.
    let _ = fs::remove_file(&svg);
    let mut command = Command::new(&program);
    if matches!(wanted, Wanted::Bin) {
        command.args(name);
    }
    let status = command
        .current_dir(&project.root)
        .stdin(Stdio::null())
        .env(TEXT, "1")
        .env(SVG, &svg)
        .status()
        .map_err(Trouble::at(&program))?;
    if svg.is_file() {
        println!("\npicture: {}", project.short(&svg).display());
    } else if status.success() {
        return Err(Trouble::usage(format!(
            "it has drawn nothing: {example} does not record what it does"
        )));
    }
    Ok(exit_code(status))
}
