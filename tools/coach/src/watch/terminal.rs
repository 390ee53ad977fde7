//! The terminal: keys that work without Enter, and text of several origins that
//! does not run together.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::SyncSender;
use std::thread;

use crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::Event;
use crate::screen;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Hint,
    Diff,
    Next,
    Again,
    Help,
}

fn event_of(key: KeyEvent) -> Option<Event> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match (key.code, key.modifiers) {
        (KeyCode::Char('c'), KeyModifiers::CONTROL) => Some(Event::Quit(130)),
        (KeyCode::Char('z'), KeyModifiers::CONTROL) => Some(Event::Suspend),
        // Ctrl-D ends what reads from a terminal.
        (KeyCode::Char('d'), KeyModifiers::CONTROL) => Some(Event::Quit(0)),
        (KeyCode::Char(letter), KeyModifiers::NONE | KeyModifiers::SHIFT) => match letter {
            'h' => Some(Event::Key(Key::Hint)),
            'd' => Some(Event::Key(Key::Diff)),
            'n' => Some(Event::Key(Key::Next)),
            'r' => Some(Event::Key(Key::Again)),
            '?' => Some(Event::Key(Key::Help)),
            'q' => Some(Event::Quit(0)),
            _ => None,
        },
        _ => None,
    }
}

/// Standard output, to which the watch and its runs write in turn, and the keys, in
/// the mode in which each comes at once and is not shown. Dropping it gives back the
/// mode that was found.
pub struct Screen {
    pub coloured: bool,
    mid_line: bool,
    pub keys: bool,
}

impl Screen {
    /// Begins to send [`Event::Key`], unless stdin or stdout is no terminal.
    pub fn start(events: &SyncSender<Event>) -> Self {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let screen = Self {
            coloured: screen::coloured(&io::stdout()),
            mid_line: false,
            keys: terminal && enable_raw_mode().is_ok(),
        };
        if screen.keys {
            let events = events.clone();
            thread::spawn(move || {
                // An error means that the terminal is gone; the signal for that comes too.
                while let Ok(input) = event::read() {
                    if let Input::Key(key) = input
                        && let Some(event) = event_of(key)
                    {
                        let _ = events.send(event);
                    }
                }
            });
        }
        screen
    }

    /// Takes the terminal after a stop, when the shell has had it.
    pub fn take_back(&self) {
        self.give_back();
        if self.keys {
            let _ = enable_raw_mode();
        }
    }

    pub fn give_back(&self) {
        if self.keys {
            let _ = disable_raw_mode();
        }
    }

    /// Text that a run has printed, as it is.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        self.mid_line = *last != b'\n';
        let mut out = io::stdout().lock();
        if self.keys {
            // In this mode a newline only goes down.
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let (text, end) = line.split_at(line.len() - usize::from(line.ends_with(b"\n")));
                out.write_all(text)?;
                out.write_all(if end.is_empty() { b"" } else { b"\r\n" })?;
            }
        } else {
            out.write_all(bytes)?;
        }
        out.flush()
    }

    /// A line of the watch itself, on a line of its own. `style` is the
    /// parameter of an ANSI escape, "1" for bold.
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

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_what_is_none() {
        let key = |code, modifiers| event_of(KeyEvent::new(code, modifiers));
        let plain = |code| key(code, KeyModifiers::NONE);
        let hint = plain(KeyCode::Char('h'));
        assert!(matches!(hint, Some(Event::Key(Key::Hint))));
        let help = key(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert!(matches!(help, Some(Event::Key(Key::Help))));
        let end = key(KeyCode::Char('d'), KeyModifiers::CONTROL);
        assert!(matches!(end, Some(Event::Quit(0))));
        for none in [
            KeyCode::Char('x'),
            KeyCode::Down,
            KeyCode::F(1),
            KeyCode::Enter,
        ] {
            assert!(plain(none).is_none());
        }
        assert!(key(KeyCode::Char('h'), KeyModifiers::ALT).is_none());
    }
}
