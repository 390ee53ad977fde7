//! `sqlx::migrate!` reads the migrations while this crate compiles, and cargo
//! does not see that a new file in their directory is a reason to compile again.

fn main() {
    println!("cargo::rerun-if-changed=../../data/migrations");
}
