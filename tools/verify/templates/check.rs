//! What step NN must do: `./run.sh check NN`.
//!
//! TO WRITE: the checks of each task, in the order of the tasks.

use std::process::ExitCode;

use check::{Outcome, Suite, ensure};
use stepNN::placeholder::word;

pub fn main() -> ExitCode {
    Suite::new("SLUG", env!("CARGO_MANIFEST_DIR"))
        .check("NN.1", "the placeholder returns its word", returns_its_word)
        .run()
}

async fn returns_its_word() -> Outcome {
    let returned = word();
    ensure(returned == "done", "word()", "\"done\"", format!("{returned:?}"))
}
