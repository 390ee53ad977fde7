//! Five programs that show what async in Rust does differently.
//!
//! They are complete: there is nothing to write here, only to run and to change.

pub mod blocking;
pub mod cancel;
pub mod lazy;
pub mod select;
pub mod send;
