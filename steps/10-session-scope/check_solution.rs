//! The checks of `check.rs`, run on our solution: its library takes the name of
//! the exercise's.

extern crate step10_solution as step10;

mod check;

fn main() -> std::process::ExitCode {
    check::main()
}
