//! What grows in seconds at 80 % of what the service can do would fill the machine in a
//! week.

use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join, try_join_all};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::support::{Program, alone, full, ordinary};
use crate::wire::{Client, get, post};

/// How long to look. The first sixth only warms up.
fn duration() -> Duration {
    Duration::from_secs(if full() { 600 } else { 18 })
}

const CLIENTS: u32 = 16;

/// Lets each client send the mix of requests until `end`. With `each`, a client begins a
/// request so long after it has begun the one before, and without it at once. Returns how
/// many were answered.
async fn load(program: &Program, end: Instant, each: Option<Duration>) -> Result<u32, Failure> {
    // One of twenty writes. The others do not read what is written, so their work does not
    // grow.
    let order = r#"{"customer_id":100,"items":[{"id":2,"quantity":2},{"id":4,"quantity":1}]}"#;
    let mut mix = vec![(get("/api/order_total/1"), 200); 14];
    mix.push((get("/api/orders_total?orders=1,2,3,4,5,6,7,8,9,10"), 200));
    mix.push((get("/api/orders/1"), 200));
    mix.push((get("/api/orders_between_dates/2024-03-31/2024-03-01"), 200));
    mix.push((get("/api/customers"), 200));
    mix.push((get("/api/order_total/none"), 400));
    mix.push((post("/api/add_new_order", order.to_owned()), 201));
    let clients = (0..CLIENTS).map(|n| {
        // They begin neither together nor with the same request.
        let requests = mix.iter().cycle().skip(n as usize * 3);
        async move {
            let client = Client::connect(program.service().addr()).await;
            let mut client = client.or_fail("a connection")?;
            let mut tick = each.map(|each| interval_at(Instant::now() + each * n / CLIENTS, each));
            let mut answered = 0;
            for (request, expected) in requests {
                if let Some(tick) = &mut tick {
                    tick.tick().await;
                }
                if Instant::now() >= end {
                    break;
                }
                let answer = client.send(request).await?.or_fail("an answer")?;
                let status = answer.status().as_u16();
                equal(request.uri().path(), *expected, status)?;
                answered += 1;
            }
            Ok::<_, Failure>(answered)
        }
    });
    Ok(try_join_all(clients).await?.into_iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_four_fifths_of_the_load_nothing_grows() -> Outcome {
    let _machine = alone().await;
    let database = Database::sample().await?;
    database.add_customers(200).await?;
    // In ten minutes, the lines of all requests would be gigabytes.
    let program = Program::start(database, "export RUST_LOG=warn", &[]).await?;
    let log = program.database.path().with_file_name("market.sqlite-wal");
    ordinary(program.service()).await?;

    let trial = Duration::from_secs(3);
    let most = load(&program, Instant::now() + trial, None).await?;
    let each = trial * CLIENTS / most * 5 / 4;

    let end = Instant::now() + duration();
    let sampling = async {
        let mut samples = Vec::new();
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            second.tick().await;
            let log = log.metadata().or_fail("the log of the database")?.len();
            samples.push([program.memory()?, program.files()? as u64, log]);
        }
        Ok::<_, Failure>(samples)
    };
    let (answered, samples) = join(load(&program, end, Some(each)), sampling).await;
    let (answered, samples) = (answered?, samples?);
    let part = samples.len() / 6;
    let early = &samples[part..2 * part];
    let late = &samples[samples.len() - part..];
    let names = ["KiB of memory", "open files", "bytes of the database's log"];
    // 4 MiB are habits of the allocator: a few bytes of each request of ten minutes. The pool
    // may open its ten connections late, with two files each. SQLite moves its log into the
    // database from 4 MB on, when no reader needs it.
    let rooms = [4096, 20, 16 << 20];
    println!("{answered} requests in {:?}", duration());
    for (n, (name, room)) in names.into_iter().zip(rooms).enumerate() {
        let most = |samples: &[[u64; 3]]| samples.iter().map(|sample| sample[n]).max();
        let (early, late) = (most(early).or_fail(name)?, most(late).or_fail(name)?);
        println!("{name}: {early} at most after the warm-up, {late} at the end");
        ensure(
            late <= early + room,
            name,
            format!("{early}, or {room} more"),
            late,
        )?;
    }
    program.expect_no_panic()?;
    ordinary(program.service()).await
}
