//! Step 08: typed rows, and rows that belong together.
//!
//! Read the modules in this order: [`types`] has the types that rows become,
//! [`db::base`] runs SQL, [`db_accessor`] has one function for each query of
//! the market, [`tasks`] runs many of them at once, [`body`] writes lists, and
//! [`server`] answers HTTP.

pub mod body;
pub mod db;
pub mod db_accessor;
pub mod error;
pub mod placeholder;
pub mod server;
pub mod tasks;
pub mod types;
