//! Proves step 01. Run it with `./run.sh check 01`.
//!
//! Everything runs under tokio's paused clock: there a millisecond passes only
//! when no task can go on, so "nothing more happens" is a fact and not a guess,
//! and an hour passes at once where somebody waits for ever.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::gate::Gate;
use contract::{Failure, Outcome, Suite, ensure, equal};
use futures::{FutureExt, Stream, StreamExt};
use step01::coroutines::{all_or_none, together};
use step01::error::Error;
use step01::generator::bakery;
use step01::group::first_failure_ends_all;
use step01::market::{Closing, Order, Orders, customer, market, shop};
use step01::tasks::{Job, run_all};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

fn main() -> ExitCode {
    Suite::new("01-async-intro", env!("CARGO_MANIFEST_DIR"))
        .paused_check(
            "01.1",
            "three futures wait at the same time",
            together_overlap,
        )
        .paused_check("01.1", "each result is in its place", together_results)
        .paused_check(
            "01.2",
            "three futures that can fail wait at the same time",
            none_overlap,
        )
        .paused_check("01.2", "the first failure ends all", none_fails)
        .paused_check("01.2", "three successes are all there", none_succeeds)
        .paused_check(
            "01.3",
            "every job has begun before the first has ended",
            tasks_begin,
        )
        .paused_check("01.3", "results come in the order of the jobs", tasks_order)
        .paused_check("01.3", "a panic costs one result", tasks_panic)
        .paused_check("01.3", "a failed job does not stop the others", tasks_fail)
        .paused_check(
            "01.3",
            "dropping the call does not end the jobs",
            tasks_dropped,
        )
        .paused_check("01.4", "all jobs run at the same time", group_overlap)
        .paused_check("01.4", "results come as the jobs end", group_order)
        .paused_check("01.4", "the first failure is returned at once", group_fails)
        .paused_check("01.4", "a panic is an error too", group_panics)
        .paused_check("01.4", "dropping the call ends all jobs", group_dropped)
        .paused_check("01.5", "a loaf is baked when it is asked for", bakery_lazy)
        .paused_check("01.5", "all loaves come, then the end", bakery_whole)
        .paused_check(
            "01.5",
            "other work goes on while a loaf is baked",
            bakery_waits,
        )
        .paused_check(
            "01.6",
            "orders are placed in order while there is room",
            customer_places,
        )
        .paused_check(
            "01.6",
            "a customer waits while the queue is full",
            customer_waits,
        )
        .paused_check(
            "01.6",
            "when the market closes no order is lost",
            customer_closing,
        )
        .paused_check("01.6", "a closed market takes no order", customer_closed)
        .paused_check(
            "01.6",
            "orders for a queue that is gone are kept",
            customer_gone,
        )
        .paused_check("01.7", "a shop serves every order, then ends", shop_serves)
        .paused_check("01.7", "an idle shop waits for orders", shop_waits)
        .paused_check("01.7", "two shops serve at the same time", shops_overlap)
        .paused_check(
            "01.7",
            "a day at the market: all orders are served",
            market_day,
        )
        .paused_check(
            "01.7",
            "the market closes early: no order is lost",
            market_closes,
        )
        .run()
}

// ---- what all of them use

/// So long passes only where nobody moves any more.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Goes on with `call` until neither it nor a task can do anything more.
/// Returns what it gave, if it came to its end.
async fn settle<F: Future>(call: &mut Pin<&mut F>) -> Option<F::Output> {
    timeout(Duration::from_millis(1), call.as_mut()).await.ok()
}

/// What a call gives that should end by itself. What it should give is
/// `expected`.
async fn finished<F: Future>(
    asked: &str,
    expected: impl std::fmt::Display,
    call: F,
) -> Result<F::Output, Failure> {
    timeout(FOR_EVER, call).await.map_err(|_| {
        Failure::new(
            asked,
            expected,
            "still waiting, for something that never comes",
        )
    })
}

fn in_flight(gate: &Gate) -> String {
    format!("begun: {}, in flight: {}", gate.entered(), gate.in_flight())
}

/// Aborted tasks end when the runtime next looks at them: waits for that.
async fn none_left(asked: &str, gate: &Gate) -> Outcome {
    let left = timeout(Duration::from_millis(1), gate.wait_until_empty()).await;
    ensure(
        left.is_ok(),
        format_args!("{asked}; and afterwards"),
        "no job is left",
        format_args!("{} still in flight", gate.in_flight()),
    )
}

/// Waits at the gate, then gives `value`.
async fn through<T>(gate: &Gate, value: T) -> T {
    gate.pass().await;
    value
}

/// As [`through`], as a job that can fail.
fn job(gate: &Gate, item: &'static str) -> Job {
    let gate = gate.clone();
    async move { Ok(through(&gate, item).await) }.boxed()
}

/// Takes `millis` ms, then gives `item`.
fn timed(item: &'static str, millis: u64) -> Job {
    async move {
        sleep(Duration::from_millis(millis)).await;
        Ok(item)
    }
    .boxed()
}

/// Takes `millis` ms, then fails.
fn failing(item: &'static str, millis: u64) -> Job {
    async move {
        sleep(Duration::from_millis(millis)).await;
        Err(Error::SoldOut(item))
    }
    .boxed()
}

/// Takes 10 ms, then panics without a message.
fn panicking() -> Job {
    async {
        sleep(Duration::from_millis(10)).await;
        std::panic::resume_unwind(Box::new(()))
    }
    .boxed()
}

/// The result of a call, where a panic that reaches the caller fails the check.
async fn caught<T>(
    asked: &str,
    expected: impl std::fmt::Display,
    call: impl Future<Output = T>,
) -> Result<T, Failure> {
    match finished(asked, &expected, AssertUnwindSafe(call).catch_unwind()).await? {
        Ok(result) => Ok(result),
        Err(_) => Err(Failure::new(
            asked,
            expected,
            "the panic comes through to the caller",
        )),
    }
}

// ---- 01.1

async fn together_overlap() -> Outcome {
    let gate = Gate::closed();
    let mut call = pin!(together(
        through(&gate, 1),
        through(&gate, 2),
        through(&gate, 3)
    ));
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 3,
        "together with three futures, none of which can end",
        "begun: 3, in flight: 3",
        in_flight(&gate),
    )
}

async fn together_results() -> Outcome {
    let gate = Gate::opened();
    let asked = "together with futures that give 1, \"two\" and 3.0";
    let call = together(through(&gate, 1), through(&gate, "two"), async {
        sleep(Duration::from_millis(5)).await;
        3.0
    });
    equal(
        asked,
        (1, "two", 3.0),
        finished(asked, "all three", call).await?,
    )
}

// ---- 01.2

async fn none_overlap() -> Outcome {
    let gate = Gate::closed();
    let call = all_or_none(job(&gate, "a"), job(&gate, "b"), job(&gate, "c"));
    let mut call = pin!(call);
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 3,
        "all_or_none with three futures, none of which can end",
        "begun: 3, in flight: 3",
        in_flight(&gate),
    )
}

async fn none_fails() -> Outcome {
    let asked =
        "all_or_none: the second fails after 10 ms, the third after 5 ms, the first never ends";
    let expected = "Err(SoldOut(\"c\"))";
    let gate = Gate::closed();
    let call = all_or_none(job(&gate, "a"), failing("b", 10), failing("c", 5));
    let result = finished(asked, expected, call).await?;
    ensure(
        result == Err(Error::SoldOut("c")),
        asked,
        expected,
        format_args!("{result:?}"),
    )?;
    equal(
        format_args!("{asked}; how many are left?"),
        0,
        gate.in_flight(),
    )
}

async fn none_succeeds() -> Outcome {
    let asked = "all_or_none with futures that give \"a\", \"b\", \"c\" after 30, 20 and 10 ms";
    let call = all_or_none(timed("a", 30), timed("b", 20), timed("c", 10));
    equal(
        asked,
        Ok(["a", "b", "c"]),
        finished(asked, "Ok", call).await?,
    )
}

// ---- 01.3

async fn tasks_begin() -> Outcome {
    let gate = Gate::closed();
    let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
    let mut call = pin!(run_all(jobs));
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 3,
        "run_all with three jobs, none of which can end",
        "begun: 3, in flight: 3",
        in_flight(&gate),
    )
}

async fn tasks_order() -> Outcome {
    let asked = "run_all with jobs that give \"a\", \"b\", \"c\" after 30, 10 and 20 ms";
    let call = run_all(vec![timed("a", 30), timed("b", 10), timed("c", 20)]);
    let expected = vec![Ok("a"), Ok("b"), Ok("c")];
    equal(
        asked,
        expected,
        finished(asked, "three results", call).await?,
    )
}

async fn tasks_panic() -> Outcome {
    let asked = "run_all with three jobs; the second panics";
    let expected = vec![Ok("a"), Err(Error::Panicked), Ok("c")];
    let shown = format!("{expected:?}");
    let call = run_all(vec![timed("a", 20), panicking(), timed("c", 20)]);
    equal(asked, expected, caught(asked, shown, call).await?)
}

async fn tasks_fail() -> Outcome {
    let asked = "run_all with three jobs; the first fails";
    let expected = vec![Err(Error::SoldOut("a")), Ok("b"), Ok("c")];
    let call = run_all(vec![failing("a", 10), timed("b", 20), timed("c", 30)]);
    equal(
        asked,
        expected,
        finished(asked, "three results", call).await?,
    )
}

async fn tasks_dropped() -> Outcome {
    let asked = "run_all with three jobs, dropped while all are in flight; \
                 then nothing is in their way any more";
    let gate = Gate::closed();
    {
        let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
        let mut call = pin!(run_all(jobs));
        settle(&mut call).await;
    }
    // Who ends its tasks has done so before the gate opens.
    sleep(Duration::from_millis(1)).await;
    gate.open();
    sleep(Duration::from_millis(1)).await;
    ensure(
        gate.ended() == 3,
        asked,
        "begun: 3, came to their end: 3",
        format_args!(
            "begun: {}, came to their end: {}, dropped: {}",
            gate.entered(),
            gate.ended(),
            gate.dropped()
        ),
    )
}

// ---- 01.4

async fn group_overlap() -> Outcome {
    let gate = Gate::closed();
    let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
    let mut call = pin!(first_failure_ends_all(jobs));
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 3,
        "first_failure_ends_all with three jobs, none of which can end",
        "begun: 3, in flight: 3",
        in_flight(&gate),
    )
}

async fn group_order() -> Outcome {
    let asked =
        "first_failure_ends_all with jobs that give \"a\", \"b\", \"c\" after 30, 10 and 20 ms";
    let call = first_failure_ends_all(vec![timed("a", 30), timed("b", 10), timed("c", 20)]);
    equal(
        asked,
        Ok(vec!["b", "c", "a"]),
        finished(asked, "Ok", call).await?,
    )
}

async fn group_fails() -> Outcome {
    let asked = "first_failure_ends_all with four jobs: the third fails after 10 ms, \
                 the second after 20 ms, the others never end";
    let expected = "Err(SoldOut(\"c\"))";
    let gate = Gate::closed();
    let jobs = vec![
        job(&gate, "a"),
        failing("b", 20),
        failing("c", 10),
        job(&gate, "d"),
    ];
    let result = finished(asked, expected, first_failure_ends_all(jobs)).await?;
    ensure(
        result == Err(Error::SoldOut("c")),
        asked,
        expected,
        format_args!("{result:?}"),
    )?;
    none_left(asked, &gate).await
}

async fn group_panics() -> Outcome {
    let asked = "first_failure_ends_all with three jobs: the second panics, the others never end";
    let expected = "Err(Panicked)";
    let gate = Gate::closed();
    let jobs = vec![job(&gate, "a"), panicking(), job(&gate, "c")];
    let result = caught(asked, expected, first_failure_ends_all(jobs)).await?;
    ensure(
        result == Err(Error::Panicked),
        asked,
        expected,
        format_args!("{result:?}"),
    )?;
    none_left(asked, &gate).await
}

async fn group_dropped() -> Outcome {
    let asked = "first_failure_ends_all with three jobs, dropped while all are in flight";
    let gate = Gate::closed();
    {
        let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
        let mut call = pin!(first_failure_ends_all(jobs));
        settle(&mut call).await;
    }
    none_left(asked, &gate).await
}

// ---- 01.5

/// A bakery whose oven is `gate`.
fn gated(gate: &Gate, loaves: u32) -> impl Stream<Item = u32> {
    let gate = gate.clone();
    bakery(loaves, move |_| {
        let gate = gate.clone();
        async move { gate.pass().await }
    })
}

async fn bakery_lazy() -> Outcome {
    let gate = Gate::opened();
    let calls = AtomicU32::new(0);
    let mut loaves = pin!(bakery(5, |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        gate.pass()
    }));
    sleep(Duration::from_millis(10)).await;
    let asked = "bakery(5), not asked yet";
    equal(
        format_args!("{asked}: how many loaves are begun?"),
        0,
        gate.entered(),
    )?;
    equal(
        format_args!("{asked}: how often was `bake` called?"),
        0,
        calls.load(Ordering::Relaxed),
    )?;
    for loaf in 1..=2 {
        let got = finished("the next loaf", "a loaf", loaves.next()).await?;
        let asked = format!("bakery(5), asked {loaf} times");
        equal(format_args!("{asked}: which loaf comes?"), Some(loaf), got)?;
        sleep(Duration::from_millis(10)).await;
        equal(
            format_args!("{asked}: how many loaves are begun?"),
            loaf as usize,
            gate.entered(),
        )?;
        equal(
            format_args!("{asked}: how often was `bake` called?"),
            loaf,
            calls.load(Ordering::Relaxed),
        )?;
    }
    Ok(())
}

async fn bakery_whole() -> Outcome {
    let baked = Arc::new(Mutex::new(Vec::new()));
    for loaves in [4, 1, 0] {
        let asked = format!("bakery({loaves}), asked to the end");
        let book = baked.clone();
        let stream = bakery(loaves, move |loaf| {
            let book = book.clone();
            async move {
                sleep(Duration::from_millis(10)).await;
                book.lock().unwrap().push(loaf);
            }
        });
        let all: Vec<u32> = (1..=loaves).collect();
        let got: Vec<u32> = finished(&asked, "its end", stream.collect()).await?;
        equal(&asked, all.clone(), got)?;
        let baked = std::mem::take(&mut *baked.lock().unwrap());
        equal(format_args!("{asked}: what was baked?"), all, baked)?;
    }
    Ok(())
}

async fn bakery_waits() -> Outcome {
    let asked = "bakery(3) while the oven is busy";
    let gate = Gate::closed();
    {
        let mut loaves = pin!(gated(&gate, 3));
        let mut next = pin!(loaves.next());
        let got = settle(&mut next).await;
        // That the clock could move shows that the thread was free meanwhile.
        ensure(
            got.is_none() && gate.in_flight() == 1,
            asked,
            "no loaf yet, one in the oven",
            format_args!("{got:?}; {}", in_flight(&gate)),
        )?;
    }
    equal(
        format_args!("{asked}, dropped: how many are in the oven?"),
        0,
        gate.in_flight(),
    )
}

// ---- 01.6

fn orders(numbers: std::ops::RangeInclusive<u32>) -> Vec<Order> {
    numbers.map(Order).collect()
}

/// What stands in the queue.
fn waiting(queue: &mut mpsc::Receiver<Order>) -> Vec<Order> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

async fn customer_places() -> Outcome {
    let asked = "customer with orders 1 to 5, a queue with room for 10";
    let (send, mut queue) = mpsc::channel(10);
    let closing = Closing::new();
    let kept = finished(asked, "the end", customer(orders(1..=5), send, closing)).await?;
    equal(
        format_args!("{asked}: what is in the queue?"),
        orders(1..=5),
        waiting(&mut queue),
    )?;
    equal(
        format_args!("{asked}: what is kept?"),
        Vec::<Order>::new(),
        kept,
    )
}

async fn customer_waits() -> Outcome {
    let asked = "customer with orders 1 to 5, a queue with room for 2";
    let (send, mut queue) = mpsc::channel(2);
    let closing = Closing::new();
    let mut call = pin!(customer(orders(1..=5), send, closing));
    let early = settle(&mut call).await;
    ensure(
        early.is_none() && queue.len() == 2,
        format_args!("{asked}, of which nobody takes any"),
        "2 in the queue, and the customer waits",
        format_args!(
            "{} in the queue, and the customer {}",
            queue.len(),
            early.map_or_else(|| "waits".to_owned(), |kept| format!("ends with {kept:?}"))
        ),
    )?;
    let first = queue.recv().await;
    equal(
        format_args!("{asked}; the first one taken"),
        Some(Order(1)),
        first,
    )?;
    settle(&mut call).await;
    equal(
        format_args!("{asked}, of which one is taken: what is in the queue?"),
        orders(2..=3),
        waiting(&mut queue),
    )
}

async fn customer_closing() -> Outcome {
    let asked = "customer with orders 1 to 5, a queue with room for 2; \
                 the market closes while the customer waits for room";
    let (send, mut queue) = mpsc::channel(2);
    let closing = Closing::new();
    let mut call = pin!(customer(orders(1..=5), send, closing.clone()));
    settle(&mut call).await;
    closing.close();
    let kept = finished(asked, "the end", call).await?;
    let mut all = waiting(&mut queue);
    equal(
        format_args!("{asked}: what is in the queue?"),
        orders(1..=2),
        &all[..],
    )?;
    equal(
        format_args!("{asked}: what is kept?"),
        orders(3..=5),
        &kept[..],
    )?;
    all.extend(kept);
    equal(format_args!("{asked}: both"), orders(1..=5), all)
}

async fn customer_closed() -> Outcome {
    // Often, since `select!` without `biased;` chooses at random: who leaves it
    // to chance passes once in 2^64 runs.
    for _ in 0..64 {
        let asked = "customer with orders 1 to 3, a queue with room for 10; \
                     the market has closed before";
        let (send, mut queue) = mpsc::channel(10);
        let closing = Closing::new();
        closing.close();
        let kept = finished(asked, "the end", customer(orders(1..=3), send, closing)).await?;
        equal(
            format_args!("{asked}: what is in the queue?"),
            Vec::<Order>::new(),
            waiting(&mut queue),
        )?;
        equal(format_args!("{asked}: what is kept?"), orders(1..=3), kept)?;
    }
    Ok(())
}

async fn customer_gone() -> Outcome {
    let asked = "customer with orders 1 to 3, a queue that is gone";
    let (send, queue) = mpsc::channel(2);
    drop(queue);
    let closing = Closing::new();
    let kept = finished(asked, "the end", customer(orders(1..=3), send, closing)).await?;
    equal(format_args!("{asked}: what is kept?"), orders(1..=3), kept)
}

// ---- 01.7

/// A queue with orders 1 to `last`, and its sender.
async fn queue(last: u32) -> (mpsc::Sender<Order>, Orders) {
    let (send, receive) = mpsc::channel(20);
    for order in orders(1..=last) {
        // The receiver is here, and so is the room.
        let _ = send.send(order).await;
    }
    (send, Arc::new(tokio::sync::Mutex::new(receive)))
}

async fn shop_serves() -> Outcome {
    let asked = "shop with orders 1 to 5 in a queue that is closed";
    let (send, orders_in) = queue(5).await;
    drop(send);
    let book = Mutex::new(Vec::new());
    let call = shop(orders_in, async |order| book.lock().unwrap().push(order));
    let served = finished(asked, "the end", call).await?;
    equal(
        format_args!("{asked}: what is returned?"),
        orders(1..=5),
        served,
    )?;
    equal(
        format_args!("{asked}: what is served?"),
        vec![1, 2, 3, 4, 5],
        book.into_inner().unwrap(),
    )
}

async fn shop_waits() -> Outcome {
    let asked = "shop with one order in a queue that is open";
    let gate = Gate::opened();
    let (send, orders_in) = queue(1).await;
    let mut call = pin!(shop(orders_in, |_| gate.pass()));
    let early = settle(&mut call).await;
    ensure(
        early.is_none() && gate.ended() == 1,
        asked,
        "the order is served, and the shop waits",
        format_args!("served: {}, and the shop gives {early:?}", gate.ended()),
    )?;
    let _ = send.send(Order(2)).await;
    drop(send);
    let asked = "shop: a second order comes, then the queue is closed";
    let served = finished(asked, "the end", call).await?;
    equal(asked, orders(1..=2), served)
}

async fn shops_overlap() -> Outcome {
    let asked = "two shops at one queue of 4 orders, while no serving can end";
    let gate = Gate::closed();
    let (send, orders_in) = queue(4).await;
    let one = shop(orders_in.clone(), |_| gate.pass());
    let other = shop(orders_in, |_| gate.pass());
    let mut call = pin!(async { tokio::join!(one, other) });
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 2,
        asked,
        "begun: 2, in flight: 2",
        in_flight(&gate),
    )?;
    gate.open();
    drop(send);
    let (mut served, more) = finished(asked, "the end", call).await?;
    served.extend(more);
    served.sort();
    equal(
        "two shops, when the queue is closed: what is served?",
        orders(1..=4),
        served,
    )
}

/// Four customers with three orders each.
fn crowd() -> Vec<Vec<Order>> {
    [10, 20, 30, 40]
        .map(|customer| orders(customer + 1..=customer + 3))
        .into()
}

fn all_orders() -> Vec<Order> {
    crowd().into_iter().flatten().collect()
}

async fn serve(_: u32) {
    sleep(Duration::from_millis(10)).await;
}

async fn market_day() -> Outcome {
    let asked = "market with 4 customers, 3 orders each, 2 shops of 10 ms an order, room for 2";
    let begun = Instant::now();
    let call = market(crowd(), 2, 2, std::future::pending(), serve);
    let day = finished(asked, "the end of the day", call).await?;
    let mut served = day.served;
    served.sort();
    equal(
        format_args!("{asked}: what is served?"),
        all_orders(),
        served,
    )?;
    equal(
        format_args!("{asked}: what is taken home?"),
        Vec::<Order>::new(),
        day.kept,
    )?;
    equal(
        format_args!("{asked}: how many ms does it take?"),
        60,
        begun.elapsed().as_millis(),
    )
}

async fn market_closes() -> Outcome {
    let asked = "market with 4 customers, 3 orders each, 2 shops of 10 ms an order, room for 2, \
                 that closes after 15 ms";
    let call = market(crowd(), 2, 2, sleep(Duration::from_millis(15)), serve);
    let day = finished(asked, "the end of the day", call).await?;
    let (served, kept) = (day.served.len(), day.kept.len());
    let mut all = day.served;
    all.extend(day.kept);
    all.sort();
    equal(
        format_args!("{asked}: what is served or taken home?"),
        all_orders(),
        all,
    )?;
    ensure(
        served >= 4 && kept >= 1,
        asked,
        "some orders are served and some are taken home",
        format_args!("{served} served, {kept} taken home"),
    )
}
