//! Step 04: many queries at once, with a limit, in one group that ends
//! together.
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
