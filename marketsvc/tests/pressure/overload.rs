//! Ten times as many requests as the service may work on at the same time.

use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, ensure};
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::common::soon;
use crate::support::{Program, alone, full};
use crate::wire::{Client, get};

/// How long each part of the test measures.
fn part() -> Duration {
    Duration::from_secs(if full() { 15 } else { 2 })
}

const PERMITS: usize = 8;

/// How long the answers of a part of the test have taken.
#[derive(Default)]
struct Times {
    admitted: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Times {
    /// Lets `clients` send `path` again and again, without a pause: also the clients that
    /// are refused.
    async fn measure(program: &Program, clients: usize, path: &str) -> Result<Self, Failure> {
        let end = Instant::now() + part();
        let clients = (0..clients).map(|_| async {
            let mut client = Client::connect(program.service().addr())
                .await
                .or_fail("a connection")?;
            let request = get(path);
            let mut times = Self::default();
            while Instant::now() < end {
                let start = Instant::now();
                let answer = client.send(&request).await?.or_fail("an answer")?;
                let took = start.elapsed();
                match answer.status().as_u16() {
                    200 => times.admitted.push(took),
                    503 if answer.headers().contains_key("retry-after") => times.refused.push(took),
                    _ => {
                        let expected = "200, or 503 with Retry-After";
                        return Err(Failure::new("a total", expected, format!("{answer:?}")));
                    }
                }
            }
            Ok(times)
        });
        let mut all = Self::default();
        for times in soon("a part of the test", try_join_all(clients)).await? {
            all.admitted.extend(times.admitted);
            all.refused.extend(times.refused);
        }
        all.admitted.sort_unstable();
        all.refused.sort_unstable();
        Ok(all)
    }
}

/// The time that a share of the answers, in percent, have not exceeded.
fn percentile(sorted: &[Duration], percent: usize) -> Result<Duration, Failure> {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().or_fail("the times of answers")
}

/// Each client that is refused comes again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_too_many_large_requests_are_turned_away_and_the_rest_is_served() -> Outcome {
    let _machine = alone().await;
    let database = Database::sample().await?;
    database.add_orders(2_000, 4).await?;
    let flags = ["--max-requests", &PERMITS.to_string()];
    let program = Program::start(database, "", &flags).await?;
    // A thousand orders: much work for the service, and little for the client.
    let ids: Vec<_> = (1_001..=2_000).map(|id| id.to_string()).collect();
    let path = format!("/api/orders_total?orders={}", ids.join(","));

    let before = Times::measure(&program, 1, &path).await?;
    let storm = Times::measure(&program, 10 * PERMITS, &path).await?;
    let after = Times::measure(&program, 1, &path).await?;
    let unloaded = percentile(&before.admitted, 50)?;
    // The runs of a program that is not optimised, beside others, show only the order of
    // magnitude. The requests that are admitted share the machine with each other, and with
    // the clients that are refused.
    let lenient = if full() { 1 } else { 2 };
    for (what, times, percent, most) in [
        ("admitted", &storm.admitted, 99, 200),
        ("refused", &storm.refused, 99, 15),
        ("afterwards", &after.admitted, 50, 3),
    ] {
        let time = percentile(times, percent)?;
        let text = format!("{time:?} for {percent} % of {}", times.len());
        println!("{what}: {text}, unloaded {unloaded:?}");
        let most = most * lenient;
        let expected = format!("at most {most} times {unloaded:?}");
        ensure(time <= unloaded * most, what, expected, text)?;
    }
    let refused = percentile(&storm.refused, 90)?;
    let faster = refused < percentile(&storm.admitted, 50)?;
    ensure(
        faster,
        "nine of ten refusals",
        "faster than answers",
        format!("{refused:?}"),
    )?;
    program.expect_no_panic()
}
