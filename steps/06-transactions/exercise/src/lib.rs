//! Step 06: a new order is one transaction, which is stored completely or not
//! at all.
//!
//! Read the modules in this order: [`db::base`] runs SQL, [`db_accessor`] has
//! one function for each query of the market, [`tasks`] runs many of them at
//! once, and [`server`] answers HTTP.

pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod tasks;
pub mod types;
