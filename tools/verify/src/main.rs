//! Proves the tutorial: exercises are red for the announced reason, solutions
//! are green, both agree outside the tasks, wrong answers are rejected, and
//! what the chapters show is what really happens.
//!
//! Run it with `cargo run -p verify -- all`; `tools/verify/README.md` says what
//! each part proves and how patches and chapter blocks are written.

mod api;
mod book;
mod cargo;
mod chapters;
mod console;
mod document;
mod exercises;
mod flaky;
mod hints;
mod links;
mod matching;
mod memory;
mod mermaid;
mod minutes;
mod parity;
mod process;
mod queries;
mod questions;
mod regions;
mod report;
mod sandbox;
mod scaffold;
mod speed;
mod starters;
mod tested;
mod texts;
mod tree;
mod wrong;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use course::Step;

use memory::Memory;
use report::{Report, Totals};
use sandbox::Sandbox;
use tree::Tree;

/// Set for every command that a chapter runs, so that a chapter which runs
/// `verify` is refused instead of recursing.
const ACTIVE: &str = "MARKETSVC_VERIFY_ACTIVE";

/// The proof could not be attempted: no git, no cargo, no space, a dependency
/// that does not build. Ends the program with code 3.
#[derive(Debug)]
pub struct Environment(pub String);

impl<E: std::fmt::Display> From<E> for Environment {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl From<Environment> for String {
    fn from(Environment(message): Environment) -> Self {
        message
    }
}

/// Result of something that only a broken environment can spoil.
pub type Env<T> = Result<T, Environment>;

/// What is proved, and with what.
pub struct Proof<'a> {
    pub tree: &'a Tree,
    pub sandbox: &'a Sandbox,
    pub memory: &'a Memory<'a>,
    pub steps: &'a [Step],
    /// Whether these are all steps, and what belongs to none counts too.
    pub whole: bool,
}

#[derive(Parser)]
#[command(about = "Proves the tutorial", version)]
struct Cli {
    /// The workspace to prove, or a folder in it
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Proves parity, texts, exercises, api, book, wrong, chapters and queries
    All(Only),
    /// Proves that exercises fail for each of their tasks, and solutions pass
    Exercises(Only),
    /// Proves that an exercise differs from its solution, and from the one before, only in tasks
    Parity(Only),
    /// Proves that wrong answers are rejected by the right check, and right ones are accepted
    Wrong(wrong::Settings),
    /// Runs the commands that the chapters and the README show, and compares their code
    Chapters(Only),
    /// Proves that the files in `.sqlx` agree with the database
    Queries(Only),
    /// Proves the API document, and that the service and its page keep to it
    Api(Only),
    /// Proves that the book can be built, and works in a browser
    Book,
    /// Proves that links resolve, chapters have their form, and each task has its hints
    Texts(Only),
    /// Writes each step's starter.patch anew, from its exercise and solution
    Starters(Only),
    /// Runs the tests of the tools and of the finished service
    Tests,
    /// Makes a step that compiles and has one task
    New(scaffold::New),
    /// Writes marketsvc/ from the last step's solution
    Promote,
    /// Estimates how long each chapter takes, from its words and tasks
    Minutes(minutes::Settings),
    /// Repeats the solutions' checks and the service's tests, which must pass every time
    Flaky(flaky::Settings),
    /// Measures how long a learner waits from an edit to the verdict
    Speed(speed::Settings),
}

impl Part {
    /// Its name, and the step that is asked for, all if none.
    fn asked(&self) -> (&'static str, Option<&str>) {
        let (name, only) = match self {
            Self::All(only) => ("all", only),
            Self::Exercises(only) => ("exercises", only),
            Self::Parity(only) => ("parity", only),
            Self::Wrong(settings) => ("wrong", &settings.only),
            Self::Chapters(only) => ("chapters", only),
            Self::Queries(only) => ("queries", only),
            Self::Api(only) => ("api", only),
            Self::Texts(only) => ("texts", only),
            Self::Starters(only) => ("starters", only),
            Self::Minutes(settings) => ("minutes", &settings.only),
            Self::Flaky(settings) => ("flaky", &settings.only),
            Self::Speed(settings) => ("speed", &settings.only),
            Self::Book => return ("book", None),
            Self::New(_) | Self::Promote | Self::Tests => return ("", None),
        };
        (name, only.step.as_deref())
    }
}

#[derive(Args)]
struct Only {
    /// One step only: 5, 05 or 05-engine
    step: Option<String>,
}

fn main() -> ExitCode {
    process::stop_children_on_interrupt();
    match verify(&Cli::parse()) {
        Ok(code) => code,
        Err(Environment(message)) => {
            eprintln!("verify: {}", message.trim_end());
            ExitCode::from(3)
        }
    }
}

fn verify(cli: &Cli) -> Env<ExitCode> {
    if std::env::var_os(ACTIVE).is_some() {
        return Err("a chapter runs verify, which would run the chapter again: show that command in a ```text block".into());
    }
    let mut git = Command::new("git");
    git.args(["rev-parse", "--show-toplevel"]);
    let root = process::output(git.current_dir(&cli.root))?;
    let tree = Tree::open(Path::new(root.trim_end()))?;
    let (asked, wanted) = cli.part.asked();
    let Some(steps) = select(&tree, wanted) else {
        return Ok(ExitCode::from(2));
    };
    match &cli.part {
        Part::New(settings) => return scaffold::new(&tree, settings),
        Part::Promote => return scaffold::promote(&tree),
        Part::Starters(_) => return starters::write(&tree, &steps),
        Part::Minutes(settings) => return minutes::print(&tree, &steps, settings.write),
        _ => {}
    }

    let whole = wanted.is_none();
    let all = asked == "all";
    let mut totals = Totals::default();
    let mut part = |name, prove: &dyn Fn(&mut Report) -> Env<()>| -> Env<()> {
        if all || asked == name {
            let mut report = Report::new(name);
            prove(&mut report)?;
            totals.add(report.finish());
        }
        Ok(())
    };
    part("parity", &|report| {
        parity::prove(&tree, &steps, report);
        starters::prove(&tree, &steps, report);
        Ok(())
    })?;
    part("texts", &|report| {
        texts::prove(&tree, &steps, whole, report);
        Ok(())
    })?;
    if !["parity", "texts"].contains(&asked) {
        let sandbox = Sandbox::open(&tree)?;
        let memory = Memory::open(&tree, &sandbox.home)?;
        let proof = Proof {
            tree: &tree,
            sandbox: &sandbox,
            memory: &memory,
            steps: &steps,
            whole,
        };
        let mut every = false;
        match &cli.part {
            Part::Tests => return tested::run(&tree, &memory),
            Part::Speed(settings) => return speed::print(&proof, settings),
            Part::Flaky(settings) => part("flaky", &|it| flaky::prove(&proof, settings, it))?,
            Part::Wrong(settings) => every = settings.all,
            _ => {}
        }
        part("exercises", &|it| exercises::prove(&proof, it))?;
        part("api", &|it| api::prove(&proof, it))?;
        part("book", &|it| book::prove(&proof, it))?;
        part("wrong", &|it| wrong::prove(&proof, every, it))?;
        part("chapters", &|it| chapters::prove(&proof, it))?;
        part("queries", &|it| queries::prove(&proof, it))?;
    }
    if all {
        totals.count("learner-safety properties", safety_properties(&tree));
        println!("{}", totals.table());
    }
    println!("verify: {totals}");
    Ok(ExitCode::from(u8::from(totals.failed > 0)))
}

/// How many tests say that no learner's work is lost; another part of
/// `./run.sh test` runs them. They are built already when that part comes first.
fn safety_properties(tree: &Tree) -> usize {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "-q", "--locked", "--workspace"])
        .args(["--features", "marketsvc/postgres"])
        .args(["--bin", "coach", "--test", "backup", "--test", "newer"])
        .args(["--", "--list", "--format", "terse"])
        .current_dir(&tree.root);
    let listed = process::output(&mut cargo).unwrap_or_default();
    let tests = listed.lines().filter_map(|it| it.strip_suffix(": test"));
    // Of the program's own tests those of one module.
    let counted = tests.filter(|it| !it.contains("::") || it.starts_with("backup::"));
    counted.count()
}

fn select(tree: &Tree, wanted: Option<&str>) -> Option<Vec<Step>> {
    let steps = tree.steps();
    let Some(wanted) = wanted else {
        return Some(steps);
    };
    let found = course::find(&steps, wanted).map(|(step, _)| vec![step.clone()]);
    if found.is_none() {
        let slugs: Vec<&str> = steps.iter().map(|step| step.slug.as_str()).collect();
        eprintln!(
            "verify: there is no step `{wanted}`; there are {}",
            slugs.join(", ")
        );
    }
    found
}
