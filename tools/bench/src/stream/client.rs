//! A client that does little more than read, since what it does is in the figures.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// For the next bytes of an answer; only turns a hang into an error.
const HANG: Duration = Duration::from_mins(10);

/// How a long answer came.
#[derive(Debug)]
pub struct Reading {
    /// From the request, connection included, to the first byte of the body.
    pub first_byte: Duration,
    /// To the last byte.
    pub total: Duration,
    /// How many `{` there were.
    pub braces: u64,
}

/// Sends `GET path` over a connection of its own, which the server closes after
/// its answer.
///
/// # Errors
///
/// Those of the socket.
pub fn send(addr: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANG))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

/// Reads a whole answer and throws it away.
///
/// # Errors
///
/// Why there was none that is whole.
#[expect(clippy::naive_bytecount, reason = "the compiler makes it fast enough")]
pub fn read_all(addr: SocketAddr, path: &str) -> std::result::Result<Reading, String> {
    let start = Instant::now();
    let mut socket = send(addr, path).map_err(|error| error.to_string())?;
    let mut buffer = vec![0; 256 * 1024];
    // Until its end is seen.
    let mut head = Vec::new();
    let mut first_byte = None;
    let (mut body, mut braces) = (0, 0);
    let mut tail = Vec::new();
    loop {
        let length = socket
            .read(&mut buffer)
            .map_err(|error| error.to_string())?;
        if length == 0 {
            break;
        }
        let mut bytes = &buffer[..length];
        if first_byte.is_none() {
            head.extend_from_slice(bytes);
            let end = head.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end.map(|end| end + 4) else {
                continue;
            };
            if head.len() == end {
                continue;
            }
            first_byte = Some(start.elapsed());
            bytes = &bytes[length - (head.len() - end)..];
            head.truncate(end);
        }
        body += bytes.len() as u64;
        braces += bytes.iter().filter(|byte| **byte == b'{').count() as u64;
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(8)..]);
        tail.drain(..tail.len().saturating_sub(8));
    }
    let total = start.elapsed();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(head.lines().next().unwrap_or("no answer").to_owned());
    }
    let whole = match header(&head, "content-length") {
        Some(length) => length.parse() == Ok(body),
        // A chunked body that was cut off has no last chunk.
        None => tail.ends_with(b"0\r\n\r\n"),
    };
    match first_byte {
        Some(first_byte) if whole => Ok(Reading {
            first_byte,
            total,
            braces,
        }),
        _ => Err(format!("the answer was cut off after {body} bytes")),
    }
}

/// Of a head in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// How long a small answer takes, or `None` when it does not come within `limit`.
///
/// # Errors
///
/// When another status than 200 comes, or nothing more.
pub fn time(addr: SocketAddr, path: &str, limit: Duration) -> Result<Option<Duration>> {
    let start = Instant::now();
    let mut answer = Vec::new();
    let read = send(addr, path).and_then(|mut socket| {
        socket.set_read_timeout(Some(limit))?;
        socket.read_to_end(&mut answer)
    });
    match read {
        Ok(_) if answer.starts_with(b"HTTP/1.1 200") => Ok(Some(start.elapsed())),
        Ok(_) => {
            let answer = String::from_utf8_lossy(&answer);
            Err(Error::Environment(format!("GET {path}: {answer}")))
        }
        Err(error) if is_timeout(&error) => Ok(None),
        Err(error) => Err(Error::io(format!("read {path}"))(error)),
    }
}

/// What a read timeout is called depends on the system.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Answers one request with these pieces.
    fn server(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            for piece in pieces {
                socket.write_all(piece.as_bytes()).unwrap();
            }
        });
        addr
    }

    fn read(pieces: &'static [&'static str]) -> std::result::Result<u64, String> {
        read_all(server(pieces), "/").map(|reading| {
            assert!(reading.first_byte <= reading.total);
            reading.braces
        })
    }

    #[test]
    fn whole_answers_are_read_and_their_objects_counted() {
        assert_eq!(
            read(&[
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{",
                "},{",
                "{}}]"
            ]),
            Ok(3)
        );
        assert_eq!(
            read(&[
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
                "\r\n",
                "4\r\n[{},\r\n3\r\n{}]\r\n0",
                "\r\n\r\n"
            ]),
            Ok(2)
        );
    }

    #[test]
    fn what_was_cut_off_or_failed_is_no_figure() {
        for (pieces, why) in [
            (
                &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[{"] as &[_],
                "cut off after 2 bytes",
            ),
            (
                &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[{},\r\n"],
                "cut off",
            ),
            (
                &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"],
                "cut off after 0",
            ),
            (&["HTTP/1.1 500 Oh\r\ncontent-length: 1\r\n\r\nx"], "500 oh"),
            (&[], "no answer"),
        ] {
            let error = read(pieces).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // It is accepted by the system and never read.
        assert_eq!(time(addr, "/", Duration::from_millis(10)).unwrap(), None);
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            // The first one, which has gone, then the next.
            let _first = listener.accept().unwrap();
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let _ = socket.read(&mut [0; 1024]);
            done.send(()).unwrap();
        });
        let limit = Duration::from_mins(1);
        assert!(time(addr, "/", limit).unwrap().is_some());
        wait.recv().unwrap();
    }
}
