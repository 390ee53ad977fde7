//! Makes a step out of the one that it continues, and the finished service out of
//! the last step.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitCode};

use clap::Args;
use course::{Side, Step};

use crate::minutes;
use crate::parity;
use crate::regions::Source;
use crate::report::{Outcome, all_of};
use crate::starters;
use crate::tree::Tree;
use crate::{Env, process};

/// What a new step is made of, beside the solution that it continues.
const FILES: [(&str, &str); 5] = [
    ("README.md", include_str!("../templates/chapter.txt")),
    ("hints.md", include_str!("../templates/hints.txt")),
    ("check.rs", include_str!("../templates/check.rs")),
    (
        "check_solution.rs",
        include_str!("../templates/check_solution.rs"),
    ),
    (
        "solution/src/placeholder.rs",
        include_str!("../templates/placeholder.rs"),
    ),
];

/// Stands in these files where an author has to write.
const TO_WRITE: &str = concat!("TO ", "WRITE");

/// The task of the placeholder, in the solution and in the exercise.
const DONE: &str = "    format!(\"hello, {name}\")\n";
const TO_DO: &str = "    let _ = name; // remove this line and the next
    todo!(\"return `hello, ` and the name\")
";

/// Programs that a chapter shows; they are not taken over into the next step.
const EXAMPLES: &str = "examples/";
const GONE: &str = "- `examples/` is gone: its programs belong to the chapter that shows them.\n";

/// Begins a failure that says what an author still has to write.
pub const OPEN: &str = "to write: ";

/// The finished service.
const SERVICE: &str = "marketsvc";

/// What promoting leaves as it is: packaging, and the seeding of bulk data.
const KEPT: [&str; 5] = [
    "Cargo.toml",
    "README.md",
    "Dockerfile",
    "tests/",
    "src/seed",
];

/// Begins the manifest of a service that was promoted; parity then compares it.
const PROMOTED: &str = "# `verify promote` writes src/ from the last step's solution.\n";

#[derive(Args)]
pub struct New {
    /// Its number: 9 or 09
    #[arg(value_parser = clap::value_parser!(u8).range(1..100))]
    number: u8,
    /// The rest of its name, in small letters: session-scope
    slug: String,
    /// Number of the step that it continues [default: the step before it]
    #[arg(long, value_name = "NN")]
    continues: Option<String>,
}

/// The text of a file without the markers of tasks, with the names of one package in
/// place of another's.
fn renamed(text: &str, step: &Step, names: &[(String, String)]) -> Result<String, String> {
    let mut text: String = Source::parse(text, step.label())?
        .plain()
        .into_iter()
        .flat_map(|line| [line, "\n"])
        .collect();
    for (old, new) in names {
        text = text.replace(old, new);
    }
    Ok(text)
}

/// All files of a solution, so changed.
fn solution(
    tree: &Tree,
    step: &Step,
    names: &[(String, String)],
) -> Result<BTreeMap<String, String>, String> {
    let folder = step.crate_dir(Side::Solution);
    let files = tree.below(&folder).into_iter();
    files
        .map(|file| {
            let path = format!("{folder}/{file}");
            let text = renamed(&tree.read(&path)?, step, names);
            Ok((
                file.to_owned(),
                text.map_err(|failure| format!("{path}: {failure}"))?,
            ))
        })
        .collect()
}

/// The text of a step's `lib.rs` with the placeholder, and without what the first
/// lines say of the step that it continues.
fn declares_placeholder(lib: &str, number: &str) -> String {
    let rest = lib.lines().skip_while(|line| line.starts_with("//! "));
    let rest: String = rest.flat_map(|line| [line, "\n"]).collect();
    // rustfmt puts the module where it belongs.
    format!("//! Step {number}: {TO_WRITE}: what it is about.\n{rest}pub mod placeholder;\n")
}

fn write(tree: &Tree, path: &str, text: &str) -> std::io::Result<()> {
    let file = tree.root.join(path);
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(file, text)
}

/// Makes a step that compiles, is red for its one task, and passes every proof but
/// those that say what is to be written.
pub fn new(tree: &Tree, settings: &New) -> Env<ExitCode> {
    let number = format!("{:02}", settings.number);
    let slug = format!("{number}-{}", settings.slug);
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let steps = tree.steps();
    let taken = steps.iter().any(|step| step.label() == number);
    if settings.slug.is_empty() || !settings.slug.chars().all(plain) || taken {
        eprintln!("verify: {slug} is taken, or not a name in small letters");
        return Ok(ExitCode::from(2));
    }
    let mut before = steps.iter().filter(|step| step.label() < number.as_str());
    let base = match &settings.continues {
        Some(wanted) => course::find(&steps, wanted).map(|(step, _)| step),
        None => before.next_back(),
    };
    let Some(base) = base else {
        eprintln!("verify: there is no step that {slug} could continue");
        return Ok(ExitCode::from(2));
    };
    let step = Step {
        folder: tree.root.join(format!("steps/{slug}")),
        slug: slug.clone(),
    };
    let names = parity::names(base, &step);
    let mut files = BTreeMap::new();
    let mut changed = String::new();
    if settings.continues.is_some() {
        let other = base.label();
        changed =
            format!("<!-- verify: continues: {other} -->\n\nThis step continues step {other}.\n\n");
    }
    for (file, text) in solution(tree, base, &names)? {
        if !file.starts_with(EXAMPLES) {
            files.insert(format!("solution/{file}"), text);
        } else if !changed.ends_with(GONE) {
            changed += GONE;
        }
    }
    let lib = files.entry("solution/src/lib.rs".to_owned()).or_default();
    *lib = declares_placeholder(lib, &number);
    for (file, text) in FILES {
        let text = text.replace("NN", &number).replace("SLUG", &slug);
        files.insert(file.to_owned(), text.replace("CHANGED", &changed));
    }
    let sides = files.clone().into_iter().filter_map(|(file, text)| {
        let file = file.strip_prefix("solution/")?.to_owned();
        let text = step.as_exercise(&text);
        // The one task.
        Some((
            format!("exercise/{file}"),
            match file.as_str() {
                "src/placeholder.rs" => text.replace(DONE, TO_DO),
                _ => text,
            },
        ))
    });
    files.extend(sides.collect::<Vec<_>>());
    for (file, text) in &files {
        write(tree, &format!("steps/{slug}/{file}"), text)?;
    }
    // The new crates into the lock file; what they need is in it already. Then their
    // modules and lines as rustfmt wants them under the new names.
    let [exercise, solution] = [Side::Exercise, Side::Solution].map(|side| step.package(side));
    for arguments in [
        ["update", "--quiet", "--workspace", "--offline"].as_slice(),
        &["fmt", "--package", &exercise, "--package", &solution],
    ] {
        let mut cargo = Command::new("cargo");
        process::output(cargo.args(arguments).current_dir(&tree.root))?;
    }
    let tree = Tree::open(&tree.root)?;
    let made = [step];
    starters::write(&tree, &made)?;
    minutes::print(&tree, &made, true)?;
    println!(
        "wrote steps/{slug}, which continues {}, and its two packages into Cargo.lock.\n\n    \
         git add steps/{slug} Cargo.lock\n    \
         cargo run -p verify -- all {number}\n\n\
         `git diff`, which makes the patches of answers, sees the step after the first command. \
         The second one lists what is left to write.",
        base.slug
    );
    Ok(ExitCode::SUCCESS)
}

/// What an author still has to write into `file`.
pub fn written(tree: &Tree, file: &str) -> Outcome {
    let text = tree.read(file).unwrap_or_default();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(TO_WRITE));
    let open: Vec<String> = lines
        .map(|(index, line)| format!("{OPEN}line {}: {}", index + 1, line.trim()))
        .collect();
    all_of(&open)
}

/// The files of the finished service as the last step's solution has them.
fn promoted(tree: &Tree) -> Result<BTreeMap<String, String>, String> {
    let steps = tree.steps();
    let last = steps.last().ok_or("there is no step")?;
    let names = [
        (last.package(Side::Solution), SERVICE.to_owned()),
        (format!("step{}_solution", last.label()), SERVICE.to_owned()),
        (format!("step{}", last.label()), SERVICE.to_owned()),
        (last.crate_dir(Side::Solution), SERVICE.to_owned()),
        // Two folders less above it.
        ("../../../../".into(), "../../".into()),
    ];
    let mut files = solution(tree, last, &names)?;
    files.retain(|file, _| !is_kept(file));
    Ok(files)
}

fn is_kept(file: &str) -> bool {
    KEPT.iter().any(|kept| file.starts_with(kept))
}

pub fn promote(tree: &Tree) -> Env<ExitCode> {
    let files = promoted(tree)?;
    let manifest = format!("{SERVICE}/Cargo.toml");
    let packaging = tree.read(&manifest)?;
    if !packaging.starts_with(PROMOTED) {
        write(tree, &manifest, &format!("{PROMOTED}{packaging}"))?;
    }
    for file in tree.below(SERVICE) {
        if !files.contains_key(file) && !is_kept(file) {
            fs::remove_file(tree.root.join(SERVICE).join(file))?;
        }
    }
    for (file, text) in &files {
        write(tree, &format!("{SERVICE}/{file}"), text)?;
    }
    println!("wrote {} files of {SERVICE}", files.len());
    Ok(ExitCode::SUCCESS)
}

/// Whether the finished service has been written from a step's solution.
pub fn is_promoted(tree: &Tree) -> bool {
    tree.read(&format!("{SERVICE}/Cargo.toml"))
        .is_ok_and(|manifest| manifest.starts_with(PROMOTED))
}

/// The finished service is the last step's solution.
pub fn is_the_last_solution(tree: &Tree) -> Outcome {
    let files = promoted(tree)?;
    let mut failures = Vec::new();
    for (file, text) in &files {
        if tree.read(&format!("{SERVICE}/{file}")).ok().as_ref() != Some(text) {
            failures.push(format!("{SERVICE}/{file} is not that of the last solution"));
        }
    }
    let more = tree.below(SERVICE).into_iter();
    let more = more.filter(|file| !files.contains_key(*file) && !is_kept(file));
    failures.extend(more.map(|file| format!("{SERVICE}/{file} is not in the last solution")));
    all_of(&failures)
        .map_err(|failures| format!("{failures}\nto write it anew: cargo run -p verify -- promote"))
}
