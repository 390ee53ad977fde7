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
const FILES: [(&str, &str); 4] = [
    ("README.md", include_str!("../templates/chapter.txt")),
    ("hints.md", include_str!("../templates/hints.txt")),
    ("check.rs", include_str!("../templates/check.rs")),
    (
        "check_solution.rs",
        include_str!("../templates/check_solution.rs"),
    ),
];
const PLACEHOLDER: &str = include_str!("../templates/placeholder.rs");

/// Stands in these files where an author has to write.
const TO_WRITE: &str = concat!("TO ", "WRITE");

/// The task of the placeholder, in the solution and in the exercise.
const DONE: &str = "    format!(\"hello, {name}\")\n";
const TO_DO: &str = "    let _ = name; // remove this line and the next
    todo!(\"return `hello, ` and the name\")
";

/// Programs that a chapter shows; they are not taken over into the next step, nor into the
/// finished service.
const EXAMPLES: &str = "examples/";
const GONE: &str = "- `examples/` is gone: its programs belong to the chapter that shows them.\n";

/// Begins a failure that says what an author still has to write.
pub const OPEN: &str = "to write: ";

/// The finished service.
const SERVICE: &str = "marketsvc";

/// What promoting leaves as it is: packaging, and the seeding of bulk data.
const KEPT: [&str; 6] = [
    "Cargo.toml",
    "README.md",
    "Dockerfile",
    "deploy/",
    "tests/",
    "src/seed/",
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

/// All files of a solution without the markers of tasks, with the names of one package
/// in place of another's.
fn solution(
    tree: &Tree,
    step: &Step,
    names: &[(String, String)],
) -> Result<BTreeMap<String, String>, String> {
    let folder = step.crate_dir(Side::Solution);
    let mut files = BTreeMap::new();
    for file in tree.below(&folder) {
        let path = format!("{folder}/{file}");
        let text = tree.read(&path)?;
        let source = Source::parse(&text, step.label());
        let source = source.map_err(|failure| format!("{path}: {failure}"))?;
        let mut text: String = source
            .plain()
            .into_iter()
            .flat_map(|line| [line, "\n"])
            .collect();
        for (old, new) in names {
            text = text.replace(old, new);
        }
        files.insert(file.to_owned(), text);
    }
    Ok(files)
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
    let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let steps = tree.steps();
    let taken = steps.iter().any(|step| step.label() == number);
    let mut before = steps.iter().filter(|step| step.label() < number.as_str());
    let base = match &settings.continues {
        Some(wanted) => course::find(&steps, wanted).map(|(step, _)| step),
        None => before.next_back(),
    };
    let base = base.filter(|_| !taken && settings.slug.bytes().all(plain));
    let step = Step::at(&tree.root.join("steps").join(&slug));
    let (Some(base), Some(step)) = (base, step) else {
        eprintln!("verify: {slug} is taken, not a name in small letters, or continues no step");
        return Ok(ExitCode::from(2));
    };
    let mut changed = String::new();
    if settings.continues.is_some() {
        let other = base.label();
        let told = format!("This step continues step {other}.");
        changed = format!("<!-- verify: continues: {other} -->\n\n{told}\n\n");
    }
    let mut files = solution(tree, base, &parity::names(base, &step))?;
    let all = files.len();
    files.retain(|file, _| !file.starts_with(EXAMPLES));
    if files.len() < all {
        changed += GONE;
    }
    let fill = |text: &str| {
        let text = text.replace("NN", &number).replace("SLUG", &slug);
        text.replace("CHANGED", &changed)
    };
    // What the first lines say is about the step that it continues. rustfmt puts the
    // module where it belongs.
    let lib = files.entry("src/lib.rs".to_owned()).or_default();
    let rest = lib.lines().skip_while(|line| line.starts_with("//! "));
    let rest: String = rest.flat_map(|line| [line, "\n"]).collect();
    *lib =
        format!("//! Step {number}: {TO_WRITE}: what it is about.\n{rest}pub mod placeholder;\n");
    files.insert("src/placeholder.rs".to_owned(), fill(PLACEHOLDER));
    for (file, text) in FILES {
        write(tree, &format!("{}/{file}", step.dir()), &fill(text))?;
    }
    for (file, text) in &files {
        let solution = format!("{}/{file}", step.crate_dir(Side::Solution));
        write(tree, &solution, text)?;
        // The one task.
        let exercise = format!("{}/{file}", step.crate_dir(Side::Exercise));
        let text = step.as_exercise(text).replace(DONE, TO_DO);
        write(tree, &exercise, &text)?;
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
    let lines = (1..).zip(text.lines());
    let open = lines.filter(|(_, line)| line.contains(TO_WRITE));
    all_of(open.map(|(number, line)| format!("{OPEN}line {number}: {}", line.trim())))
}

/// The files of the finished service that are not as the last step's solution has them,
/// each with the text that it should have, or `None` if it should not be there.
fn outdated(tree: &Tree) -> Result<BTreeMap<String, Option<String>>, String> {
    let steps = tree.steps();
    let last = steps.last().ok_or("there is no step")?;
    let names = [
        (last.package(Side::Solution), SERVICE.to_owned()),
        (format!("step{}_solution", last.label()), SERVICE.to_owned()),
        (format!("step{}", last.label()), SERVICE.to_owned()),
        (last.crate_dir(Side::Solution), SERVICE.to_owned()),
        // Two folders less above it: paths from the package, and from its files.
        ("\"../../../data/".into(), "\"../data/".into()),
        ("../../../../".into(), "../../".into()),
    ];
    let there = tree.below(SERVICE).into_iter();
    let mut files: BTreeMap<_, _> = there.map(|file| (file.to_owned(), None)).collect();
    let wanted = solution(tree, last, &names)?.into_iter();
    let wanted = wanted.filter(|(file, _)| !file.starts_with(EXAMPLES));
    files.extend(wanted.map(|(file, text)| (file, Some(text))));
    files.retain(|file, text| {
        let kept = KEPT.iter().any(|kept| file.starts_with(kept));
        !kept && tree.read(&format!("{SERVICE}/{file}")).ok() != *text
    });
    Ok(files)
}

pub fn promote(tree: &Tree) -> Env<ExitCode> {
    let files = outdated(tree)?;
    let manifest = format!("{SERVICE}/Cargo.toml");
    let packaging = tree.read(&manifest)?;
    if !packaging.starts_with(PROMOTED) {
        write(tree, &manifest, &format!("{PROMOTED}{packaging}"))?;
    }
    for (file, text) in &files {
        let path = format!("{SERVICE}/{file}");
        match text {
            Some(text) => write(tree, &path, text)?,
            None => fs::remove_file(tree.root.join(path))?,
        }
    }
    println!("wrote or removed {} files of {SERVICE}", files.len());
    Ok(ExitCode::SUCCESS)
}

/// Whether the finished service has been written from a step's solution.
pub fn is_promoted(tree: &Tree) -> bool {
    tree.read(&format!("{SERVICE}/Cargo.toml"))
        .is_ok_and(|manifest| manifest.starts_with(PROMOTED))
}

/// The finished service is the last step's solution.
pub fn is_the_last_solution(tree: &Tree) -> Outcome {
    let files = outdated(tree)?.into_keys();
    let failures = files.map(|file| format!("{SERVICE}/{file} is not that of the last solution"));
    all_of(failures)
        .map_err(|failures| format!("{failures}\nto write it anew: cargo run -p verify -- promote"))
}
