//! What the clients of `load` wait for: a lane for each client, and in it a bar for each
//! call. Five clients make one cycle with each of the three services, one after another.
//!
//! `./run.sh trace 12` draws your exercise, `./run.sh trace 12 --solution` the solution.

use std::time::Duration;

use check::{Failure, OrFail, timeline};
use step12::load::{self, Plan, Stop};

#[allow(dead_code)] // its `main`
#[path = "load.rs"]
mod services;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let plan = Plan {
        clients: 5,
        stop: Stop::Cycles(1),
        seconds: 0.1,
        seed: 12,
        timeout: Duration::from_mins(1),
    };
    let timeline = timeline::record("12 one cycle of five clients, with three services");
    for (name, slow) in services::SERVICES {
        let service = services::Service::start(slow, 5).await?;
        let mut calls = Vec::new();
        load::run(&service.url, &plan, |call| {
            calls.push((call.client, call.kind, call.began, call.ended));
        })
        .await
        .or_fail("the load")?;
        // The lanes are in the order of the clients, not of their first answers.
        calls.sort_by_key(|(client, _, began, _)| (*client, *began));
        for (client, kind, began, ended) in calls {
            // A terminal has room for short names only.
            let lane = format!("{} {}", &name[..5], client + 1);
            timeline::past(&lane, kind.name(), began, ended);
        }
    }
    drop(timeline);
    Ok(())
}
