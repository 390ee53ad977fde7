//! The checks of `check.rs`, run on our solution: its library takes the name of
//! the exercise's.

extern crate step09_solution as step09;

mod check;

fn main() -> std::process::ExitCode {
    check::main()
}
