//! From the project's pages to a folder of HTML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use course::{slashed, tidy};
use mdbook_driver::MDBook;

use crate::page::Site;
use crate::{links, mermaid};

/// Where the settings, the theme and the list of pages are.
const SETTINGS: &str = "book";

/// A book that was built.
pub struct Made {
    pub folder: PathBuf,
}

/// Builds the book of the project in `root`, in the folder that `book/book.toml` names.
///
/// # Errors
///
/// A page is missing, a question has not the form of one, a step is not in the list of
/// pages, or a link leads nowhere. What was built is then left as it is.
pub fn make(root: &Path) -> Result<Made> {
    let root = env::current_dir()?.join(root).canonicalize()?;
    let mut book = MDBook::load(root.join(SETTINGS))?;

    // What mdBook copies into the book as it is: from here on, that is what it takes the
    // folder of the sources for.
    let files = tempfile::tempdir()?;
    let copied = files.path();
    book.config.book.src = copied.to_path_buf();
    let script = mermaid::script(&root);
    match &script {
        Some(script) => drop(fs::copy(script, copied.join("mermaid.min.js"))?),
        None => eprintln!("diagrams are shown as text: npm could not get Mermaid"),
    }
    let mut pages = BTreeMap::new();
    for chapter in book.book.chapters() {
        let source = source(chapter.source_path.as_deref());
        let page = page_of(&source);
        ensure!(
            !pages.values().any(|other| *other == page),
            "two pages of book/SUMMARY.md would be {page}.html"
        );
        pages.insert(source, page);
    }
    for step in course::steps(&root)? {
        let chapter = step.readme();
        ensure!(
            pages.contains_key(&chapter),
            "book/SUMMARY.md does not name {chapter}"
        );
    }

    let html = book.config.html_config().unwrap_or_default();
    let site = Site {
        root: &root,
        pages: &pages,
        repository: html.git_repository_url.as_deref(),
        draws: script.is_some(),
    };
    let mut failures = Vec::new();
    book.book.for_each_chapter_mut(|chapter| {
        let source = source(chapter.source_path.as_deref());
        match site.page(&source, &chapter.content, copied) {
            Ok(content) => chapter.content = content,
            Err(failure) => failures.push(format!("{source}: {failure}")),
        }
        chapter.path = Some(PathBuf::from(format!("{}.md", pages[&source])));
    });
    ensure!(failures.is_empty(), "{}", failures.join("\n"));

    book.build().context("mdBook")?;
    let folder = tidy(&book.build_dir_for("html"));
    links::check(&folder)?;
    Ok(Made { folder })
}

/// The path of a page's source from the project's folder.
fn source(path: Option<&Path>) -> String {
    slashed(&tidy(
        &Path::new(SETTINGS).join(path.unwrap_or(Path::new(""))),
    ))
}

/// The name of the page that is made from `source`: `05-engine` from
/// `steps/05-engine/README.md`, `compiler-errors` from `book/compiler-errors.md`.
fn page_of(source: &str) -> String {
    let path = Path::new(source);
    let name = |part: Option<&std::ffi::OsStr>| {
        part.map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default()
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    match name(path.file_stem()).as_str() {
        "readme" if folder == Path::new("") => "index".into(),
        "readme" => name(folder.file_name()),
        _ if folder.ends_with("parts") => format!("part-{}", name(path.file_stem())),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lie_in_one_folder() {
        for (source, page) in [
            ("README.md", "index"),
            ("CONTRIBUTING.md", "contributing"),
            ("steps/05-engine/README.md", "05-engine"),
            ("book/parts/1-async.md", "part-1-async"),
            ("book/compiler-errors.md", "compiler-errors"),
            ("tools/verify/README.md", "verify"),
        ] {
            assert_eq!(page_of(source), page);
        }
    }
}
