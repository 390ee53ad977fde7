//! The verbs that ask the running service.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "snapbox writes its snapshots so"
)]

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use super::support::{Project, outcome, text};
use super::{Running, run_sh};

/// An address on which nothing listens any more.
fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn the_curl_verbs_print_the_line_and_then_the_answer() {
    let project = Project::with_coach();
    let running = Running::start(&project, &["run"]);
    let ask = |arguments: &[&str]| {
        let output = run_sh(&project, arguments)
            .env("MARKETSVC_ADDR", &running.address)
            .output()
            .unwrap();
        let (code, out, err) = outcome(&output);
        format!("{}{out}{code:?}\n", err.replace(&running.address, "ADDR"))
    };
    let answers: String = [
        &["customers"][..],
        &["custorders", "2"],
        &["ordertotal", "1"],
        &["orderstotal"],
        &["orderstotal", "3,1"],
        &["orderstotal", "[3,", "1]"],
        &["ordersbet"],
        &["ordersbet", "2024-03-22", "2024-03-17 12:00:00"],
        &["neworder"],
        &["neworder", "{\"it's\": [1]}"],
        &["custorders", "404"],
    ]
    .into_iter()
    .map(ask)
    .collect();
    assert_data_eq!(
        answers,
        str![[r#"
curl -sS http://ADDR/api/customers
GET /api/customers
Some(0)
curl -sS http://ADDR/api/orders/2
GET /api/orders/2
Some(0)
curl -sS http://ADDR/api/order_total/1
GET /api/order_total/1
Some(0)
curl -sS 'http://ADDR/api/orders_total?orders=1,2,3'
GET /api/orders_total?orders=1,2,3
Some(0)
curl -sS 'http://ADDR/api/orders_total?orders=3,1'
GET /api/orders_total?orders=3,1
Some(0)
curl -sS 'http://ADDR/api/orders_total?orders=3,1'
GET /api/orders_total?orders=3,1
Some(0)
curl -sS http://ADDR/api/orders_between_dates/2024-03-22%2000:00:00/2024-03-17%2000:00:00
GET /api/orders_between_dates/2024-03-22%2000:00:00/2024-03-17%2000:00:00
Some(0)
curl -sS http://ADDR/api/orders_between_dates/2024-03-22/2024-03-17%2012:00:00
GET /api/orders_between_dates/2024-03-22/2024-03-17%2012:00:00
Some(0)
curl -sS -H 'Content-Type: application/json' -d '{"customer_id":2,"items":[{"id":2,"quantity":4},{"id":3,"quantity":6}]}' http://ADDR/api/add_new_order
POST /api/add_new_order application/json {"customer_id":2,"items":[{"id":2,"quantity":4},{"id":3,"quantity":6}]}
Some(0)
curl -sS -H 'Content-Type: application/json' -d '{"it'/''s": [1]}' http://ADDR/api/add_new_order
POST /api/add_new_order application/json {"it's": [1]}
Some(0)
curl -sS http://ADDR/api/orders/404
HTTP 404
GET /api/orders/404
Some(0)

"#]]
    );
    // The whole address as the service was told it: every interface.
    let everywhere = format!("0.0.0.0:{}", running.address.rsplit(':').next().unwrap());
    let output = run_sh(&project, &["customers"])
        .env("MARKETSVC_ADDR", everywhere)
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "GET /api/customers\n");

    // An answer that breaks off: what came, and curl's own words.
    let output = run_sh(&project, &["custorders", "500500"])
        .env("MARKETSVC_ADDR", &running.address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "GET /api/orders/500500\n");
    assert!(
        text(&output.stderr).contains("curl: (18)"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_reader_of_the_answer_that_goes_away_is_no_error() {
    let project = Project::with_coach();
    let mut command = run_sh(&project, &["customers"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    command
        .env("MARKETSVC_ADDR", listener.local_addr().unwrap().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    drop(child.stdout.take());
    // Larger than what curl and a pipe hold between them.
    let body = vec![b'x'; 4 << 20];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stderr).lines().count(),
        1,
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn no_service_is_3_and_says_how_to_start_one() {
    let project = Project::with_coach();
    let address = dead_address();
    let output = run_sh(&project, &["ordertotal", "1"])
        .env("MARKETSVC_ADDR", &address)
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(3), String::new())
    );
    assert!(
        text(&output.stderr).ends_with(&format!(
            "nothing answers at {address}: start the service first, in another terminal: ./run.sh run\n"
        )),
        "{}",
        text(&output.stderr)
    );
}
