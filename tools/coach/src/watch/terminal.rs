//! What reaches the watch from its terminal: keys that work without Enter, and signals.

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::Sender;
use std::thread;

#[cfg(unix)]
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::Event;

/// The terminal in the mode in which each key comes at once and is not shown. Ctrl-C and
/// Ctrl-Z stay the system's. Dropping it gives back the mode that was found.
pub struct Terminal {
    pub keys: bool,
    #[cfg(unix)]
    found: Option<Termios>,
}

impl Terminal {
    /// Begins to send [`Event::Key`], unless stdin or stdout is no terminal. Outside of
    /// Unix a key needs Enter.
    pub fn start(events: &Sender<Event>) -> Self {
        let keys = io::stdin().is_terminal() && io::stdout().is_terminal();
        let terminal = Self {
            keys,
            #[cfg(unix)]
            found: tcgetattr(io::stdin()).ok().filter(|_| keys),
        };
        terminal.take();
        if keys {
            let events = events.clone();
            thread::spawn(move || {
                let mut typed = [0; 64];
                // An error means that the terminal is gone; the signal for that comes too.
                while let Ok(length @ 1..) = io::stdin().read(&mut typed) {
                    let mut keys = typed[..length].iter();
                    while let Some(key) = keys.next() {
                        // An arrow and its like: an escape, `[` or `O`, and what ends with
                        // a letter or `~`.
                        if *key == 0x1b {
                            keys.next();
                            keys.find(|it| (0x40..0x7f).contains(*it));
                        }
                        // Ctrl-D is a key in this mode.
                        let _ = events.send(match key {
                            b'q' | 4 => Event::Quit(0),
                            key => Event::Key(*key),
                        });
                    }
                }
            });
        }
        terminal
    }

    /// Takes the terminal, again after a stop, when the shell has had it.
    pub fn take(&self) {
        #[cfg(unix)]
        if let Some(mut mode) = self.found.clone() {
            mode.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            mode.special_codes[SpecialCodeIndex::VMIN] = 1;
            mode.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &mode);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(mode) = &self.found {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
        }
    }
}

#[cfg(unix)]
pub fn pass_on_signals(events: &Sender<Event>) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCONT])?;
    let events = events.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            let _ = events.send(match signal {
                SIGCONT => Event::Resumed,
                // As shells report a program that a signal has ended.
                _ => Event::Quit(u8::try_from(128 + signal).unwrap_or(1)),
            });
        }
    });
    Ok(())
}

/// Ctrl-C ends us as the system does it.
#[cfg(not(unix))]
pub fn pass_on_signals(_: &Sender<Event>) -> io::Result<()> {
    Ok(())
}
