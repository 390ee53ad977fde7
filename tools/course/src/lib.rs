//! What the tools know about the course: its steps and their two sides, the
//! tasks in the exercises, the sections of chapters and hints, the verdict of a
//! check, and where the learner is.
//!
//! The coach, `verify` and the check harness all read the course through this
//! crate. Each check links it, so it stays small and has few dependencies.
#![allow(clippy::missing_errors_doc)] // the error's text says it

pub mod pages;
pub mod program;
mod progress;
pub mod questions;
pub mod starter;
mod step;
mod task;
mod verdict;

pub use pages::Chapter;
pub use progress::Progress;
pub use step::{Side, Step, find, steps};
pub use task::{
    Marker, Task, files, marker, programs, regions, slashed, task_number, tasks, test_programs,
    test_variable, tidy,
};
pub use verdict::{Check, NOT_RUN, Reread, Status, Verdict, ids, labelled};
