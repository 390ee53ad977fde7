//! Requests that no honest client sends.

use std::time::Duration;

use check::{Database, Failure, Outcome, RawReply, Service, Then, ensure};

/// How long a hostile request may wait for its answer or the connection's end.
const HANG: Duration = Duration::from_secs(5);

/// How many bytes a huge body has: more than a service should read before it refuses.
const HUGE_BODY: usize = 16 * 1024 * 1024;

/// Paths with `{}` for an id.
const IDS: [&str; 4] = [
    "/api/orders/{}",
    "/api/order_total/{}",
    "/api/orders_total?orders={}",
    "/api/orders_total?orders=1,{}",
];

/// Endpoints that take JSON, each with a body that it accepts. It is never sent whole
/// and with the right content type.
const BODIES: [(&str, &str); 2] = [
    (
        "POST /api/add_new_order",
        r#"{"customer_id":2,"items":[{"id":2,"quantity":4}]}"#,
    ),
    ("GET /api/orders_total", r#"{"orders":[1,2,3]}"#),
];

/// Not numbers, in escapes that are right, and that are not.
const MALFORMED_IDS: &str = "abc 1.5 1e3 0x1 --1 1- %D9%A1 1%27%20OR%20%271%27=%271
    1;DROP%20TABLE%20orders 0 -1 9223372036854775808 -9223372036854775808 -9223372036854775809
    %FF%FE %C3%28 %E2%82 %C0%AF 1% 1%2 %zz 1%00 ..%2F..%2Fetc%2Fpasswd";

const MALFORMED_DATES: &str = "yesterday 2024 2024-3-1 2024-00-10 2024-13-01 2024-02-30
    2024-03-18T10:30:00 2024-03-18%2024:61:61 -2024-03-18 99999-01-01 %2B2024-03-18
    2024-03-18%00 2024-03-18%20 2024-03-18%27%20OR%201=1 %FF%FE %E2%82 2024-03-18%2 %zz
    %D9%A2%D9%A0%D9%A2%D9%A4-03-18";

/// What tells of SQL, of Rust and its libraries, and of the machine. None of it
/// is in a request that the checks send.
const TELLTALES: [&str; 4] = [
    "SELECT |INSERT |UPDATE |DELETE |WHERE |CONSTRAINT|FOREIGN KEY|constraint failed|order_items|\
     price_cents|no such table|no such column|syntax error|database is locked|sqlite|SQLite|sqlx",
    "panicked|RUST_BACKTRACE|unwrap()|.rs:|::|i64|u64|i32|u32|f64|Option<|Result<|Vec<|Err(|\
     struct |RowNotFound|PoolTimedOut",
    "axum|hyper|serde|tokio|tower|jiff|chrono|Deserialize|deserialize",
    "src/|/home/|/tmp/|/var/|/root/|/usr/|/Users/|market-check-",
];

struct Attack {
    /// What it is, for a failure.
    asked: String,
    bytes: Vec<u8>,
    then: Then,
    /// Whether the service may close the connection without an answer.
    may_close: bool,
}

impl Attack {
    /// A request with these header lines and this body.
    fn new(request: &str, headers: &str, body: impl AsRef<[u8]>, then: Then) -> Self {
        let body = body.as_ref();
        let common = "HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let head = format!("{request} {common}\r\n{headers}\r\n");
        let (request, headers) = (short(request.as_bytes()), headers.replace("\r\n", " "));
        let asked = format!("{request} {headers}{}", short(body));
        Self {
            asked: asked.trim_end().to_owned(),
            bytes: [head.as_bytes(), body].concat(),
            then,
            // A service may refuse and close before it has read all of a body, and
            // then the client's system may throw the answer away.
            may_close: body.len() > 10_000 || matches!(then, Then::CloseWriting),
        }
    }
}

/// Malformed ids, dates and bodies, huge bodies and halves: each gets a 4xx at once, and
/// learns nothing of the service's inside. Afterwards the service answers as before and
/// the database holds what it held.
///
/// An id below 1 in the path must be a 4xx too.
pub async fn hostile_input(service: &Service, database: &Database) -> Outcome {
    let before = database.snapshot().await?;
    let secret = database.path().to_string_lossy();
    for attack in paths().into_iter().chain(bodies()) {
        let reply = service.raw(&attack.bytes, attack.then).await?;
        judge(&attack, &reply, &secret)?;
    }
    let alive = service.get("/api/order_total/1").await?;
    alive.expect_status(200)?;
    database
        .expect_unchanged("hostile requests, then all rows", &before)
        .await
}

fn paths() -> Vec<Attack> {
    let mut paths = Vec::new();
    // In a list of ids they are orders that do not exist.
    let below_1 = ["0", "-1", "-9223372036854775808"];
    let (digits, letters) = ("9".repeat(9000), "a".repeat(9000));
    for path in IDS {
        let ids = MALFORMED_IDS.split_whitespace().chain([&*digits, &letters]);
        let ids = ids.filter(|id| !path.contains('?') || !below_1.contains(id));
        paths.extend(ids.map(|id| format!("GET {}", path.replace("{}", id))));
    }
    for date in MALFORMED_DATES.split_whitespace().chain([&*digits]) {
        for dates in [format!("{date}/2024-03-20"), format!("2024-03-20/{date}")] {
            paths.push(format!("GET /api/orders_between_dates/{dates}"));
        }
    }
    let attack = |path: String| Attack::new(&path, "", "", Then::ReadFor(HANG));
    paths.into_iter().map(attack).collect()
}

fn bodies() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (request, good) in BODIES {
        let lists = "[".repeat(100_000);
        let numbers = |number| good.replace(|c: char| c.is_ascii_digit(), number);
        let texts = [
            lists.clone(),
            format!("{lists}{}", "]".repeat(100_000)),
            r#"{"a":"#.repeat(100_000),
            // Deep inside of an object that begins well.
            format!("{}:{lists}", good.split(':').next().unwrap_or_default()),
            good.replace('"', ""),
            good.repeat(2),
            numbers("99999999999999999999"),
            numbers("1e999"),
            numbers("\"1\""),
            format!("{good}\0"),
            // Right, and longer than a service should read.
            format!("{good}{}", " ".repeat(HUGE_BODY)),
        ];
        let mut bodies = texts.map(String::into_bytes).to_vec();
        bodies.push([b"\xff\xfe", good.as_bytes()].concat());
        bodies.push([b"{\"\xff", &good.as_bytes()[2..]].concat());
        bodies.push(good.bytes().flat_map(|byte| [byte, 0]).collect());
        let words = r#"null 0 [] {} " "\ud800" customer_id=2&items=2"#;
        bodies.extend(words.split(' ').map(|word| word.as_bytes().to_vec()));
        bodies.push(vec![0]);
        // Cut wherever it can be cut.
        bodies.extend((1..good.len()).map(|length| good.as_bytes()[..length].to_vec()));

        let json = "Content-Type: application/json\r\n";
        for body in bodies {
            let headers = format!("{json}Content-Length: {}\r\n", body.len());
            attacks.push(Attack::new(request, &headers, body, Then::ReadFor(HANG)));
        }
        let types = "text/plain application/x-www-form-urlencoded multipart/form-data;boundary=x
            application/jsonx json / \u{fe}";
        let kinds = types
            .split_whitespace()
            .map(|kind| format!("Content-Type: {kind}\r\n"));
        let length = format!("Content-Length: {}\r\n", good.len());
        // A service may read the body of a GET without its type.
        let kinds = kinds.chain([String::new()]);
        for kind in kinds.filter(|_| !request.starts_with("GET")) {
            let headers = kind + &length;
            attacks.push(Attack::new(request, &headers, good, Then::ReadFor(HANG)));
        }
        // The end of the request in the middle of its body.
        let headers = format!("{json}{length}");
        let half = &good[..good.len() / 2];
        attacks.push(Attack::new(request, &headers, half, Then::CloseWriting));
        let chunked = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
        let headers = format!("{json}Transfer-Encoding: chunked\r\n");
        let chunks = chunked(good);
        attacks.push(Attack::new(request, &headers, chunks, Then::CloseWriting));
        let chunks = chunked(good) + &chunked(&" ".repeat(HUGE_BODY)) + "0\r\n\r\n";
        attacks.push(Attack::new(request, &headers, chunks, Then::ReadFor(HANG)));
    }
    attacks
}

fn judge(attack: &Attack, reply: &RawReply, secret: &str) -> Outcome {
    let text = reply.text();
    let (asked, status) = (&attack.asked, reply.status());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if !reply.closed {
        let end = format!(
            "an answer, or the connection's end, within {} s",
            HANG.as_secs()
        );
        return Err(Failure::new(asked, end, "neither"));
    }
    let seen = match status {
        Some(status) => format!("status {status}: {body}"),
        None if text.is_empty() => "a connection closed without an answer".to_owned(),
        None => text.clone(),
    };
    let refused = status.is_some_and(|status| (400..500).contains(&status));
    let expected = if attack.may_close {
        "status 4xx, or a connection closed without an answer"
    } else {
        "status 4xx"
    };
    let closed = attack.may_close && text.is_empty();
    ensure(refused || closed, asked, expected, seen)?;
    expect_no_leak(asked, body, secret)
}

/// For a failure's text: a long input is told by its beginning and length.
fn short(bytes: &[u8]) -> String {
    let start = bytes[..bytes.len().min(80)].escape_ascii();
    if bytes.len() > 80 {
        format!("{start}… ({} bytes)", bytes.len())
    } else {
        start.to_string()
    }
}

/// Fails when an answer's body tells what is inside of the service, or has this secret.
pub(crate) fn expect_no_leak(asked: &str, body: &str, secret: &str) -> Outcome {
    let mut words = TELLTALES.iter().flat_map(|words| words.split('|'));
    let known = words.find(|word| body.contains(word));
    let secret = (!secret.is_empty() && body.contains(secret)).then_some(secret);
    match known.or(secret) {
        None => Ok(()),
        Some(word) => Err(Failure::new(
            asked,
            "an answer without SQL, paths, or names of Rust and its libraries",
            format_args!("\"{word}\" in {body}"),
        )),
    }
}
