//! Checks step 01. Run it with `./run.sh check 01`.
//!
//! All checks use tokio's paused clock. There a millisecond passes only when no task
//! can run, so "nothing more happens" is certain and not a guess, and an hour of
//! waiting takes no time at all.

use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use check::gate::Gate;
use check::{Failure, Outcome, Suite, ensure, equal};
use futures::{FutureExt, Stream, StreamExt};
use step01::coroutines::{all_or_none, together};
use step01::error::Error;
use step01::fetch::ms;
use step01::generator::bakery;
use step01::group::first_failure_ends_all;
use step01::market::{Closing, Order, Orders, customer, market, shop};
use step01::tasks::{Job, run_all};
use tokio::sync::mpsc;
use tokio::task;
use tokio::time::{Instant, sleep, timeout};

pub fn main() -> ExitCode {
    let suite = Suite::new("01-async-intro", env!("CARGO_MANIFEST_DIR"));
    let suite = tasks_1_and_2(suite);
    let suite = tasks_3_and_4(suite);
    let suite = tasks_5_to_7(suite);
    suite.run()
}

fn tasks_1_and_2(suite: Suite) -> Suite {
    suite
        .paused_check(
            "01.1",
            "three futures wait at the same time",
            together_overlap,
        )
        .paused_check(
            "01.1",
            "each result is in its own position",
            together_results,
        )
        .paused_check(
            "01.1",
            "two futures continue together after the third has finished",
            together_stages,
        )
        .paused_check(
            "01.1",
            "the task is polled again only when it is woken",
            together_wakes,
        )
        .paused_check(
            "01.2",
            "three futures that can fail wait at the same time",
            none_overlap,
        )
        .paused_check(
            "01.2",
            "the first failure is returned at once and the others are dropped",
            none_fails,
        )
        .paused_check(
            "01.2",
            "a failure after a success is returned at once too",
            none_fails_later,
        )
        .paused_check(
            "01.2",
            "three successes are returned in the order of the arguments",
            none_succeeds,
        )
        .paused_check(
            "01.2",
            "two futures continue together after the third has succeeded",
            none_stages,
        )
}

fn tasks_3_and_4(suite: Suite) -> Suite {
    suite
        .paused_check(
            "01.3",
            "every job starts before the first one has finished",
            tasks_start,
        )
        .paused_check("01.3", "each job runs in a task of its own", tasks_apart)
        .paused_check("01.3", "results are in the order of the jobs", tasks_order)
        .paused_check("01.3", "a failed job does not stop the others", tasks_fail)
        .paused_check("01.3", "a panic costs only one result", tasks_panic)
        .paused_check(
            "01.3",
            "dropping the call does not stop the jobs",
            tasks_dropped,
        )
        .paused_check(
            "01.4",
            "every job starts before the first one has finished",
            group_start,
        )
        .paused_check("01.4", "each job runs in a task of its own", group_apart)
        .paused_check(
            "01.4",
            "results are in the order in which the jobs finish",
            group_order,
        )
        .paused_check(
            "01.4",
            "the first failure is returned at once and the other jobs are aborted",
            group_fails,
        )
        .paused_check("01.4", "a panic is returned as a failure", group_panics)
        .paused_check("01.4", "dropping the call aborts all jobs", group_dropped)
}

fn tasks_5_to_7(suite: Suite) -> Suite {
    suite
        .paused_check(
            "01.5",
            "a loaf is baked only when it is asked for",
            bakery_lazy,
        )
        .paused_check("01.5", "all loaves come, then the end", bakery_whole)
        .paused_check(
            "01.5",
            "other work continues while a loaf is in the oven",
            bakery_waits,
        )
        .paused_check(
            "01.6",
            "orders are placed in the order of the list",
            customer_places,
        )
        .paused_check(
            "01.6",
            "a customer waits while the queue is full",
            customer_waits,
        )
        .paused_check(
            "01.6",
            "a customer with nothing left to place does not wait",
            customer_done,
        )
        .paused_check(
            "01.6",
            "no order is lost when the market closes",
            customer_closing,
        )
        .paused_check("01.6", "a closed market accepts no order", customer_closed)
        .paused_check(
            "01.6",
            "closing time wins when there is room at the same moment",
            customer_both,
        )
        .paused_check(
            "01.6",
            "no order is lost when the shops are gone",
            customer_gone,
        )
        .paused_check(
            "01.7",
            "a shop serves every order in the queue, then returns",
            shop_serves,
        )
        .paused_check("01.7", "an idle shop waits for orders", shop_waits)
        .paused_check("01.7", "two shops serve at the same time", shops_overlap)
        .paused_check(
            "01.7",
            "a day at the market: every order is served",
            market_day,
        )
        .paused_check(
            "01.7",
            "the market closes early: no order is lost",
            market_closes,
        )
}

// ---- what all checks use

/// So much time passes only when nothing else can happen any more.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Lets `call` and all tasks run until none of them can do anything more. Returns
/// the call's result if it has one by then.
async fn settle<F: Future>(call: &mut Pin<&mut F>) -> Option<F::Output> {
    timeout(ms(10), call.as_mut()).await.ok()
}

/// The result of a call that must return without help from outside.
async fn finished<F: Future>(asked: &str, expected: &str, call: F) -> Result<F::Output, Failure> {
    timeout(FOR_EVER, call).await.map_err(|_| {
        Failure::new(
            asked,
            expected,
            "the call does not return: it waits for something that never happens",
        )
    })
}

/// As [`finished`], for a call that must not let a panic through.
async fn caught<F: Future>(asked: &str, expected: &str, call: F) -> Result<F::Output, Failure> {
    let call = AssertUnwindSafe(call).catch_unwind();
    finished(asked, expected, call)
        .await?
        .map_err(|_| Failure::new(asked, expected, "the panic reaches the caller"))
}

fn in_flight(gate: &Gate) -> String {
    format!("started: {}, waiting: {}", gate.entered(), gate.in_flight())
}

/// Three of three futures have started and wait.
fn three_wait(asked: &str, gate: &Gate) -> Outcome {
    let three = gate.in_flight() == 3;
    ensure(three, asked, "started: 3, waiting: 3", in_flight(gate))
}

/// An aborted task ends when the runtime next runs it, so this waits a moment.
async fn none_left(asked: &str, gate: &Gate) -> Outcome {
    let left = timeout(ms(1), gate.wait_until_empty()).await;
    ensure(
        left.is_ok(),
        format_args!("{asked}; and after the call?"),
        "no job is left",
        format_args!("{} jobs are still waiting", gate.in_flight()),
    )
}

/// Waits at the gate, then returns `value`.
async fn through<T>(gate: &Gate, value: T) -> T {
    gate.pass().await;
    value
}

/// A job that waits at the gate.
fn job(gate: &Gate, item: &'static str) -> Job {
    let gate = gate.clone();
    async move { Ok(through(&gate, item).await) }.boxed()
}

/// A job that takes `millis` ms and returns `item`.
fn timed(item: &'static str, millis: u64) -> Job {
    async move {
        sleep(ms(millis)).await;
        Ok(item)
    }
    .boxed()
}

/// A job that takes `millis` ms and fails.
fn failing(item: &'static str, millis: u64) -> Job {
    async move {
        sleep(ms(millis)).await;
        Err(Error::SoldOut(item))
    }
    .boxed()
}

/// A job that takes `millis` ms and panics. The panic has no message, so it is not
/// reported as one of the learner's.
fn panicking(millis: u64) -> Job {
    async move {
        sleep(ms(millis)).await;
        std::panic::resume_unwind(Box::new(()))
    }
    .boxed()
}

/// All orders of the numbers 0 to 2.
const ORDERS_OF_THREE: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// A future that is ready at once if `early`. Otherwise it waits for a timer, and
/// then at the gate.
async fn staged(gate: Gate, early: bool) -> Result<(), Error> {
    if !early {
        sleep(ms(1)).await;
        gate.pass().await;
    }
    Ok(())
}

/// Waits until `call`, which consists of futures made by [`staged`], can do nothing
/// more. Both futures that are not early must have reached the gate.
async fn two_continue<F: Future>(what: &str, early: usize, gate: &Gate, call: F) -> Outcome {
    let mut call = pin!(call);
    settle(&mut call).await;
    ensure(
        gate.in_flight() == 2,
        format_args!(
            "{what} with three futures: number {} is ready at once, each of the others waits \
             1 ms and then for a second event that does not come",
            early + 1
        ),
        "2 futures wait for the second event",
        format_args!("{}", gate.in_flight()),
    )
}

/// A future that never wakes its task, so nothing may poll it often.
fn never_woken(polls: &AtomicUsize) -> impl Future<Output = Result<(), Error>> {
    poll_fn(move |_| {
        polls.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    })
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
    three_wait("together with three futures that cannot finish", &gate)
}

async fn together_results() -> Outcome {
    let gate = Gate::opened();
    let asked = "together with futures that return 1, \"two\" and 3.0";
    let call = together(through(&gate, 1), through(&gate, "two"), async {
        sleep(ms(5)).await;
        3.0
    });
    equal(
        asked,
        (1, "two", 3.0),
        finished(asked, "(1, \"two\", 3.0)", call).await?,
    )
}

async fn together_stages() -> Outcome {
    for early in 0..3 {
        let gate = Gate::closed();
        let [a, b, c] = [0, 1, 2].map(|index| staged(gate.clone(), index == early));
        two_continue("together", early, &gate, together(a, b, c)).await?;
    }
    Ok(())
}

async fn together_wakes() -> Outcome {
    let polls = AtomicUsize::new(0);
    let [a, b, c] = [&polls, &polls, &polls].map(never_woken);
    let _ = timeout(ms(10_000), together(a, b, c)).await;
    woken_only("together", &polls)
}

fn woken_only(what: &str, polls: &AtomicUsize) -> Outcome {
    let polls = polls.load(Ordering::Relaxed);
    ensure(
        polls < 50,
        format_args!("{what} with three futures that never wake the task, for 10 s"),
        "the task is polled a few times at most",
        format_args!("the task has polled the three futures {polls} times in all"),
    )
}

// ---- 01.2

async fn none_overlap() -> Outcome {
    let gate = Gate::closed();
    {
        let call = all_or_none(job(&gate, "a"), job(&gate, "b"), job(&gate, "c"));
        let mut call = pin!(call);
        settle(&mut call).await;
        three_wait("all_or_none with three futures that cannot finish", &gate)?;
    }
    let polls = AtomicUsize::new(0);
    let [a, b, c] = [&polls, &polls, &polls].map(never_woken);
    let _ = timeout(ms(10_000), all_or_none(a, b, c)).await;
    woken_only("all_or_none", &polls)
}

async fn none_fails() -> Outcome {
    let about = ["never ends", "fails after 10 ms", "fails after 5 ms"];
    let make = |index: usize, gate: &Gate| match index {
        0 => job(gate, "never"),
        1 => failing("late", 10),
        _ => failing("early", 5),
    };
    none_with(about, make, "early").await
}

async fn none_fails_later() -> Outcome {
    let about = ["never ends", "succeeds after 5 ms", "fails after 10 ms"];
    let make = |index: usize, gate: &Gate| match index {
        0 => job(gate, "never"),
        1 => timed("fine", 5),
        _ => failing("late", 10),
    };
    none_with(about, make, "late").await
}

/// Three futures, in every order: the call must return the failure of `failed`, and
/// no future may be left.
async fn none_with(
    about: [&str; 3],
    make: impl Fn(usize, &Gate) -> Job,
    failed: &'static str,
) -> Outcome {
    let expected = format!("Err(SoldOut({failed:?}))");
    for order in ORDERS_OF_THREE {
        let [first, second, third] = order.map(|index| about[index]);
        let asked = format!(
            "all_or_none with three futures: the first {first}, the second {second}, \
             the third {third}"
        );
        let gate = Gate::closed();
        let [a, b, c] = order.map(|index| make(index, &gate));
        let result = finished(&asked, &expected, all_or_none(a, b, c)).await?;
        ensure(
            result == Err(Error::SoldOut(failed)),
            &asked,
            &expected,
            format_args!("{result:?}"),
        )?;
        equal(
            format_args!("{asked}; how many are left after the call?"),
            0,
            gate.in_flight(),
        )?;
    }
    Ok(())
}

async fn none_succeeds() -> Outcome {
    let asked =
        "all_or_none with futures that return \"a\", \"b\" and \"c\" after 30, 20 and 10 ms";
    let call = all_or_none(timed("a", 30), timed("b", 20), timed("c", 10));
    equal(
        asked,
        Ok(["a", "b", "c"]),
        finished(asked, "Ok([\"a\", \"b\", \"c\"])", call).await?,
    )
}

async fn none_stages() -> Outcome {
    for early in 0..3 {
        let gate = Gate::closed();
        let [a, b, c] = [0, 1, 2].map(|index| staged(gate.clone(), index == early));
        two_continue("all_or_none", early, &gate, all_or_none(a, b, c)).await?;
    }
    Ok(())
}

// ---- 01.3 and 01.4

/// More jobs than any fixed limit that one would think of.
const MANY: usize = 1000;

/// Many jobs that count their start and never finish.
fn endless(started: &Arc<AtomicUsize>) -> Vec<Job> {
    let job = |_| {
        let started = started.clone();
        async move {
            started.fetch_add(1, Ordering::Relaxed);
            pending().await
        }
        .boxed()
    };
    (0..MANY).map(job).collect()
}

fn all_started(what: &str, started: &AtomicUsize) -> Outcome {
    equal(
        format_args!("{what} with {MANY} jobs that cannot finish: how many have started?"),
        MANY,
        started.load(Ordering::Relaxed),
    )
}

/// A job that returns the id of its task, if it runs in one.
async fn task_id() -> Result<Option<task::Id>, Error> {
    sleep(ms(1)).await;
    Ok(task::try_id())
}

/// `ids` are the results of three jobs made by [`task_id`].
fn apart(asked: &str, ids: &[Option<task::Id>]) -> Outcome {
    let tasks = ids.iter().flatten().collect::<HashSet<_>>().len();
    let got = match tasks {
        0 => "the jobs do not run in a task that was spawned for them".to_owned(),
        1 => "all jobs run in the same task".to_owned(),
        _ => format!("the jobs run in {tasks} tasks"),
    };
    ensure(
        tasks == 3,
        format_args!("{asked}: in which tasks do they run?"),
        "in 3 different tasks",
        got,
    )
}

// ---- 01.3

async fn tasks_start() -> Outcome {
    let started = Arc::default();
    let mut call = pin!(run_all(endless(&started)));
    settle(&mut call).await;
    all_started("run_all", &started)
}

async fn tasks_apart() -> Outcome {
    let asked = "run_all with three jobs";
    let call = run_all(vec![task_id(), task_id(), task_id()]);
    let results = finished(asked, "three results", call).await?;
    let ids: Vec<_> = results.into_iter().flatten().collect();
    apart(asked, &ids)
}

async fn tasks_order() -> Outcome {
    let asked = "run_all with jobs that return \"a\", \"b\" and \"c\" after 30, 10 and 20 ms";
    let call = run_all(vec![timed("a", 30), timed("b", 10), timed("c", 20)]);
    let expected = vec![Ok("a"), Ok("b"), Ok("c")];
    equal(
        asked,
        expected,
        finished(asked, "three results", call).await?,
    )?;
    let asked = "run_all without jobs: how many results?";
    let results = finished(asked, "0", run_all(Vec::<Job>::new())).await?;
    equal(asked, 0, results.len())
}

async fn tasks_panic() -> Outcome {
    let asked = "run_all with five jobs; the first and the third panic, the fourth fails";
    let expected = vec![
        Err(Error::Panicked),
        Ok("b"),
        Err(Error::Panicked),
        Err(Error::SoldOut("d")),
        Ok("e"),
    ];
    let shown = format!("{expected:?}");
    let call = run_all(vec![
        panicking(10),
        timed("b", 20),
        panicking(30),
        failing("d", 15),
        timed("e", 40),
    ]);
    equal(asked, expected, caught(asked, &shown, call).await?)
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
    let asked = "run_all with three jobs; the call is dropped while they wait; \
                 then the jobs may finish";
    let gate = Gate::closed();
    {
        let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
        let mut call = pin!(run_all(jobs));
        settle(&mut call).await;
    }
    // If the drop aborts tasks, they end before the gate opens.
    sleep(ms(1)).await;
    gate.open();
    sleep(ms(1)).await;
    ensure(
        gate.ended() == 3,
        asked,
        "started: 3, finished: 3, dropped: 0",
        format_args!(
            "started: {}, finished: {}, dropped: {}",
            gate.entered(),
            gate.ended(),
            gate.dropped()
        ),
    )
}

// ---- 01.4

async fn group_start() -> Outcome {
    let started = Arc::default();
    let mut call = pin!(first_failure_ends_all(endless(&started)));
    settle(&mut call).await;
    all_started("first_failure_ends_all", &started)
}

async fn group_apart() -> Outcome {
    let asked = "first_failure_ends_all with three jobs";
    let call = first_failure_ends_all(vec![task_id(), task_id(), task_id()]);
    let ids = finished(asked, "three results", call).await?;
    apart(asked, &ids.unwrap_or_default())
}

async fn group_order() -> Outcome {
    let asked = "first_failure_ends_all with jobs that return \"a\", \"b\" and \"c\" \
                 after 30, 10 and 20 ms";
    let call = first_failure_ends_all(vec![timed("a", 30), timed("b", 10), timed("c", 20)]);
    equal(
        asked,
        Ok(vec!["b", "c", "a"]),
        finished(asked, "Ok([\"b\", \"c\", \"a\"])", call).await?,
    )?;
    let asked = "first_failure_ends_all without jobs";
    let call = first_failure_ends_all(Vec::<Job>::new());
    equal(asked, Ok(vec![]), finished(asked, "Ok([])", call).await?)
}

async fn group_fails() -> Outcome {
    let asked = "first_failure_ends_all with five jobs: the second succeeds after 5 ms, \
                 the fourth fails after 10 ms, the third after 20 ms, the others never end";
    group_with(asked, Error::SoldOut("d"), |gate| {
        let (c, d) = (failing("c", 20), failing("d", 10));
        vec![job(gate, "a"), timed("b", 5), c, d, job(gate, "e")]
    })
    .await
}

async fn group_panics() -> Outcome {
    let asked = "first_failure_ends_all with four jobs: the second panics after 10 ms, \
                 the third fails after 20 ms, the others never end";
    group_with(asked, Error::Panicked, |gate| {
        let (b, c) = (panicking(10), failing("c", 20));
        vec![job(gate, "a"), b, c, job(gate, "d")]
    })
    .await
}

/// The call must return the failure, and afterwards no job may be left.
async fn group_with(asked: &str, error: Error, jobs: impl Fn(&Gate) -> Vec<Job>) -> Outcome {
    let gate = Gate::closed();
    let expected = Err(error);
    let shown = format!("{expected:?}");
    let call = first_failure_ends_all(jobs(&gate));
    let result = caught(asked, &shown, call).await?;
    ensure(result == expected, asked, shown, format_args!("{result:?}"))?;
    none_left(asked, &gate).await
}

async fn group_dropped() -> Outcome {
    let asked = "first_failure_ends_all with three jobs; the call is dropped while they wait";
    let gate = Gate::closed();
    {
        let jobs = vec![job(&gate, "a"), job(&gate, "b"), job(&gate, "c")];
        let mut call = pin!(first_failure_ends_all(jobs));
        settle(&mut call).await;
    }
    none_left(asked, &gate).await
}

// ---- 01.5

/// A bakery whose loaves wait at the gate.
fn gated(gate: &Gate, loaves: u32) -> impl Stream<Item = u32> {
    let gate = gate.clone();
    bakery(loaves, move |_| {
        let gate = gate.clone();
        async move { gate.pass().await }
    })
}

async fn bakery_lazy() -> Outcome {
    let gate = Gate::opened();
    let calls = AtomicUsize::new(0);
    let mut loaves = pin!(bakery(5, |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        gate.pass()
    }));
    for asked_for in 0..=2 {
        let asked = format!("bakery(5), calls of `next()` so far: {asked_for}");
        if asked_for > 0 {
            let got = finished(&asked, "a loaf", loaves.next()).await?;
            let loaf = u32::try_from(asked_for).ok();
            equal(format_args!("{asked}: which loaf comes?"), loaf, got)?;
        }
        sleep(ms(10)).await;
        equal(
            format_args!("{asked}: how many are baked or in the oven?"),
            asked_for,
            gate.entered(),
        )?;
        equal(
            format_args!("{asked}: how often was `bake` called?"),
            asked_for,
            calls.load(Ordering::Relaxed),
        )?;
    }
    Ok(())
}

async fn bakery_whole() -> Outcome {
    let baked = Arc::new(Mutex::new(Vec::new()));
    for loaves in [4, 1, 0] {
        let asked = format!("bakery({loaves}), read to its end");
        let book = baked.clone();
        let stream = bakery(loaves, move |loaf| {
            let book = book.clone();
            async move {
                sleep(ms(10)).await;
                book.lock().unwrap().push(loaf);
            }
        });
        let all: Vec<u32> = (1..=loaves).collect();
        let got: Vec<u32> = finished(&asked, "its end", stream.collect()).await?;
        equal(
            format_args!("{asked}: which loaves come?"),
            all.clone(),
            got,
        )?;
        let baked = std::mem::take(&mut *baked.lock().unwrap());
        equal(format_args!("{asked}: what was baked?"), all, baked)?;
    }
    let asked = "bakery(4294967295), which is u32::MAX, read for two loaves";
    let two = bakery(u32::MAX, async |_| {}).take(2).collect();
    let got: Vec<u32> = finished(asked, "two loaves", two).await?;
    equal(asked, vec![1, 2], got)
}

async fn bakery_waits() -> Outcome {
    let asked = "bakery(3) while the first loaf is in the oven";
    let gate = Gate::closed();
    {
        let mut loaves = pin!(gated(&gate, 3));
        {
            let mut next = pin!(loaves.next());
            let got = settle(&mut next).await;
            // The clock has moved, so the thread was free for other work.
            ensure(
                got.is_none() && gate.in_flight() == 1,
                asked,
                "no loaf has come, 1 is in the oven",
                format_args!("{got:?} has come, {} in the oven", gate.in_flight()),
            )?;
        }
        // `next` is dropped, and the loaf is in the oven still.
        gate.let_through(1);
        let asked = format!("{asked}; `next()` is dropped and called again");
        let got = finished(&asked, "loaf 1", loaves.next()).await?;
        equal(format_args!("{asked}: which loaf comes?"), Some(1), got)?;
        equal(
            format_args!("{asked}: how many have been put into the oven?"),
            1,
            gate.entered(),
        )?;
        let mut next = pin!(loaves.next());
        settle(&mut next).await;
    }
    equal(
        "bakery(3), dropped while the second loaf is in the oven: how many are in the oven?",
        0,
        gate.in_flight(),
    )
}

// ---- 01.6

/// Numbers of orders that are in no order, with one that comes twice.
const ODD: [u32; 5] = [7, 0, u32::MAX, 7, 3];

fn orders(numbers: &[u32]) -> Vec<Order> {
    numbers.iter().copied().map(Order).collect()
}

fn sorted(mut orders: Vec<Order>) -> Vec<Order> {
    orders.sort();
    orders
}

/// Returns what is in the queue now.
fn waiting(queue: &mut mpsc::Receiver<Order>) -> Vec<Order> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

/// After the customer has returned: `placed` is in the queue and nothing follows,
/// and the customer has kept `kept`, in any order.
async fn expect_shared(
    asked: &str,
    queue: &mut mpsc::Receiver<Order>,
    placed: &[u32],
    got: Vec<Order>,
    kept: &[u32],
) -> Outcome {
    let rest = async {
        let mut all = Vec::new();
        while let Some(order) = queue.recv().await {
            all.push(order);
        }
        all
    };
    let end = "the end of the queue, since the customer has dropped its sender";
    let what = format!("{asked}: what is in the queue?");
    let rest = finished(&what, end, rest).await?;
    equal(what, orders(placed), rest)?;
    equal(
        format_args!("{asked}: what does the customer return, sorted?"),
        sorted(orders(kept)),
        sorted(got),
    )
}

async fn customer_places() -> Outcome {
    let asked = format!("customer with the orders {ODD:?} and a queue with room for 10");
    let (send, mut queue) = mpsc::channel(10);
    let call = customer(orders(&ODD), send, Closing::new());
    let kept = finished(&asked, "the customer returns", call).await?;
    expect_shared(&asked, &mut queue, &ODD, kept, &[]).await
}

async fn customer_waits() -> Outcome {
    let asked = format!("customer with the orders {ODD:?} and a queue with room for 2");
    let (send, mut queue) = mpsc::channel(2);
    let mut call = pin!(customer(orders(&ODD), send, Closing::new()));
    let early = settle(&mut call).await;
    ensure(
        early.is_none() && queue.len() == 2,
        format_args!("{asked}, of which no shop takes any"),
        "2 orders in the queue, and the customer waits",
        format_args!(
            "{} orders in the queue, and the customer {}",
            queue.len(),
            early.map_or_else(
                || "waits".to_owned(),
                |kept| format!("has returned {kept:?}")
            )
        ),
    )?;
    let first = queue.recv().await;
    equal(
        format_args!("{asked}: which order comes first?"),
        Some(Order(ODD[0])),
        first,
    )?;
    settle(&mut call).await;
    equal(
        format_args!("{asked}, after one was taken: what is in the queue?"),
        orders(&ODD[1..3]),
        waiting(&mut queue),
    )
}

async fn customer_done() -> Outcome {
    let asked = format!("customer with the orders {ODD:?} and a queue with room for exactly 5");
    let (send, mut queue) = mpsc::channel(5);
    let call = customer(orders(&ODD), send.clone(), Closing::new());
    let kept = finished(&asked, "the customer returns", call).await?;
    equal(
        format_args!("{asked}: what does the customer return?"),
        Vec::<Order>::new(),
        kept,
    )?;
    let asked = "customer without orders and a queue that is full";
    let call = customer(vec![], send, Closing::new());
    let kept = finished(asked, "the customer returns", call).await?;
    expect_shared(asked, &mut queue, &ODD, kept, &[]).await
}

async fn customer_closing() -> Outcome {
    for room in [2, 1, 4] {
        let asked = format!(
            "customer with the orders {ODD:?} and a queue with room for {room}; \
             the market closes while the customer waits for room"
        );
        let (send, mut queue) = mpsc::channel(room);
        let closing = Closing::new();
        let mut call = pin!(customer(orders(&ODD), send, closing.clone()));
        settle(&mut call).await;
        closing.close();
        let kept = finished(&asked, "the customer returns", call).await?;
        let (placed, left) = ODD.split_at(room);
        expect_shared(&asked, &mut queue, placed, kept, left).await?;
    }
    Ok(())
}

/// `select!` without `biased;` chooses at random. In so many rounds, an answer that
/// leaves the choice to chance passes once in 2^64 runs.
const ROUNDS: usize = 64;

async fn customer_closed() -> Outcome {
    for _ in 0..ROUNDS {
        let asked = format!(
            "customer with the orders {ODD:?} and a queue with room for 10; \
             the market was closed before the call"
        );
        let (send, mut queue) = mpsc::channel(10);
        let closing = Closing::new();
        closing.close();
        let call = customer(orders(&ODD), send, closing);
        let kept = finished(&asked, "the customer returns", call).await?;
        expect_shared(&asked, &mut queue, &[], kept, &ODD).await?;
    }
    Ok(())
}

async fn customer_both() -> Outcome {
    for round in 0..ROUNDS {
        let asked = format!(
            "customer with the orders {ODD:?} and a queue with room for 2; while the customer \
             waits, the market closes and a shop takes an order at the same moment"
        );
        let (send, mut queue) = mpsc::channel(2);
        let closing = Closing::new();
        let mut call = pin!(customer(orders(&ODD), send, closing.clone()));
        settle(&mut call).await;
        // Nothing runs between the two, whichever is first.
        if round % 2 == 0 {
            closing.close();
        }
        let _ = queue.try_recv();
        closing.close();
        let kept = finished(&asked, "the customer returns", call).await?;
        expect_shared(&asked, &mut queue, &ODD[1..2], kept, &ODD[2..]).await?;
    }
    Ok(())
}

async fn customer_gone() -> Outcome {
    let asked = format!("customer with the orders {ODD:?} and a queue without a receiver");
    let (send, queue) = mpsc::channel(2);
    drop(queue);
    let call = customer(orders(&ODD), send, Closing::new());
    let kept = finished(&asked, "the customer returns", call).await?;
    let what = "what does the customer return, sorted?";
    equal(
        format_args!("{asked}: {what}"),
        sorted(orders(&ODD)),
        sorted(kept),
    )?;

    let asked = format!(
        "customer with the orders {ODD:?} and a queue with room for 2; \
         the receiver is dropped while the customer waits for room"
    );
    let (send, queue) = mpsc::channel(2);
    let mut call = pin!(customer(orders(&ODD), send, Closing::new()));
    settle(&mut call).await;
    drop(queue);
    let kept = finished(&asked, "the customer returns", call).await?;
    equal(
        format_args!("{asked}: {what}"),
        sorted(orders(&ODD[2..])),
        sorted(kept),
    )
}

// ---- 01.7

/// A queue with orders of these numbers, and its sender.
async fn queue(numbers: &[u32]) -> (mpsc::Sender<Order>, Orders) {
    let (send, receive) = mpsc::channel(20);
    for order in orders(numbers) {
        // There is a receiver, and there is room.
        let _ = send.send(order).await;
    }
    (send, Arc::new(tokio::sync::Mutex::new(receive)))
}

async fn shop_serves() -> Outcome {
    let asked = format!("shop with the orders {ODD:?} in a queue that is closed");
    let (send, orders_in) = queue(&ODD).await;
    drop(send);
    let book = Mutex::new(Vec::new());
    let call = shop(orders_in, async |order| book.lock().unwrap().push(order));
    let served = finished(&asked, "the shop returns", call).await?;
    equal(
        format_args!("{asked}: what does the shop return?"),
        orders(&ODD),
        served,
    )?;
    equal(
        format_args!("{asked}: what is served?"),
        ODD.to_vec(),
        book.into_inner().unwrap(),
    )
}

async fn shop_waits() -> Outcome {
    let asked = "shop with one order in a queue that stays open, after 5 minutes";
    let gate = Gate::opened();
    let (send, orders_in) = queue(&[1]).await;
    let mut call = pin!(shop(orders_in, |_| gate.pass()));
    let early = timeout(Duration::from_mins(5), call.as_mut()).await.ok();
    ensure(
        early.is_none() && gate.ended() == 1,
        asked,
        "1 order is served, and the shop waits for more",
        format_args!(
            "{} served, and the shop {}",
            gate.ended(),
            early.map_or_else(
                || "waits for more".to_owned(),
                |served| format!("has returned {served:?}")
            )
        ),
    )?;
    let _ = send.send(Order(2)).await;
    drop(send);
    let asked = "shop: after 5 minutes a second order comes, then the queue is closed";
    let served = finished(asked, "the shop returns", call).await?;
    equal(asked, orders(&[1, 2]), served)
}

async fn shops_overlap() -> Outcome {
    let asked = "two shops at one queue of 4 orders, while serving cannot finish";
    let gate = Gate::closed();
    let (send, orders_in) = queue(&[1, 2, 3, 4]).await;
    let one = shop(orders_in.clone(), |_| gate.pass());
    let other = shop(orders_in.clone(), |_| gate.pass());
    let mut call = pin!(async { tokio::join!(one, other) });
    settle(&mut call).await;
    let left = orders_in.try_lock().ok().map(|queue| queue.len());
    ensure(
        gate.in_flight() == 2 && left == Some(2),
        asked,
        "orders that are being served: 2, left in the queue: 2",
        format_args!(
            "orders that are being served: {}, {}",
            gate.in_flight(),
            left.map_or_else(
                || "and a shop keeps the queue locked".to_owned(),
                |left| format!("left in the queue: {left}")
            )
        ),
    )?;
    gate.open();
    drop(send);
    let (mut served, more) = finished(asked, "both shops return", call).await?;
    served.extend(more);
    equal(
        "two shops, after the queue is closed: what do they return, sorted?",
        orders(&[1, 2, 3, 4]),
        sorted(served),
    )
}

/// Four customers with three orders each.
fn crowd() -> Vec<Vec<Order>> {
    [10, 20, 30, 40]
        .map(|customer| orders(&[customer + 1, customer + 2, customer + 3]))
        .into()
}

fn all_orders() -> Vec<Order> {
    crowd().into_iter().flatten().collect()
}

async fn serve(_: u32) {
    sleep(ms(10)).await;
}

async fn market_day() -> Outcome {
    let asked = "market with 4 customers of 3 orders each, 2 shops that need 10 ms for an order, \
                 and a queue with room for 2";
    let begun = Instant::now();
    let call = market(crowd(), 2, 2, pending(), serve);
    let day = finished(asked, "the end of the day", call).await?;
    equal(
        format_args!("{asked}: what is served, sorted?"),
        all_orders(),
        sorted(day.served),
    )?;
    equal(
        format_args!("{asked}: what could not be placed?"),
        Vec::<Order>::new(),
        day.kept,
    )?;
    equal(
        format_args!("{asked}: how many ms does the day take?"),
        60,
        begun.elapsed().as_millis(),
    )
}

async fn market_closes() -> Outcome {
    let asked = "market with 4 customers of 3 orders each, 2 shops that need 10 ms for an order, \
                 and a queue with room for 2; it closes after 15 ms";
    let call = market(crowd(), 2, 2, sleep(ms(15)), serve);
    let day = finished(asked, "the end of the day", call).await?;
    let (served, kept) = (day.served.len(), day.kept.len());
    let mut all = day.served;
    all.extend(day.kept);
    equal(
        format_args!("{asked}: what is served or returned to the customer, sorted?"),
        all_orders(),
        sorted(all),
    )?;
    ensure(
        served >= 4 && kept >= 1,
        asked,
        "at least 4 orders are served, and at least 1 cannot be placed",
        format_args!("{served} are served, {kept} cannot be placed"),
    )
}
