//! HTTP as bytes: a client that costs little beside the service, and that
//! sends what no library would.

use std::io;
use std::net::SocketAddr;

use check::{Failure, OrFail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, taken apart. Headers have lower-case names.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first whole answer in `bytes` and its length, those before it that
    /// only say `100 Continue` left out. `None` when more has to come, and
    /// when `ended` at the end of the connection.
    ///
    /// # Errors
    /// What is wrong with it as HTTP.
    pub fn parse(
        bytes: &[u8],
        to_head: bool,
        ended: bool,
    ) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
            .ok_or_else(|| format!("no status line: {head}"))?;
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or(format!("no header: {line}"))?;
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let body = end + 4;
        if status == 100 {
            let rest = Self::parse(&bytes[body..], to_head, ended)?;
            return Ok(rest.map(|(answer, length)| (answer, body + length)));
        }
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
        };
        if to_head || matches!(status, 204 | 304) {
            return Ok(Some((answer, body)));
        }
        let length = if answer.header("transfer-encoding") == Some("chunked") {
            match chunks(&bytes[body..])? {
                Some((content, length)) => {
                    answer.body = content;
                    length
                }
                None => return Ok(None),
            }
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().map_err(|_| format!("{length:?} bytes"))?;
            match bytes.get(body..body + length) {
                Some(content) => answer.body = content.to_vec(),
                None => return Ok(None),
            }
            length
        } else if ended {
            answer.body = bytes[body..].to_vec();
            answer.body.len()
        } else {
            return Ok(None);
        };
        Ok(Some((answer, body + length)))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The content of a chunked body and the body's length, once it is whole.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk of {size:?}"))?;
        let begin = at + line + 2;
        let Some(chunk) = bytes.get(begin..begin + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk without an end".to_owned());
        }
        content.extend_from_slice(&chunk[..size]);
        at = begin + size + 2;
        if size == 0 {
            return Ok(Some((content, at)));
        }
    }
}

/// `GET path` on a connection that stays open.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into()
}

/// `POST path` of a JSON text, on a connection that stays open.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A connection that is kept alive; opened anew after the service closed it.
pub struct Client {
    addr: SocketAddr,
    socket: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn of(addr: SocketAddr) -> Self {
        Self {
            addr,
            socket: None,
            buffer: Vec::new(),
        }
    }

    /// Sends a request and reads its whole answer.
    ///
    /// # Errors
    /// When no whole answer comes, or none that is HTTP.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let asked = || String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let answer = self.exchange(request).await;
        if answer.is_err() {
            self.socket = None;
        }
        answer.or_fail(asked())
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(TcpStream::connect(self.addr).await?),
        };
        socket.set_nodelay(true)?;
        socket.write_all(request).await?;
        self.buffer.clear();
        loop {
            let length = socket.read_buf(&mut self.buffer).await?;
            let answer = Answer::parse(&self.buffer, false, length == 0);
            match answer.map_err(io::Error::other)? {
                Some((answer, _)) => {
                    if length == 0 || answer.header("connection") == Some("close") {
                        self.socket = None;
                    }
                    return Ok(answer);
                }
                None if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
    }
}
