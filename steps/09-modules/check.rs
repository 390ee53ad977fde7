//! What step 09 must do: `./run.sh check 09`.
//!
//! TO WRITE: the checks of each task, in the order of the tasks.

use std::process::ExitCode;

use check::{Outcome, Suite, ensure};
use step09::placeholder::word;

pub fn main() -> ExitCode {
    Suite::new("09-modules", env!("CARGO_MANIFEST_DIR"))
        .check("09.1", "the placeholder returns its word", returns_its_word)
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
