//! Step 06: a new order is one transaction: stored whole, or not at all.
//!
//! Read in this order: [`db::base`] runs SQL, [`db_accessor`] has one function
//! per question that the market asks its database, [`tasks`] runs many of them at
//! once, [`server`] answers HTTP.

pub mod db;
pub mod db_accessor;
pub mod error;
pub mod server;
pub mod tasks;
pub mod types;
