//! The compiler says what `book/compiler-errors.md` says that it says.
//!
//! Below a heading with the words of a message stands code that causes it:
//!
//! - `rust,compile_fail,E0277`: the first error has this code and these words;
//! - `rust,compile_fail`: the first error has these words and no code;
//! - `rust,warns,unused_must_use`: it compiles, and the first warning has this name and
//!   these words.
//!
//! In a heading, `…` stands for any text, and what the compiler writes below the line of
//! code may follow after a colon. The lines that end in `// wrong` are replaced by
//! those that begin with `// right: `, and then the code compiles. One block,
//! `rust,prelude`, has what all of them use.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use regex::Regex;
use serde_json::Value;

const PAGE: &str = "book/compiler-errors.md";
/// Its dependencies are those of the finished service.
const STEP: &str = "steps/16-scale-out/solution/Cargo.toml";

struct Entry {
    /// Of the block, in the page.
    line: usize,
    heading: String,
    level: &'static str,
    code: Option<String>,
    text: String,
}

impl Entry {
    fn example(&self) -> String {
        format!("line_{}", self.line)
    }

    /// The code without the mistake, and whether the page has shown one.
    fn mended(&self) -> (String, bool) {
        let wrong = |line: &&str| !line.ends_with("// wrong");
        let lines: Vec<&str> = self.text.lines().filter(wrong).collect();
        let mended = lines.join("\n").replace("// right: ", "");
        let shown = mended != self.text.trim_end();
        (mended, shown)
    }

    /// Compares what the compiler has said with the page.
    fn judge(&self, messages: &[Value]) -> Result<(), String> {
        let first = messages.iter().find(|it| it["level"] == self.level);
        let code = |message: &Value| message["code"]["code"].as_str().map(str::to_owned);
        let words: Vec<_> = self.heading.split('…').map(regex::escape).collect();
        let words = Regex::new(&format!("(?s)^{}$", words.join(".*"))).unwrap();
        let is_it = first.is_some_and(|first| {
            code(first) == self.code && said(first).iter().any(|said| words.is_match(said))
        });
        let compiles = !messages.iter().any(|message| message["level"] == "error");
        if is_it && (self.level == "error" || compiles) {
            return Ok(());
        }
        let shown = |code: Option<String>| code.unwrap_or_else(|| "no code".to_owned());
        let heard = first.map_or_else(
            || "nothing".to_owned(),
            |first| format!("{}: {}", shown(code(first)), said(first)[1]),
        );
        let (line, heading, code) = (self.line, &self.heading, shown(self.code.clone()));
        Err(format!(
            "{PAGE}:{line}\n  the page      {code}: {heading}\n  the compiler  {heard}"
        ))
    }
}

/// The words of a message, without and with those below the line of code.
fn said(message: &Value) -> [String; 2] {
    let words = message["message"].as_str().unwrap_or_default().to_owned();
    let spans = message["spans"].as_array();
    let mut spans = spans.into_iter().flatten();
    let primary = spans.find(|span| span["is_primary"] == true);
    let label = primary.and_then(|span| span["label"].as_str());
    let both = format!("{words}: {}", label.unwrap_or_default());
    [words, both]
}

/// The blocks of the page, and the one that all of them use.
fn read(page: &str) -> (Vec<Entry>, String) {
    let (mut entries, mut prelude) = (Vec::new(), None);
    let (mut heading, mut info, mut text) = (String::new(), None, String::new());
    for (event, range) in Parser::new(page).into_offset_iter() {
        match event {
            // As it is written, with its backquotes: rustc writes them, too.
            Event::Start(Tag::Heading { .. }) => {
                let source = page[range].trim();
                source
                    .trim_start_matches('#')
                    .trim()
                    .clone_into(&mut heading);
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                let line = page[..range.start].lines().count() + 1;
                info = Some((line, kind.to_string()));
                text.clear();
            }
            Event::Text(more) if info.is_some() => text.push_str(&more),
            Event::End(TagEnd::CodeBlock) => {
                let Some((line, kind)) = info.take() else {
                    continue;
                };
                let mut words = kind.split(',');
                let (language, kind, code) = (words.next(), words.next(), words.next());
                assert_eq!(language, Some("rust"), "{PAGE}:{line}: another language");
                let level = match (kind, code) {
                    (Some("prelude"), None) => {
                        assert!(prelude.is_none(), "{PAGE}:{line}: a second prelude");
                        prelude = Some(text.clone());
                        continue;
                    }
                    (Some("compile_fail"), _) => "error",
                    (Some("warns"), Some(_)) => "warning",
                    _ => panic!("{PAGE}:{line}: `{kind:?}` is not a kind of block"),
                };
                entries.push(Entry {
                    line,
                    heading: heading.clone(),
                    level,
                    code: code.map(str::to_owned),
                    text: text.clone(),
                });
            }
            _ => {}
        }
    }
    (entries, prelude.expect("the page has a prelude"))
}

/// A package with the versions, features and dependencies of the finished service. With
/// `check`, its dependencies have the features that they have in the workspace, so that
/// none is built a second time.
fn manifest(root: &Path) -> String {
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = |line: &&str| line.starts_with("members") || line.starts_with("default-members");
    let lines = workspace.lines();
    assert_eq!(lines.clone().filter(members).count(), 2, "one line each");
    let kept: Vec<_> = lines.filter(|line| !members(line)).collect();
    let step = fs::read_to_string(root.join(STEP)).unwrap();
    let (_, dependencies) = step.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n\n").unwrap();
    format!(
        "{}\n[package]\nname = \"compiler-errors\"\nedition.workspace = true\n\
         publish.workspace = true\n\n[dependencies]\n{dependencies}\n\n\
         [dev-dependencies]\ncheck.path = '{}'\n",
        kept.join("\n"),
        root.join("tools/check").display()
    )
}

/// Compiles the examples of a package, and returns what cargo says.
fn compile(root: &Path, package: &Path, target: &Path) -> Vec<Value> {
    let cargo = Command::new(env!("CARGO"))
        .args(["check", "--examples", "--keep-going", "--quiet"])
        .args(["--message-format", "json", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        // Cargo's settings are those of this folder.
        .current_dir(root)
        .output()
        .unwrap();
    let lines = String::from_utf8(cargo.stdout).unwrap();
    // It ends with an error in any case. Without a line, it could not even begin.
    assert!(
        !lines.is_empty(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    let lines = lines.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_compiler_says_what_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let temporary = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let package = temporary.join("compiler-errors");
    let (entries, prelude) = read(&fs::read_to_string(root.join(PAGE)).unwrap());
    assert!(!entries.is_empty(), "{PAGE} has no entries");

    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(package.join("examples")).unwrap();
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest(&root)).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    let example = |name: &str, text: &str| {
        let allowed = "#![allow(dead_code, unused_imports, unused_mut, unused_variables)]";
        let text = format!("{allowed}\n{prelude}\n{text}\nfn main() {{}}\n");
        fs::write(package.join(format!("examples/{name}.rs")), text).unwrap();
    };
    let mut mended = String::new();
    let mut failures = Vec::new();
    for entry in &entries {
        example(&entry.example(), &entry.text);
        let (text, shown) = entry.mended();
        if !shown {
            failures.push(format!("{PAGE}:{}: nothing is mended", entry.line));
        }
        // All of them are one program: that saves half of the time.
        let _ = write!(
            mended,
            "mod {} {{\nuse super::*;\n{text}\n}}\n",
            entry.example()
        );
    }
    example("mended", &mended);

    let lines = compile(&root, &package, temporary.parent().unwrap());
    let of_example = |reason: &'static str, name: String| {
        let lines = lines.iter().filter(move |it| it["reason"] == reason);
        lines.filter(move |it| it["target"]["name"] == name.as_str())
    };
    for entry in &entries {
        let messages = of_example("compiler-message", entry.example());
        let messages: Vec<_> = messages.map(|it| it["message"].clone()).collect();
        failures.extend(entry.judge(&messages).err());
    }
    let mended = || "mended".to_owned();
    for message in of_example("compiler-message", mended()) {
        let rendered = message["message"]["rendered"].as_str();
        failures.push(format!(
            "the mended code:\n{}",
            rendered.unwrap_or_default()
        ));
    }
    if of_example("compiler-artifact", mended()).count() == 0 {
        failures.push("the mended code does not compile".to_owned());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
