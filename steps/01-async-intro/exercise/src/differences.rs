//! Six programs that show where async Rust differs from other languages.
//!
//! They are complete. There is nothing to write here; run them and change them.

pub mod blocking;
pub mod cancel;
pub mod lazy;
pub mod pace;
pub mod select;
pub mod send;
