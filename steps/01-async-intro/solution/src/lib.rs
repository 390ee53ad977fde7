//! Step 01: six small programs about async, without a database.
//!
//! Read in this order: [`workers`] waits without async, [`coroutines`] awaits in
//! turn and together, [`tasks`] lets the runtime run things, [`group`] gives tasks
//! a common end, [`generator`] is a stream, [`market`] brings customers and shops
//! together. The small programs in [`differences`] show what is different from
//! other languages. [`fetch`](mod@fetch) is the work that all of them do.
//!
//! A program says what it does with `tracing::info!`, and marks each piece of
//! work with `timeline::lane`. Both are turned into lines with the time, and by
//! `./run.sh trace` into a picture.

pub mod coroutines;
pub mod differences;
pub mod error;
pub mod fetch;
pub mod generator;
pub mod group;
pub mod market;
pub mod tasks;
pub mod workers;
