//! `new app`: a folder with a whole application.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::json;

use super::names::{self, Name};
use super::plan::{Files, Plan};
use super::render::{self, Renderer};
use super::{App, Database, metadata};
use crate::cargo::cargo;
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Names of crates that come with Rust, and those that cargo keeps for its folders.
const TAKEN: [&str; 10] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "std",
    "test",
    "main",
];

/// Makes the application in a folder that does not exist, or is empty.
pub fn app(
    project: &Project,
    path: &Path,
    database: Database,
    dry_run: bool,
) -> Result<(), Trouble> {
    let folder = target(project, path)?;
    let lock = project.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(Trouble::at(&lock))?;
    let typed = folder.file_name().unwrap_or_default().to_string_lossy();
    let app = App::new(&package(&typed, &lock)?);
    let renderer = Renderer::new(project, database)?;
    let mut files = renderer.tree("app", &context(project, &app, database)?)?;
    render::format(&mut files);
    let lock = pruned(project, &files, lock);
    files.insert("Cargo.lock".into(), lock);
    let plan = Plan::new(&folder, files, &[])?;
    if dry_run {
        plan.show();
        return Ok(());
    }
    plan.write_folder()?;
    let run_sh = project.root.join("run.sh");
    let start = match database {
        Database::Sqlite => format!("cd {} && cargo run", quoted(path)),
        _ => format!(
            "as {} says: it needs a server of {}",
            quoted(&path.join("README.md")),
            database.title()
        ),
    };
    screen::print(&format!(
        "created   {}, an application for {}\n\
         start it  {start}\n\
         add to it {} new module author --field name:text:unique\n",
        folder.display(),
        database.title(),
        quoted(&run_sh)
    ));
    Ok(())
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    crate::ask::quoted(&path.to_string_lossy())
}

/// The folder to make, if it may be made.
fn target(project: &Project, path: &Path) -> Result<PathBuf, Trouble> {
    let here = std::env::current_dir().map_err(Trouble::at("the current folder"))?;
    let mut folder = here.join(path);
    if let Ok(there) = folder.canonicalize() {
        // `.` and links, too, are known by their own name.
        folder = there;
    } else if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
        let parent = parent.canonicalize().map_err(|error| {
            Trouble::usage(format!("{}: {error}; make it first", parent.display()))
        })?;
        folder = parent.join(name);
    }
    let root = project
        .root
        .canonicalize()
        .map_err(Trouble::at(&project.root))?;
    if folder.starts_with(&root) {
        return Err(Trouble::usage(format!(
            "{} is inside this project, where git and cargo would take it for a part of it; give \
             a folder outside, as in ./run.sh new app {}",
            folder.display(),
            quoted(&Path::new("..").join(folder.file_name().unwrap_or_default()))
        )));
    }
    if folder.symlink_metadata().is_ok() {
        let is_empty = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
        if !is_empty {
            return Err(Trouble::usage(format!(
                "{} exists already and is not an empty folder; choose another one",
                folder.display()
            )));
        }
    }
    Ok(folder)
}

/// The name of the package, which no crate that it may need has.
fn package(typed: &str, lock: &str) -> Result<String, Trouble> {
    let name = Name::new("application", typed)?;
    let refused = |why: &str| {
        Trouble::usage(format!(
            "application \"{typed}\" cannot be used: {why}; choose another name for its folder"
        ))
    };
    if names::is_reserved(&name.name) {
        return Err(refused("it is a reserved word of Rust"));
    }
    if TAKEN.contains(&&*name.route) {
        return Err(refused("Rust or cargo keeps this name for itself"));
    }
    let line = format!("name = \"{}\"\n", name.route);
    let other = format!("name = \"{}\"\n", name.name);
    let is_it = |block: &str| block.contains(&line) || block.contains(&other);
    if lock
        .split("[[package]]")
        .any(|block| is_it(block) && block.contains("\nsource = "))
    {
        return Err(refused(
            "it is the name of a crate that the application may need",
        ));
    }
    Ok(name.route)
}

fn context(project: &Project, app: &App, database: Database) -> Result<Value, Trouble> {
    let manifest = project.root.join("Cargo.toml");
    let packages = metadata(project, &manifest)?.packages;
    let rust_version = packages.iter().find_map(|it| it.rust_version.clone());
    // What this project states once for all of its packages.
    let versions: BTreeMap<String, String> = packages
        .into_iter()
        .flat_map(|package| package.dependencies)
        .filter(|it| it.source.is_some() && it.rename.is_none())
        .map(|it| (it.name, it.req.trim_start_matches('^').to_owned()))
        .collect();
    Ok(Value::from(Serde(json!({
        "app": app, "db": database, "rust_version": rust_version, "versions": versions,
    }))))
}

/// The lock file without what the application does not need, so that the first build
/// changes nothing and `--locked` works. Where cargo cannot do it, it does it at the first
/// build.
fn pruned(project: &Project, files: &Files, lock: String) -> String {
    let prune = || {
        let folder = tempfile::tempdir().ok()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent()?).ok()?;
            fs::write(path, text).ok()?;
        }
        let file = folder.path().join("Cargo.lock");
        fs::write(&file, &lock).ok()?;
        let status = cargo(project)
            .args(["update", "--workspace", "--offline", "--quiet"])
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        fs::read_to_string(file).ok().filter(|_| status.success())
    };
    prune().unwrap_or(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_a_name_of_its_own() {
        let lock = "[[package]]\nname = \"axum\"\nversion = \"1\"\nsource = \"registry\"\n\n\
                    [[package]]\nname = \"marketsvc\"\nversion = \"0.1.0\"\n";
        assert_eq!(package("MyShop", lock).unwrap(), "my-shop");
        assert_eq!(package("marketsvc", lock).unwrap(), "marketsvc");
        for (typed, part) in [
            ("axum", "a crate that the application may need"),
            ("test", "keeps this name"),
            ("proc_macro", "keeps this name"),
            ("match", "reserved word of Rust"),
            ("self", "reserved word of Rust"),
            ("2shop", "is not a name"),
            ("my.shop", "is not a name"),
        ] {
            let trouble = package(typed, lock).unwrap_err();
            assert_eq!(trouble.code, 2);
            assert!(trouble.to_string().contains(part), "{trouble}");
        }
    }
}
