//! The market's service: customers, orders and books over HTTP, kept in SQLite or
//! PostgreSQL.
//!
//! Begin with [`app`], which puts the modules of the service together and runs them.
//! [`server`] accepts connections from the socket that [`listener`] makes. Around every
//! request, [`observe`] gives it an id and logs it, and [`admission`] decides whether it
//! may run; [`config`] has the limits. [`health`] and [`metrics`] are for the programs that
//! look after the service.
//!
//! The rest is the market: [`customers`] is the smallest of its modules, [`orders`] the
//! largest, and [`catalog`] uses the services of [`authors`] and [`books`]; [`docs`] makes
//! the document of the API. In each module, `mod.rs` names the endpoints, and
//! `controller.rs` answers HTTP. A module also has those of the following files that it
//! needs: `service.rs` checks what clients send and calls the database, `model.rs` has the
//! types that clients send, and `entity.rs` describes what is stored as clients receive it.
//! (A book whose values depend on stored ones is checked in [`db`], within its transaction.)
//! The code that all modules use stays beside them: [`calls`] logs the calls of services,
//! [`types`] has the values that occur everywhere, [`page`] and [`body`] are for lists,
//! [`tasks`] runs many tasks at once, and [`error`] says what clients are told.
//!
//! [`db`] says what the market does with its database, and does it in each of the two. There
//! is all of the SQL. [`batch`] makes one statement of what waits together, and on SQLite one
//! commit.

pub mod admission;
pub mod app;
pub mod authors;
pub mod batch;
pub mod body;
pub mod books;
pub mod calls;
pub mod catalog;
pub mod config;
pub mod customers;
pub mod db;
pub mod docs;
pub mod error;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod observe;
pub mod orders;
pub mod page;
pub mod server;
pub mod tasks;
pub mod types;
