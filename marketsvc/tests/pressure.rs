//! The service under pressure: what README.md promises, driven.
//!
//! `cargo test -p marketsvc --test pressure` takes about a minute.
//! `MARKETSVC_PRESSURE=full` makes the runs as long and as many as the
//! promises say, which takes a quarter of an hour and wants a machine that does
//! nothing else:
//!
//! `MARKETSVC_PRESSURE=full cargo test --release -p marketsvc --test pressure`
//!
//! What looks at the service's process through `/proc`, or takes something
//! from it with the tools of Linux, is compiled only there.

mod common;

#[cfg(target_os = "linux")]
#[path = "pressure/faults.rs"]
mod faults;
#[cfg(unix)]
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
#[cfg(unix)]
#[path = "pressure/stops.rs"]
mod stops;
#[cfg(unix)]
#[path = "pressure/support.rs"]
mod support;
#[cfg(unix)]
#[path = "pressure/wire.rs"]
mod wire;

/// README.md names a test for each promise, and each of them exists.
#[test]
fn every_promise_has_a_test() {
    let (_, promises) = include_str!("../README.md")
        .split_once("\n## Promises\n")
        .expect("the promises");
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
