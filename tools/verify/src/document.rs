//! A Markdown file: its headings, code blocks, links and directives.

use std::collections::BTreeMap;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::tree::Tree;

/// A parsed Markdown file.
pub struct Document {
    /// Relative to the root of the tree.
    pub path: String,
    pub text: String,
    pub headings: Vec<Heading>,
    /// Code blocks and directives in the order of the text.
    pub items: Vec<Item>,
    pub links: Vec<(String, usize)>,
    /// Inline code, with its line.
    codes: Vec<(String, usize)>,
    /// What a `#fragment` may name.
    pub anchors: Vec<String>,
}

/// `## Start`
pub struct Heading {
    pub level: usize,
    pub text: String,
    pub line: usize,
}

/// Something that verify acts on.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// A fenced code block.
    Block(Block),
    /// `<!-- verify: … -->`, with its line.
    Directive(String, usize),
}

/// A fenced code block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What follows the opening fence.
    pub info: String,
    pub text: String,
    /// Line of the opening fence.
    pub line: usize,
}

impl Document {
    /// Reads and parses one of the tree's files.
    pub fn read(tree: &Tree, path: &str) -> Result<Self, String> {
        Ok(Self::parse(path, tree.read(path)?))
    }

    pub fn parse(path: &str, text: String) -> Self {
        let mut document = Self {
            path: path.to_owned(),
            text: String::new(),
            headings: Vec::new(),
            items: Vec::new(),
            links: Vec::new(),
            codes: Vec::new(),
            anchors: Vec::new(),
        };
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect();
        let line_of = |offset: usize| starts.partition_point(|start| *start <= offset);

        let mut slugs: BTreeMap<String, usize> = BTreeMap::new();
        let mut heading: Option<Heading> = None;
        let mut block: Option<Block> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
            let line = line_of(range.start);
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    heading = Some(Heading {
                        level: level as usize,
                        text: String::new(),
                        line,
                    });
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some(heading) = heading.take() {
                        let slug = slug(&heading.text);
                        let count = slugs.entry(slug.clone()).or_default();
                        document.anchors.push(match *count {
                            0 => slug,
                            again => format!("{slug}-{again}"),
                        });
                        *count += 1;
                        document.headings.push(heading);
                    }
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    block = Some(Block {
                        info: info.trim().to_owned(),
                        text: String::new(),
                        line,
                    });
                }
                Event::End(TagEnd::CodeBlock) => {
                    document.items.extend(block.take().map(Item::Block));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push((dest_url.into_string(), line));
                }
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.text.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.text.push_str(&code);
                    }
                    document.codes.push((code.into_string(), line));
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    document.items.extend(
                        directives(&html)
                            .into_iter()
                            .map(|text| Item::Directive(text, line)),
                    );
                    document.anchors.extend(html_anchors(&html));
                }
                _ => {}
            }
        }
        document.text = text;
        document
    }

    /// The lines, numbered from 1, of section `## title`, its heading left out.
    fn lines_of(&self, title: &str) -> Option<std::ops::Range<usize>> {
        let start = self
            .headings
            .iter()
            .position(|heading| heading.level == 2 && heading.text == title)?;
        let end = self.headings[start + 1..]
            .iter()
            .find(|heading| heading.level <= 2)
            .map_or(usize::MAX, |heading| heading.line);
        Some(self.headings[start].line + 1..end)
    }

    /// The text of section `## title`.
    pub fn section(&self, title: &str) -> Option<String> {
        let range = self.lines_of(title)?;
        let lines: Vec<&str> = self
            .text
            .lines()
            .skip(range.start - 1)
            .take(range.len())
            .collect();
        Some(lines.join("\n"))
    }

    /// Inline code in section `## title`, with its line.
    pub fn codes_in(&self, title: &str) -> impl Iterator<Item = (&str, usize)> {
        let range = self.lines_of(title).unwrap_or(0..0);
        self.codes
            .iter()
            .filter(move |(_, line)| range.contains(line))
            .map(|(code, line)| (code.as_str(), *line))
    }

    /// Directives in section `## title`.
    pub fn directives_in(&self, title: &str) -> impl Iterator<Item = &str> {
        let range = self.lines_of(title).unwrap_or(0..0);
        self.items.iter().filter_map(move |item| match item {
            Item::Directive(text, line) if range.contains(line) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Code blocks whose language is `language`.
    pub fn blocks(&self, language: &str) -> impl Iterator<Item = &Block> {
        self.items.iter().filter_map(move |item| match item {
            Item::Block(block) if block.language() == language => Some(block),
            _ => None,
        })
    }
}

impl Block {
    /// First word of the info string: `rust` of `rust,ignore`.
    pub fn language(&self) -> &str {
        self.info.split([' ', ',', '\t']).next().unwrap_or_default()
    }
}

/// The directives in a piece of HTML, without `verify:`. What only resembles
/// one is returned as it stands, so that it is refused, not passed over.
fn directives(html: &str) -> Vec<String> {
    html.split("<!--")
        .skip(1)
        .map(|rest| match rest.split_once("-->") {
            Some((comment, _)) => comment.trim(),
            None => rest.trim(),
        })
        .filter(|comment| comment.starts_with("verify"))
        .map(|comment| match comment.strip_prefix("verify:") {
            Some(text) => text.trim().to_owned(),
            None => comment.to_owned(),
        })
        .collect()
}

/// Values of `id` and `name` attributes.
fn html_anchors(html: &str) -> Vec<String> {
    ["id=\"", "name=\""]
        .iter()
        .flat_map(|attribute| {
            html.split(attribute)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
        })
        .map(str::to_owned)
        .collect()
}

/// The anchor that GitHub gives to a heading.
fn slug(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# 05 · The engine

Goal: a `pool`.

## Start

```console exit=1
$ ./run.sh check 05
```

<!-- verify: solved -->
<!-- nothing to act on -->

<details><summary>Answer</summary>

See [the `pool`](exercise/src/db/base.rs#L3).

```rust
// solution/src/main.rs
fn main() {}
```

</details>

## What changed in the starter

`src/server.rs` <!-- verify: new start -->

## What changed in the starter
";

    #[test]
    fn what_resembles_a_directive_is_not_passed_over() {
        assert_eq!(
            directives("<!-- verify: a --><!-- note --> x <!--verify b-->"),
            ["a", "verify b"]
        );
        assert_eq!(directives("<!-- verify: solved"), ["solved"]);
        assert_eq!(directives("<details>"), Vec::<String>::new());
    }

    #[test]
    fn a_document_is_taken_apart() {
        let document = Document::parse("a.md", TEXT.to_owned());
        let headings: Vec<_> = document
            .headings
            .iter()
            .map(|heading| (heading.level, heading.text.as_str(), heading.line))
            .collect();
        assert_eq!(headings[..2], [(1, "05 · The engine", 1), (2, "Start", 5)]);
        assert_eq!(document.anchors[0], "05--the-engine");
        assert_eq!(document.anchors[3], "what-changed-in-the-starter-1");
        let infos: Vec<_> = document
            .items
            .iter()
            .map(|item| match item {
                Item::Block(block) => (block.info.as_str(), block.line),
                Item::Directive(text, line) => (text.as_str(), *line),
            })
            .collect();
        assert_eq!(
            infos,
            [
                ("console exit=1", 7),
                ("solved", 11),
                ("rust", 18),
                ("new start", 27)
            ]
        );
        assert_eq!(
            document.links,
            [("exercise/src/db/base.rs#L3".to_owned(), 16)]
        );
        let changed = "What changed in the starter";
        assert_eq!(
            document.codes_in(changed).collect::<Vec<_>>(),
            [("src/server.rs", 27)]
        );
        assert_eq!(
            document.directives_in(changed).collect::<Vec<_>>(),
            ["new start"]
        );
        assert_eq!(
            document
                .section("Start")
                .unwrap_or_default()
                .lines()
                .count(),
            18
        );
        assert_eq!(document.section("Why"), None);
    }
}
