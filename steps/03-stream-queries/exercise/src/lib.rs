//! Step 03: rows that arrive one at a time, as a stream.
//!
//! Read the modules in this order: [`db::base`] runs SQL, [`db_accessor`] has
//! one function for each query of the market, and [`server`] answers HTTP.

pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod types;
