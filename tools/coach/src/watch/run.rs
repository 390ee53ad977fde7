//! One run: a child that leads a process group of its own, so that a signal
//! reaches all that it has started, and what it prints.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::Event;
use crate::machine::human;

/// How long output is waited for once the run has ended: a process that has left the
/// group may hold the pipe.
const DRAIN: Duration = Duration::from_secs(1);
/// How long the system may take to end what was killed.
const END: Duration = Duration::from_secs(5);
/// Of more output than this the middle is left out.
const HEAD: usize = 128 * 1024;
const TAIL: usize = 64 * 1024;

/// A run in progress. Dropping it kills its group and waits for its end.
pub struct Run {
    pub id: u64,
    group: u32,
    ended: Receiver<()>,
}

impl Run {
    /// Starts `command`. What it prints, to stdout and stderr in the order of
    /// writing, comes as [`Event::Output`], and then [`Event::Ended`].
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(id: u64, command: &mut Command, events: &Sender<Event>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn();
        // The command holds the write ends too, and would keep the pipe open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child?;
        let group = child.id();
        let (sender, rest) = mpsc::channel();
        let shown = events.clone();
        thread::spawn(move || {
            let _ = sender.send(forward(id, reader, &shown));
        });
        let (over, ended) = mpsc::channel();
        let events = events.clone();
        thread::spawn(move || {
            let status: Option<ExitStatus> = child.wait().ok();
            kill_group(group);
            let _ = over.send(());
            let rest = rest.recv_timeout(DRAIN).unwrap_or_default();
            // An error means that the watch has ended: nobody is to be told.
            let _ = events.send(Event::Ended(id, status, rest));
        });
        Ok(Self { id, group, ended })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The group's number is not given to another one while it has members.
        // Without any, it is a moment old: numbers are not used again so soon.
        kill_group(self.group);
        let _ = self.ended.recv_timeout(END);
    }
}

/// Kills all processes of the group. None left is no error.
#[cfg(unix)]
fn kill_group(group: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(group: u32) {
    let _ = Command::new("taskkill")
        .args(["/T", "/F", "/PID", &group.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Reads to the end, whatever is done with it: a pipe that nobody empties would stop
/// the run. Returns what is left to show.
fn forward(id: u64, mut reader: impl Read, events: &Sender<Event>) -> Vec<u8> {
    let mut buffer = [0; 16 * 1024];
    let mut capped = Capped::default();
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return capped.finish(),
            Ok(read) => {
                let shown = capped.push(&buffer[..read]);
                if !shown.is_empty() {
                    let _ = events.send(Event::Output(id, shown.to_vec()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return capped.finish(),
        }
    }
}

/// What a run prints, kept within bounds: the head passes through as it comes. Of
/// what follows only the end is kept, and shown when the run is over: the verdict
/// stands there, however much a loop without end has printed before it.
#[derive(Default)]
pub struct Capped {
    shown: usize,
    full: bool,
    /// What was shown last has no end of line.
    mid_line: bool,
    tail: VecDeque<u8>,
    /// Of what came after the head, with what the tail no longer has.
    later: usize,
}

impl Capped {
    /// Takes what the run has printed and gives what of it is to be shown now.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut room = HEAD.saturating_sub(self.shown);
        if self.full {
            room = 0;
        } else if room < bytes.len() {
            self.full = true;
            // Up to the end of the line, if that is near.
            let mut rest = bytes[room..].iter().take(1000);
            let end = rest.position(|byte| *byte == b'\n');
            room += end.map_or(0, |end| end + 1);
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        self.shown += now.len();
        self.mid_line = now.last().map_or(self.mid_line, |last| *last != b'\n');
        self.later += later.len();
        self.tail.extend(later);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        now
    }

    /// What is left to show now that the run is over: how much was left out, and the
    /// end.
    pub fn finish(self) -> Vec<u8> {
        let tail: Vec<u8> = self.tail.into();
        if tail.len() == self.later {
            return tail;
        }
        // The first line has lost its beginning; unless it is the only one.
        let line = tail.iter().position(|byte| *byte == b'\n');
        let start = line.map_or(0, |end| end + 1);
        let end = &tail[if start < tail.len() { start } else { 0 }..];
        let lost = human((self.later - end.len()) as u64);
        let break_line = if self.mid_line { "\n" } else { "" };
        let text = format!("{break_line}... {lost} of output left out ...\n");
        [text.as_bytes(), end].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is shown of `text` when it comes in pieces of `piece` bytes.
    fn shown(text: &[u8], piece: usize) -> Vec<u8> {
        let mut capped = Capped::default();
        let mut out = Vec::new();
        for chunk in text.chunks(piece) {
            out.extend_from_slice(capped.push(chunk));
            assert!(capped.tail.len() <= TAIL);
        }
        out.extend(capped.finish());
        out
    }

    fn numbered(count: usize) -> Vec<u8> {
        (1..=count).fold(Vec::new(), |mut text, number| {
            text.extend(format!("line {number}\n").bytes());
            text
        })
    }

    #[test]
    fn what_fits_is_shown_as_it_is() {
        for count in [0, 1, 10_000, 15_000] {
            let text = numbered(count);
            assert!(text.len() <= HEAD + TAIL);
            for piece in [1, 7, 8192, 1 << 20] {
                assert_eq!(shown(&text, piece), text, "{count} lines by {piece}");
            }
        }
        assert_eq!(shown(b"no end of line", 3), b"no end of line");
    }

    #[test]
    fn the_middle_of_much_output_is_left_out_between_lines() {
        let text = numbered(1_000_000);
        for piece in [4096, 1 << 20, 1 << 24] {
            let out = String::from_utf8(shown(&text, piece)).unwrap();
            assert!(out.len() < HEAD + TAIL + 1000, "by {piece}");
            let (head, tail) = out
                .split_once("... 11.7 MB of output left out ...\n")
                .unwrap();
            let lines = |text: &str| -> Vec<usize> {
                let number = |line: &str| line.strip_prefix("line ").unwrap().parse().unwrap();
                text.lines().map(number).collect()
            };
            let (head, tail) = (lines(head), lines(tail));
            assert!(head.iter().copied().eq(1..=head.len()), "by {piece}");
            assert!(tail.iter().copied().eq(1_000_001 - tail.len()..=1_000_000));
        }
    }

    #[test]
    fn a_line_without_end_is_bounded_too() {
        let out = shown(&vec![b'x'; 10_000_000], 8192);
        assert!(out.len() < HEAD + TAIL + 100);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("x\n... 9.8 MB of output left out ...\nx"));
        let mut text = vec![b'x'; 10_000_000];
        text.push(b'\n');
        assert!(shown(&text, 8192).ends_with(b"xx\n"));
    }
}
