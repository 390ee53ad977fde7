//! The terminal: keys that work without Enter, and text of several origins that
//! does not run together.

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use super::machine::{Event, Key};
use crate::screen;

/// The terminal in the mode in which each key comes at once and is not shown.
/// Ctrl-C keeps its meaning; Ctrl-Z is a key, so that the terminal is given back
/// while it is still ours. Dropping it gives back the mode that was found.
pub struct Keys {
    found: String,
}

impl Keys {
    /// Begins to send [`Event::Key`]. `None` if stdin or stdout is no terminal.
    pub fn start(events: &Sender<Event>) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let keys = Self {
            found: stty(&["-g"])?.trim().to_owned(),
        };
        Self::take();
        let events = events.clone();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            let mut stdin = io::stdin().lock();
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(read) => {
                        for key in keys_of(&buffer[..read]) {
                            let _ = events.send(Event::Key(key));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The terminal is gone; the signal for that comes too.
                    Err(_) => return,
                }
            }
        });
        Some(keys)
    }

    /// Takes the terminal, also after a stop, when the shell has had it.
    pub fn take() {
        let _ = stty(&["-icanon", "-echo", "min", "1", "time", "0", "susp", "undef"]);
    }

    /// Gives it back as it was found.
    pub fn give_back(&self) {
        if stty(&[&self.found]).is_none() {
            let _ = stty(&["sane"]);
        }
    }
}

/// Stops us, and with us what has started us and waits (`cargo coach`), as
/// Ctrl-Z does. Returns when somebody lets us go on; at once where nobody could,
/// since there is no shell.
pub fn suspend() {
    // 0 is the group that we and this shell are in: it is stopped too, and we
    // wait for it, so that nothing is done between the signal and the stop.
    let _ = Command::new("sh")
        .args(["-c", "kill -s TSTP 0"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Runs `stty` on our stdin and gives its output. Setting the mode from Rust
/// needs unsafe code or another dependency.
fn stty(arguments: &[&str]) -> Option<String> {
    let output = Command::new("stty")
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The keys that were pressed, without the escapes of arrows and the like, which
/// contain letters.
fn keys_of(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut bytes = bytes.iter().copied();
    while let Some(byte) = bytes.next() {
        keys.extend(match byte {
            0x1b => {
                // `ESC [`, parameters, a letter; `ESC O` and a letter; or a key
                // pressed together with Alt.
                match bytes.next() {
                    Some(b'[') => drop(bytes.find(|byte| (0x40..0x7f).contains(byte))),
                    Some(b'O') => drop(bytes.next()),
                    _ => {}
                }
                None
            }
            b'h' => Some(Key::Hint),
            b'd' => Some(Key::Diff),
            b'n' => Some(Key::Next),
            b'r' => Some(Key::Again),
            b'?' => Some(Key::Help),
            0x1a => Some(Key::Suspend),
            // Ctrl-D ends what reads from a terminal.
            b'q' | 4 => Some(Key::Quit),
            _ => None,
        });
    }
    keys
}

/// Standard output, to which the watch and its runs write in turn.
pub struct Screen {
    coloured: bool,
    mid_line: bool,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            coloured: screen::coloured(&io::stdout()),
            mid_line: false,
        }
    }

    pub fn coloured(&self) -> bool {
        self.coloured
    }

    /// Text that a run has printed, as it is.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        self.mid_line = *last != b'\n';
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// A line of the watch itself, on a line of its own. `style` is the
    /// parameter of an ANSI escape, "1" for bold.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub fn line(&mut self, style: &str, text: &str) -> io::Result<()> {
        let break_line = if self.mid_line { "\n" } else { "" };
        let line = if self.coloured {
            // The first reset is for a run that was cut off within a colour.
            format!("\x1b[0m{break_line}\x1b[{style}m{text}\x1b[0m\n")
        } else {
            format!("{break_line}{text}\n")
        };
        self.raw(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_what_is_none() {
        assert_eq!(keys_of(b"hx?"), [Key::Hint, Key::Help]);
        assert_eq!(keys_of(b"\x1a\x04"), [Key::Suspend, Key::Quit]);
        // Arrows, F1, a function key with parameters, Alt-h; and keys between.
        assert_eq!(
            keys_of(b"\x1b[B\x1bOPr\x1b[15;2~h\x1bh"),
            [Key::Again, Key::Hint]
        );
        assert_eq!(keys_of(b"\x1b[1;2"), []);
        assert_eq!(keys_of(b"\x1b"), []);
    }
}
