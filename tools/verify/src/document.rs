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
    /// Targets of links and pictures, and addresses in the text, with their lines.
    pub links: Vec<(String, usize)>,
    /// Names of `[text][name]` that nothing defines, with their lines.
    pub undefined: Vec<(String, usize)>,
    /// Names of HTML elements, with their lines.
    pub elements: Vec<(String, usize)>,
    /// Lines at which tables begin.
    pub tables: Vec<usize>,
    /// Inline code, with its line.
    codes: Vec<(String, usize)>,
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
        let mut undefined = Vec::new();
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        // `[..]` alone is a word here; only `[text][name]` must mean a link.
        let mut note = |link: BrokenLink| {
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined.push((link.reference.to_string(), line_of(link.span.start)));
            }
            None
        };
        let parser = Parser::new_with_broken_link_callback(&text, options, Some(&mut note));
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
                Event::Start(Tag::Table(_)) => document.tables.push(line),
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
                        continue;
                    }
                    document
                        .links
                        .extend(addresses(&text).map(|address| (address.to_owned(), line)));
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    document.codes.push((code.into_string(), line));
                }
                Event::Html(html) | Event::InlineHtml(html) => document.add_html(&html, line),
                _ => {}
            }
        }
        document.undefined = undefined;
        document.text = text;
        document
    }

    fn add_html(&mut self, html: &str, line: usize) {
        let directives = directives(html).into_iter();
        self.items
            .extend(directives.map(|text| Item::Directive(text, line)));
        self.anchors.extend(attributes(html, ["id", "name"]));
        let targets = attributes(html, ["href", "src"]).into_iter();
        self.links.extend(targets.map(|target| (target, line)));
        self.elements
            .extend(elements(html).map(|name| (name.to_owned(), line)));
    }

    /// Its headings up to the third level, with the text below each.
    pub fn sections(&self) -> Vec<Section<'_>> {
        pages::sections(&self.text)
    }

    /// The lines, numbered from 1, of section `## title`, its heading left out.
    pub fn lines_of(&self, title: &str) -> Option<std::ops::Range<usize>> {
        let sections = self.sections().into_iter();
        let mut rest = sections.skip_while(|it| it.level != 2 || it.heading != title);
        let start = rest.next()?.line + 1;
        let next = rest.find(|section| section.level <= 2);
        Some(start..next.map_or(usize::MAX, |next| next.line))
    }

    /// The lines from `from` up to and without `to`, counted from 1.
    pub fn lines_between(&self, from: usize, to: usize) -> Vec<&str> {
        self.text
            .lines()
            .skip(from - 1)
            .take(to.saturating_sub(from))
            .collect()
    }

    /// Code blocks that begin in the lines from `from` up to and without `to`.
    pub fn blocks_between(&self, from: usize, to: usize) -> impl Iterator<Item = &Block> {
        self.items.iter().filter_map(move |item| match item {
            Item::Block(block) if (from..to).contains(&block.line) => Some(block),
            _ => None,
        })
    }

    /// The text of section `## title`.
    pub fn section(&self, title: &str) -> Option<String> {
        let range = self.lines_of(title)?;
        Some(self.lines_between(range.start, range.end).join("\n"))
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
        let all = self.blocks_between(0, usize::MAX);
        all.filter(move |block| block.language() == language)
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

/// Values of two attributes in a piece of HTML.
fn attributes(html: &str, names: [&str; 2]) -> Vec<String> {
    let values = |name: &str| -> Vec<String> {
        html.split(&format!(" {name}=\""))
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    names.iter().flat_map(|name| values(name)).collect()
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

/// Web addresses that a reader would see as links.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_whitespace() || "()<>\"'“”".contains(letter))
        .filter(|word| word.starts_with("https://") || word.starts_with("http://"))
        .map(|word| word.trim_end_matches(['.', ',', ';', ':', '!', '?']))
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
A [link](a.md), ![a picture](b.svg), <https://a.org>, https://b.org/c, and\n\
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
                ("c.md", 2),
                ("d.md", 2),
                ("https://a.org", 1),
                ("https://b.org/c", 1),
            ]
        );
        assert_eq!(document.undefined, [("where".to_owned(), 2)]);
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
