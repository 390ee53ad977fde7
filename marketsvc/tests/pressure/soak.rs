//! Hours in small: what grows in seconds at 80 % of what the service can do would
//! fill the machine in a week.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, ensure};
use futures::future::{join, try_join_all};
use tokio::time::{Instant, interval, sleep_until};

use crate::support::{Program, full, ordinary, shared};
use crate::wire::{Client, get, post};

/// How long, the first sixth of which only warms up. The rest is compared.
fn duration() -> Duration {
    if full() {
        Duration::from_mins(10)
    } else {
        Duration::from_secs(20)
    }
}

const CLIENTS: u64 = 16;

/// The share of what the service can do.
const LOAD: f64 = 0.8;

const VERY_LATE: Duration = Duration::from_millis(100);

/// What a sample of the process shows.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    /// KiB.
    memory: u64,
    files: u64,
    /// Bytes of the log beside the database.
    log: u64,
}

impl Sample {
    fn of(program: &Program) -> Result<Self, Failure> {
        let log = program.database.path().with_file_name("market.sqlite-wal");
        Ok(Self {
            memory: program.memory()?,
            files: program.files()? as u64,
            log: std::fs::metadata(log).or_fail("the log's size")?.len(),
        })
    }

    fn most(samples: &[Self]) -> Self {
        samples.iter().fold(Self::default(), |most, sample| Self {
            memory: most.memory.max(sample.memory),
            files: most.files.max(sample.files),
            log: most.log.max(sample.log),
        })
    }
}

/// Twenty requests of which one writes. Those who read do not read what the
/// writers add, so the work stays the same.
fn mix() -> Vec<Vec<u8>> {
    // A customer whose list nobody asks for: it grows to hundreds of thousands.
    let order = r#"{"customer_id":100,"items":[{"id":2,"quantity":2},{"id":4,"quantity":1}]}"#;
    let mut mix = vec![get("/api/order_total/1"); 14];
    mix.push(get("/api/orders_total?orders=1,2,3,4,5,6,7,8,9,10"));
    mix.push(get("/api/orders/1"));
    mix.push(get("/api/orders_between_dates/2024-03-31/2024-03-01"));
    mix.push(get("/api/customers"));
    mix.push(get("/api/order_total/none"));
    mix.push(post("/api/add_new_order", order));
    mix
}

/// Every client asks through the mix until `end`; with `each`, a request
/// begins so long after the one before it, else at once. Gives how many were
/// answered.
async fn load(program: &Program, end: Instant, each: Option<Duration>) -> Result<u64, Failure> {
    let mix = mix();
    let answered = AtomicU64::new(0);
    let clients = (0..CLIENTS).map(|n| {
        let (mix, answered) = (&mix, &answered);
        async move {
            let mut client = Client::of(program.service().addr());
            // They do not begin together, nor with the same request.
            let mut next =
                Instant::now() + each.unwrap_or_default() * u32::try_from(n).unwrap_or(0) / 16;
            for request in mix.iter().cycle().skip(usize::try_from(n).unwrap_or(0) * 3) {
                if let Some(each) = each {
                    sleep_until(next).await;
                    // Timers are as coarse as a request is long, so who is late
                    // catches up; who is very late does not, since that would
                    // be more than the load meant.
                    next = (next + each).max(Instant::now() - VERY_LATE);
                }
                if Instant::now() >= end {
                    break;
                }
                let answer = client.ask(request).await?;
                ensure(
                    matches!(answer.status, 200 | 201 | 400),
                    String::from_utf8_lossy(request),
                    "200, 201, or 400 for a bad number",
                    format!("{answer:?}"),
                )?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }
    });
    try_join_all(clients).await?;
    Ok(answered.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_four_fifths_of_the_load_nothing_grows() -> Outcome {
    let _machine = shared().await;
    let database = Database::sample().await?;
    database.add_customers(200).await?;
    let program = Program::start(database, "").await?;
    ordinary(program.service()).await?;

    let trial = Duration::from_secs(3);
    let most = load(&program, Instant::now() + trial, None).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = most as f64 / trial.as_secs_f64() * LOAD;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let each = Duration::from_secs_f64(CLIENTS as f64 / rate);

    let end = Instant::now() + duration();
    let sampling = async {
        let mut samples = Vec::new();
        let mut second = interval(Duration::from_secs(1));
        while Instant::now() < end {
            second.tick().await;
            samples.push(Sample::of(&program)?);
        }
        Ok::<_, Failure>(samples)
    };
    let (answered, samples) = join(load(&program, end, Some(each)), sampling).await;
    let (answered, samples) = (answered?, samples?);

    let part = samples.len() / 6;
    let early = Sample::most(&samples[part..2 * part]);
    let late = Sample::most(&samples[samples.len() - part..]);
    println!(
        "{answered} requests in {:?}, meant to be {rate:.0} in a second; the most after the warm-up: {early:?}, at the end: {late:?}",
        duration()
    );
    // An allocator's habits, and no leak: 4 MiB are 90 bytes of each request
    // of 20 s in CI, and 3 of each in ten minutes.
    ensure(
        late.memory <= early.memory + 4096,
        "resident memory",
        format!("at most 4 MiB above {} KiB", early.memory),
        format!("{} KiB", late.memory),
    )?;
    // Each client has one connection all the time.
    ensure(
        late.files <= early.files + 2,
        "open files",
        format!("as before, {}", early.files),
        late.files,
    )?;
    // SQLite moves the log into the database from 12 MB on, and begins it anew
    // when no reader is left in it.
    ensure(
        late.log <= early.log.max(16 << 20),
        "the database's log",
        format!("as before, {} bytes, or 16 MiB", early.log),
        late.log,
    )?;
    program.expect_lines(most + answered).await?;
    program.expect_no_panic().await?;
    ordinary(program.service()).await
}
