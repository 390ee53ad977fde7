//! Panics that are seen while a check runs.

use std::panic::PanicHookInfo;
use std::sync::Mutex;

use course::tidy;

use crate::source::Source;
use crate::trail::lock;

#[derive(Debug, Clone)]
pub(crate) struct Panic {
    pub(crate) thread: String,
    file: String,
    line: u32,
    message: String,
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
    };
    lock(&PANICS).push(panic);
}

pub(crate) fn take(wanted: impl Fn(&Panic) -> bool) -> Vec<Panic> {
    lock(&PANICS)
        .extract_if(.., |panic| wanted(panic))
        .collect()
}

/// Names the panic that most likely caused a failure: the first in the code under
/// test, or the first of all.
pub(crate) fn explain(panics: &[Panic], source: &Source) -> Option<String> {
    // rustc calls a step's check `steps/01-async-intro/exercise/../check.rs`.
    let path = |panic: &Panic| tidy(&source.root.join(&panic.file));
    let is_learners = |panic: &&Panic| path(panic).starts_with(&source.manifest_dir);
    let panic = panics.iter().find(is_learners).or(panics.first())?;
    let path = path(panic);
    // What rustc says of an async fn, and what futures says of its combinators.
    let polled_again = ["after completion", "polled after", "after it returned"];
    let (subject, explanation) = if is_learners(&panic) {
        ("your code", "")
    } else {
        let subject = if path.starts_with(&source.root) {
            "the check's own code"
        } else {
            "a library"
        };
        let again = polled_again.iter().any(|part| panic.message.contains(part));
        let cause = "\nyour code has polled this future again after it had returned its result";
        (subject, if again { cause } else { "" })
    };
    let (file, line, message) = (source.relative(&path), panic.line, &panic.message);
    Some(format!(
        "{subject} panicked at {file}:{line}: {message}{explanation}"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn explained(files: &[&str]) -> String {
        let source = Source {
            root: PathBuf::from("/market"),
            manifest_dir: PathBuf::from("/market/steps/01-async-intro/exercise"),
        };
        let panic = |file: &&str| Panic {
            thread: String::new(),
            file: (*file).to_owned(),
            line: 7,
            message: "`async fn` resumed after completion".to_owned(),
        };
        let panics: Vec<_> = files.iter().map(panic).collect();
        explain(&panics, &source).expect("a panic")
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
            assert_eq!(explained(files), expected);
        }
    }
}
