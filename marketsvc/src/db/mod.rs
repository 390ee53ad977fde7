//! Running SQL, and creating the database.

pub mod base;
pub mod init_db;
