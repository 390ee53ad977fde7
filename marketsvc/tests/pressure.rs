//! The promises of README.md, tested on the real program.
//!
//! `cargo test -p marketsvc --test pressure` takes about a minute. With
//! `MARKETSVC_PRESSURE=full`, the tests run as long and as often as the promises say. That
//! takes a quarter of an hour and needs a machine that does nothing else:
//!
//! `MARKETSVC_PRESSURE=full cargo test --release -p marketsvc --test pressure -- --nocapture`
//!
//! The tests that read `/proc` or use tools of Linux are compiled only there.

#![cfg(unix)]

mod common;

#[cfg(target_os = "linux")]
#[path = "pressure/faults.rs"]
mod faults;
#[path = "pressure/fuzz.rs"]
mod fuzz;
#[cfg(target_os = "linux")]
#[path = "pressure/overload.rs"]
mod overload;
#[cfg(target_os = "linux")]
#[path = "pressure/slow.rs"]
mod slow;
#[cfg(target_os = "linux")]
#[path = "pressure/soak.rs"]
mod soak;
#[path = "pressure/stops.rs"]
mod stops;
#[path = "pressure/support.rs"]
mod support;
#[path = "pressure/wire.rs"]
mod wire;

/// README.md names a test for each promise, and each of these tests exists.
#[test]
fn every_promise_has_a_test() {
    let (_, promises) = include_str!("../README.md")
        .split_once("\n## Promises\n")
        .expect("README.md has a section with the promises");
    let mut count = 0;
    for name in promises.split('`').filter(|code| code.contains("::")) {
        let (module, test) = name.split_once("::").expect("a module and a test");
        let path = format!("{}/tests/pressure/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(code.contains(&format!("fn {test}()")), "no test {name}");
        count += 1;
    }
    assert!(count > 10, "{count} tests are named");
}
