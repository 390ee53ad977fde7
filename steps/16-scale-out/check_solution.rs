//! The checks of `check.rs`, run on the solution: its library takes the name of
//! the exercise's.

extern crate step16_solution as step16;

mod check;

fn main() -> std::process::ExitCode {
    check::main()
}
