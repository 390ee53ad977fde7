//! The checks of `check.rs`, run on the solution: its library takes the name of
//! the exercise's.

extern crate stepNN_solution as stepNN;

mod check;

fn main() -> std::process::ExitCode {
    check::main()
}
