//! A page of the book from one of the project: what GitHub and the book do differently.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use course::{slashed, tidy};
use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use crate::quiz;

/// What all pages are made with.
pub struct Site<'a> {
    /// The project's folder.
    pub root: &'a Path,
    /// The name of each page, by the path of its source.
    pub pages: &'a BTreeMap<String, String>,
    /// Where the project's files can be read. Without it, their paths are shown instead
    /// of links.
    pub repository: Option<&'a str>,
    /// Whether there is a script that draws diagrams.
    pub draws: bool,
}

/// A part of a text, and what replaces it.
type Edit = (Range<usize>, String);

/// A link or a picture that is being read.
struct Link {
    kind: LinkType,
    target: String,
    picture: bool,
    /// Its text, without marks.
    shown: String,
}

impl Site<'_> {
    /// The page that `text`, the content of the file `source`, becomes. Its pictures are
    /// copied to the folder `copied`.
    ///
    /// # Errors
    ///
    /// A question has not the form of one; a link leads out of the project or to a file
    /// that is not there, or is not written as `[text](target)`; a picture is not a file
    /// of the project.
    pub fn page(&self, source: &str, text: &str, copied: &Path) -> Result<String> {
        let text = quiz::wrap(text, |patch| misconception(self.root, patch))?;
        // Below a chapter's goal, on a line of its own.
        let text = text.replacen("\nMinutes: ", "  \nMinutes: ", 1);
        let mut edits: Vec<Edit> = Vec::new();
        let mut link: Option<Link> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
            match event {
                Event::Start(
                    ref tag @ (Tag::Link {
                        link_type,
                        ref dest_url,
                        ..
                    }
                    | Tag::Image {
                        link_type,
                        ref dest_url,
                        ..
                    }),
                ) => {
                    ensure!(link.is_none(), "{dest_url}: a picture in a link");
                    link = Some(Link {
                        kind: link_type,
                        target: dest_url.to_string(),
                        picture: matches!(tag, Tag::Image { .. }),
                        shown: String::new(),
                    });
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(link) = &mut link {
                        link.shown.push_str(&part);
                    }
                }
                Event::End(TagEnd::Link | TagEnd::Image) => {
                    if let Some(link) = link.take() {
                        edits.extend(self.link(source, &text, range, &link, copied)?);
                    }
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    edits.extend(self.block(&text, range, &info));
                }
                Event::Html(html) | Event::InlineHtml(html)
                    if html.trim_start().starts_with("<!-- verify:") =>
                {
                    ensure!(html.contains("-->"), "a directive of several lines");
                    edits.push((range, String::new()));
                }
                _ => {}
            }
        }
        Ok(edited(text, edits))
    }

    /// How a link of the project is written in the book; `None` if it stays as it is.
    fn link(
        &self,
        source: &str,
        text: &str,
        range: Range<usize>,
        link: &Link,
        copied: &Path,
    ) -> Result<Option<Edit>> {
        let (path, fragment) = match link.target.split_once('#') {
            Some((path, fragment)) => (path, format!("#{fragment}")),
            None => (link.target.as_str(), String::new()),
        };
        if path.is_empty() || link.target.contains(':') {
            return Ok(None);
        }
        let target = slashed(&tidy(&Path::new(source).with_file_name("").join(path)));
        let file = self.root.join(&target);
        if target.starts_with("..") || !file.exists() {
            bail!("the link to {}: there is no {target}", link.target);
        }
        let LinkType::Inline = link.kind else {
            bail!("the link to {}: write it as `[text]({0})`", link.target);
        };
        let new = if link.picture {
            // `steps/01-async-intro/pictures/tasks.svg`
            let name = target.replace('/', "-");
            fs::copy(file, copied.join(&name))?;
            name
        } else if let Some(page) = self.pages.get(&target) {
            format!("{page}.md{fragment}")
        } else if let Some(repository) = self.repository {
            // GitHub shows a folder there, too, and knows the branch.
            format!(
                "{}/blob/HEAD/{target}{fragment}",
                repository.trim_end_matches('/')
            )
        } else {
            return Ok(Some((
                range.clone(),
                as_text(&text[range], &link.shown, &target),
            )));
        };
        let Some(at) = text[range.clone()].rfind(&link.target) else {
            bail!("the link to {}: write it without escapes", link.target);
        };
        let begin = range.start + at;
        Ok(Some((begin..begin + link.target.len(), new)))
    }

    /// A block as mdBook takes it: its language alone, and diagrams as HTML.
    fn block(&self, text: &str, range: Range<usize>, info: &str) -> Option<Edit> {
        let language = info.split([' ', ',']).next().unwrap_or_default();
        if language == "mermaid" && self.draws {
            let block = &text[range.clone()];
            let diagram: String = block.split_inclusive('\n').skip(1).collect();
            let diagram = diagram.trim_end().trim_end_matches('`');
            return Some((
                range,
                format!("<pre class=\"mermaid\">{}</pre>", escaped(diagram)),
            ));
        }
        let language = if language == "mermaid" {
            "text"
        } else {
            language
        };
        let at = text[range.clone()]
            .find(info)
            .filter(|_| !info.is_empty())?;
        let begin = range.start + at;
        Some((begin..begin + info.len(), language.to_owned()))
    }
}

/// A link that has no target in the book: its text, and the path where the text does not
/// name it.
fn as_text(link: &str, shown: &str, target: &str) -> String {
    let text = link.rsplit_once("](").map_or(link, |(text, _)| text);
    let text = text.strip_prefix('[').unwrap_or(text);
    if target.ends_with(shown.trim_end_matches('/')) {
        text.to_owned()
    } else {
        format!("{text} (`{target}`)")
    }
}

/// What the head of `patch`, a wrong answer, says about it.
fn misconception(root: &Path, patch: &str) -> Option<String> {
    let text = fs::read_to_string(root.join("tools/verify").join(patch)).ok()?;
    let mut head = text.lines().take_while(|line| !line.is_empty());
    head.find_map(|line| Some(line.strip_prefix("misconception: ")?.to_owned()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn edited(mut text: String, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    for (range, new) in edits.into_iter().rev() {
        text.replace_range(range, &new);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of the chapter `steps/05-engine/README.md` with this text.
    fn page(text: &str, repository: Option<&str>, draws: bool) -> Result<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let pages = [("steps/04-orders/README.md", "04-orders")];
        let pages = BTreeMap::from(pages.map(|(source, page)| (source.into(), page.into())));
        for file in [
            "steps/04-orders/README.md",
            "steps/05-engine/a.svg",
            "steps/05-engine/exercise/src/lib.rs",
        ] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, "").expect("a file");
        }
        let site = Site {
            root,
            pages: &pages,
            repository,
            draws,
        };
        let copied = root.join("steps");
        let page = site.page("steps/05-engine/README.md", text, &copied);
        let picture = copied.join("steps-05-engine-a.svg").is_file();
        assert_eq!(picture, page.is_ok() && text.contains("!["));
        page
    }

    #[test]
    fn links_lead_to_pages_and_to_the_repository() {
        let home = Some("https://example.org/market");
        for (text, repository, expected) in [
            ("[x](#a) <https://a.b/c>", None, "[x](#a) <https://a.b/c>"),
            (
                "[`x` y](../04-orders/README.md#a)",
                None,
                "[`x` y](04-orders.md#a)",
            ),
            ("![x](a.svg)", None, "![x](steps-05-engine-a.svg)"),
            (
                "[a.svg](exercise/) [exercise](exercise)",
                home,
                "[a.svg](https://example.org/market/blob/HEAD/steps/05-engine/exercise) \
                 [exercise](https://example.org/market/blob/HEAD/steps/05-engine/exercise)",
            ),
            (
                "[`src/lib.rs`](exercise/src/lib.rs), [the *library*](exercise/src/lib.rs).",
                None,
                "`src/lib.rs`, the *library* (`steps/05-engine/exercise/src/lib.rs`).",
            ),
        ] {
            assert_eq!(page(text, repository, true).expect(text), expected);
        }
        for (text, reason) in [
            ("[x](gone.md)", "there is no steps/05-engine/gone.md"),
            ("[x](../../../a)", "there is no ../a"),
            ("[x][y]\n\n[y]: exercise", "write it as"),
        ] {
            let failure = page(text, home, true).expect_err(text).to_string();
            assert!(failure.contains(reason), "{failure}");
        }
    }

    #[test]
    fn directives_vanish_and_blocks_have_one_language() {
        let text = "a\n\n<!-- verify: stop -->\n\n```console exit=1\n$ x\n```\n\n\
                    ```rust,compile_fail\nf()\n```\n\n```\n<!-- verify: x -->\n```\n";
        let expected = "a\n\n\n```console\n$ x\n```\n\n\
                        ```rust\nf()\n```\n\n```\n<!-- verify: x -->\n```\n";
        assert_eq!(page(text, None, true).expect("a page"), expected);
    }

    #[test]
    fn diagrams_are_drawn_where_there_is_something_to_draw_them() {
        let text = "```mermaid\nflowchart LR\n    a[\"1<br/>2\"] --> b\n```\n\nb\n";
        let drawn = "<pre class=\"mermaid\">flowchart LR\n    \
                     a[\"1&lt;br/>2\"] --> b\n</pre>\n\nb\n";
        assert_eq!(page(text, None, true).expect("a page"), drawn);
        let shown = text.replace("mermaid", "text");
        assert_eq!(page(text, None, false).expect("a page"), shown);
    }
}
