//! The finished market service: orders of customers over HTTP, kept in SQLite.
//!
//! Run it with `cargo run` (or `./run.sh run`); it prints
//! `listening on http://127.0.0.1:9090` and answers until Ctrl-C.
//!
//! # Reading order
//!
//! 1. [`domain`]: what a market is made of. Values that exist are valid.
//! 2. [`db`]: the only place with SQL. [`db::open`] makes or recognises the
//!    database, [`db::customers`] and [`db::orders`] ask it, [`db::totals`]
//!    reads totals and `db/writer.rs` stores new orders, many at a time,
//!    [`db::bulk`] fills it.
//! 3. [`http`]: the only place with HTTP. [`http::orders`] and
//!    [`http::customers`] own their routes, wire shapes and handlers,
//!    [`http::stream`] turns pages of rows into a body, `http::guard` is around
//!    every request, and `http::admission` says how many there may be.
//!    [`http::probes`] are for those who run the service.
//! 4. [`error`]: every way in which a request can fail, and what its sender
//!    is told.
//! 5. [`server`]: connections, their limits, and how all of it stops.
//! 6. [`trace`], [`metrics`] and [`logging`]: what can be seen of all this.
//! 7. [`config`] and `main.rs`: what the program reads from outside.
//!
//! # One request
//!
//! ```text
//! server   accept, limits of the connection
//!  http    its id, and a place among those in flight (503 when there is none)
//!  http    path, query, body → domain values      (4xx ends here)
//!   db     a connection from a pool → SQL → rows  (503 when none comes free)
//!  http    rows → JSON, or pages → a streamed body
//! ```

pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod server;
pub mod trace;

pub use config::{Config, Limits};
pub use error::Error;
pub use http::{AppState, app};
pub use server::run;
