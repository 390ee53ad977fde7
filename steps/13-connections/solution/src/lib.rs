//! Step 13: thousands of small reads and writes, on a bounded number of connections.
//!
//! Read the files in this order: [`plan`] says what to do, [`tables`] where, and
//! [`sqlite`] and [`postgres`] how to do one operation. [`database`] takes a connection
//! for an operation, and [`meter`] counts how many connections are in use. Then come the
//! [`strategies`], each of which does all operations and returns an
//! [`Outcome`](outcome::Outcome).

pub mod database;
pub mod error;
pub mod meter;
pub mod outcome;
pub mod plan;
pub mod postgres;
pub mod rows;
pub mod sqlite;
pub mod strategies;
pub mod tables;
