//! Links lead somewhere, and a page shows what its text says.

use std::path::Path;

use course::{slashed, tidy};

use crate::document::{Document, slug};
use crate::report::{Outcome, all_of};
use crate::tree::{Tree, has_extension};

/// Where a link may lead out of the project. No page is asked for, since the
/// proof works without a network: who adds a host has opened the page.
const HOSTS: [&str; 9] = [
    "crates.io",
    "doc.rust-lang.org",
    "docs.rs",
    "forge.rust-lang.org",
    "github.com",
    "rustup.rs",
    "sqlite.org",
    "tokio.rs",
    "www.rfc-editor.org",
];

/// The services on the reader's own machine.
const LOCAL: [&str; 2] = ["127.0.0.1", "localhost"];

/// HTML that GitHub shows. Anything else in `<…>` is meant as text, such as
/// `Vec<String>` without backquotes, and vanishes from the page.
const ELEMENTS: [&str; 10] = [
    "a", "br", "details", "img", "kbd", "picture", "source", "sub", "summary", "sup",
];

/// What names a folder of one machine or person.
const MACHINE: [&str; 5] = ["/home/", "/Users/", "/root/", "C:\\", "file://"];

/// Links resolve, `#fragments` too.
pub fn resolve(tree: &Tree, document: &Document) -> Outcome {
    let mut failures = Vec::new();
    for (link, line) in &document.links {
        if let Err(failure) = link_resolves(tree, document, link) {
            failures.push(format!("line {line}: {link}: {failure}"));
        }
    }
    for (name, line) in &document.undefined {
        failures.push(format!("line {line}: nothing defines [{name}]"));
    }
    failures.extend(concepts(document));
    all_of(&failures)
}

/// The coach and the checks find what `Read first: [heading](#heading), …` names by
/// the headings' text.
fn concepts(document: &Document) -> Vec<String> {
    let names_a_heading = |link: &str| {
        let link = link.trim_end().strip_prefix('[');
        let link = link.and_then(|link| link.strip_suffix(')')?.split_once("](#"));
        link.is_some_and(|(text, target)| {
            let text = text.replace('`', "");
            let mut sections = document.sections().into_iter();
            sections.any(|it| it.heading.replace('`', "") == text) && slug(&text) == target
        })
    };
    let lines = document.text.lines().enumerate();
    lines
        .filter_map(|(index, line)| Some((index, line.strip_prefix("Read first: ")?)))
        .filter(|(_, rest)| !rest.replace("), [", ")\n[").lines().all(names_a_heading))
        .map(|(index, rest)| {
            format!(
                "line {}: `{rest}` is not a list of links to headings of this page with the headings' words",
                index + 1
            )
        })
        .collect()
}

/// Nothing vanishes from the page, and no path is of one machine only.
pub fn shows_as_written(document: &Document) -> Outcome {
    let mut failures = Vec::new();
    for (name, line) in &document.elements {
        if !ELEMENTS.contains(&name.as_str()) {
            failures.push(format!(
                "line {line}: <{name}> is taken for HTML and not shown: use backquotes"
            ));
        }
    }
    for (index, line) in document.text.lines().enumerate() {
        for path in MACHINE {
            if line.contains(path) {
                failures.push(format!("line {}: `{path}` is of one machine", index + 1));
            }
        }
    }
    all_of(&failures)
}

fn link_resolves(tree: &Tree, document: &Document, link: &str) -> Outcome {
    if let Some((scheme, rest)) = link.split_once("://") {
        return web_address(scheme, rest);
    }
    let (path, fragment) = match link.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment)),
        None => (link, None),
    };
    let target = if path.is_empty() {
        document.path.clone()
    } else {
        let folder = document
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        if path.starts_with('/') {
            return Err("must be relative to the page".into());
        }
        join(folder, path).ok_or("leads out of the project")?
    };
    if !tree.has(&target) {
        return Err(format!("there is no {target}"));
    }
    let Some(fragment) = fragment else {
        return Ok(());
    };
    let anchors = match Document::read(tree, &target) {
        Ok(other) if has_extension(&target, "md") => other.anchors,
        _ => return Err("a fragment can only name a heading of a Markdown file".into()),
    };
    if anchors.iter().any(|anchor| anchor == fragment) {
        return Ok(());
    }
    Err(format!("{target} has no heading #{fragment}"))
}

/// `path` as seen from `folder`, or `None` when it leads out of the root.
fn join(folder: &str, path: &str) -> Option<String> {
    let joined = slashed(&tidy(&Path::new(folder).join(path)));
    (!joined.starts_with("..")).then_some(joined)
}

/// The shape of `scheme://rest`, and whether its host is known.
fn web_address(scheme: &str, rest: &str) -> Outcome {
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .and_then(|authority| authority.split(':').next())
        .unwrap_or_default();
    let local = LOCAL.contains(&host);
    if !local && !HOSTS.contains(&host) {
        return Err(format!(
            "no page of `{host}` has been linked yet: open it, then add the host to tools/verify/src/links.rs"
        ));
    }
    if scheme != if local { "http" } else { "https" } {
        return Err(format!("{scheme}:// is not what {host} speaks"));
    }
    if rest.contains(char::is_whitespace) || rest.contains("//") {
        return Err("is malformed".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined() {
        assert_eq!(join("a/b", "../c.md"), Some("a/c.md".into()));
        assert_eq!(join("a/b", "./c/"), Some("a/b/c".into()));
        assert_eq!(join("a", "../../c"), None);
    }

    #[test]
    fn web_addresses_are_of_known_hosts() {
        for good in [
            "https://docs.rs/tokio/1/tokio/#a",
            "https://rustup.rs",
            "http://127.0.0.1:9090/api/customers",
        ] {
            let (scheme, rest) = good.split_once("://").expect("an address");
            assert_eq!(web_address(scheme, rest), Ok(()), "{good}");
        }
        for bad in [
            "http://docs.rs/tokio",
            "https://docs.rs.evil.org/tokio",
            "https://docs.rs//tokio",
            "https://",
            "https://127.0.0.1:9090",
            "ftp://docs.rs",
        ] {
            let (scheme, rest) = bad.split_once("://").expect("an address");
            assert!(web_address(scheme, rest).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_to_read_first_is_a_heading_of_the_page() {
        let faults = |line: &str| {
            let text = format!("## Concepts\n\n### A `pool` of two\n\n{line}\n");
            concepts(&Document::parse("a.md", text)).len()
        };
        for good in [
            "Read first: [A `pool` of two](#a-pool-of-two)",
            "Read first: [A `pool` of two](#a-pool-of-two), [Concepts](#concepts)",
            "Read it first: x",
        ] {
            assert_eq!(faults(good), 0, "{good}");
        }
        for bad in [
            "Read first: A pool of two",
            "Read first: [The pool](#a-pool-of-two)",
            "Read first: [A `pool` of two](#concepts)",
            "Read first: [A `pool` of two](../a.md#a-pool-of-two)",
            "Read first: [A `pool` of two](#a-pool-of-two), then go on.",
            "Read first: [A `pool` of two](#a-pool-of-two), [Concept](#concepts)",
        ] {
            assert_eq!(faults(bad), 1, "{bad}");
        }
    }

    #[test]
    fn what_a_page_would_not_show_is_refused() {
        let shown = |text: &str| shows_as_written(&Document::parse("a.md", text.to_owned()));
        for good in [
            "<details><summary>A</summary>\n\n`Vec<String>`\n\n</details>",
            "```text\nVec<String>\n```",
            "a < b",
            "~/.cargo/registry",
        ] {
            assert_eq!(shown(good), Ok(()), "{good}");
        }
        for bad in ["a Vec<String>", "`x` in /home/x", "```text\n/Users/me\n```"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
