//! The verbs that ask the running service: they print the curl line, then run it.

use std::process::{Child, Command, ExitCode, Stdio};
use std::{env, io};

use crate::screen;
use crate::trouble::Trouble;

/// Where `marketsvc` listens unless it is told otherwise, as chapters write it.
pub const ADDRESS: &str = "127.0.0.1:9090";
/// Sends a request: prints the curl line on stderr, so that the answer alone reaches a
/// pipe, and runs it. What the line leaves out is only the time limit, the proxy rule, the
/// status, and -q: curl then does not read the caller's ~/.curlrc.
pub fn ask(seconds: u32, path: &str, options: &[&str]) -> Result<ExitCode, Trouble> {
    let address = address()?;
    let url = format!("http://{address}{path}");
    let words = options.iter().map(|word| quoted(word) + " ");
    eprintln!("curl -sS {}{}", words.collect::<String>(), quoted(&url));
    let curl = Command::new("curl")
        .args(["-q", "-sS", "--noproxy", "*", "--globoff", "--max-time"])
        .arg(seconds.to_string())
        .args(["-w", "%{stderr}\n%{http_code}"])
        .args(options)
        .arg(&url)
        .stderr(Stdio::piped())
        .spawn();
    let output = curl.and_then(Child::wait_with_output);
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::environment(
            "curl was not found: install it (apt install curl, brew install curl)",
        ),
        _ => Trouble::at("curl")(error),
    })?;
    // Its complaints and, in the last line, the status.
    let said = String::from_utf8_lossy(&output.stderr);
    let (said, status) = said.rsplit_once('\n').unwrap_or_default();
    match output.status.code() {
        Some(0) => screen::print("\n"),
        // The reader closed the pipe (head, less): it had enough.
        Some(23) | None => {}
        Some(6 | 7) => {
            return Err(Trouble::environment(format!(
                "nothing answers at {address}: start the service first, in another terminal: \
                 ./run.sh run"
            )));
        }
        Some(28) => return Err(Trouble::environment(said.trim_end())),
        Some(_) => {
            screen::print("\n");
            eprintln!("{}", said.trim_end());
            return Ok(ExitCode::FAILURE);
        }
    }
    if status.starts_with(['4', '5']) {
        eprintln!("HTTP {status}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `1,2,3`, `1 2 3` and `[1, 2, 3]` are the same.
pub fn ids(words: &[String]) -> String {
    let text = words.join(",");
    let ids = text.split(['[', ']', ',', ' ']).filter(|id| !id.is_empty());
    ids.collect::<Vec<_>>().join(",")
}

/// Where the service listens, as a client has to write it.
pub fn address() -> Result<String, Trouble> {
    let text = env::var("MARKETSVC_ADDR").unwrap_or_default();
    let text = if text.is_empty() { ADDRESS } else { &text };
    let parts = text.rsplit_once(':').filter(|(_, port)| *port != "0");
    let Some((host, port)) = parts else {
        return Err(Trouble::usage(format!(
            "MARKETSVC_ADDR is {text}: it needs a host and a port, like 127.0.0.1:9090"
        )));
    };
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
