//! Ten times as many requests as the service can serve, or as many as clients can
//! send.

use std::thread;
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join, try_join_all};
use marketsvc::Limits;
use tokio::time::{Instant, interval, sleep_until};

use crate::support::{Program, alone, full};
use crate::wire::{Client, get};

/// How long, and how far from the promise a run may be: a short one, of a
/// program that is not optimised, on a machine that does other things too,
/// only shows the order of magnitude.
struct Form {
    storm: Duration,
    /// Of the admitted requests' 99th percentile over the unloaded one.
    slower: u32,
    /// So many of 1,000 refusals come within this.
    refused: (usize, Duration),
    /// Of the 99th percentile after the storm over the one before it.
    afterwards: u32,
}

fn form() -> Form {
    if full() {
        Form {
            storm: Duration::from_secs(30),
            slower: 10,
            refused: (999, Duration::from_millis(50)),
            afterwards: 2,
        }
    } else {
        Form {
            storm: Duration::from_secs(5),
            slower: 100,
            refused: (990, Duration::from_millis(500)),
            afterwards: 20,
        }
    }
}

/// Enough to have all requests of the storm under way.
const CLIENTS: u32 = 256;

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// The 99th percentile.
fn p99(times: &mut [Duration]) -> Result<Duration, Failure> {
    within(times, 990)
}

/// The time that so many of 1,000 did not take longer than.
fn within(times: &mut [Duration], of_1000: usize) -> Result<Duration, Failure> {
    times.sort_unstable();
    let place = times.len() * of_1000 / 1_000;
    times.get(place).copied().or_fail("measured times")
}

/// One client, one request after another, for half a second.
async fn unloaded(program: &Program, request: &[u8]) -> Result<Duration, Failure> {
    let mut client = Client::of(program.service().addr());
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 50 || begin.elapsed() < HALF_A_SECOND {
        let start = Instant::now();
        let answer = client.ask(request).await?;
        times.push(start.elapsed());
        ensure(
            answer.status == 200,
            "an unloaded service",
            200,
            answer.status,
        )?;
    }
    p99(&mut times)
}

/// Answers in a second to so many clients that all cores are at work.
async fn capacity(program: &Program, request: &[u8]) -> Result<f64, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let clients = (0..4 * cores).map(|_| async {
        let mut client = Client::of(program.service().addr());
        let mut answered = 0_u32;
        while start.elapsed() < Duration::from_secs(2) {
            let answer = client.ask(request).await?;
            equal("a service that is busy", 200, answer.status)?;
            answered += 1;
        }
        Ok::<_, Failure>(answered)
    });
    let answered: u32 = try_join_all(clients).await?.into_iter().sum();
    Ok(f64::from(answered) / start.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Times {
    admitted: Vec<Duration>,
    refused: Vec<Duration>,
}

/// `rate` requests a second, whatever becomes of them.
async fn storm(
    program: &Program,
    request: &[u8],
    rate: f64,
    end: Instant,
) -> Result<Times, Failure> {
    let each = Duration::from_secs_f64(f64::from(CLIENTS) / rate);
    let begin = Instant::now();
    let clients = (0..CLIENTS).map(|n| async move {
        let mut client = Client::of(program.service().addr());
        let mut times = Times::default();
        let mut next = begin + each * n / CLIENTS;
        while next < end {
            sleep_until(next).await;
            let start = Instant::now();
            let answer = client.ask(request).await?;
            let took = start.elapsed();
            next = (next + each).max(Instant::now());
            match answer.status {
                200 => times.admitted.push(took),
                503 if answer.header("retry-after").is_some() => times.refused.push(took),
                _ => {
                    return Err(Failure::new(
                        "a request in the storm",
                        "200, or 503 with Retry-After",
                        format!("{answer:?}"),
                    ));
                }
            }
        }
        Ok(times)
    });
    let mut all = Times::default();
    for times in try_join_all(clients).await? {
        all.admitted.extend(times.admitted);
        all.refused.extend(times.refused);
    }
    Ok(all)
}

/// Clients ask `request` ten times as often as the service can answer it; or
/// as often as they can, which is what a small request comes to.
async fn overload(request: &[u8]) -> Outcome {
    let _machine = alone().await;
    let form = form();
    let database = Database::sample().await?;
    database.add_orders(2_000, 4).await?;
    // As it is started by anybody, with its own limits; but a machine with many
    // cores takes more at once than there are clients here.
    let places = Limits::default().in_flight.min(CLIENTS as usize / 2);
    let prepare = format!("export MARKETSVC_IN_FLIGHT={places}");
    let program = Program::start(database, &prepare).await?;

    capacity(&program, request).await?;
    let before = unloaded(&program, request).await?;
    let capacity = capacity(&program, request).await?;

    let end = Instant::now() + form.storm;
    let memory = async {
        let mut samples = Vec::new();
        let mut tick = interval(form.storm / 20);
        while Instant::now() < end {
            tick.tick().await;
            samples.push(program.memory()?);
        }
        Ok::<_, Failure>(samples)
    };
    let (times, memory) = join(storm(&program, request, 10.0 * capacity, end), memory).await;
    let (mut times, memory) = (times?, memory?);
    // Half a second for all to be as before, and half a second to see it.
    sleep_until(end + HALF_A_SECOND).await;
    let after = unloaded(&program, request).await?;

    let admitted = p99(&mut times.admitted)?;
    let (of_1000, at_most) = form.refused;
    let refused = within(&mut times.refused, of_1000)?;
    let slowest = times.refused.last().copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = (times.admitted.len() + times.refused.len()) as f64 / form.storm.as_secs_f64();
    let warm = memory[4..8].iter().max().copied().unwrap_or_default();
    let most = memory[8..].iter().max().copied().unwrap_or_default();
    let lost = program.log().await?.lost;
    println!(
        "capacity {capacity:.0}/s, asked {rate:.0}/s for {:?}: {} admitted, p99 {admitted:?}; {} refused, {of_1000} of 1,000 within {refused:?}, slowest {slowest:?}; \
         unloaded p99 before {before:?}, after {after:?}; memory {warm} KiB early in the storm, then at most {most} KiB; {lost} lines of the log lost",
        form.storm,
        times.admitted.len(),
        times.refused.len(),
    );
    // Whoever is refused asks again only some 20 ms later.
    ensure(
        times.refused.len() * 20 > times.admitted.len(),
        "the storm",
        "too much for the service",
        format!("{} refused", times.refused.len()),
    )?;
    ensure(
        admitted <= before * form.slower,
        "the 99th percentile of admitted requests",
        format!("at most {} times the unloaded {before:?}", form.slower),
        format!("{admitted:?}"),
    )?;
    ensure(
        refused <= at_most,
        format!("{of_1000} of 1,000 refusals"),
        format!("within {at_most:?}"),
        format!("{refused:?}"),
    )?;
    ensure(
        after <= before * form.afterwards,
        "the 99th percentile afterwards",
        format!("at most {} times {before:?}", form.afterwards),
        format!("{after:?}"),
    )?;
    ensure(
        most <= warm + 8192,
        "resident memory in the storm",
        format!("at most 8 MiB above {warm} KiB"),
        format!("{most} KiB"),
    )?;
    let answered = times.admitted.len() + times.refused.len();
    program.expect_lines(answered as u64).await?;
    program.expect_no_panic().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_too_many_large_requests_are_turned_away_and_the_rest_is_served() -> Outcome {
    // A thousand orders: much for the service, little for who asks.
    let ids: Vec<String> = (1_001..=2_000).map(|id| id.to_string()).collect();
    overload(&get(&format!("/api/orders_total?orders={}", ids.join(",")))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_small_requests_are_turned_away_and_the_rest_is_served() -> Outcome {
    overload(&get("/api/order_total/1001")).await
}
