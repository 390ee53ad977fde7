//! Step 01: small programs about async, without a database.
//!
//! Read them in this order: [`errands`] waits without async, [`coroutines`] awaits
//! futures one after another and together, [`tasks`] lets the runtime run them,
//! [`group`] ends tasks together, [`generator`] is a stream, and [`market`] connects
//! customers and shops with a queue. The small programs in [`differences`] show
//! where async Rust differs from other languages. [`fetch`](mod@fetch) is the work
//! that the programs do.
//!
//! A program reports what it does with `tracing::info!`. It wraps each piece of work
//! in `timeline::lane`, which reports when the work begins and how it ends. Each of
//! these reports is one line of the output, with the time and the lane's name;
//! `./run.sh trace` draws a lane as one row of a picture.

pub mod coroutines;
pub mod differences;
pub mod errands;
pub mod error;
pub mod fetch;
pub mod generator;
pub mod group;
pub mod market;
pub mod tasks;
