//! The finished service, asked over real sockets and started as a real
//! program, each test with a database of its own:
//! `cargo test -p marketsvc --test service`.

mod common;

#[path = "service/agreed.rs"]
mod agreed;
#[path = "service/answers.rs"]
mod answers;
#[path = "service/limits.rs"]
mod limits;
#[path = "service/program.rs"]
mod program;
#[path = "service/seen.rs"]
mod seen;
#[path = "service/settings.rs"]
mod settings;
#[path = "service/shutdown.rs"]
mod shutdown;
#[path = "service/streaming.rs"]
mod streaming;
