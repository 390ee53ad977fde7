//! What step 11 must do: `./run.sh check 11`.
//!
//! TO WRITE: the checks of each task, in the order of the tasks.

use std::process::ExitCode;

use check::{Outcome, Suite, ensure};
use step11::placeholder::word;

pub fn main() -> ExitCode {
    Suite::new("11-api-docs", env!("CARGO_MANIFEST_DIR"))
        .check("11.1", "the placeholder returns its word", returns_its_word)
        .run()
}

async fn returns_its_word() -> Outcome {
    let returned = word();
    ensure(
        returned == "done",
        "word()",
        "\"done\"",
        format!("{returned:?}"),
    )
}
