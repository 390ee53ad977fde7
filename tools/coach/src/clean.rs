//! `clean`: gives back the space that building takes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::backup;
use crate::machine;
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Removes what cargo has built, and says how much that was and what stays:
/// progress, backups and databases are nobody's but the learner's.
///
/// # Errors
/// The target folder is not the project's own (exit code 2), or something in
/// it cannot be removed (exit code 3).
pub fn clean(project: &Project) -> Result<(), Trouble> {
    let target = machine::target_folder(project);
    let shown = project.short(&target).display().to_string();
    if !target.is_dir() {
        screen::print(&format!("nothing to clean: there is no {shown}\n"));
        return Ok(());
    }
    let inside = match (target.canonicalize(), project.root.canonicalize()) {
        (Ok(target), Ok(root)) => target.starts_with(&root) && target != root,
        _ => false,
    };
    if !inside {
        return Err(Trouble::usage(format!(
            "{shown} is not in the project's folder and may hold other projects' builds, too; \
             to empty it: cargo clean"
        )));
    }
    empty(&target)
        .map_err(|error| Trouble::environment(format!("{shown}: {error}; run it again")))?;
    let mut text = format!("removed what was built in {shown}\n");
    let kept = kept(project);
    if !kept.is_empty() {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "kept {}", kept.join(", "));
    }
    screen::print(&text);
    Ok(())
}

/// What is in it goes; the folder may be a mount or a link.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The learner's own, as far as it is there.
fn kept(project: &Project) -> Vec<String> {
    let mut kept = Vec::new();
    if project.root.join(".progress").exists() {
        kept.push(".progress".to_owned());
    }
    if project.root.join(backup::FOLDER).exists() {
        kept.push(format!("{}/", backup::FOLDER));
    }
    let mut databases: Vec<String> = fs::read_dir(&project.root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sqlite"))
        .collect();
    databases.sort_unstable();
    kept.append(&mut databases);
    kept
}
