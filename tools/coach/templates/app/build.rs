//! `sqlx::migrate!` makes the migrations a part of the program. Cargo would not notice
//! that a file is new in their folder.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
