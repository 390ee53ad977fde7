//! Step 08: rows with types of their own, and rows that belong together.
//!
//! Read in this order: [`types`] says what rows are made into, [`db::base`] runs
//! SQL, [`db_accessor`] has one function per question that the market asks its
//! database, [`tasks`] runs many of them at once, [`body`] writes lists,
//! [`server`] answers HTTP.

pub mod body;
pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod tasks;
pub mod types;
