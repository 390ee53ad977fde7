//! `sqlx::migrate!` reads the migrations while this crate compiles. Without this
//! build script, cargo would not compile the crate again for a new migration.

fn main() {
    println!("cargo::rerun-if-changed=../../data/migrations");
}
