//! A Markdown file: its sections, code blocks, links and directives.

use std::collections::BTreeMap;

use pulldown_cmark::{BrokenLink, CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use course::pages::{self, Section};

use crate::report::Outcome;
use crate::tree::Tree;

/// A parsed Markdown file.
#[derive(Default)]
pub struct Document {
    /// Relative to the root of the tree.
    pub path: String,
    pub text: String,
    /// Code blocks and directives in the order of the text.
    pub items: Vec<Item>,
    /// Targets of links and pictures with their lines. Of `[text][name]`, if nothing
    /// defines it, the name.
    pub links: Vec<(String, usize)>,
    /// Names of HTML elements, with their lines.
    pub elements: Vec<(String, usize)>,
    /// Inline code.
    pub codes: Vec<String>,
    /// What a `#fragment` may name.
    pub anchors: Vec<String>,
}

/// Something that verify acts on.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// A fenced code block.
    Block(Block),
    /// `<!-- verify: … -->`, with its line.
    Directive(String, usize),
    /// The commands of a paragraph `Try by hand: …`, with its line.
    Try(Vec<String>, usize),
}

/// What the paragraph begins with that names commands to try.
pub const TRY: &str = "Try by hand: ";

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
            ..Self::default()
        };
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect();
        let line_of = |offset: usize| starts.partition_point(|start| *start <= offset);

        let mut slugs: BTreeMap<String, usize> = BTreeMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        // `[..]` alone is a word here; only `[text][name]` must mean a link.
        let mut undefined = |link: BrokenLink| {
            matches!(link.link_type, LinkType::Reference | LinkType::Collapsed)
                .then(|| (link.reference.into_string().into(), "".into()))
        };
        let parser = Parser::new_with_broken_link_callback(&text, options, Some(&mut undefined));
        for (event, range) in parser.into_offset_iter() {
            let line = line_of(range.start);
            match event {
                Event::Start(Tag::Paragraph) => {
                    if let Some(rest) = text[range].strip_prefix(TRY) {
                        let commands = rest.split('`').skip(1).step_by(2);
                        let commands = commands.map(str::to_owned).collect();
                        document.items.push(Item::Try(commands, line));
                    }
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let count = slugs.entry(slug.clone()).or_default();
                    document.anchors.push(match *count {
                        0 => slug,
                        again => format!("{slug}-{again}"),
                    });
                    *count += 1;
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
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    document.codes.push(code.into_string());
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let directives = directives(&html).into_iter();
                    let directives = directives.map(|text| Item::Directive(text, line));
                    document.items.extend(directives);
                    let elements = elements(&html).map(|name| (name.to_owned(), line));
                    document.elements.extend(elements);
                }
                _ => {}
            }
        }
        document.text = text;
        document
    }

    /// Its headings up to the third level, with the text below each.
    pub fn sections(&self) -> Vec<Section<'_>> {
        pages::sections(&self.text)
    }

    /// The text of section `## title`.
    pub fn section(&self, title: &str) -> Option<String> {
        let sections = self.sections().into_iter();
        let mut rest = sections.skip_while(|it| it.level != 2 || it.heading != title);
        let start = rest.next()?.line;
        let next = rest.find(|section| section.level <= 2);
        let end = next.map_or(usize::MAX, |next| next.line - 1);
        let lines = self.text.lines().skip(start).take(end - start);
        Some(lines.collect::<Vec<_>>().join("\n"))
    }

    /// All code blocks.
    pub fn all_blocks(&self) -> impl Iterator<Item = &Block> {
        self.items.iter().filter_map(|item| match item {
            Item::Block(block) => Some(block),
            _ => None,
        })
    }

    /// Code blocks whose language is `language`.
    pub fn blocks(&self, language: &str) -> impl Iterator<Item = &Block> {
        self.all_blocks()
            .filter(move |block| block.language() == language)
    }
}

impl Block {
    /// First word of the info string: `rust` of `rust,ignore`.
    pub fn language(&self) -> &str {
        self.info.split([' ', ',', '\t']).next().unwrap_or_default()
    }
}

/// The headings of `sections` are the expected ones, in this order.
pub fn in_order(sections: &[Section], expected: &[String]) -> Outcome {
    let mut expected = expected.iter();
    for section in sections {
        let found = format!("{} {}", "#".repeat(section.level), section.heading);
        let failure = match expected.next() {
            Some(wanted) if *wanted == found => continue,
            Some(wanted) => format!("where `{wanted}` is expected"),
            None => "follows the last section".to_owned(),
        };
        return Err(format!("line {}: `{found}` {failure}", section.line));
    }
    match expected.next() {
        Some(wanted) => Err(format!("`{wanted}` is missing at the end")),
        None => Ok(()),
    }
}

/// The directives in a piece of HTML, without `verify:`. What only resembles
/// one is returned as it stands, so that it is refused, not passed over.
fn directives(html: &str) -> Vec<String> {
    let comments = html.split("<!--").skip(1);
    let comments = comments.map(|rest| rest.split("-->").next().unwrap_or(rest).trim());
    let directives = comments.filter(|comment| comment.starts_with("verify"));
    let text = |it: &str| it.strip_prefix("verify:").unwrap_or(it).trim().to_owned();
    directives.map(text).collect()
}

/// Names of the elements that a piece of HTML opens or closes.
fn elements(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).filter_map(|rest| {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let end = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// The anchor that GitHub gives to a heading.
pub fn slug(heading: &str) -> String {
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
    fn what_a_reader_can_follow_is_a_link() {
        let text = "\
A [link](a.md), ![a picture](b.svg), <https://a.org>, and\n\
<a href=\"c.md\">html</a>, `https://not.this`, [..], [no][where], [there][x].\n\n[x]: d.md\n";
        let document = Document::parse("a.md", text.to_owned());
        let mut links: Vec<_> = document
            .links
            .iter()
            .map(|(link, line)| (link.as_str(), *line))
            .collect();
        links.sort_unstable();
        links.dedup();
        assert_eq!(
            links,
            [
                ("a.md", 1),
                ("b.svg", 1),
                ("d.md", 2),
                ("https://a.org", 1),
                ("where", 2),
            ]
        );
        let elements: Vec<_> = document.elements.iter().map(|(name, _)| name).collect();
        assert_eq!(elements, ["a", "a"]);
    }

    #[test]
    fn what_to_try_is_read_with_its_commands() {
        let text = "Try by hand: `./run.sh run 05`, and in a second terminal `curl x`\n\n```text\nTry by hand: `x`\n```\n";
        let document = Document::parse("a.md", text.to_owned());
        assert_eq!(
            document.items[0],
            Item::Try(vec!["./run.sh run 05".into(), "curl x".into()], 1)
        );
        assert_eq!(document.items.len(), 2);
    }

    #[test]
    fn a_document_is_taken_apart() {
        let document = Document::parse("a.md", TEXT.to_owned());
        assert_eq!(document.anchors[0], "05--the-engine");
        assert_eq!(document.anchors[3], "what-changed-in-the-starter-1");
        let infos: Vec<_> = document
            .items
            .iter()
            .map(|item| match item {
                Item::Block(block) => (block.info.as_str(), block.line),
                Item::Directive(text, line) => (text.as_str(), *line),
                Item::Try(commands, line) => (commands[0].as_str(), *line),
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
        let section = document.section(changed).expect("a section");
        let section = Document::parse("a.md", section);
        assert_eq!(section.codes, ["src/server.rs"]);
        assert_eq!(section.items, [Item::Directive("new start".into(), 2)]);
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
