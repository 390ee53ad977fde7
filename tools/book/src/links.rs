//! Links of the finished book lead to its pages, to places in them, or to the web.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use regex::Regex;

/// mdBook's page for paths that are not there: its links begin at the root of a site.
const NOT_FOUND: &str = "404.html";

/// What a page refers to and what in it can be referred to.
#[derive(Default)]
struct Page {
    links: BTreeSet<String>,
    ids: BTreeSet<String>,
}

/// Checks the links, pictures, scripts and styles of every page in `folder`.
///
/// # Errors
///
/// Names each page and each of its links that leads nowhere, and what a page would load
/// from another host.
pub fn check(folder: &Path) -> Result<()> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".html") && name != NOT_FOUND {
            pages.insert(name.into_owned(), Page::read(&fs::read_to_string(&path)?));
        }
    }
    let mut failures = Vec::new();
    for (name, page) in &pages {
        for link in &page.links {
            if let Err(reason) = resolve(folder, &pages, name, link) {
                failures.push(format!("{name}: {link}: {reason}"));
            }
        }
    }
    ensure!(
        failures.is_empty(),
        "links of the book that lead nowhere:\n{}",
        failures.join("\n")
    );
    Ok(())
}

fn resolve(
    folder: &Path,
    pages: &BTreeMap<String, Page>,
    from: &str,
    link: &str,
) -> Result<(), &'static str> {
    if link.starts_with("https://") || link.starts_with("http://127.0.0.1") {
        return Ok(());
    }
    let (file, id) = link.split_once('#').unwrap_or((link, ""));
    let file = if file.is_empty() { from } else { file };
    if !folder.join(file).is_file() {
        return Err("there is no such file");
    }
    let known = pages.get(file).is_some_and(|page| page.ids.contains(id));
    if id.is_empty() || known {
        Ok(())
    } else {
        Err("there is no such place in the page")
    }
}

impl Page {
    fn read(html: &str) -> Self {
        // Text has no `<` of its own, and mdBook writes attributes in double quotes.
        let tag = Regex::new("<[a-zA-Z][^<>]*>").expect("a pattern");
        let attribute = Regex::new(r#"\s(href|src|id)="([^"]*)""#).expect("a pattern");
        let mut page = Self::default();
        for tag in tag.find_iter(html) {
            for attribute in attribute.captures_iter(tag.as_str()) {
                let value = attribute[2].replace("&amp;", "&");
                match &attribute[1] {
                    "id" => page.ids.insert(value),
                    _ => page.links.insert(value),
                };
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("a file");
        };
        write("b.html", "<h1 id=\"here\">b</h1>");
        write("a.css", "");
        write("404.html", "<a href=\"/gone.html\">");
        let good = "<link href=\"a.css\"><a class=\"x\" href=\"b.html#here\">\
                    <a href=\"#me\" id=\"me\">&lt;a href=\"gone.html\"&gt;</a>\
                    <a href=\"https://example.org/#x\">";
        write("a.html", good);
        check(folder.path()).expect("good links");

        let bad = "<a href=\"gone.html\"><a href=\"b.html#gone\"><img src=\"http://a.b/c.svg\">";
        write("a.html", bad);
        let failure = check(folder.path()).expect_err("bad links").to_string();
        for link in ["gone.html: ", "b.html#gone: ", "http://a.b/c.svg: "] {
            assert!(failure.contains(&format!("\na.html: {link}")), "{failure}");
        }
        assert_eq!(failure.lines().count(), 4, "{failure}");
    }
}
