//! The requests of `two_ways` over time: which clients wait, and how many of the
//! pool's two connections are in use?
//!
//! `./run.sh trace 10` draws your exercise, `./run.sh trace 10 --solution` the
//! solution.

use std::time::Duration;

use check::timeline::{self, count, lane};
use check::{Database, Failure, OrFail, Service};
use futures::future::try_join_all;
use step10_solution::db::base::{Engine, EngineConfig};
use tokio::time::sleep;

#[allow(dead_code)] // its `main`
mod two_ways;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let timeline = timeline::record("10 two ways to a session, two connections");
    for way in ["session", "calls"] {
        let database = Database::sample().await?;
        let config = EngineConfig {
            max_connections: 2,
            ..EngineConfig::default()
        };
        let engine = Engine::new(&database.url(), config).or_fail("the engine")?;
        let service = Service::start(two_ways::router(engine.clone()));
        let writers = (1..=two_ways::CLIENTS).map(|client| {
            let path = format!("/{way}/{client}");
            let service = &service;
            lane(format!("{way} {client}"), async move {
                service.post(&path, "application/json", "").await
            })
        });
        tokio::select! {
            replies = try_join_all(writers) => drop(replies?),
            () = watch(&engine) => {}
        }
        count(IN_USE, 0);
    }
    drop(timeline);
    Ok(())
}

const IN_USE: &str = "connections";

/// Records how many connections are in use, for ever.
async fn watch(engine: &Engine) {
    let mut last = None;
    loop {
        let now = two_ways::in_use(engine).into();
        if last.replace(now) != Some(now) {
            count(IN_USE, now);
        }
        sleep(Duration::from_millis(2)).await;
    }
}
