//! Step 07: responses that are written while the database is being read.
//!
//! Read the modules in this order: [`db::base`] runs SQL, [`db_accessor`] has
//! one function for each query of the market, [`tasks`] runs many of them at
//! once, [`body`] writes lists, and [`server`] answers HTTP.

pub mod body;
pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod tasks;
pub mod types;
