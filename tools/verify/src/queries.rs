//! What `.sqlx` of a crate says about its queries is what the database says.
//!
//! `query_as!` and its like compare a query with the database while they are
//! compiled. Here they do so without one: they read what a compilation with a
//! database has left in `.sqlx`. That could be out of date, so each such crate
//! is compiled with a database once more, and the result compared.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use course::program;

use crate::cargo::BUILD_LIMIT;
use crate::process;
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Environment, Proof};

/// In the folder of a crate: a file for each of its queries.
const FOLDER: &str = "/.sqlx/";

/// Name of such a file, and its content.
type Files = BTreeMap<String, String>;

/// Proves the crates of `steps` that have such a folder, and all others too when
/// `whole`.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let (tree, sandbox, memory) = (proof.tree, proof.sandbox, proof.memory);
    let files = tree.files().filter_map(|file| file.split_once(FOLDER));
    let mut crates: BTreeSet<&str> = files.map(|(folder, _)| folder).collect();
    let key = |folder: &str| memory.key([folder.to_owned()]);
    crates.retain(|folder| {
        let mut steps = proof.steps.iter();
        let wanted = proof.whole || steps.any(|step| Path::new(folder).starts_with(step.dir()));
        wanted && !report.recall(memory, &format!("queries/{folder}"), &key(folder))
    });
    if crates.is_empty() {
        return Ok(());
    }
    if program::lacks("sqlite3") {
        report.not_run(
            "sqlite3",
            &format!("the queries of {} crates", crates.len()),
        );
        return Ok(());
    }
    let database = sandbox.build.join("queries.sqlite");
    create_database(tree, &database)?;
    for folder in crates {
        report.keep(
            memory,
            &format!("queries/{folder}"),
            &key(folder),
            |report| {
                let what = format!("{folder} compiles without a database, and .sqlx is up to date");
                report.prove(&what, || {
                    let fresh = compile(sandbox, folder, &database)?;
                    let there = read(&tree.root.join(folder).join(".sqlx"))?;
                    compare(&there, &fresh, folder)
                });
                Ok(())
            },
        )?;
    }
    Ok(())
}

fn read(folder: &Path) -> Env<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

/// A database with the tables of `data/migrations/` and no rows.
fn create_database(tree: &Tree, database: &Path) -> Env<()> {
    let migrations = "data/migrations";
    let mut sql = String::new();
    for file in tree.below(migrations) {
        sql += &tree.read(&format!("{migrations}/{file}"))?;
    }
    if database.exists() {
        fs::remove_file(database)?;
    }
    let mut shell = Command::new("sqlite3");
    // Not at the beginning of the argument: a comment would be taken for an option.
    shell
        .args(["-bail", "-batch"])
        .arg(database)
        .arg(format!("\n{sql}"));
    let made = process::output(&mut shell).map(drop);
    made.map_err(|Environment(why)| {
        format!("`sqlite3` cannot make a database of {migrations}: {why}").into()
    })
}

/// Compiles the crate in `folder` without a database, and then with the given
/// one; returns what its queries leave then.
fn compile(sandbox: &Sandbox, folder: &str, database: &Path) -> Env<Files> {
    // First without, so that afterwards nothing but this crate is compiled: the
    // queries of others are none of its own. That the service is told of a
    // database must not matter to the compiler.
    let nowhere = OsStr::new("sqlite://no/such/database");
    build(sandbox, folder, &[("DATABASE_URL", nowhere)])
        .map_err(|failure| format!("without a database {failure}"))?;

    let left = sandbox.build.join("queries");
    if left.exists() {
        fs::remove_dir_all(&left)?;
    }
    fs::create_dir_all(&left)?;
    let url = format!("sqlite://{}", database.display());
    let settings = [
        ("SQLX_OFFLINE", "false".as_ref()),
        ("SQLX_OFFLINE_DIR", left.as_ref()),
        ("DATABASE_URL", url.as_ref()),
    ];
    build(sandbox, folder, &settings)?;
    read(&left)
}

/// Builds the library and the program of the crate in `folder` with these settings.
fn build(sandbox: &Sandbox, folder: &str, settings: &[(&str, &OsStr)]) -> Outcome {
    let package = sandbox.tree.join(folder);
    // Neither the settings of sqlx nor its files count for what is up to date.
    for root in ["src/lib.rs", "src/main.rs"] {
        if let Ok(file) = fs::File::options().write(true).open(package.join(root)) {
            let touched = file.set_modified(SystemTime::now());
            touched.map_err(|error| format!("{folder}/{root}: {error}"))?;
        }
    }
    let mut command = sandbox.command("cargo");
    command.args(["build", "--quiet", "--lib", "--bins"]);
    command.envs(settings.iter().copied()).current_dir(package);
    let built = process::run(&mut command, BUILD_LIMIT, true)?;
    if built.succeeded() {
        return Ok(());
    }
    Err(format!("it does not compile:\n{}", built.stdout))
}

/// The files that are there against those that a compilation left. An exercise
/// may have more: those of its solution, so that it compiles once it is solved.
/// That they are the solution's is for parity to prove.
fn compare(there: &Files, fresh: &Files, folder: &str) -> Outcome {
    let mut failures = Vec::new();
    for (file, content) in fresh {
        let fault = match there.get(file) {
            None => "missing",
            Some(old) if old != content => "out of date",
            Some(_) => continue,
        };
        failures.push(format!("{file} is {fault}: {content}"));
    }
    for (file, content) in there {
        if !folder.ends_with("/exercise") && !fresh.contains_key(file) {
            failures.push(format!("{file} is no longer used: {content}"));
        }
    }
    all_of(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(name, sql)| {
                let content = format!("{{\n  \"query\": \"{sql}\"\n}}\n");
                ((*name).to_owned(), content)
            })
            .collect()
    }

    #[test]
    fn equal_files_are_up_to_date() {
        let both = files(&[("query-a.json", "SELECT 1"), ("query-b.json", "SELECT 2")]);
        assert_eq!(compare(&both, &both, "steps/05-engine/solution"), Ok(()));
        assert_eq!(compare(&both, &both, "steps/05-engine/exercise"), Ok(()));
    }

    #[test]
    fn what_is_missing_changed_or_left_over_is_named() {
        let there = files(&[("query-a.json", "SELECT 1"), ("query-c.json", "SELECT 3")]);
        let fresh = files(&[("query-a.json", "SELECT  0"), ("query-b.json", "SELECT 2")]);
        let Err(failure) = compare(&there, &fresh, "steps/05-engine/solution") else {
            panic!("accepted");
        };
        for part in [
            "query-a.json is out of date:",
            "query-b.json is missing: {\n  \"query\": \"SELECT 2\"",
            "query-c.json is no longer used:",
        ] {
            assert!(failure.contains(part), "{part}: {failure}");
        }
    }

    #[test]
    fn an_exercise_may_have_the_queries_of_its_solution() {
        let there = files(&[("query-a.json", "SELECT 1"), ("query-b.json", "SELECT 2")]);
        assert_eq!(
            compare(
                &there,
                &files(&[("query-a.json", "SELECT 1")]),
                "steps/05-engine/exercise"
            ),
            Ok(())
        );
        assert!(
            compare(
                &there,
                &files(&[("query-a.json", "SELECT 2")]),
                "steps/05-engine/exercise"
            )
            .is_err()
        );
        assert!(
            compare(
                &there,
                &files(&[("query-c.json", "SELECT 3")]),
                "steps/05-engine/exercise"
            )
            .is_err()
        );
    }
}
