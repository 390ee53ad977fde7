//! Step 03: rows that arrive one at a time, as a stream.
//!
//! Read in this order: [`db::base`] runs SQL, [`db_accessor`] has one function
//! per question that the market asks its database, [`server`] answers HTTP.

pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod types;
