//! Links lead somewhere, and a page shows what its text says.

use std::path::Path;

use course::{slashed, tidy};

use crate::document::{Document, slug};
use crate::report::{Outcome, all_of};
use crate::tree::{Tree, has_extension};

/// HTML that GitHub shows. Anything else in `<…>` is meant as text, such as
/// `Vec<String>` without backquotes, and vanishes from the page.
const ELEMENTS: [&str; 10] = [
    "a", "br", "details", "img", "kbd", "picture", "source", "sub", "summary", "sup",
];

/// Links resolve, `#fragments` too.
pub fn resolve(tree: &Tree, document: &Document) -> Outcome {
    let mut failures = Vec::new();
    for (link, line) in &document.links {
        if let Err(failure) = link_resolves(tree, document, link) {
            failures.push(format!("line {line}: {link}: {failure}"));
        }
    }
    failures.extend(concepts(document));
    all_of(failures)
}

/// The coach and the checks find what `Read first: [heading](#heading), …` names by
/// the headings' text.
fn concepts(document: &Document) -> Vec<String> {
    let plain = |text: &str| text.replace('`', "");
    let sections = document.sections();
    let headings: Vec<String> = sections.iter().map(|it| plain(it.heading)).collect();
    let names_a_heading = |link: &str| {
        let link = link.trim_end().strip_prefix('[');
        let link = link.and_then(|link| link.strip_suffix(')')?.split_once("](#"));
        let text = link.map(|(text, target)| (plain(text), target));
        text.is_some_and(|(text, target)| headings.contains(&text) && slug(&text) == target)
    };
    let mut failures = Vec::new();
    for (index, line) in document.text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("Read first: ")
            && !rest.replace("), [", ")\n[").lines().all(names_a_heading)
        {
            let line = index + 1;
            failures.push(format!(
                "line {line}: `{rest}` is not a list of links to headings of this page with the headings' words"
            ));
        }
    }
    failures
}

/// Nothing vanishes from the page.
pub fn shows_as_written(document: &Document) -> Outcome {
    let elements = document.elements.iter();
    let vanish = elements.filter(|(name, _)| !ELEMENTS.contains(&name.as_str()));
    let failures = vanish.map(|(name, line)| {
        format!("line {line}: <{name}> is taken for HTML and not shown: use backquotes")
    });
    all_of(failures)
}

fn link_resolves(tree: &Tree, document: &Document, link: &str) -> Outcome {
    if let Some((scheme, rest)) = link.split_once("://") {
        return web_address(scheme, rest);
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    if path.starts_with('/') {
        return Err("must be relative to the page".into());
    }
    let mut target = document.path.clone();
    if !path.is_empty() {
        let folder = Path::new(&document.path).with_file_name("");
        target = slashed(&tidy(&folder.join(path)));
    }
    if target.starts_with("..") || !tree.has(&target) {
        return Err(format!("there is no {target} in the project"));
    }
    if fragment.is_empty() {
        return Ok(());
    }
    if !has_extension(&target, "md") {
        return Err("a fragment can only name a heading of a Markdown file".into());
    }
    let anchors = Document::read(tree, &target)?.anchors;
    if anchors.iter().any(|anchor| anchor == fragment) {
        return Ok(());
    }
    Err(format!("{target} has no heading #{fragment}"))
}

/// The shape of `scheme://rest`. No page is fetched, since the proof works without a
/// network.
fn web_address(scheme: &str, rest: &str) -> Outcome {
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    let local = ["127.0.0.1", "localhost"].contains(&host);
    let spoken = scheme == if local { "http" } else { "https" };
    let malformed = rest.contains(char::is_whitespace) || rest.contains("//");
    if spoken && !malformed && host.contains('.') {
        return Ok(());
    }
    Err("must be https:// and the address of a page".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_are_well_formed() {
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
            "https://docs/tokio",
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
        assert!(shown("a Vec<String>").is_err());
    }
}
