//! What goes to the terminal.

use std::io::{self, IsTerminal, Write};
use std::{env, process};

/// Whether a stream is to be coloured: a terminal that can, and a user who has not
/// declined (<https://no-color.org>).
pub fn coloured(stream: &impl IsTerminal) -> bool {
    let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    stream.is_terminal() && !dumb && !declined
}

/// A text for stdout in the style of an ANSI escape, "1" for bold, if it is coloured.
pub fn styled(style: &str, text: &str) -> String {
    if coloured(&io::stdout()) {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
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
