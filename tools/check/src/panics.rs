//! Panics that are seen while a check runs.

use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::Mutex;

use course::tidy;

use crate::source::Source;
use crate::trail::{self, lock};

#[derive(Debug, Clone)]
pub(crate) struct Panic {
    pub(crate) thread: String,
    file: String,
    line: u32,
    message: String,
    /// The request that the panicking task was answering.
    request: Option<String>,
}

static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

/// From now on panics are kept for the report instead of being printed.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(record));
}

fn record(info: &PanicHookInfo<'_>) {
    let location = info.location();
    let panic = Panic {
        thread: std::thread::current().name().unwrap_or_default().to_owned(),
        file: location.map_or_else(String::new, |at| at.file().to_owned()),
        line: location.map_or(0, std::panic::Location::line),
        message: info.payload_as_str().unwrap_or("(no message)").to_owned(),
        request: trail::current_request(),
    };
    lock(&PANICS).push(panic);
}

pub(crate) fn take() -> Vec<Panic> {
    std::mem::take(&mut *lock(&PANICS))
}

const CODE_UNDER_TEST: &str = "your code";

/// Names the panic that most likely caused a failure: the first in the code under
/// test, or the first of all. `asked` is what the failure says already.
pub(crate) fn explain(panics: &[Panic], source: &Source, asked: &str) -> Option<String> {
    let in_code = |panic: &&Panic| owner(panic, source) == CODE_UNDER_TEST;
    let panic = panics.iter().find(in_code).or(panics.first())?;
    let subject = owner(panic, source);
    let explanation = if subject == CODE_UNDER_TEST {
        ""
    } else {
        cause(&panic.message)
    };
    let file = source.relative(&path(panic, source));
    let request = match &panic.request {
        Some(request) if !asked.contains(request) => format!(", while it answered {request}"),
        _ => String::new(),
    };
    Some(format!(
        "{subject} panicked at {file}:{}{request}: {}{explanation}",
        panic.line, panic.message
    ))
}

/// What the code under test has done when this message comes from elsewhere.
fn cause(message: &str) -> &'static str {
    // What rustc says of an async fn, and what futures says of its combinators.
    let polled_again = ["after completion", "polled after", "after it returned"];
    if polled_again.iter().any(|part| message.contains(part)) {
        "\nyour code has polled this future again after it had returned its result"
    } else {
        ""
    }
}

/// Whose file the panic's location lies in: the exercise's or solution's, another one
/// of the workspace, as a step's `check.rs` or this crate, or a library's.
fn owner(panic: &Panic, source: &Source) -> &'static str {
    let path = path(panic, source);
    if path.starts_with(&source.manifest_dir) {
        CODE_UNDER_TEST
    } else if path.starts_with(&source.root) {
        "the check's own code"
    } else {
        "a library"
    }
}

/// The whole path, without `..`: rustc calls a step's check
/// `steps/01-async-intro/exercise/../check.rs`, relative to the root.
fn path(panic: &Panic, source: &Source) -> PathBuf {
    tidy(&source.root.join(&panic.file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(files: &[&str], asked: &str) -> String {
        let source = Source {
            root: PathBuf::from("/market"),
            manifest_dir: PathBuf::from("/market/steps/01-async-intro/exercise"),
        };
        let panic = |file: &&str| Panic {
            thread: String::new(),
            file: (*file).to_owned(),
            line: 7,
            message: "`async fn` resumed after completion".to_owned(),
            request: Some("GET /".to_owned()),
        };
        let panics: Vec<_> = files.iter().map(panic).collect();
        explain(&panics, &source, asked).expect("a panic")
    }

    #[test]
    fn the_file_tells_whose_code_has_panicked() {
        let check = "steps/01-async-intro/exercise/../check.rs";
        let again = "\nyour code has polled this future again after it had returned its result";
        for (files, begin, end) in [
            (
                &[check][..],
                "the check's own code panicked at steps/01-async-intro/check.rs:7: ",
                again,
            ),
            (
                &["/registry/futures/src/maybe_done.rs"],
                "a library panicked at /registry/futures/src/maybe_done.rs:7: ",
                again,
            ),
            (
                &[check, "steps/01-async-intro/exercise/src/tasks.rs"],
                "your code panicked at steps/01-async-intro/exercise/src/tasks.rs:7: ",
                "",
            ),
        ] {
            let expected = format!("{begin}`async fn` resumed after completion{end}");
            assert_eq!(explained(files, "GET /"), expected);
        }
    }

    #[test]
    fn the_request_is_named_unless_the_failure_is_about_it() {
        let file = &["steps/01-async-intro/exercise/src/a.rs"];
        assert!(!explained(file, "GET /").contains("while"));
        assert!(explained(file, "connections").contains(":7, while it answered GET /: "));
    }
}
