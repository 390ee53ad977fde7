//! What the project's pages say can be followed: links, hints.

use crate::document::Document;
use crate::hints;
use crate::links;
use crate::report::{Outcome, Report, all_of};
use crate::tree::{Step, Tree, has_extension};

/// Proves the pages of `steps`, and all others when `whole`.
pub fn prove(tree: &Tree, steps: &[Step], whole: bool, report: &mut Report) {
    let pages = tree.files().filter(|file| {
        let selected = whole
            || steps
                .iter()
                .any(|step| file.starts_with(&format!("{}/", step.dir())));
        selected && has_extension(file, "md")
    });
    for page in pages {
        match Document::read(tree, page) {
            Err(failure) => report.prove(page, || Err(failure)),
            Ok(document) => {
                let links = document.links.len();
                report.prove(&format!("{page} and its {links} links"), || {
                    let outcomes = [
                        links::resolve(tree, &document),
                        links::shows_as_written(&document),
                    ];
                    all_of(
                        &outcomes
                            .into_iter()
                            .filter_map(Outcome::err)
                            .collect::<Vec<_>>(),
                    )
                });
            }
        }
    }
    for step in steps {
        let path = hints::path(step);
        if hints::REQUIRED || tree.has(&path) {
            report.prove(&format!("{path}: three levels for each TODO"), || {
                hints::prove(tree, step)
            });
        } else {
            println!("note    {path} is not there yet");
        }
    }
}
