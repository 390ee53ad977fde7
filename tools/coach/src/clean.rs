//! `clean`: gives back the space that building takes.

use std::fs;

use crate::cargo;
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Removes what cargo has built: progress, backups and databases are nobody's but the
/// learner's.
pub fn clean(project: &Project) -> Result<(), Trouble> {
    let target = cargo::metadata(project)?.target_directory;
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
    // What is in it goes; the folder may be a mount or a link.
    let empty = || {
        for entry in fs::read_dir(&target)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    empty().map_err(|error: std::io::Error| {
        Trouble::environment(format!("{shown}: {error}; run it again"))
    })?;
    screen::print(&format!(
        "removed what was built in {shown}; progress, backups and databases stay\n"
    ));
    Ok(())
}
