//! The check harness: the steps and `marketsvc` use it to check what a service does
//! over HTTP and in the database.
//!
//! A step has one `check.rs`, with a `pub fn main`. The manifest of the exercise names
//! it as a program (`[[test]] name = "check", path = "../check.rs", harness = false`).
//! That of the solution names `check_solution.rs` beside it, which gives the solution's
//! library the name of the exercise's (`extern crate step05_solution as step05`) and
//! calls this `main`. So the same checks judge both. This is a complete `check.rs`:
//!
//! ```no_run
//! # fn app(_: &str) -> axum::Router { axum::Router::new() }
//! use std::process::ExitCode;
//!
//! use check::{Database, Outcome, Service, Suite};
//! use serde_json::json;
//!
//! pub fn main() -> ExitCode {
//!     Suite::new("05-engine", env!("CARGO_MANIFEST_DIR"))
//!         .check("05.2", "an order's total is that of its items", total)
//!         .run()
//! }
//!
//! async fn total() -> Outcome {
//!     let database = Database::sample().await?;
//!     let service = Service::start(app(&database.url()));
//!
//!     let reply = service.get("/api/order_total/1").await?;
//!     reply.expect_json(200, &json!({"Order Total": 30}))
//! }
//! ```
//!
//! The name of a check says what must hold, and a task's checks are in the order in
//! which a learner should see them fail. A rule that several services keep belongs in
//! `contract`, a rule that only this step has in its `check.rs`.
//!
//! # What a check can use
//! A [`Suite`] runs the checks one after another, each on its own thread and runtime and
//! for at most 10 s. A check asks a [`Service`] over a [`Database`] of its own; the crate
//! `contract` has the checks that several services share. [`statements::Recording`],
//! [`memory::peak_during`], [`gate::Gate`] and [`own_tests::judge`] observe the rest.
//!
//! An example program of a step can use all of these, and [`timeline`] to draw
//! which tasks run when (`./run.sh trace`).
#![allow(clippy::missing_errors_doc)] // a `Failure` says what was not as expected

mod database;
mod failure;
pub mod gate;
pub mod memory;
pub mod own_tests;
mod panics;
mod service;
mod source;
mod starved;
pub mod statements;
mod suite;
mod trail;

pub use database::{Database, Snapshot, WriteLock};
pub use failure::{Failure, OrFail, Outcome, ensure, equal, equal_json, parse_json};
pub use service::{RawReply, Reply, Service, StreamReply, Then};
pub use starved::within;
pub use suite::Suite;
/// Re-exported, so that a step needs only this crate for its traced examples.
pub use timeline;
