//! What goes to the terminal.

use std::io::{self, IsTerminal, Write};
use std::{env, process};

/// Whether a stream is to be coloured: a terminal that can, or `CLICOLOR_FORCE`
/// of a program that passes the text on to one (<https://bixense.com/clicolors>),
/// and a user who has not declined (<https://no-color.org>).
pub fn coloured(stream: &impl IsTerminal) -> bool {
    let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    let forced =
        env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    (forced || stream.is_terminal() && !dumb) && !declined
}

/// Writes to stdout. A reader that has gone away (`| head`) ends the program
/// quietly: it has what it wanted.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            process::exit(0);
        }
        eprintln!("cannot write to stdout: {error}");
        process::exit(3);
    }
}
