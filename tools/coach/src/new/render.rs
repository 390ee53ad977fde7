//! Templates: reads them from `tools/coach/templates` and renders them in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, path_loader};

use super::lines::{self, Insertion};
use super::names;
use super::{Database, plan::Files};
use crate::project::Project;
use crate::trouble::Trouble;

/// What a template's name ends in. Any other file is copied as it is.
const TEMPLATE: &str = "jinja";

pub struct Renderer {
    folder: PathBuf,
    environment: Environment<'static>,
}

impl Renderer {
    pub fn new(project: &Project, database: Database) -> Result<Self, Trouble> {
        let folder = project.root.join("tools/coach/templates");
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build();
        environment.set_syntax(syntax.map_err(wrong)?);
        // A name that is misspelt in a template is an error, and not an empty text.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_loader(path_loader(&folder));
        let quote = if database == Database::Mysql {
            '`'
        } else {
            '"'
        };
        environment.add_filter("sql", move |name: &str| names::sql(name, quote));
        environment.add_filter("rust", |text: &str| {
            text.replace('\\', "\\\\").replace('"', "\\\"")
        });
        Ok(Self {
            folder,
            environment,
        })
    }

    /// All files below a folder of templates, by their path from there. Their names are
    /// rendered, too.
    pub fn tree(&self, folder: &str, context: &Value) -> Result<Files, Trouble> {
        let folder = self.folder.join(folder);
        let mut files = BTreeMap::new();
        for file in below(&folder)? {
            let source = fs::read_to_string(&file).map_err(Trouble::at(&file))?;
            let short = file.strip_prefix(&folder).unwrap_or(&file);
            let (short, text) = if short.extension().is_some_and(|end| end == TEMPLATE) {
                (
                    short.with_extension(""),
                    self.text(&file, &source, context)?,
                )
            } else {
                (short.to_path_buf(), source)
            };
            let name = self.text(&file, &short.to_string_lossy(), context)?;
            files.insert(PathBuf::from(name), text);
        }
        Ok(files)
    }

    /// What a template says is to be inserted, and where.
    pub fn insertions(&self, file: &str, context: &Value) -> Result<Vec<Insertion>, Trouble> {
        let file = self.folder.join(file);
        let source = fs::read_to_string(&file).map_err(Trouble::at(&file))?;
        lines::parse(&self.text(&file, &source, context)?)
            .map_err(|line| Trouble::environment(format!("{}: {line}", file.display())))
    }

    fn text(&self, file: &Path, source: &str, context: &Value) -> Result<String, Trouble> {
        let name = file.strip_prefix(&self.folder).unwrap_or(file);
        self.environment
            .render_named_str(&name.to_string_lossy(), source, context)
            .map_err(wrong)
    }
}

/// The types that code names. Words in comments and in texts do not count.
pub fn types_in(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    // What is between quotes are the odd parts.
    let code = lines.flat_map(|line| line.split('"').step_by(2));
    let words = code.flat_map(|part| part.split(|it: char| !it.is_alphanumeric() && it != '_'));
    words.filter(|word| word.starts_with(|first: char| first.is_uppercase()))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: minijinja::Error) -> Trouble {
    Trouble::environment(format!("a template is wrong: {error}"))
}

/// All files below a folder, in the order of their names.
fn below(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).map_err(Trouble::at(&next))? {
            let path = entry.map_err(Trouble::at(&next))?.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Lays out the code as rustfmt does it: how long a line is depends on the names in it.
/// Without rustfmt, which a minimal toolchain lacks, it stays as it is.
pub fn format(files: &mut Files) {
    for (file, text) in files {
        if is_code(file)
            && let Some(formatted) = rustfmt(text)
        {
            *text = formatted;
        }
    }
}

/// Lays out the changed code, unless the old one was laid out in another way: then what
/// was not inserted must stay as it is.
pub fn format_as(file: &Path, old: &str, new: &mut String) {
    if is_code(file)
        && rustfmt(old).is_some_and(|it| it == old)
        && let Some(formatted) = rustfmt(new)
    {
        *new = formatted;
    }
}

fn is_code(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "rs")
}

fn rustfmt(text: &str) -> Option<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        // Settings in the caller's folder are not those of the application.
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let written = child.stdin.take()?.write_all(text.as_bytes());
    let output = child.wait_with_output().ok()?;
    // It may end before it has read everything.
    let read = written.is_ok() || written.is_err_and(|it| it.kind() == io::ErrorKind::BrokenPipe);
    let text = String::from_utf8(output.stdout).ok()?;
    (read && output.status.success() && !text.is_empty()).then_some(text)
}
