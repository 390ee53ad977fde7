//! The service under pressure: what README.md promises, driven.
//!
//! `cargo test -p marketsvc --test pressure` takes about a minute and a half.
//! `MARKETSVC_PRESSURE=full` makes the runs as long and as many as the
//! promises say, which takes half an hour and wants a machine that does
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
