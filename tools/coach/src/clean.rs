//! `clean`: gives back the space that building takes.

use std::{fs, io};

use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// Removes what cargo has built, if it is in the project's folder; progress, backups and
/// databases stay.
pub fn clean(project: &Project) -> Result<(), Trouble> {
    let target = project.target();
    let shown = project.short(&target).display();
    let inside = match (target.canonicalize(), project.root.canonicalize()) {
        (Ok(target), Ok(root)) => target.starts_with(&root) && target != root,
        _ => true,
    };
    if !inside {
        return Err(Trouble::usage(format!(
            "{shown} is not in the project's folder and may hold other projects' builds, too; \
             to empty it: cargo clean"
        )));
    }
    let done = match fs::remove_dir_all(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("nothing to clean: there is no {shown}\n")
        }
        done => {
            done.map_err(Trouble::at(&target))?;
            format!("removed what was built in {shown}; progress, backups and databases stay\n")
        }
    };
    screen::print(&done);
    Ok(())
}
