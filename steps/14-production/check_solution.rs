//! The checks of `check.rs`, run on the solution: its library takes the name of
//! the exercise's.

extern crate step14_solution as step14;

mod check;

fn main() -> std::process::ExitCode {
    check::main()
}
