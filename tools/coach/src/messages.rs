//! What cargo says during a build.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use course::{Step, tidy};
use serde::Deserialize;

use crate::errors::CodeError;
use crate::project::Project;

/// A line of cargo's `--message-format=json`, with the members that we read.
#[derive(Deserialize)]
pub struct Message {
    pub manifest_path: Option<PathBuf>,
    pub target: Option<Target>,
    pub executable: Option<PathBuf>,
    #[serde(rename = "message")]
    pub diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

#[derive(Deserialize)]
pub struct Diagnostic {
    pub level: String,
    pub message: String,
    pub rendered: Option<String>,
    code: Option<Code>,
    #[serde(default)]
    spans: Vec<Span>,
    #[serde(default)]
    children: Vec<Diagnostic>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: PathBuf,
    line_start: usize,
    is_primary: bool,
    /// Where the macro was called that this came from.
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

impl Diagnostic {
    /// The file that sqlx cannot read, if that is the error.
    pub fn env_file(&self) -> Option<String> {
        let file = self.message.strip_prefix("error reading dotenv file ")?;
        Some(file.trim_matches('"').to_owned())
    }

    pub fn is_summary(&self) -> bool {
        self.message.starts_with("aborting due to")
            || (self.level == "warning" && self.message.ends_with("emitted"))
    }

    /// What it says, and where in the step's folder. A span in a macro of somebody
    /// else stands for the line that calls the macro.
    pub fn code_error(self, project: &Project, step: &Step) -> CodeError {
        let mut spans: Vec<&Span> = self.spans.iter().collect();
        spans.sort_by_key(|span| !span.is_primary);
        spans.extend(self.children.iter().flat_map(|note| &note.spans));
        let place = |span: &Span| {
            let mut span = span;
            loop {
                // rustc names the files of workspace members from its root.
                let file = tidy(&project.root.join(&span.file_name));
                if file.starts_with(&step.folder) {
                    return Some((project.short(&file).to_path_buf(), span.line_start));
                }
                span = &span.expansion.as_ref()?.span;
            }
        };
        CodeError {
            places: spans.into_iter().filter_map(place).collect(),
            message: self.message,
            code: self.code.map(|it| it.code),
            rendered: self.rendered.unwrap_or_default(),
        }
    }
}

/// Passes on what cargo says besides its JSON: that it waits for another cargo,
/// the progress of a long build, and what went wrong besides the code.
pub fn listen(stderr: impl Read) {
    let mut compiled = 0;
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match line.trim_start().split(' ').next().unwrap_or_default() {
            // That lock is held for a moment only.
            "Blocking" if line.contains("package cache") => {}
            "Blocking" => eprintln!(
                "another cargo is building (an editor's, or one in a second terminal): \
                 waiting for it"
            ),
            "Compiling" => {
                compiled += 1;
                if compiled == 3 {
                    eprintln!("building; the first time takes a minute or two");
                }
                if compiled >= 3 {
                    eprintln!("{line}");
                }
            }
            "Finished" => {}
            _ if COUNTS.iter().any(|start| line.starts_with(start)) => {}
            _ => eprintln!("{line}"),
        }
    }
}

/// What cargo adds to messages of the compiler, which have been shown.
const COUNTS: [&str; 3] = [
    "error: could not compile",
    "warning: build failed",
    "warning: `",
];
