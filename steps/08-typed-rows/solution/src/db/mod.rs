//! How SQL is run, and how a database comes into being.

pub mod base;
pub mod init_db;
