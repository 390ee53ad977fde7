//! What a correct service does over HTTP and in the database: the harness in
//! which the steps and `marketsvc` write their checks.
//!
//! A step has one `check.rs`, compiled against its exercise and against its
//! solution (`[[test]] name = "check", path = "../check.rs", harness = false`).
//! This is a whole one:
//!
//! ```no_run
//! # mod step05 { pub async fn app(url: &str) -> Result<axum::Router, sqlx::Error> {
//! #     let _ = url; Ok(axum::Router::new()) } }
//! use std::process::ExitCode;
//!
//! use contract::{Database, OrFail, Outcome, Service, Suite, ensure, statements::Recording};
//! use futures::future::join_all;
//! use serde_json::json;
//!
//! fn main() -> ExitCode {
//!     Suite::new("05-engine", env!("CARGO_MANIFEST_DIR"))
//!         .check("05.1", "connections stay within the limit", within_the_limit)
//!         .check("05.2", "an order's total is that of its items", total)
//!         .run()
//! }
//!
//! async fn within_the_limit() -> Outcome {
//!     let database = Database::sample().await?;
//!     let recording = Recording::start();
//!     let app = step05::app(&database.url()).await.or_fail("step05::app")?;
//!     let service = Service::start(app);
//!
//!     let clients = (0..50).map(|_| service.get("/api/order_total/1"));
//!     for reply in join_all(clients).await {
//!         reply?.expect_status(200)?;
//!     }
//!
//!     let opened = recording.connections_opened();
//!     ensure(
//!         opened <= 4,
//!         "50 clients at once: GET /api/order_total/1",
//!         "at most 4 connections opened",
//!         format!("{opened} connections opened"),
//!     )
//! }
//!
//! async fn total() -> Outcome {
//!     let database = Database::sample().await?;
//!     let app = step05::app(&database.url()).await.or_fail("step05::app")?;
//!     let service = Service::start(app);
//!
//!     let reply = service.get("/api/order_total/1").await?;
//!     reply.expect_json(200, &json!({"Order Total": 30}))
//! }
//! ```
//!
//! # What a check can use
//! - [`Suite`] runs the checks, each on a thread and a runtime of its own, one
//!   after another, each at most 10 s, and reports.
//! - [`Failure`] says what was asked, expected and got; [`ensure`], [`equal`],
//!   [`equal_json`] and [`OrFail`] make one.
//! - [`Database`] is a private SQLite file with the market's schema.
//! - [`Service`] serves a router on a real socket and asks it.
//! - [`answers`] are the checks of the HTTP contract, for whichever service.
//! - [`statements::Recording`] tells what SQL was executed and how many
//!   connections were opened.
//! - [`memory::peak_during`] tells how much memory work takes at its peak.
//! - [`gate::Gate`] counts how many jobs run at once, and holds them.
//!
//! An example program of a step can use all of these, and [`timeline`] to draw
//! what runs when (`./run.sh trace`).
//!
//! # The report
//! The binary takes a word to select checks by, `--list`, `--fail-fast`,
//! `--brief`, `--json`, and `--report FILE`. With `--json` the last line of stdout is one
//! object, which `--report` writes to a file, whatever is printed:
//!
//! ```json
//! {"step": "05-engine", "passed": 1, "failed": 1, "checks": [
//!   {"todo": "05.1", "name": "connections stay within the limit", "status": "failed",
//!    "asked": "50 clients at once: GET /api/order_total/1",
//!    "expected": "at most 4 connections opened", "got": "50 connections opened",
//!    "file": "steps/05-engine/exercise/src/db/base.rs", "line": 31},
//!   {"todo": "05.2", "name": "an order's total is that of its items", "status": "passed",
//!    "asked": null, "expected": null, "got": null, "file": null, "line": null}]}
//! ```
//!
//! `file` (relative to the workspace) and `line` are where `TODO(05.1)` stands,
//! and `null` where it stands nowhere. The exit code is 0 when all checks passed
//! and 1 when one failed.

pub mod answers;
mod database;
mod failure;
pub mod gate;
pub mod memory;
mod service;
mod starved;
pub mod statements;
mod suite;

pub use database::{Database, Snapshot, WriteLock};
pub use failure::{Failure, OrFail, Outcome, ensure, equal, equal_json};
pub use service::{RawReply, Reply, Service, StreamReply, Then};
pub use suite::Suite;
/// Here, so that a step which has this crate needs no other one to be traced.
pub use timeline;
