//! The verbs that ask the running service: they print the curl line, then run it.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use crate::screen;
use crate::trouble::Trouble;

/// Where `marketsvc` listens unless it is told otherwise, as chapters write it.
pub const ADDRESS: &str = "127.0.0.1:9090";
/// How long a stream of rows may take, in seconds.
const STREAM: u32 = 600;
const SHORT: u32 = 30;

pub fn customers() -> Result<ExitCode, Trouble> {
    ask(STREAM, "/api/customers", &[])
}

pub fn custorders(customer: &str) -> Result<ExitCode, Trouble> {
    ask(STREAM, &format!("/api/orders/{customer}"), &[])
}

pub fn ordertotal(order: &str) -> Result<ExitCode, Trouble> {
    ask(SHORT, &format!("/api/order_total/{order}"), &[])
}

/// `1,2,3`, `1 2 3` and `[1, 2, 3]` are the same.
pub fn orderstotal(orders: &[String]) -> Result<ExitCode, Trouble> {
    let text = orders.join(",");
    let ids: Vec<&str> = text
        .split(['[', ']', ',', ' '])
        .filter(|id| !id.is_empty())
        .collect();
    ask(
        SHORT,
        &format!("/api/orders_total?orders={}", ids.join(",")),
        &[],
    )
}

pub fn ordersbet(before: &str, after: &str) -> Result<ExitCode, Trouble> {
    let path = format!("/api/orders_between_dates/{before}/{after}");
    ask(STREAM, &path.replace(' ', "%20"), &[])
}

pub fn neworder(json: &str) -> Result<ExitCode, Trouble> {
    let options = ["-H", "Content-Type: application/json", "-d", json];
    ask(SHORT, "/api/add_new_order", &options)
}

/// Prints the curl line on stderr, so that the answer alone reaches a pipe, and runs
/// it. What the line leaves out is only the time limit, the proxy rule, the status,
/// and -q: curl then does not read the caller's ~/.curlrc.
fn ask(seconds: u32, path: &str, options: &[&str]) -> Result<ExitCode, Trouble> {
    let address = address()?;
    let url = format!("http://{address}{path}");
    let words: Vec<String> = options
        .iter()
        .chain([&&*url])
        .map(|word| quoted(word))
        .collect();
    eprintln!("curl -sS {}", words.join(" "));
    let mut curl = Command::new("curl")
        .args(["-q", "-sS", "--noproxy", "*", "--globoff", "--max-time"])
        .arg(seconds.to_string())
        .args(["-w", "%{stderr}\n%{http_code}"])
        .args(options)
        .arg(&url)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::environment(
                "curl was not found: install it (apt install curl, brew install curl)",
            ),
            _ => Trouble::environment(format!("curl: {error}")),
        })?;
    // Its complaints and, in the last line, the status.
    let said = curl
        .stderr
        .take()
        .into_iter()
        .flat_map(|it| BufReader::new(it).lines());
    let mut said: Vec<String> = said.map_while(Result::ok).collect();
    let status = curl
        .wait()
        .map_err(|error| Trouble::environment(format!("curl: {error}")))?;
    let code = said.pop().unwrap_or_default();
    match status.code() {
        Some(0) => screen::print("\n"),
        // The reader closed the pipe (head, less): it had enough.
        Some(23) | None => {}
        Some(6 | 7) => {
            return Err(Trouble::environment(format!(
                "nothing answers at {address}: start the service first, in another terminal: \
                 ./run.sh run"
            )));
        }
        Some(28) => {
            return Err(Trouble::environment(format!(
                "no complete answer from {address} within {seconds} s"
            )));
        }
        Some(_) => {
            screen::print("\n");
            eprintln!("{}", said.join("\n").trim_end());
            return Ok(ExitCode::FAILURE);
        }
    }
    if code.starts_with(['4', '5']) {
        eprintln!("HTTP {code}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the service listens, as a client has to write it.
pub fn address() -> Result<String, Trouble> {
    let text = env::var("MARKETSVC_ADDR").unwrap_or_default();
    let text = if text.is_empty() { ADDRESS } else { &text };
    let needs = |what: &str| Trouble::usage(format!("MARKETSVC_ADDR is {text}: {what}"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(needs("it needs a host and a port, like 127.0.0.1:9090"));
    };
    if port == "0" {
        return Err(needs(
            "with port 0 the system picks the port; set MARKETSVC_ADDR to the address that the \
             service printed",
        ));
    }
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    Ok(format!("{host}:{port}"))
}

/// A word as one would type it in a shell.
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:=,%-".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
