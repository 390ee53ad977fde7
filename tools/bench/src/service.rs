//! The service as a program of its own, and a client that does little more
//! than read: the less it does, the less of it is in the figures.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The release build of the service, which cargo puts beside this program.
fn binary() -> Result<PathBuf> {
    let folder = env::current_exe()?;
    let path = folder.with_file_name("marketsvc");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing; build it with `cargo build --release -p marketsvc -p bench`",
            path.display()
        )
        .into())
    }
}

/// The program with a clean environment and that database.
pub fn command(database: &Path) -> Result<Command> {
    let mut url = String::from("sqlite://");
    for c in database
        .to_str()
        .ok_or("the folder's name is not UTF-8")?
        .chars()
    {
        match c {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            c => url.push(c),
        }
    }
    let mut command = Command::new(binary()?);
    command
        .env_clear()
        .env("DATABASE_URL", url)
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null());
    Ok(command)
}

/// A running service; it is killed when this is dropped.
pub struct Service {
    child: Child,
    addr: String,
}

impl Service {
    pub fn start(database: &Path) -> Result<Self> {
        let mut child = command(database)?.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on http://");
        let addr = addr.ok_or("the service did not start")?.to_owned();
        Ok(Self { child, addr })
    }

    /// Sends `GET path` over a connection of its own, which the service closes
    /// after its answer.
    fn send(&self, path: &str) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(&self.addr)?;
        socket.set_nodelay(true)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        Ok(socket)
    }

    /// Reads a whole streamed answer.
    pub fn read_all(&self, path: &str) -> Result<Reading> {
        let start = Instant::now();
        let mut socket = self.send(path)?;
        let mut buffer = vec![0; 256 * 1024];
        let mut head = Vec::new();
        let mut reading = Reading::default();
        let mut tail = Vec::new();
        loop {
            let length = socket.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            reading.bytes += length as u64;
            if reading.first_byte.is_zero() {
                head.extend_from_slice(&buffer[..length]);
                let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                if end.is_some_and(|end| head.len() > end + 4) {
                    reading.first_byte = start.elapsed();
                }
            }
            tail.extend_from_slice(&buffer[length.saturating_sub(8)..length]);
            tail.drain(..tail.len().saturating_sub(8));
        }
        reading.total = start.elapsed();
        // A chunked body that was cut off has no last chunk.
        if head.starts_with(b"HTTP/1.1 200") && tail.ends_with(b"0\r\n\r\n") {
            Ok(reading)
        } else {
            Err(format!("GET {path} was not answered whole").into())
        }
    }

    /// How long a small answer takes.
    pub fn time(&self, path: &str) -> Result<Duration> {
        let start = Instant::now();
        let mut answer = Vec::new();
        self.send(path)?.read_to_end(&mut answer)?;
        if answer.starts_with(b"HTTP/1.1 200") {
            Ok(start.elapsed())
        } else {
            Err(format!("GET {path}: {}", String::from_utf8_lossy(&answer)).into())
        }
    }

    /// A client that has its first bytes and reads no more.
    pub fn stopped_reader(&self, path: &str) -> Result<TcpStream> {
        let mut socket = self.send(path)?;
        socket.read_exact(&mut [0; 1024])?;
        Ok(socket)
    }

    /// Most memory that the process has had so far, in bytes. Linux only.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nothing is lost: its database is thrown away as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a long answer came.
#[derive(Default)]
pub struct Reading {
    /// From the request to the first byte of the body.
    pub first_byte: Duration,
    /// From the request to the end.
    pub total: Duration,
    /// Everything, head included.
    pub bytes: u64,
}
