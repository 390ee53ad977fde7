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

use course::{Side, program};

use crate::cargo::BUILD_LIMIT;
use crate::process;
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Environment, Proof};

/// The folder of a crate that holds a file for each of its queries.
const FOLDER: &str = ".sqlx";

/// Name of such a file, and its content.
type Files = BTreeMap<String, String>;

/// Proves the crates of `steps` that have such a folder, and all others too when
/// `whole`.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let (tree, sandbox, memory) = (proof.tree, proof.sandbox, proof.memory);
    let mut crates = crates(tree);
    crates.retain(|folder| match folder.strip_prefix("steps/") {
        Some(below) => proof
            .steps
            .iter()
            .any(|step| below.split('/').next() == Some(&step.slug)),
        None => proof.whole,
    });
    let (known, crates): (Vec<_>, Vec<_>) = crates.into_iter().partition(|folder| {
        let key = memory.queries(folder);
        memory.recall(&format!("queries/{folder}"), &key).is_some()
    });
    report.remembered(known.len());
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
        let exercise = folder.ends_with(&format!("/{}", Side::Exercise.name()));
        report.prove(
            &format!("{folder} compiles without a database, and {FOLDER} is up to date"),
            || {
                let (without, fresh) = compile(sandbox, &folder, &database)?;
                let compared = compare(&files_of(tree, &folder)?, &fresh?, exercise);
                // The comparison first: it says which query it is, and why.
                let failures: Vec<String> = [compared, without]
                    .into_iter()
                    .filter_map(Result::err)
                    .collect();
                all_of(&failures)?;
                memory.keep(&format!("queries/{folder}"), &memory.queries(&folder), "");
                Ok(())
            },
        );
    }
    Ok(())
}

/// The folders of the crates that have files in a folder `.sqlx`.
fn crates(tree: &Tree) -> BTreeSet<String> {
    let middle = format!("/{FOLDER}/");
    tree.files()
        .filter_map(|file| file.split_once(&middle))
        .map(|(folder, _)| folder.to_owned())
        .collect()
}

fn files_of(tree: &Tree, folder: &str) -> Result<Files, String> {
    let folder = format!("{folder}/{FOLDER}");
    tree.below(&folder)
        .into_iter()
        .map(|file| Ok((file.to_owned(), tree.read(&format!("{folder}/{file}"))?)))
        .collect()
}

/// A database with the tables of `data/migrations/` and no rows.
fn create_database(tree: &Tree, database: &Path) -> Env<()> {
    let migrations = "data/migrations";
    let mut sql = String::new();
    for file in tree.below(migrations) {
        sql += &tree.read(&format!("{migrations}/{file}"))?;
    }
    match fs::remove_file(database) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut shell = Command::new("sqlite3");
    // Not at the beginning of the argument: a comment would be taken for an option.
    shell
        .args(["-bail", "-batch"])
        .arg(database)
        .arg(format!("\n{sql}"));
    process::output(&mut shell)
        .map(drop)
        .map_err(|Environment(why)| {
            Environment(format!(
                "`sqlite3` cannot make a database of {migrations}: {why}"
            ))
        })
}

/// Compiles the crate in `folder` without a database, and then with the given
/// one; gives what its queries leave then.
fn compile(
    sandbox: &Sandbox,
    folder: &str,
    database: &Path,
) -> Result<(Outcome, Result<Files, String>), String> {
    let left = sandbox.build.join("queries");
    // First without, so that afterwards nothing but this crate is compiled: the
    // queries of others are none of its own. That the service is told of a
    // database must not matter to the compiler.
    let nowhere = OsStr::new("sqlite://no/such/database");
    let without = build(sandbox, folder, &[("DATABASE_URL", nowhere)])
        .map_err(|failure| format!("without a database {failure}"));

    let empty = || match fs::remove_dir_all(&left) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&left),
    };
    empty().map_err(|error| format!("{}: {error}", left.display()))?;
    let url = format!("sqlite://{}", database.display());
    let with = build(
        sandbox,
        folder,
        &[
            ("SQLX_OFFLINE", "false".as_ref()),
            ("SQLX_OFFLINE_DIR", left.as_ref()),
            ("DATABASE_URL", url.as_ref()),
        ],
    );
    let fresh = with.and_then(|()| read_folder(&left).map_err(|error| error.to_string()));
    Ok((without, fresh))
}

/// Builds the library and the program of the crate in `folder` with these settings.
fn build(sandbox: &Sandbox, folder: &str, settings: &[(&str, &OsStr)]) -> Outcome {
    let package = sandbox.tree.join(folder);
    // Neither the settings of sqlx nor its files count for what is up to date.
    for root in ["src/lib.rs", "src/main.rs"] {
        if let Ok(file) = fs::File::options().write(true).open(package.join(root)) {
            file.set_modified(SystemTime::now())
                .map_err(|error| format!("{folder}/{root}: {error}"))?;
        }
    }
    let mut command = sandbox.command("cargo");
    command.args(["build", "--quiet", "--lib", "--bins"]);
    command.envs(settings.iter().copied()).current_dir(package);
    let built = process::run(&mut command, BUILD_LIMIT, true)?;
    match built.status {
        Some(status) if status.success() => Ok(()),
        _ => Err(format!("it does not compile:\n{}", built.stdout)),
    }
}

fn read_folder(folder: &Path) -> std::io::Result<Files> {
    fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, fs::read_to_string(entry.path())?))
        })
        .collect()
}

/// The files that are there against those that a compilation left. An exercise
/// may have more: those of its solution, so that it compiles once it is solved.
/// That they are the solution's is for parity to prove.
fn compare(there: &Files, fresh: &Files, exercise: bool) -> Outcome {
    let mut failures = Vec::new();
    for (file, content) in fresh {
        match there.get(file) {
            None => failures.push(format!("{file} is missing: {}", query(content))),
            Some(old) if old != content => failures.push(format!(
                "{file} is out of date:\n{}",
                similar::TextDiff::from_lines(old, content)
                    .unified_diff()
                    .context_radius(2)
            )),
            Some(_) => {}
        }
    }
    for (file, content) in there {
        if !exercise && !fresh.contains_key(file) {
            failures.push(format!("{file} is no longer used: {}", query(content)));
        }
    }
    all_of(&failures)
}

/// The SQL of a query, on one line.
fn query(content: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    let sql = value["query"].as_str().unwrap_or("(no query)");
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
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
        assert_eq!(compare(&both, &both, false), Ok(()));
        assert_eq!(compare(&both, &both, true), Ok(()));
    }

    #[test]
    fn what_is_missing_changed_or_left_over_is_named() {
        let there = files(&[("query-a.json", "SELECT 1"), ("query-c.json", "SELECT 3")]);
        let fresh = files(&[
            ("query-a.json", "SELECT  0"),
            ("query-b.json", "SELECT\\n2"),
        ]);
        let Err(failure) = compare(&there, &fresh, false) else {
            panic!("accepted");
        };
        for part in [
            "query-a.json is out of date:",
            "-  \"query\": \"SELECT 1\"",
            "query-b.json is missing: SELECT 2",
            "query-c.json is no longer used: SELECT 3",
        ] {
            assert!(failure.contains(part), "{part}: {failure}");
        }
    }

    #[test]
    fn an_exercise_may_have_the_queries_of_its_solution() {
        let there = files(&[("query-a.json", "SELECT 1"), ("query-b.json", "SELECT 2")]);
        assert_eq!(
            compare(&there, &files(&[("query-a.json", "SELECT 1")]), true),
            Ok(())
        );
        assert!(compare(&there, &files(&[("query-a.json", "SELECT 2")]), true).is_err());
        assert!(compare(&there, &files(&[("query-c.json", "SELECT 3")]), true).is_err());
    }
}
