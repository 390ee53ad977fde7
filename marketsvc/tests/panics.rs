//! A panic is a line of the log: `cargo test -p marketsvc --test panics`. Alone
//! in its program, since what is done about panics is done for all of it.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};

use marketsvc::logging::{self, Lines};

struct Told(Sender<Vec<u8>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_a_line_of_the_log_with_its_place() {
    let (told, written) = channel();
    let (lines, flush) = Lines::to(Told(told)).unwrap();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || lines.clone())
        .init();
    logging::panics();
    let panics = std::thread::spawn(|| panic!("no more {}", "tea"));
    assert!(panics.join().is_err());
    drop(flush);
    let log = String::from_utf8(written.iter().flatten().collect()).unwrap();
    for part in ["ERROR", "panicked", "no more tea", "tests/panics.rs:"] {
        assert!(log.contains(part), "no {part} in {log}");
    }
}
